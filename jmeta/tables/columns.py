"""What a column of a table is, and its encoding as numbers.

A column is read in two steps: `read` gives its values in the user's own terms (numbers, dates or words, with
gaps), and `encode` gives numbers without gaps. Both use only the fields of the record, which are plain data,
so that new rows are encoded as the rows used for fitting were.

Different words are at distance one from each other, as two numbers that are one standard deviation apart; a
column of text has the same variance as a column of many words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import sparse

from .cells import Decimal, as_cells, as_numbers

MISSING = "missing"
"""The word for the gaps of a column of words."""
TERMS = 2**12
"""The number of hashed n-grams of letters in a text."""
EPOCH = pd.Timestamp("1970-01-01")
DAY = pd.Timedelta(days=1)
COMPACT = "%Y%m%d"
"""The format of dates that may be stored as numbers, such as 20240131."""


@dataclass(frozen=True)
class Number:
    """A column of numbers.

    Attributes:
        name: of the column.
        note: what was done to the column.
        fill: the number in place of gaps.
        decimal: the decimal separator of numbers in text.
        codes: numbers that mean a gap.
        unit: of the numbers, such as "kg"; empty if unknown.
    """

    name: str
    note: str
    fill: float
    decimal: Decimal = "."
    codes: tuple[float, ...] = ()
    unit: str = ""

    numeric: ClassVar = True

    @property
    def outputs(self) -> list[str]:
        """Names of the encoded columns."""
        return [self.name]

    def read(self, column: pd.Series) -> pd.Series:
        """The numbers, with NaN in gaps."""
        return pd.Series(
            read_numbers(column, self.decimal, self.codes, self.unit), column.index, name=self.name
        )

    def encode(self, values: pd.Series) -> Float[np.ndarray, "N 1"]:
        """The numbers, without gaps."""
        return values.fillna(self.fill).to_numpy(float)[:, None]


@dataclass(frozen=True)
class Date:
    """A column of dates, encoded as days since 1970.

    Attributes:
        name: of the column.
        note: what was done to the column.
        fill: the days in place of gaps.
        format: of dates in text, as in `datetime.strptime`.
        codes: years that mean a gap.
    """

    name: str
    note: str
    fill: float
    format: str = ""
    codes: tuple[int, ...] = ()

    numeric: ClassVar = True
    unit: ClassVar = ""

    @property
    def outputs(self) -> list[str]:
        """Names of the encoded columns."""
        return [self.name]

    def read(self, column: pd.Series) -> pd.Series:
        """The dates, with NaT in gaps."""
        return read_dates(column, self.format, self.codes).rename(self.name)

    def encode(self, values: pd.Series) -> Float[np.ndarray, "N 1"]:
        """The days since 1970, without gaps."""
        return days(values).fillna(self.fill).to_numpy(float)[:, None]


@dataclass(frozen=True)
class Category:
    """A column of few words, encoded as one column per word.

    Attributes:
        name: of the column.
        note: what was done to the column.
        words: the words; `MISSING` among them stands for gaps.
    """

    name: str
    note: str
    words: tuple[str, ...]

    numeric: ClassVar = False
    unit: ClassVar = ""

    @property
    def outputs(self) -> list[str]:
        """Names of the encoded columns."""
        return [f"{self.name}={word}" for word in self.words]

    def read(self, column: pd.Series) -> pd.Series:
        """The words; gaps are missing values."""
        return as_cells(column).rename(self.name)

    def encode(self, values: pd.Series) -> Float[np.ndarray, "N W"]:
        """One column per word, divided by the square root of two; a word that is unknown is in none."""
        places = pd.Index(self.words).get_indexer(values.fillna(MISSING))
        return (places[:, None] == np.arange(len(self.words))) / np.sqrt(2)

    def unseen(self, values: pd.Series) -> list[str]:
        """The words in a column that the rows used for fitting do not have."""
        return sorted(set(values.dropna().unique()) - set(self.words))


@dataclass(frozen=True)
class Text:
    """A column of free text, encoded by the n-grams of letters in its words.

    Attributes:
        name: of the column.
        note: what was done to the column.
        rarity: [TERMS] inverse document frequency of every hashed n-gram.
        axes: [E, TERMS] principal directions, scaled.
    """

    name: str
    note: str
    rarity: Float[np.ndarray, " H"]
    axes: Float[np.ndarray, "E H"]

    numeric: ClassVar = False
    unit: ClassVar = ""

    @property
    def outputs(self) -> list[str]:
        """Names of the encoded columns."""
        return [f"{self.name}: text {place}" for place in range(1, len(self.axes) + 1)]

    def read(self, column: pd.Series) -> pd.Series:
        """The texts; gaps are missing values."""
        return as_cells(column).rename(self.name)

    def encode(self, values: pd.Series) -> Float[np.ndarray, "N E"]:
        """Weighted n-grams on the principal directions; a gap is zero."""
        return weighted_terms(values, self.rarity) @ self.axes.T


@dataclass(frozen=True)
class LeftOut:
    """A column that is not used.

    Attributes:
        name: of the column.
        note: why it is left out.
        identifier: whether it identifies rows.
        text: whether it could be encoded as text.
    """

    name: str
    note: str
    identifier: bool = False
    text: bool = False

    unit: ClassVar = ""

    def read(self, column: pd.Series) -> pd.Series:
        """The column as it is."""
        return column.rename(self.name)


Used = Number | Date | Category | Text
Column = Used | LeftOut


def read_numbers(
    column: pd.Series, decimal: Decimal = ".", codes: tuple[float, ...] = (), unit: str = ""
) -> Float[np.ndarray, " N"]:
    """A column as numbers; NaN in gaps, for infinity, for `codes` and for what is not a number."""
    if isinstance(column.dtype, pd.CategoricalDtype) or not is_numeric(column):
        values = as_numbers(as_cells(column), decimal, unit).values
    elif pd.api.types.is_timedelta64_dtype(column):
        values = (column / DAY).to_numpy(float)
    else:
        values = column.astype("Float64").to_numpy(float, na_value=np.nan)
    return np.where(np.isfinite(values) & ~np.isin(values, codes), values, np.nan)


def is_numeric(column: pd.Series) -> bool:
    """Whether a column holds numbers, true and false, or durations, rather than text."""
    types = pd.api.types
    return types.is_numeric_dtype(column) or types.is_timedelta64_dtype(column)


def read_dates(column: pd.Series, format: str, codes: tuple[int, ...] = ()) -> pd.Series:
    """A column as dates, in UTC where they have a time zone.

    Gaps, what is not a date and dates in the years `codes` become NaT.
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        source = column
    elif format == COMPACT:
        source = pd.Series(read_numbers(column), column.index).round().astype("Int64").astype("string")
    else:
        source = as_cells(column)
    found = pd.to_datetime(source, format=format or None, errors="coerce", utc=True)
    dates = found.dt.tz_localize(None).astype("datetime64[us]")
    return dates.mask(dates.dt.year.isin(codes))


def days(dates: pd.Series) -> pd.Series:
    """Days since 1970.

    >>> days(pd.Series(pd.to_datetime(["1970-01-02", "1500-01-01"]))).tolist()
    [1.0, -171664.0]
    """
    return (dates - EPOCH) / DAY


def weighted_terms(texts: pd.Series, rarity: Float[np.ndarray, " H"]) -> sparse.csr_matrix:
    """[N, H] sparse weights of hashed n-grams of letters; rows have length one, those of gaps are zero."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.preprocessing import normalize

    hashed = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), n_features=TERMS, alternate_sign=False, norm=None
    )
    counts = hashed.transform(texts.fillna("").astype(object))
    counts.data = 1 + np.log(counts.data)
    return normalize(counts.multiply(rarity).tocsr())
