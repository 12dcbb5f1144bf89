"""Files that are there whole, or not at all."""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .errors import InputError


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, which takes its place once all of it is written, whoever else writes the same.

    What is no file of its own, such as a link, a pipe or a terminal, is written to as it comes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with written_whole(Path(folder) / "a.txt") as file:
    ...         _ = file.write(b"whole")
    ...     [(path.name, path.read_text()) for path in Path(folder).iterdir()]
    [('a.txt', 'whole')]
    """
    if is_written_through(path):
        with path.open("wb") as file:
            yield file
        return
    partial = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def is_written_through(path: Path) -> bool:
    """Whether a path leads to something else, whose place a file must not take."""
    return path.is_symlink() or (path.exists() and not path.is_file())


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8, whole or not at all."""
    with written_whole(path) as file:
        file.write(text.encode())


_LARGEST = 2**30


_DAMAGE = (
    *(OSError, ValueError, TypeError, LookupError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What readers raise at damaged files; none has one error of its own."""


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file, after a look at how large it says they are.

    Raises:
        InputError: the file is truncated, damaged, holds pickles, or would unpack to over 1 GiB.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _LARGEST:
            raise InputError(f"{path} would unpack to {size / 2**30:.1f} GiB; only 1 GiB is allowed.")
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}); fetch it again.") from error


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays, whole or not at all.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_npz(Path(folder) / "a.npz", x=np.arange(2))
    ...     read_npz(Path(folder) / "a.npz")
    {'x': array([0, 1])}
    """
    with written_whole(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
