"""Reads a table of numbers from a file, and reports the rules that were applied.

- Words: a column with at most `MAX_WORDS` distinct words is one-hot encoded and divided by the square root of
  two, so that rows with different words are at distance one; a column with more words is left out. Numeric
  columns of such a table are best divided by their standard deviations: see `beside_words`.
- Missing values, such as "", "NA" and "?": they are replaced by the median in a numeric column, and by the
  word "missing" in a column of words. A column of missing values only, or of one value, is left out.
- CSV: the encoding is UTF-8 with or without byte order mark, UTF-16 with one, else Latin-1. The delimiter is
  the comma, semicolon, tab or bar that splits most lines into the same number of fields. The first line is a
  header unless it holds a number.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ..errors import InputError
from ..files import read_npz
from .preparation import deviations

MAX_WORDS = 20
"""The maximum number of distinct words in a column."""
BESIDE_WORDS = "numeric columns are divided by their standard deviations, columns of words are not"
"""Describes `beside_words`."""
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-"})
"""Fields that are missing values, in lower case."""


class Sheet(NamedTuple):
    """A table that was read from a file.

    Attributes:
        points: [N, D] numbers.
        names: D names of columns, such as "age" or "color=red".
        columns: name -> [N] values in the file, of every column that is used.
        notes: the rules that were applied, in words.
        numbers: [D] whether a column is numeric in the file.
    """

    points: Float[np.ndarray, "N D"]
    names: tuple[str, ...]
    columns: dict[str, np.ndarray]
    notes: tuple[str, ...]
    numbers: Bool[np.ndarray, " D"]


def read_sheet(path: str | os.PathLike) -> Sheet:
    """Reads a table from a .csv, .tsv, .txt, .npy, .parquet or .npz file with an array "data" or "X".

    Raises:
        InputError: the file does not exist, is empty, damaged or of an unknown type, or has no usable column.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"there is no file {file}; name a .csv, .npy, .npz or .parquet file.")
    readers = {".npy": _from_npy, ".npz": _from_npz, ".parquet": _from_parquet}
    readers |= dict.fromkeys((".csv", ".tsv", ".txt"), _from_text)
    if file.suffix.lower() not in readers:
        raise InputError(f"{file.name} is of an unknown type; give a .csv, .npy, .npz or .parquet file.")
    columns, notes = readers[file.suffix.lower()](file)
    return encoded(columns, notes)


def encoded(columns: dict[str, np.ndarray], notes: tuple[str, ...] = ()) -> Sheet:
    """Encodes columns of numbers or words as numbers.

    >>> sheet = encoded({"size": np.array(["1", "", "3"]), "kind": np.array(["a", "b", "a"])})
    >>> sheet.names, sheet.points[:, 0].tolist()
    (('size', 'kind=a', 'kind=b'), [1.0, 2.0, 3.0])
    """
    all_notes = list(notes)
    parts, names, used, are_numbers = [], [], {}, []
    for name, values in columns.items():
        numbers = _numbers(values)
        if numbers is None:
            result, note = _words(name, values)
        else:
            result, note = _filled(name, numbers)
        if note:
            all_notes.append(note)
        if result:
            used[name] = values if numbers is None else numbers
            names += list(result)
            are_numbers += [numbers is not None] * len(result)
            parts += list(result.values())
    if not parts:
        reason = "; ".join(all_notes) or "it has no columns"
        raise InputError(
            f"no column of the table can be used ({reason}); give one of numbers or of few words."
        )
    return Sheet(
        points=np.stack(parts, 1),
        names=tuple(names),
        columns=used,
        notes=tuple(all_notes),
        numbers=np.array(are_numbers),
    )


def beside_words(sheet: Sheet) -> Sheet:
    """Divides numeric columns by their standard deviations; different words are then one deviation apart.

    >>> sheet = beside_words(encoded({"size": np.array([1, 1, 5, 5]), "kind": np.array(list("abab"))}))
    >>> np.ptp(sheet.points, 0).round(2).tolist()
    [2.0, 0.71, 0.71]
    """
    _, spread, varies = deviations(sheet.points)
    return sheet._replace(points=sheet.points / np.where(sheet.numbers & varies, spread, 1))


def _numbers(values: np.ndarray) -> Float[np.ndarray, " N"] | None:
    """A column as numbers, with NaN for missing values; None if it is not numeric."""
    if values.dtype.kind in "fiub":
        return values.astype(float)
    words = np.char.strip(values.astype(str))
    missing = np.isin(np.char.lower(words), list(MISSING))
    try:
        numbers = np.where(missing, "nan", words).astype(float)
    except ValueError:
        return None
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _filled(name: str, numbers: Float[np.ndarray, " N"]) -> tuple[dict[str, np.ndarray], str]:
    missing = ~np.isfinite(numbers)
    if missing.all():
        return {}, f"column {name!r} holds no value and is left out"
    filled = np.where(missing, float(np.median(numbers[~missing])), numbers)
    if np.ptp(filled) == 0:
        return {}, f"column {name!r} holds one value and is left out"
    note = f"{missing.sum()} missing values of column {name!r} are replaced by its median"
    return {name: filled}, note if missing.any() else ""


def _words(name: str, values: np.ndarray) -> tuple[dict[str, np.ndarray], str]:
    words = np.char.strip(values.astype(str))
    missing = np.isin(np.char.lower(words), list(MISSING))
    words = np.where(missing, "missing", words)
    distinct = np.unique(words)
    if len(distinct) == 1:
        return {}, f"column {name!r} holds one word and is left out"
    if len(distinct) > MAX_WORDS:
        return {}, f"column {name!r} holds {len(distinct)} different words and is left out"
    columns = {f"{name}={word}": (words == word) / np.sqrt(2) for word in distinct.tolist()}
    note = f"column {name!r} of words becomes {len(distinct)} one-hot columns, divided by the root of 2"
    return columns, note + (
        f"; its {missing.sum()} missing values are one of the words" if missing.any() else ""
    )


def _from_text(file: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    text, encoding = _decoded(file.read_bytes(), file)
    delimiter = _delimiter(text)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except csv.Error as error:
        raise InputError(f"{file.name} cannot be read as CSV ({error}); write it again.") from None
    if not rows:
        raise InputError(f"{file.name} is empty; give a table of two rows or more.")
    width = Counter(map(len, rows)).most_common(1)[0][0]
    if odd := [place for place, row in enumerate(rows, 1) if len(row) != width]:
        raise InputError(
            f"line {odd[0]} of {file.name} has {len(rows[odd[0] - 1])} fields, most have {width}; correct "
            "it, or quote fields that contain the delimiter."
        )
    header = all(_numbers(np.array([field])) is None for field in rows[0] if field.strip())
    names = [field.strip() if header else "" for field in rows[0]]
    names = [name or f"column {place}" for place, name in enumerate(names, 1)]
    counts: Counter[str] = Counter()
    for place, name in enumerate(names):
        counts[name] += 1
        names[place] = name if counts[name] == 1 else f"{name} {counts[name]}"
    body = rows[1:] if header else rows
    if not body:
        raise InputError(f"{file.name} holds a header and no rows; give a table of two rows or more.")
    columns = dict(zip(names, map(np.array, zip(*body, strict=True)), strict=True))
    shown = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}[delimiter]
    note = f"{len(body):,} rows of {width} columns, {encoding}, separated by {shown}"
    return columns, (note + ("" if header else ", without a header"),)


def _decoded(raw: bytes, file: Path) -> tuple[str, str]:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        tried = ["utf-16"]
    elif b"\0" in raw[:4096]:
        raise InputError(f"{file.name} is not a text file; give a .csv file.")
    else:
        tried = ["utf-8-sig", "latin-1"]
    for encoding in tried:
        try:
            return raw.decode(encoding), {"utf-8-sig": "UTF-8", "latin-1": "Latin-1"}.get(encoding, "UTF-16")
        except UnicodeDecodeError:
            continue
    raise InputError(f"{file.name} is damaged: its byte order mark is UTF-16, not its text; write it again.")


def _delimiter(text: str) -> str:
    """The delimiter that splits most of the first lines into the same number of fields."""
    lines = [line for line in text.splitlines()[:200] if line.strip()]

    def consistency(delimiter: str) -> tuple[float, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        width, count = Counter(widths).most_common(1)[0]
        return (count / len(widths), width) if width > 1 else (0.0, 1)

    return max(",;\t|", key=consistency) if lines else ","


def _from_npy(file: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    try:
        return _from_array(np.load(file, allow_pickle=False), file)
    except (ValueError, EOFError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file.name} is damaged or holds objects ({error}); save plain numbers.") from None


def _from_npz(file: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    arrays = read_npz(file)
    named = [name for name in ("data", "X", *sorted(arrays)) if name in arrays and arrays[name].ndim == 2]
    if not named:
        raise InputError(f"{file.name} holds no table; give an array of two dimensions named 'data'.")
    return _from_array(arrays[named[0]], file)


def _from_array(array: np.ndarray, file: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiub":
        raise InputError(
            f"{file.name} holds {array.dtype} of shape {array.shape}; give numbers of shape [rows, columns]."
        )
    columns = {f"column {place}": column for place, column in enumerate(array.T, 1)}
    return columns, (f"{len(array):,} rows of {array.shape[1]} columns",)


def _from_parquet(file: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise InputError(
            "reading parquet needs the package pyarrow; install it with pip install pyarrow."
        ) from None
    try:
        table = parquet.read_table(file)
    except (ArrowException, OSError) as error:
        raise InputError(f"{file.name} is damaged ({str(error).splitlines()[0]}); write it again.") from None
    columns = {}
    for name in table.column_names:
        values = table[name].to_pylist()
        plain = all(value is None or isinstance(value, bool | int | float) for value in values)
        columns[name] = np.array(
            [np.nan if value is None else float(value) for value in values]
            if plain
            else ["" if value is None else str(value) for value in values]
        )
    return columns, (f"{table.num_rows:,} rows of {table.num_columns} columns",)
