"""Atomic writing of files, and reading of npz files that may be damaged."""

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
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that replaces `path` once it is complete, even with concurrent writers.

    A path that is not a regular file, such as a link, a pipe or a terminal, is written to directly.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "a.txt") as file:
    ...         _ = file.write(b"whole")
    ...     [(path.name, path.read_text()) for path in Path(folder).iterdir()]
    [('a.txt', 'whole')]
    """
    if is_special_file(path):
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


def is_special_file(path: Path) -> bool:
    """Whether a path is a link, pipe, terminal or the like, which a file must not replace."""
    return path.is_symlink() or (path.exists() and not path.is_file())


def write_text(path: Path, text: str) -> None:
    """Writes text in UTF-8, atomically."""
    with atomic_write(path) as file:
        file.write(text.encode())


TABLE_ENDINGS = (
    *(".csv", ".tsv", ".txt", ".dat", ".gz"),
    *(
        ".xlsx",
        ".xlsm",
        ".parquet",
        ".pq",
        ".feather",
        ".arrow",
        ".jsonl",
        ".ndjson",
        ".json",
        ".npy",
        ".npz",
    ),
)
"""Endings of files that hold a table; the first ones are text."""
STANDARD_INPUT = Path("-")
"""The path that stands for standard input, or for standard output."""


def check_table_file(path: Path) -> None:
    """Raises an InputError if a path is neither a file of one of `TABLE_ENDINGS` nor standard input.

    >>> check_table_file(Path("-"))
    """
    if path == STANDARD_INPUT:
        return
    if path.is_dir():
        raise InputError(f"{path} is a folder; name one file.")
    if not path.exists():
        raise InputError(f"there is no file {path}; name a file that holds a table, such as a .csv file.")
    if path.suffix.lower() not in TABLE_ENDINGS:
        raise InputError(f"{path.name} is of an unknown type; give one of {', '.join(TABLE_ENDINGS)}.")


MAX_BYTES = 2**30
"""The largest unpacked size of an npz file, or of a compressed table."""

READ_ERRORS = (
    *(OSError, ValueError, TypeError, LookupError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, SyntaxError),  # the last one of XML
)
"""Errors that readers raise on damaged files; none has a single error class for them."""


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file, after checking their declared size.

    Raises:
        InputError: the file is truncated or damaged, holds pickles, or would unpack to more than 1 GiB.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise InputError(f"{path} would unpack to {size / 2**30:.1f} GiB; give a file of at most 1 GiB.")
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except InputError:
        raise
    except READ_ERRORS as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}); fetch it again.") from error


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Writes arrays to an npz file, atomically.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_npz(Path(folder) / "a.npz", x=np.arange(2))
    ...     read_npz(Path(folder) / "a.npz")
    {'x': array([0, 1])}
    """
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
