"""The tables that `AutoCluster` takes: arrays, sparse matrices and DataFrames, as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.validation import validate_data

from ..errors import InputError
from .preparation import AXES, Preparation, count_distinct, prepare

if TYPE_CHECKING:
    from .auto_cluster import AutoCluster


def is_frame(table: Any) -> bool:
    """Whether a table is a DataFrame of pandas, or of a library that converts to it.

    >>> is_frame(np.zeros((2, 2)))
    False
    """
    return hasattr(table, "to_pandas") or (hasattr(table, "iloc") and hasattr(table, "columns"))


def prepared_rows(estimator: AutoCluster, table: Any, seed: int) -> tuple[Preparation, np.ndarray, int]:
    """The preparation of a table, its rows by it, and how many of them differ, or enough for the estimator.

    Words are kept as they are where the classes that they form leave fewer distinct rows than clusters are
    known. `encoder_` and `table_` of the estimator are set.

    Raises:
        InputError: no column of a DataFrame can be used, it has fewer than two rows, or fewer rows than known
            clusters differ.
        ValueError: an array is empty, or holds something other than finite numbers.
    """
    numbers = _fit_encoder(estimator, table)
    encoder, known = estimator.encoder_, estimator.n_clusters
    columns = {} if encoder is None else {"numeric": encoder.numeric_, "categories": encoder.categories_}
    made = prepare(numbers, estimator.scaling, **columns, seed=seed)
    distinct = count_distinct(points := made(numbers), max(known or 2, 2))
    if known is not None and known > distinct and made.words is not None:
        made = prepare(numbers, estimator.scaling, numeric=columns["numeric"], seed=seed)
        distinct = count_distinct(points := made(numbers), known)
    if known is not None and known > distinct:
        raise InputError(f"n_clusters is {known}, but only {distinct} rows differ; give a smaller number.")
    return made, points, distinct


def _fit_encoder(estimator: AutoCluster, table: Any) -> Float[np.ndarray, "N D"]:
    """Checks a table, fits the encoder of a DataFrame, and returns the table as numbers."""
    if not is_frame(table):
        estimator.encoder_ = estimator.table_ = None
        return _array(estimator, table, reset=True)
    from ..tables.encoder import TableEncoder

    validate_data(estimator, table, skip_check_array=True)
    if len(table) < 2:
        raise InputError("the table has fewer than two rows; give a table of two rows or more.")
    estimator.encoder_ = clone(estimator.encoder or TableEncoder()).fit(table)
    estimator.table_ = estimator.encoder_.read(table)
    return estimator.encoder_.encode(estimator.table_)


def encoded(estimator: AutoCluster, table: Any) -> Float[np.ndarray, "N D"]:
    """New rows as numbers, as the table used for fitting was; columns that were left out may be missing.

    Raises:
        InputError: a column holds words where the table used for fitting held numbers.
        ValueError: the table has other columns, or is not finite.
    """
    if estimator.encoder_ is None:
        return _array(estimator, table, reset=False)
    from ..tables.columns import LeftOut

    unused = {column.name for column in estimator.encoder_.columns_ if isinstance(column, LeftOut)}
    if is_frame(table) and not unused <= set(table.columns):
        return estimator.encoder_.transform(table)
    validate_data(estimator, table, reset=False, skip_check_array=True)
    if not is_frame(table):
        import pandas as pd

        table = pd.DataFrame(table, columns=estimator.encoder_.feature_names_in_)
    return estimator.encoder_.transform(table)


def _array(estimator: AutoCluster, table: Any, *, reset: bool) -> Float[np.ndarray, "N D"]:
    """A table of numbers; a sparse matrix stays sparse if it is projected on principal axes."""
    checked = validate_data(
        estimator,
        table,
        dtype=[np.float64, np.float32],
        accept_sparse="csr",
        reset=reset,
        ensure_min_samples=2 if reset else 1,
    )
    if not sparse.issparse(checked) or (reset and min(checked.shape) > AXES):
        return checked
    return checked if not reset and estimator._prepared.axes is not None else checked.toarray()
