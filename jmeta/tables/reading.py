"""Reads a table from a file or from standard input as a pandas DataFrame.

Text is UTF-8 with or without byte order mark, UTF-16 with one, else Windows-1252, and may be compressed by
gzip; its layout is found by `layout_of`. Cells of text stay text: `TableEncoder` decides for whole columns
what they mean.
"""

from __future__ import annotations

import gzip
import io
import itertools
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..errors import InputError
from ..files import MAX_BYTES, READ_ERRORS, STANDARD_INPUT, check_table_file, read_npz
from .layout import DELIMITERS, Head, Layout, counted, distinct_names, head_of, layout_of, odd_line, split

HEAD_LINES = 200
"""The number of lines that the layout of a file is found from."""


class Sheet(NamedTuple):
    """A table that was read.

    Attributes:
        frame: the rows, with distinct names of columns.
        units: name -> unit in the file, of the columns that have one.
        notes: how it was read, in words.
    """

    frame: pd.DataFrame
    units: dict[str, str]
    notes: tuple[str, ...]


def read_sheet(path: str | os.PathLike, *, decimal: str | None = None) -> Sheet:
    """Reads a table from a file, or from standard input if the path is "-".

    Args:
        path: of the file.
        decimal: the decimal separator if it is known; a comma is then no delimiter.

    Raises:
        InputError: the file does not exist, is empty, damaged or of an unknown type.
    """
    file = Path(path)
    check_table_file(file)
    if file == STANDARD_INPUT:
        return _from_text(sys.stdin.buffer.read(), "standard input", decimal)
    read = READERS.get(file.suffix.lower())
    try:
        return read(file) if read else _from_text(file.read_bytes(), file.name, decimal)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"reading {file.name} needs a package that is not installed ({error.name}); install it with "
            "pip install 'jmeta[tables]'."
        ) from None
    except READ_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file.name} is damaged or holds no table ({reason}); write it again.") from None


def _from_text(raw: bytes, name: str, decimal: str | None) -> Sheet:
    text, encoding = _decoded(_unpacked(raw, name), name)
    lines = list(itertools.islice(io.StringIO(text, newline=None), HEAD_LINES))
    layout = layout_of(lines, name, decimal, whole=len(lines) < HEAD_LINES)
    try:
        frame = pd.read_csv(
            _rows_of_data(text, layout),
            sep=layout.delimiter,
            header=None,
            index_col=False,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise _odd_line(text, layout, name) or InputError(
            f"{name} cannot be read as CSV ({' '.join(str(error).split())}); write it again."
        ) from None
    last = frame.iloc[:, -1]
    if (last.isna() | (last == "")).any() and (odd := _odd_line(text, layout, name)):
        raise odd  # pandas fills lines that are too short
    separated = f", separated by {DELIMITERS[layout.delimiter]}" if frame.shape[1] > 1 else ""
    return _sheet(frame.fillna(""), layout.head, encoding + separated)


def _rows_of_data(text: str, layout: Layout) -> io.StringIO:
    """The text below the header, whose fields may hold line breaks."""
    below = io.StringIO(text, newline=None)
    for _ in range(layout.skipped):
        below.readline()
    return below


def _odd_line(text: str, layout: Layout, name: str) -> InputError | None:
    """The error for the first line with another number of fields."""
    width = len(layout.head.names)
    for line, row in split(_rows_of_data(text, layout), layout.delimiter):
        if len(row) != width:
            return odd_line(name, layout.skipped + line, len(row), width)
    return None


def _sheet(frame: pd.DataFrame, head: Head, how: str) -> Sheet:
    names = distinct_names(head.names)
    units = {name: unit for name, unit in zip(names, head.units, strict=True) if unit}
    note = f"{counted(len(frame), 'row')} of {counted(len(names), 'column')}" + (f", {how}" if how else "")
    return Sheet(frame.set_axis(names, axis=1), units, (", ".join([note, *head.notes]),))


def _plain(frame: pd.DataFrame, how: str = "") -> Sheet:
    """The table of a file that has names of its own."""
    if not frame.shape[1]:
        raise InputError("the file holds no columns; give a table of two rows or more.")
    return _sheet(frame, Head(list(map(str, frame.columns)), [""] * frame.shape[1], 0, ()), how)


def _unpacked(raw: bytes, name: str) -> bytes:
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            unpacked = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name} is damaged ({error}); fetch it again.") from None
    if len(unpacked) > MAX_BYTES:
        raise InputError(f"{name} would unpack to more than 1 GiB; give a file of at most 1 GiB.")
    return unpacked


def _decoded(raw: bytes, name: str) -> tuple[str, str]:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        tried = {"utf-16": "UTF-16"}
    elif b"\0" in raw[:4096]:
        raise InputError(f"{name} is not a text file; give a .csv file.")
    else:
        tried = {"utf-8-sig": "UTF-8", "cp1252": "Windows-1252", "latin-1": "Latin-1"}
    for encoding, shown in tried.items():
        try:
            return raw.decode(encoding), shown
        except UnicodeDecodeError:
            continue
    raise InputError(f"{name} is damaged: its byte order mark is UTF-16, not its text; write it again.")


def _from_excel(file: Path) -> Sheet:
    with pd.ExcelFile(file) as book:
        sheets = book.sheet_names
        cells = pd.read_excel(book, header=None, dtype=object)
    frame = cells.dropna(how="all").dropna(axis=1, how="all")
    if frame.empty:
        raise InputError(f"{file.name} is empty; give a table of two rows or more.")
    rows = frame.head(HEAD_LINES).map(lambda cell: "" if pd.isna(cell) else str(cell)).to_numpy().tolist()
    title = next((place for place, row in enumerate(rows) if sum(map(bool, row)) > len(row) / 2), 0)
    head = head_of(rows[title:])
    body = frame.iloc[title + head.rows :].reset_index(drop=True).infer_objects()
    return _sheet(body, head, f"sheet {sheets[0]!r}" + (f" of {len(sheets)}" if len(sheets) > 1 else ""))


def _from_parquet(file: Path) -> Sheet:
    from pyarrow import parquet

    return _from_arrow(parquet.ParquetFile(file).read())


def _from_feather(file: Path) -> Sheet:
    from pyarrow import ipc

    with file.open("rb") as raw:
        is_file = raw.read(6) == b"ARROW1"
        raw.seek(0)
        return _from_arrow((ipc.open_file if is_file else ipc.open_stream)(raw).read_all())


def _from_arrow(table: Any) -> Sheet:
    """A table of pyarrow; names may repeat, and pandas' index is a column."""
    names = ["index" if name.startswith("__index_level_") else name for name in table.column_names]
    return _plain(table.rename_columns(distinct_names(names)).to_pandas(ignore_metadata=True))


def _from_json(file: Path) -> Sheet:
    return _plain(pd.read_json(file, lines=file.suffix.lower() != ".json", dtype=False))


def _from_npy(file: Path) -> Sheet:
    return _from_array(np.load(file, allow_pickle=False), file)


def _from_npz(file: Path) -> Sheet:
    arrays = read_npz(file)
    named = [name for name in ("data", "X", *sorted(arrays)) if name in arrays and arrays[name].ndim == 2]
    if not named:
        raise InputError(f"{file.name} holds no table; give an array of two dimensions named 'data'.")
    return _from_array(arrays[named[0]], file)


def _from_array(array: np.ndarray, file: Path) -> Sheet:
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiub":
        raise InputError(
            f"{file.name} holds {array.dtype} of shape {array.shape}; give numbers of shape [rows, columns]."
        )
    return _plain(pd.DataFrame(array, columns=[""] * array.shape[1]))


READERS: dict[str, Callable[[Path], Sheet]] = {
    **dict.fromkeys((".xlsx", ".xlsm"), _from_excel),
    **dict.fromkeys((".parquet", ".pq"), _from_parquet),
    **dict.fromkeys((".feather", ".arrow"), _from_feather),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), _from_json),
    ".npy": _from_npy,
    ".npz": _from_npz,
}
"""The function that reads each type of file; all other `TABLE_ENDINGS` are text."""
