"""A transformer of tables of numbers, dates, words, text and gaps to numbers; its state is plain data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ..errors import InputError, InputWarning
from .cells import Decimal, as_cells
from .columns import Category, Column, Date, LeftOut, Number, Text, Used, is_numeric
from .layout import counted, distinct_names
from .recognition import Options, recognise

KINDS = {kind.__name__.lower(): kind for kind in (Number, Date, Category, Text, LeftOut)}
"""The kinds of columns by the name that stands in files."""


class TableEncoder(TransformerMixin, BaseEstimator):
    """Encodes the columns of a table as numbers.

    - Numbers stay; gaps become the median. Text such as "1.200,50", "$1,234.50", "12.3%" or "8 kg" is read as
      numbers, and a code such as -999, far from all other numbers, as a gap.
    - Dates become days since 1970; those in the years 9999, 2999 and 1, such as 9999-12-31, are gaps. Where
      days and months cannot be distinguished, the day is first if dots separate them or numbers have a
      decimal comma.
    - A column of at most 20 words becomes one column per word, divided by the square root of two, so that
      rows with different words are at distance one.
    - Text becomes at most 20 columns, by latent semantic analysis of its n-grams of letters.
    - Columns of one value, mostly of gaps, and columns that only identify rows, such as customer numbers, are
      left out.

    Args:
        identifiers: names of further columns that identify rows.
        kept: names of columns that are not taken for ones that identify rows.
        categorical: names of columns of words, even if they hold numbers.
        decimal: the decimal separator of numbers in text, "." or ","; found in the table unless given.
        missing: cells that mean a gap; codes such as -999 and years such as 9999 are then not searched for.
        units: name -> unit, of columns whose cells do not hold it.

    Attributes:
        columns_: a `Column` for each column of the table, with a `note` that says what was done to it.
        feature_names_in_: names of the columns of the table.
        numeric_: [D] whether an encoded column is a number or a date, rather than a part of words.
        categories_: name of a column of words -> its encoded columns.

    >>> table = pd.DataFrame({"size": ["1,5", "2,5", "n/a"], "kind": ["a", "b", "a"]})
    >>> encoder = TableEncoder().fit(table)
    >>> encoder.get_feature_names_out().tolist(), encoder.transform(table)[:, 0].tolist()
    (['size', 'kind=a', 'kind=b'], [1.5, 2.5, 2.0])
    """

    columns_: Sequence[Column]

    def __init__(
        self,
        *,
        identifiers: Sequence[str] = (),
        kept: Sequence[str] = (),
        categorical: Sequence[str] = (),
        decimal: Decimal | None = None,
        missing: Sequence[str] = (),
        units: Mapping[str, str] | None = None,
    ) -> None:
        self.identifiers = identifiers
        self.kept = kept
        self.categorical = categorical
        self.decimal = decimal
        self.missing = missing
        self.units = units

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Recognises the columns of a DataFrame of pandas, or of a library that converts to it.

        Raises:
            InputError: names are not in a list or unknown, the table has no rows, or no column can be used.
        """
        for option in ("identifiers", "kept", "categorical", "missing"):
            if isinstance(given := getattr(self, option), str):
                raise InputError(f"{option} is {given!r}; give a list, such as [{given!r}].")
        frame = as_frame(X)
        for name in (*self.identifiers, *self.kept, *self.categorical):
            if name not in frame.columns:
                raise InputError(f"there is no column {name!r}; the table has {_listed(frame.columns)}.")
        if self.decimal not in (None, ".", ","):
            raise InputError(f"decimal is {self.decimal!r}; give '.' or ','.")
        if not len(frame):
            raise InputError("the table has no rows; give a table of two rows or more.")
        for value in self.missing:
            if not any(_is_one_of(frame[name], [value]).any() for name in frame):
                warnings.warn(
                    f"no cell of the table is {value!r}, which is given as missing; check how it is written.",
                    InputWarning,
                    stacklevel=2,
                )
        options = Options(
            identifiers=self.identifiers,
            kept=self.kept,
            categorical=self.categorical,
            decimal=self.decimal,
            find_codes=not self.missing,
            units=self.units or {},
        )
        self.columns_ = recognise(_with_gaps(frame, self.missing), options)
        if not self.used_:
            reasons = "; ".join(f"{column.name}: {column.note}" for column in self.columns_[:5])
            raise InputError(
                f"no column of the table can be used ({reasons or 'it has no columns'}); give one of "
                "numbers, dates, words or text that differ."
            )
        self.feature_names_in_ = np.array([column.name for column in self.columns_], object)
        self.n_features_in_ = len(self.columns_)
        return self

    @property
    def used_(self) -> list[Used]:
        """The columns that are encoded."""
        return [column for column in self.columns_ if not isinstance(column, LeftOut)]

    @property
    def numeric_(self) -> Bool[np.ndarray, " D"]:
        """Whether an encoded column is a number or a date."""
        return np.concatenate([np.full(len(column.outputs), column.numeric) for column in self.used_])

    @property
    def categories_(self) -> dict[str, slice]:
        """The encoded columns of every column of words, by its name."""
        ends = np.cumsum([len(column.outputs) for column in self.used_])
        return {
            column.name: slice(int(end) - len(column.outputs), int(end))
            for column, end in zip(self.used_, ends, strict=True)
            if isinstance(column, Category)
        }

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """The names of the encoded columns, such as "age" or "color=red"."""
        check_is_fitted(self, "columns_")
        return np.array([name for column in self.used_ for name in column.outputs], object)

    def transform(self, X: Any) -> Float[np.ndarray, "N D"]:  # noqa: N803 - scikit-learn's name
        """Encodes the rows of a table with the same columns.

        Raises:
            InputError: a column is missing, or holds words where it held numbers or dates.
        """
        table, cells = self.read(X), _with_gaps(self.aligned(X), self.missing)
        for column in self.used_:
            if len(odd := _unreadable(column, table[column.name], cells[column.name])):
                kind = type(column).__name__.lower()
                warnings.warn(
                    f"{counted(len(odd), 'cell')} of column {column.name!r} cannot be read as {kind}s, such "
                    f"as {str(odd.iloc[0])!r}; they are treated as gaps.",
                    InputWarning,
                    stacklevel=2,
                )
        return self.encode(table)

    def read(self, X: Any) -> pd.DataFrame:  # noqa: N803 - scikit-learn's name
        """The table in the user's own columns and terms: numbers, dates and words, with gaps.

        Raises:
            InputError: a column is missing, or holds words where it held numbers or dates.
        """
        check_is_fitted(self, "columns_")
        frame = _with_gaps(self.aligned(X), self.missing)
        read = {column.name: column.read(frame[column.name]) for column in self.columns_}
        for column in self.used_:
            values, cells = read[column.name], frame[column.name]
            if values.isna().all() and len(_unreadable(column, values, cells)):
                kind = type(column).__name__.lower()
                raise InputError(
                    f"column {column.name!r} holds no {kind}, but did in the table used for fitting; give "
                    "the same column."
                )
        return pd.DataFrame(read)

    def encode(self, table: pd.DataFrame) -> Float[np.ndarray, "N D"]:
        """Encodes a table that `read` returned."""
        for column in self.used_:
            if isinstance(column, Category) and (unseen := column.unseen(table[column.name])):
                warnings.warn(
                    f"column {column.name!r} holds {_listed(unseen)}, which the table used for fitting "
                    "does not have; such rows are treated as having none of its words.",
                    InputWarning,
                    stacklevel=2,
                )
        return np.concatenate([column.encode(table[column.name]) for column in self.used_], 1)

    def aligned(self, X: Any) -> pd.DataFrame:  # noqa: N803 - scikit-learn's name
        """A table with the columns used for fitting, in their order; those that are left out may be missing.

        Raises:
            InputError: a column that is used is missing.
        """
        frame = as_frame(X)
        if absent := [column.name for column in self.used_ if column.name not in frame.columns]:
            raise InputError(
                f"the table has no column {_listed(absent)}; give a table with the columns used for fitting."
            )
        return frame.reindex(columns=self.feature_names_in_)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The fitted state: a header that JSON holds, and arrays."""
        header: list[dict[str, Any]] = []
        arrays: dict[str, np.ndarray] = {}
        for place, column in enumerate(self.columns_):
            fields = dict(vars(column))
            arrays |= {
                f"column {place} {name}": fields.pop(name)
                for name, value in list(fields.items())
                if isinstance(value, np.ndarray)
            }
            header.append({"kind": type(column).__name__.lower(), **fields})
        return {"columns": header, "missing": list(self.missing)}, arrays

    @classmethod
    def from_state(cls, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """The fitted encoder with a state.

        >>> table = pd.DataFrame({"size": [1.0, 2.0], "kind": ["a", "b"]})
        >>> TableEncoder.from_state(*TableEncoder().fit(table).state()).transform(table).round(1).tolist()
        [[1.0, 0.7, 0.0], [2.0, 0.0, 0.7]]
        """
        made = cls(missing=header["missing"])
        made.columns_ = [_column(place, fields, arrays) for place, fields in enumerate(header["columns"])]
        made.feature_names_in_ = np.array([column.name for column in made.columns_], object)
        made.n_features_in_ = len(made.columns_)
        return made


def _column(place: int, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Column:
    mark = f"column {place} "
    own = {name.removeprefix(mark): array for name, array in arrays.items() if name.startswith(mark)}
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    kind: Any = KINDS[str(plain.pop("kind"))]
    return kind(**plain, **own)


def _unreadable(column: Used, values: pd.Series, cells: pd.Series) -> pd.Series:
    """The cells of a column of numbers or dates that are neither values, gaps nor codes for gaps."""
    if not isinstance(column, Number | Date):
        return cells[:0]
    left = cells[values.isna()]
    return left[as_cells(left).notna() & replace(column, codes=()).read(left).isna()]


def _with_gaps(frame: pd.DataFrame, missing: Sequence[str]) -> pd.DataFrame:
    """A table with gaps in place of some cells."""
    return frame.apply(lambda column: column.mask(_is_one_of(column, missing))) if missing else frame


def _is_one_of(column: pd.Series, values: Sequence[str]) -> pd.Series:
    """Whether cells are among values, as text or as numbers: "-9,0" is -9.

    >>> _is_one_of(pd.Series(["-9.0", "-9,0", "9", "x"]), ["-9", "x"]).tolist()
    [True, True, False, True]
    """
    numbers = pd.to_numeric(pd.Series(list(values), dtype=object), errors="coerce").dropna().tolist()
    if is_numeric(column):
        return column.isin(numbers)
    text = column.astype("string").str.strip().astype("str")
    return text.isin(values) | pd.to_numeric(text.str.replace(",", "."), errors="coerce").isin(numbers)


def as_frame(table: Any) -> pd.DataFrame:
    """A table of pandas, or of a library that converts to it, as a DataFrame with distinct names.

    >>> as_frame(pd.DataFrame([[1, 2]], columns=["a", "a"])).columns.tolist()
    ['a', 'a 2']
    """
    frame = table if isinstance(table, pd.DataFrame) else table.to_pandas()
    return frame.set_axis(distinct_names(list(map(str, frame.columns))), axis=1)


def _listed(names: Any) -> str:
    shown = [repr(str(name)) for name in names]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
