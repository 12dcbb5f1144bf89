"""Recognises what every column of a table is: numbers, dates, words, text, or nothing to cluster by."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from pandas.tseries.api import guess_datetime_format

from .cells import Decimal, as_cells, as_numbers, decimal_evidence
from .columns import (
    COMPACT,
    DAY,
    EPOCH,
    MISSING,
    Category,
    Column,
    Date,
    LeftOut,
    Number,
    Text,
    days,
    is_numeric,
    read_dates,
    read_numbers,
    weighted_terms,
)
from .layout import counted

MAX_WORDS = 20
"""The maximum number of distinct words in a column that is recognised as one of words."""
LEAST_ROWS = 5
"""The least number of rows from which different words or whole numbers may identify rows."""
MAX_CATEGORIES = 1_000
"""The same for a column that is said to be one of words."""
MAX_GAPS = 0.9
"""The largest share of gaps in a column that is used."""
TYPOS = 0.05
"""The largest share of cells that are not numbers, or not dates, in a column of them."""
SENTENCE = 3
"""The least mean number of words in cells that are text though all are different, rather than names."""
TEXT_AXES = 20
"""The maximum number of encoded columns of a text."""
TEXT_ROWS = 20_000
"""The maximum number of rows that the encoding of text is fitted to."""
SAME = 1e-9
"""The largest difference between weights of n-grams in texts that are equal."""
SAMPLE = 1_000
"""The number of cells that the format of numbers and of dates is found from."""
CODES = frozenset(
    sign * (10.0**power - last) for power in range(2, 7) for last in (1, 2, 3) for sign in (1, -1)
)
"""Numbers that may mean a gap: 99, 98, 97, 999, ..., and the same below zero."""
YEAR_CODES = (1, 2999, 9999)
"""Years of dates that mean a gap: 9999-12-31, 0001-01-01 and the like."""
SHORT_DATES = ("%d.%m.%y", "%d/%m/%y", "%m/%d/%y")
"""Formats of dates with years of two digits, those with the day first before the others."""
DATES = 50
"""The number of different cells that the format of dates is guessed from."""
IDENTIFIERS = frozenset(
    {"id", "ids", "uuid", "guid", "key", "pk", "index", "idx", "row", "rowid", "rownum"}
    | {"nr", "no", "num", "number", "nummer", "code", "serial", "barcode", "ean", "isbn", "sku", "phone"}
    | {"customer", "client", "patient", "user", "account", "respondent", "participant", "subject", "sample"}
    | {"person", "member", "employee", "invoice", "kundennummer"}
)
"""Last words of names of columns that identify rows, if no two rows are equal."""


class Options(NamedTuple):
    """What is known of the columns of a table.

    Attributes:
        identifiers: names of columns that identify rows.
        kept: names of columns that are not taken for ones that identify rows.
        categorical: names of columns of words, even if they hold numbers.
        decimal: the decimal separator; None if it is to be found.
        find_codes: whether numbers such as -999 may mean a gap.
        units: name -> unit, of columns whose cells do not hold it.
    """

    identifiers: Collection[str] = ()
    kept: Collection[str] = ()
    categorical: Collection[str] = ()
    decimal: Decimal | None = None
    find_codes: bool = True
    units: Mapping[str, str] = {}


def recognise(frame: pd.DataFrame, options: Options = Options()) -> list[Column]:  # noqa: B008 - never changed
    """The column of every name.

    Names, and numbers of rows in a table of at most `MAX_WORDS` rows, are encoded only if there is no other
    column.

    >>> table = pd.DataFrame({"size": ["1,5", "", "3,25"], "kind": ["a", "b", "a"], "same": 7})
    >>> [type(column).__name__ for column in recognise(table)]
    ['Number', 'Category', 'LeftOut']
    """
    common = options.decimal or _common_decimal(frame)
    columns = [_recognised(frame[name], options, common) for name in frame.columns]
    if any(not isinstance(column, LeftOut) for column in columns):
        return columns
    small = len(frame) <= MAX_WORDS
    names = [column.name for column in columns if isinstance(column, LeftOut) and (column.text or small)]
    options = options._replace(kept=[*options.kept, *names])
    return [_recognised(frame[name], options, common) for name in frame.columns]


def _common_decimal(frame: pd.DataFrame) -> Decimal:
    """The decimal separator of most columns of text."""
    texts = [frame[name].head(SAMPLE) for name in frame if _is_text(frame[name])]
    return "," if sum(np.sign(decimal_evidence(as_cells(text))) for text in texts) > 0 else "."


def _recognised(column: pd.Series, options: Options, common: Decimal) -> Column:
    name = str(column.name)
    if name in options.identifiers:
        return LeftOut(name, "left out: it identifies the rows", identifier=True)
    if _holds_objects(column):
        return LeftOut(name, "left out: it holds neither numbers, dates nor text")
    if column.isna().mean() > MAX_GAPS or (_is_text(column) and as_cells(column).isna().mean() > MAX_GAPS):
        return LeftOut(name, f"left out: more than {MAX_GAPS:.0%} of it is missing")
    if name in options.categorical or isinstance(column.dtype, pd.CategoricalDtype):
        return _category(name, as_cells(column), MAX_CATEGORIES)
    if pd.api.types.is_datetime64_any_dtype(column):
        return _date(column, "", options)
    if is_numeric(column):
        return _number(column, read_numbers(column), Number(name, "", 0.0), options)
    return _from_text(column, options, common)


def _is_text(column: pd.Series) -> bool:
    return not is_numeric(column) and not pd.api.types.is_datetime64_any_dtype(column)


def _holds_objects(column: pd.Series) -> bool:
    """Whether a column holds lists, dictionaries, arrays or complex numbers."""
    return pd.api.types.is_complex_dtype(column) or (
        column.dtype == object
        and any(isinstance(cell, list | dict | np.ndarray) for cell in column.head(SAMPLE))
    )


def _from_text(column: pd.Series, options: Options, common: Decimal) -> Column:
    name, cells = str(column.name), as_cells(column)
    evidence = 0 if options.decimal else decimal_evidence(cells.head(SAMPLE))
    decimal: Decimal = common if not evidence else "," if evidence > 0 else "."
    if not _are_codes(cells):
        found = as_numbers(cells, decimal)
        count = int(np.isfinite(found.values).sum())
        if count and _few(len(found.odd), found.odd_count, count):
            odd = f"{_quoted(found.odd)} {_are(len(found.odd))} not a number" if found.odd else ""
            return _number(column, found.values, Number(name, odd, 0.0, decimal, (), found.unit), options)
    if format := _date_format(cells, common):
        return _date(column, format, options)
    distinct = cells.nunique()
    all_different = distinct >= LEAST_ROWS and (distinct == len(cells) or _names_rows(name, cells))
    if name not in options.kept and all_different and _words_per_cell(cells) < SENTENCE:
        note = f"left out: {distinct:,} different words, which identify rows"
        return LeftOut(name, note, identifier=True, text=True)
    return _category(name, cells, MAX_WORDS) if distinct <= MAX_WORDS else _text(column)


def _are_codes(cells: pd.Series) -> bool:
    """Whether a column holds codes of one width that begin with 0, such as 01067, not only as mistakes."""
    codes = cells[cells.str.fullmatch(r"0\d{2,}")]
    return len(codes) > TYPOS * cells.notna().sum() and codes.str.len().nunique() == 1


def _few(odd: int, odd_rows: int, good: int) -> bool:
    """Whether cells that are no numbers may be mistakes, or one word that means a gap."""
    return odd_rows <= max(TYPOS * good, good >= 4) or (odd == 1 and odd_rows <= good)


def _words_per_cell(cells: pd.Series) -> float:
    return float(cells.dropna().head(SAMPLE).str.split().str.len().mean())


def _names_rows(name: str, cells: pd.Series) -> bool:
    """Whether no two cells are equal and the last word of the name is one of `IDENTIFIERS`."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return bool(parts) and parts[-1].lower() in IDENTIFIERS and cells.dropna().is_unique


def _number(column: pd.Series, values: Float[np.ndarray, " N"], made: Number, options: Options) -> Column:
    """A column of numbers: codes become gaps, identifiers and constants are left out."""
    name, notes = made.name, [made.note] * bool(made.note)
    codes = gap_codes(values) if options.find_codes else ()
    gaps = np.isnan(values) | np.isin(values, codes)
    known = values[~gaps]
    if codes:
        notes.append(f"{_numbers_in_words(codes)} taken for a gap")
    if gaps.mean() > MAX_GAPS:
        return LeftOut(name, f"left out: more than {MAX_GAPS:.0%} of it is missing")
    if _is_compact_date(known):
        return _date(column, COMPACT, options)
    if name not in options.kept and _is_whole(known) and _is_running_or_named(name, known):
        note = f"left out: {len(known):,} different whole numbers, which identify rows"
        return LeftOut(name, note, identifier=True)
    if np.ptp(known) == 0:
        return LeftOut(name, "left out: it holds one value")
    fill = float(np.median(known))
    if gaps.any():
        notes.append(f"{_gaps(gaps.sum())} replaced by the median {fill:.6g}")
    unit = made.unit or options.units.get(name, "")
    kind = "number" + (f" in {unit}" if unit else "")
    return replace(made, note="; ".join([kind, *notes]), fill=fill, codes=codes, unit=unit)


def gap_codes(values: Float[np.ndarray, " N"]) -> tuple[float, ...]:
    """Numbers such as -999 that are farther from all others than these from each other.

    >>> gap_codes(np.array([1.0, 5.0, 3.0, 99.0, 98.0])), gap_codes(np.array([60.0, 80.0, 99.0]))
    ((98.0, 99.0), ())
    """
    distinct = np.unique(values[np.isfinite(values)])
    is_code = np.isin(distinct, list(CODES))
    others = distinct[~is_code]
    if len(others) < 2:
        return ()
    distance = np.maximum(others[0] - distinct, distinct - others[-1])
    return tuple(distinct[is_code & (distance > np.ptp(others))].tolist())


def _is_whole(known: Float[np.ndarray, " N"]) -> bool:
    return len(known) >= LEAST_ROWS and bool(np.all(known == np.round(known)))


def _is_running_or_named(name: str, known: Float[np.ndarray, " N"]) -> bool:
    """Whether numbers are n, n + 1, n + 2, ..., or differ and are named as identifiers.

    More than `MAX_WORDS` numbers may be in any order.
    """
    ordered = np.sort(known) if len(known) > MAX_WORDS else known
    return bool(np.all(np.diff(ordered) == 1)) or _names_rows(name, pd.Series(known))


def _is_compact_date(known: Float[np.ndarray, " N"]) -> bool:
    """Whether numbers are dates such as 20240131."""
    known = known[~np.isin(known // 10_000, YEAR_CODES)]
    if not _is_whole(known) or known.min() < 19_000_101 or known.max() > 22_001_231:
        return False
    return bool(
        pd.to_datetime(pd.Series(known.astype(int).astype(str)), format=COMPACT, errors="coerce")
        .notna()
        .all()
    )


def _date_format(cells: pd.Series, decimal: Decimal) -> str:
    """The format of the dates or times in a column of text; empty if it holds none.

    Where days and months cannot be distinguished, the day is first if a dot separates them or the decimal
    separator of the table is a comma, else the month.
    """
    known = cells.dropna()
    sample = known.head(SAMPLE).drop_duplicates().head(DATES)
    day_first = decimal == "," or bool(sample.str.fullmatch(r"\d+\.\d+\..*").any())
    return next((one for one in _guesses(sample, day_first) if _fits(one, sample) and _fits(one, known)), "")


def _guesses(sample: pd.Series, day_first: bool) -> list[str]:
    """Formats that dates or times may have, the preferred one first."""
    guesses = []
    for first in (day_first, not day_first):
        with warnings.catch_warnings(action="ignore"):
            formats = sample.map(partial(guess_datetime_format, dayfirst=first))
        guesses += formats.value_counts().index[:1].astype(str).tolist()
    short = SHORT_DATES if day_first else SHORT_DATES[::-1]
    return [one for one in guesses if re.search("%[Yy]", one)] + [*short, "%H:%M", "%H:%M:%S"]


def _fits(format: str, cells: pd.Series) -> bool:
    """Whether cells are dates of a format, but for mistakes."""
    dates = pd.to_datetime(cells, format=format, errors="coerce", utc=True)
    return len(cells) > 0 and bool(dates.notna().mean() >= 1 - TYPOS)


def _date(column: pd.Series, format: str, options: Options) -> Column:
    """A column of dates: years that mean a gap become gaps, constants are left out."""
    name = str(column.name)
    years = read_dates(column, format).dt.year
    codes = tuple(year for year in YEAR_CODES if options.find_codes and (years == year).any())
    number = days(read_dates(column, format, codes))
    if number.isna().mean() > MAX_GAPS:
        return LeftOut(name, f"left out: more than {MAX_GAPS:.0%} of it is missing")
    if number.nunique() == 1:
        return LeftOut(name, "left out: it holds one date")
    fill = float(number.median())
    notes = [f"date ({format}), in days" if format else "date, in days"]
    if codes:
        notes.append(f"dates in the year {' or '.join(map(str, codes))} are taken for gaps")
    if gaps := int(number.isna().sum()):
        notes.append(f"{_gaps(gaps)} replaced by the median {EPOCH + fill * DAY:%Y-%m-%d}")
    return Date(name, "; ".join(notes), fill, format, codes)


def _category(name: str, cells: pd.Series, most: int) -> Column:
    words = sorted(cells.dropna().unique().tolist())
    if len(words) > most:
        return LeftOut(name, f"left out: it has {len(words):,} different words, more than {most:,}")
    gaps = int(cells.isna().sum())
    all_words = (*words, MISSING) if gaps and MISSING not in words else tuple(words)
    if len(all_words) < 2:
        return LeftOut(name, "left out: it holds one word")
    note = f"category of {len(words)} words" + (f"; {_gaps(gaps)} one word more" if gaps else "")
    return Category(name, note, all_words)


def _text(column: pd.Series) -> Column:
    """A column of text, encoded by latent semantic analysis of n-grams of letters, unless all are equal."""
    from sklearn.decomposition import TruncatedSVD
    from threadpoolctl import threadpool_limits

    cells = as_cells(column).reset_index(drop=True)
    sample = cells.sample(min(len(cells), TEXT_ROWS), random_state=0)
    counts = weighted_terms(sample, np.ones(1))
    rows_with = np.bincount(counts.indices, minlength=counts.shape[1])
    rarity = np.log((1 + len(sample)) / (1 + rows_with)) + 1
    weights = weighted_terms(sample, rarity)
    if (weights.max(0) - weights.min(0)).max() < SAME:
        return LeftOut(str(column.name), "left out: its texts differ only in case, blanks or order of words")
    size = min(TEXT_AXES, sample.nunique() - 1)
    with threadpool_limits(1):  # more threads take longer over products as small as these
        svd = TruncatedSVD(size, random_state=0).fit(weights)
    axes = svd.components_ / np.sqrt(2 * svd.explained_variance_.sum())
    gaps = int(cells.isna().sum())
    note = f"text, by its n-grams of letters in {size} columns"
    return Text(str(column.name), note + (f"; {_gaps(gaps)} empty texts" if gaps else ""), rarity, axes)


def _gaps(count: int) -> str:
    return f"{counted(count, 'gap')} {_are(count)}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _quoted(cells: list[str]) -> str:
    return ", ".join(map(repr, cells[:3])) + (f" and {len(cells) - 3:,} more" if len(cells) > 3 else "")


def _numbers_in_words(codes: tuple[float, ...]) -> str:
    return f"{' and '.join(f'{code:g}' for code in codes)} {_are(len(codes))}"
