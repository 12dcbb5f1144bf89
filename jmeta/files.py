"""Files that are there whole, or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
