"""Cells of text as numbers: decimal commas, thousands, units and gaps."""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

Decimal = Literal[".", ","]

GAPS = frozenset(
    {"", "na", "n/a", "n.a.", "#na", "#n/a", "#n/a n/a", "<na>", "nan", "-nan", "nat", "null", "none", "nil"}
    | {"?", "-", "--", "---", ".", "..", "...", "n.d.", "n/d", "k.a.", "missing", "unknown", "(blank)"}
    | {"#value!", "#div/0!", "#ref!", "#null!", "#name?", "#num!", "1.#qnan", "-1.#ind"}
)
"""Words for a missing value, in lower case."""
_BLANKS = " \u00a0\u2009\u202f'\u2019"
_SIGNS = r"[$€£¥₹₩₽]"


def _pattern(group: str, decimal: str) -> re.Pattern[str]:
    """A number with at most one currency before it and one unit after it."""
    grouped = rf"[1-9]\d{{0,2}}(?:[{group}{_BLANKS}]\d{{3}})+"
    if group == ",":
        grouped += r"|[1-9]\d?(?:,\d{2})+,\d{3}"  # 12,34,567 as in India
    return re.compile(
        rf"(?P<open>\()?(?P<sign>[+-])?(?P<before>(?:US|CA|AU)?{_SIGNS}|[A-Z]{{3}}(?= ))?\s*"
        rf"(?P<number>[+-]?(?=[{decimal}]?\d)(?:{grouped}|\d*)(?:[{decimal}]\d*)?(?:[eE][+-]?\d+)?)\s*"
        rf"(?P<after>[^\d\s().,;:+-][^\d(),;:]{{0,11}})?\)?"
    )


_PATTERNS: dict[Decimal, re.Pattern[str]] = {".": _pattern(",", "."), ",": _pattern(".", ",")}


class Numbers(NamedTuple):
    """A column of text as numbers.

    Attributes:
        values: [N] numbers; NaN in gaps and where the cell is not a number.
        unit: what most cells hold beside the number, such as "%", "€" or "kg".
        odd: cells that are neither gaps nor numbers, each once.
        odd_count: how many rows hold one of them.
    """

    values: Float[np.ndarray, " N"]
    unit: str
    odd: list[str]
    odd_count: int


def as_cells(column: pd.Series) -> pd.Series:
    """A column as text without surrounding blanks; gaps are missing, whole numbers have no decimals.

    >>> as_cells(pd.Series([" a ", "#N/A", None])).fillna("gap").tolist()
    ['a', 'gap', 'gap']
    >>> as_cells(pd.Series([1.0, 2.5])).tolist()
    ['1', '2.5']
    """
    text = column.astype("string").str.strip().astype("str")
    if pd.api.types.is_float_dtype(column):
        text = text.str.removesuffix(".0")
    return text.mask(text.str.lower().isin(GAPS))


def is_number(cell: str) -> bool:
    """Whether a cell is a number with a decimal point or comma, and perhaps a currency or percent sign.

    >>> is_number("-1.200,5 €"), is_number("2024-03-01"), is_number("12o")
    (True, False, False)
    """
    found = [match for pattern in _PATTERNS.values() if (match := pattern.fullmatch(cell))]
    return any(not any(map(str.isalpha, match["after"] or "")) for match in found)


def decimal_evidence(cells: pd.Series) -> int:
    """How many more cells are numbers with a decimal comma only than with a decimal point only.

    >>> decimal_evidence(pd.Series(["1,5", "1.200.492,06", "1,234"])), decimal_evidence(pd.Series(["1.5"]))
    (2, -1)
    """
    comma, point = _PATTERNS[","].fullmatch, _PATTERNS["."].fullmatch
    return sum((comma(cell) is not None) - (point(cell) is not None) for cell in cells.dropna())


def as_numbers(cells: pd.Series, decimal: Decimal = ".", unit: str | None = None) -> Numbers:
    """The numbers in a column of text.

    A number may have thousands separators ("1,234", "1 234", "1'234"), a currency before or after it, a unit
    of at most twelve letters, or parentheses for a minus. A unit counts only if most numbers have it, so
    that "12o" among plain numbers is none.

    Args:
        cells: of `as_cells`.
        decimal: the decimal separator; the other one of "." and "," separates thousands.
        unit: that numbers may have; that of most numbers unless given.

    >>> as_numbers(pd.Series(["$1,234.50", "($8.00)", "$7"])).values.tolist()
    [1234.5, -8.0, 7.0]
    >>> as_numbers(pd.Series(["8,76 €", "1.200,5 €"]), ",")[:2]
    (array([   8.76, 1200.5 ]), '€')
    >>> as_numbers(pd.Series(["1", "12o", "3"])).odd
    ['12o']
    """
    filled = cells.notna().to_numpy()
    values = np.full(len(cells), np.nan)
    if decimal == ".":
        values = _plain_numbers(cells)
    left = filled & np.isnan(values)
    if left.any():
        codes, distinct = pd.factorize(cells[left])
        numbers, units = _parsed(pd.Series(distinct), decimal)
        if unit is None:
            unit = _unit(
                units.to_numpy()[codes], np.isfinite(numbers)[codes], plain=int((filled & ~left).sum())
            )
        numbers[~units.isin(["", unit]).to_numpy()] = np.nan
        values[left] = numbers[codes]
    values[~np.isfinite(values)] = np.nan
    odd = filled & np.isnan(values)
    return Numbers(values, unit or "", cells[odd].unique().tolist(), int(odd.sum()))


def _plain_numbers(cells: pd.Series) -> Float[np.ndarray, " N"]:
    """The numbers that pandas can read, and NaN elsewhere; Python would read "2010_01" too."""
    return pd.to_numeric(cells, errors="coerce").to_numpy(float, copy=True)


def _parsed(distinct: pd.Series, decimal: Decimal) -> tuple[Float[np.ndarray, " N"], pd.Series]:
    """The number in every cell, NaN where there is none, and its unit."""
    whole = distinct.str.replace("\u2212", "-").astype(object)
    names = ["open", "sign", "before", "number", "after"]
    matches = [_PATTERNS[decimal].fullmatch(cell) for cell in whole]
    parts = [match.groupdict("") if match else dict.fromkeys(names, "") for match in matches]
    found = pd.DataFrame(parts, columns=names, dtype=str)
    groups = ("," if decimal == "." else ".") + _BLANKS
    digits = found["number"].str.replace(f"[{groups}]", "", regex=True).str.replace(decimal, ".")
    numbers = pd.to_numeric(digits, errors="coerce").to_numpy(float, copy=True)
    negative = (found["sign"] == "-") | (found["open"] == "(")
    return np.where(negative, -numbers, numbers), found["before"] + found["after"].str.strip()


def _unit(units: np.ndarray, numbers: np.ndarray, plain: int) -> str:
    """The unit of most numbers; empty if most have none."""
    counts = Counter({"": plain})
    counts.update(units[numbers].tolist())
    return max(counts, key=counts.__getitem__)
