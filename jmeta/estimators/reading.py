"""From a file to a table of numbers, by rules that are stated with what was read.

- Words: a column of at most `KINDS` different words becomes one column of 0 and 1 for each of them, divided
  by the square root of two, so that rows of different words are one apart; a column of more is left out.
  Beside words, numbers are best divided by their deviations: `beside_words`.
- Gaps, such as "", "NA" and "?": in a column of numbers the median stands in, in one of words "missing" is a
  word of its own; a column of gaps alone, or of one value, is left out.
- Of CSV the encoding is UTF-8, with or without its mark, UTF-16 by its mark, else Latin-1; the delimiter is
  the one of comma, semicolon, tab and bar that parts most lines alike; the first line is a header unless it
  holds a number.
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

KINDS = 20
BESIDE_WORDS = "columns of numbers are divided by their standard deviations, those of words are not"
"""What `beside_words` does."""
GAPS = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-"})


class Sheet(NamedTuple):
    """What was read.

    Attributes:
        points: [N, D] numbers.
        names: D, such as "age" or "color=red".
        columns: name -> [N] what was in the file, of every column that is used.
        notes: which rules were applied, in words.
        numbers: [D] which columns are numbers in the file, and not words.
    """

    points: Float[np.ndarray, "N D"]
    names: tuple[str, ...]
    columns: dict[str, np.ndarray]
    notes: tuple[str, ...]
    numbers: Bool[np.ndarray, " D"]


def read_sheet(path: str | os.PathLike) -> Sheet:
    """The table in a file: .csv, .tsv, .txt, .npy, .npz with an array "data" or "X", or .parquet.

    Raises:
        InputError: there is no such file, it is empty or damaged or of another kind, or no column is left.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"there is no file {file}; name a .csv, .npy, .npz or .parquet file.")
    kinds = {".npy": _from_npy, ".npz": _from_npz, ".parquet": _from_parquet}
    text = dict.fromkeys((".csv", ".tsv", ".txt"), _from_text)
    if file.suffix.lower() not in kinds | text:
        raise InputError(
            f"{file.name} is of no kind that can be read; give a .csv, .npy, .npz or .parquet file."
        )
    columns, notes = (kinds | text)[file.suffix.lower()](file)
    return encoded(columns, notes)


def encoded(columns: dict[str, np.ndarray], notes: tuple[str, ...] = ()) -> Sheet:
    """Columns of words or numbers as numbers.

    >>> sheet = encoded({"size": np.array(["1", "", "3"]), "kind": np.array(["a", "b", "a"])})
    >>> sheet.names, sheet.points[:, 0].tolist()
    (('size', 'kind=a', 'kind=b'), [1.0, 2.0, 3.0])
    """
    parts, names, used, said, are_numbers = [], [], {}, list(notes), []
    for name, values in columns.items():
        numbers = _numbers(values)
        if numbers is None:
            found, note = _words(name, values)
        else:
            found, note = _filled(name, numbers)
        if note:
            said.append(note)
        if found:
            used[name] = values if numbers is None else numbers
            names += list(found)
            are_numbers += [numbers is not None] * len(found)
            parts += list(found.values())
    if not parts:
        reason = "; ".join(said) or "it has no columns"
        raise InputError(
            f"no column of the table can be used ({reason}); give one of numbers or of few words."
        )
    return Sheet(np.stack(parts, 1), tuple(names), used, tuple(said), np.array(are_numbers))


def beside_words(sheet: Sheet) -> Sheet:
    """The same, its numbers divided by their deviations: rows of different words are one deviation apart.

    >>> sheet = beside_words(encoded({"size": np.array([1, 1, 5, 5]), "kind": np.array(list("abab"))}))
    >>> np.ptp(sheet.points, 0).round(2).tolist()
    [2.0, 0.71, 0.71]
    """
    _, spread, varies = deviations(sheet.points)
    return sheet._replace(points=sheet.points / np.where(sheet.numbers & varies, spread, 1))


def _numbers(values: np.ndarray) -> Float[np.ndarray, " N"] | None:
    """A column as numbers, gaps as NaN; None where something is neither."""
    if values.dtype.kind in "fiub":
        return values.astype(float)
    words = np.char.strip(values.astype(str))
    gaps = np.isin(np.char.lower(words), list(GAPS))
    try:
        numbers = np.where(gaps, "nan", words).astype(float)
    except ValueError:
        return None
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _filled(name: str, numbers: Float[np.ndarray, " N"]) -> tuple[dict[str, np.ndarray], str]:
    gaps = ~np.isfinite(numbers)
    if gaps.all():
        return {}, f"column {name!r} holds no value and is left out"
    median = float(np.median(numbers[~gaps]))
    whole = np.where(gaps, median, numbers)
    if np.ptp(whole) == 0:
        return {}, f"column {name!r} holds one value and is left out"
    return {
        name: whole
    }, f"{gaps.sum()} gaps of column {name!r} are filled by its median" if gaps.any() else ""


def _words(name: str, values: np.ndarray) -> tuple[dict[str, np.ndarray], str]:
    words = np.char.strip(values.astype(str))
    gaps = np.isin(np.char.lower(words), list(GAPS))
    words = np.where(gaps, "missing", words)
    kinds = np.unique(words)
    if len(kinds) == 1:
        return {}, f"column {name!r} holds one word and is left out"
    if len(kinds) > KINDS:
        return {}, f"column {name!r} holds {len(kinds)} different words and is left out"
    found = {f"{name}={kind}": (words == kind) / np.sqrt(2) for kind in kinds.tolist()}
    note = f"column {name!r} of words becomes {len(kinds)} columns of 0 and 1, divided by the root of 2"
    return found, note + (f"; its {gaps.sum()} gaps are one of the words" if gaps.any() else "")


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
            f"line {odd[0]} of {file.name} has {len(rows[odd[0] - 1])} fields, most have {width}; mend it, "
            "or quote fields that hold the delimiter."
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
    told = f"{len(body):,} rows of {width} columns, {encoding}, parted by {shown}"
    return columns, (told + ("" if header else ", without a header"),)


def _decoded(raw: bytes, file: Path) -> tuple[str, str]:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        tried = ["utf-16"]
    elif b"\0" in raw[:4096]:
        raise InputError(f"{file.name} is no text; give a .csv file.")
    else:
        tried = ["utf-8-sig", "latin-1"]
    for encoding in tried:
        try:
            return raw.decode(encoding), {"utf-8-sig": "UTF-8", "latin-1": "Latin-1"}.get(encoding, "UTF-16")
        except UnicodeDecodeError:
            continue
    raise InputError(f"{file.name} is damaged: it is not the UTF-16 that its mark says; write it again.")


def _delimiter(text: str) -> str:
    """The one that parts most of the first lines into equally many fields."""
    lines = [line for line in text.splitlines()[:200] if line.strip()]

    def alike(delimiter: str) -> tuple[float, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        width, count = Counter(widths).most_common(1)[0]
        return (count / len(widths), width) if width > 1 else (0.0, 1)

    return max(",;\t|", key=alike) if lines else ","


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
        made = [np.nan if value is None else float(value) for value in values] if plain else None
        columns[name] = (
            np.array(["" if value is None else str(value) for value in values])
            if made is None
            else np.array(made)
        )
    return columns, (f"{table.num_rows:,} rows of {table.num_columns} columns",)
