"""The layout of a table in text, found from its first lines: delimiter, header and row of units."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..errors import InputError
from .cells import GAPS, is_number

Row = list[str]

BLANKS = r"\s+"
"""The delimiter of columns that are aligned by blanks."""
ONE_COLUMN = "\x1f"
"""The delimiter of a file of one column: a character that text does not hold."""
DELIMITERS = {"\t": "tab", ";": "semicolon", "|": "bar", ",": "comma", BLANKS: "blanks"}
COMMENTS = ("#", "%", "//")
"""Beginnings of lines above the table that are comments."""
DECLARED = re.compile(r"sep=(.)\s*")
"""The line that declares the delimiter to Excel, above the table."""
ODD_LINES = 0.1
"""The largest share of lines that a delimiter may split into another number of fields, if not one line."""
LEAST_NUMBERS = 0.25
"""The least share of numbers among cells that are separated by blanks, rather than words of a sentence."""
LONGEST_UNIT = 12
YEARS = range(1700, 2200)
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}(?:[-/.]\d{1,4})?(?:[ T]\d.*)?|\d{1,2}:\d\d.*")


class Head(NamedTuple):
    """What stands above the rows of data.

    Attributes:
        names: of the columns, empty where they have none.
        units: of the columns, empty where they have none.
        rows: the number of rows that are not data.
        notes: how the rows were read, in words.
    """

    names: Row
    units: Row
    rows: int
    notes: tuple[str, ...]


class Layout(NamedTuple):
    """The layout of a table in text.

    Attributes:
        delimiter: between fields, a regular expression if it is `BLANKS`.
        skipped: the number of lines above the rows of data.
        head: what stands there.
    """

    delimiter: str
    skipped: int
    head: Head


def layout_of(lines: Sequence[str], file: str, decimal: str | None = None, *, whole: bool = True) -> Layout:
    """The layout of a table from its first lines.

    Args:
        lines: of the file.
        file: its name, for errors.
        decimal: the decimal separator if it is known; a comma is then no delimiter.
        whole: whether the lines are the whole file; else the last one may be within a row.

    Raises:
        InputError: the lines are empty, or hold a header only, or do not have equally many fields.

    >>> layout = layout_of(["# of a logger", "length;speed", "mm;m/s", "1,5;2", "3;4,5"], "log.csv")
    >>> layout.delimiter, layout.skipped, layout.head.names, layout.head.units
    (';', 3, ['length', 'speed'], ['mm', 'm/s'])
    """
    comments = 0
    while comments < len(lines) and (not lines[comments].strip() or _is_comment(lines[comments])):
        comments += 1
    delimiter = _declared(lines) or _delimiter(
        [line.strip(" \r\n") for line in lines[comments:] if line.strip()], decimal
    )
    numbered = list(split(lines[comments:], delimiter))[: None if whole else -1]
    if not numbered:
        raise InputError(f"{file} is empty; give a table of two rows or more.")
    width = Counter(len(row) for _, row in numbered).most_common(1)[0][0]
    preamble, rows = _without_preamble([row for _, row in numbered], width)
    for (line, _), row in zip(numbered[preamble:], rows, strict=True):
        if len(row) != width:
            raise odd_line(file, comments + line, len(row), width)
    head = head_of(rows)
    above = _fields_of_comment(lines[:comments], delimiter)
    if len(above) == width > 1 and (not head.rows or _holds_names(lines[:comments], rows)):
        head = Head(above, [""] * width, 0, ("the comment above the first row is its header",))
    if head.rows == len(rows):
        raise InputError(f"{file} holds a header and no rows; give a table of two rows or more.")
    data = preamble + head.rows
    if head.rows and comments + preamble:
        note = f"{counted(comments + preamble, 'line')} above the table skipped"
        head = head._replace(notes=(note, *head.notes))
    return Layout(delimiter, comments + (numbered[data - 1][0] if data else 0), head)


def _without_preamble(rows: list[Row], width: int) -> tuple[int, list[Row]]:
    """How many rows stand above the header, which are of other widths, and the rows from there on.

    A header that is one field short gets an empty name: for the last column if this is empty, as below a
    header without the delimiter at the end of rows, else for the column of row names, as R writes it.
    """
    start = next(place for place, row in enumerate(rows) if len(row) == width)
    short, data = rows[start - 1] if start else [], rows[start:]
    if len(short) != width - 1 or any(map(is_value, short)):
        return start, data
    if not any(row[-1].strip() for row in data if len(row) == width):
        return start - 1, [[*short, ""], *data]
    return (start - 1, [["", *short], *data]) if len(short) > 1 else (start, data)


def _fields_of_comment(lines: Sequence[str], delimiter: str) -> Row:
    """The fields of the last comment that is not blank."""
    comments = [line for line in lines if line.strip() and not DECLARED.fullmatch(line)]
    return next((row for _, row in split([comments[-1].lstrip("#%/ ")], delimiter)), []) if comments else []


def _holds_names(comments: Sequence[str], rows: Sequence[Row]) -> bool:
    """Whether the last comment is written as "#name", above rows of words that need not have a header."""
    written = re.match(r"#\w", comments[-1]) is not None
    return written and not any(is_value(cell.strip()) for row in rows for cell in row)


def odd_line(file: str, line: int, fields: int, width: int) -> InputError:
    """The error for a line of another number of fields than the others."""
    return InputError(
        f"line {line} of {file} has {fields} fields, most have {width}; correct it, or quote fields that "
        "contain the delimiter."
    )


def split(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, Row]]:
    """The number of the last line and the fields of every row that is not blank."""
    if delimiter == BLANKS:
        lines, delimiter = [" ".join(line.split()) for line in lines], " "
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        yield from ((reader.line_num, row) for row in reader if row and (len(row) > 1 or row[0].strip()))
    except csv.Error as error:
        raise InputError(f"the table cannot be read as CSV ({error}); write it again.") from None


def head_of(rows: Sequence[Row]) -> Head:
    """The header and the row of units of a table, if it has them.

    >>> head_of([["", "2001", "2002"], ["a", "1.5", "2"], ["b", "3", "4"]]).names
    ['', '2001', '2002']
    >>> head_of([["1", "2"], ["3", "4"]]).rows
    0
    """
    first, below = [cell.strip() for cell in rows[0]], rows[1:]
    columns = [[row[place].strip() for row in below] for place in range(len(first))]
    if not _is_header(first, columns):
        return Head([""] * len(first), [""] * len(first), 0, ("without a header",))
    units = _units([column[0] if column else "" for column in columns], [column[1:] for column in columns])
    if units is None:
        return Head(first, [""] * len(first), 1, ())
    return Head(first, units, 2, ("the row below the header holds units",))


def distinct_names(names: Sequence[str]) -> list[str]:
    """Names without repetition; an empty one becomes "column" and its place.

    >>> distinct_names(["a", "a", "", "a 2"])
    ['a', 'a 2', 'column 3', 'a 2 2']
    """
    made: dict[str, None] = {}
    for place, name in enumerate(names, 1):
        plain = name.strip() or f"column {place}"
        numbered = (f"{plain} {count}" for count in itertools.count(2))
        made[next(one for one in itertools.chain([plain], numbered) if one not in made)] = None
    return list(made)


def counted(count: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "row"), counted(2_000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def is_value(cell: str) -> bool:
    """Whether a cell is a number or a date.

    >>> [is_value(cell) for cell in ("1.5", "2024-03-01", "12:30", "age", "12o")]
    [True, True, True, False, False]
    """
    return is_number(cell) or _DATE.fullmatch(cell) is not None


def _is_header(first: Row, columns: Sequence[Row]) -> bool:
    """Whether the first row differs from the rows below as names do."""
    if _are_series(first, columns):
        return True
    for_it = against_it = 0
    for cell, column in zip(first, columns, strict=True):
        if not cell or cell.lower() in GAPS:
            continue
        if is_value(cell):
            against_it += 1
        elif _are_values(column):
            for_it += not cell[0].isdigit()
        else:
            against_it += len(set(column)) < len(column) and cell in column
    return for_it > against_it or not against_it


def _are_series(first: Row, columns: Sequence[Row]) -> bool:
    """Whether names are years, dates or 0, 1, 2, ..., above columns of other numbers."""
    kept = [(cell, column) for cell, column in zip(first, columns, strict=True) if is_value(cell)]
    if len(kept) < 2 or not all(_are_values(column) for _, column in kept):
        return False
    cells = [cell for cell, _ in kept]
    numbers = [cell for _, column in kept for cell in column if cell.lower() not in GAPS]
    if all(not is_number(cell) for cell in cells):  # dates
        return all(is_number(cell) for cell in numbers)
    if not all(cell.isdigit() for cell in cells):
        return False
    steps = {int(after) - int(before) for before, after in itertools.pairwise(cells)}
    if len(steps) != 1 or min(steps) < 1:
        return False
    if all(int(cell) in YEARS for cell in cells):
        return sum(cell.isdigit() and int(cell) in YEARS for cell in numbers) < len(numbers) / 2
    others_are_names = len(kept) < len(first) and not any(map(is_value, columns[0]))
    fractions = any(_are_fractions(column) for _, column in kept)
    return int(cells[0]) in (0, 1) and steps == {1} and (fractions or others_are_names or not first[0])


def _units(row: Row, columns: Sequence[Row]) -> Row | None:
    """The units in a row; None if it holds none."""
    units = []
    for cell, column in zip(row, columns, strict=True):
        is_gap = cell.lower() in GAPS
        if not is_gap and (is_value(cell) or cell[0].isdigit() or len(cell) > LONGEST_UNIT or cell in column):
            return None
        units.append("" if is_gap else cell.strip("[]()"))
    numeric = [unit for unit, column in zip(units, columns, strict=True) if _are_values(column)]
    return units if any(numeric) else None


def _are_values(column: Row) -> bool:
    """Whether most cells that are not gaps are numbers or dates."""
    known = [cell for cell in column if cell.lower() not in GAPS]
    return sum(map(is_value, known)) > len(known) / 2


def _are_fractions(column: Row) -> bool:
    """Whether most cells are no whole numbers."""
    return sum(not cell.lstrip("+-").isdigit() for cell in column) > len(column) / 2


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(COMMENTS) or DECLARED.fullmatch(line) is not None


def _declared(lines: Sequence[str]) -> str | None:
    """The delimiter that the first line declares to Excel; None if it declares none of `DELIMITERS`."""
    found = DECLARED.fullmatch(lines[0]) if lines else None
    return found[1] if found and found[1] in DELIMITERS else None


def _delimiter(lines: Sequence[str], decimal: str | None) -> str:
    """The delimiter that splits lines alike and into the most numbers; `ONE_COLUMN` if none does."""
    if len(lines) > 1 and not set(lines[0]) & set(DELIMITERS) and all(map(is_number, lines[1:])):
        return ONE_COLUMN  # of numbers that may have a decimal comma
    best, most = ONE_COLUMN, -1.0
    for delimiter in DELIMITERS:
        if delimiter == "," == decimal:
            continue
        rows = [row for _, row in split(lines, delimiter)]
        width, count = Counter(map(len, rows)).most_common(1)[0] if rows else (1, 0)
        if width < 2 or len(rows) - count > max(1, ODD_LINES * len(rows)):
            continue
        cells = [cell.strip() for row in rows for cell in row]
        numbers = sum(map(is_number, cells)) / len(cells)
        score = numbers - (1 - count / len(rows))
        if score > most and (delimiter != BLANKS or numbers >= LEAST_NUMBERS):
            best, most = delimiter, score
    return best
