"""Labels of any type as numbers, and contingency tables of two partitions.

Tables of labels on the host are sparse and in double precision, so that thousands of clusters take no more
memory than the points do; tables of traced labels are dense arrays of fixed shape.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import one_hot
from jaxtyping import Array, Float, Shaped
from scipy import sparse

from ..agreement import contingency
from ..compiler import compiled
from ..errors import InputError
from ..padding import padded_size
from ..precision import in_double, is_traced
from ..records import AnyArray
from ..validation import as_array, check_not_negative, checked_labels
from ..weights import weights_or_ones

Labels = Shaped[AnyArray, " N"] | Sequence[Hashable]
"""Whole numbers or words, one for each point; -1 is noise, or an unknown class."""

Numbers = Float[AnyArray, "..."]


class Table(NamedTuple):
    """The weights that predicted clusters (rows) share with true classes (columns).

    Attributes:
        cells: weight of each pair of a cluster and a class; pairs that share nothing may be missing.
        rows: weight of each cluster.
        columns: weight of each class.
        largest: weight of the largest cell of each row.
        squares: sum_n w_n^2.
    """

    cells: Numbers
    rows: Numbers
    columns: Numbers
    largest: Numbers
    squares: Numbers


def table(found: Labels, truth: Labels, weights: AnyArray | None, slots: int | None) -> Table:
    """The table of two partitions: of NumPy arrays, in double precision, unless the labels are traced.

    Raises:
        InputError: labels or weights are not one for each point, labels are neither whole numbers nor words,
            or `slots` is missing inside `jit`.
    """
    if is_traced(found, truth, weights):
        dense, known = dense_counts(found, truth, weights, slots)
        return Table(dense, dense.sum(1), dense.sum(0), dense.max(1), known @ known)
    counts, kept = sparse_counts(found, truth, weights)
    return Table(
        cells=_padded(counts.data),
        rows=_padded(counts.sum(1)),
        columns=_padded(counts.sum(0)),
        largest=_padded(counts.max(1).toarray()),
        squares=kept @ kept,
    )


def of_table(formula: Callable[..., Array]) -> Callable[..., Float[Array, ""]]:
    """Returns a formula of a `Table`, compiled; it runs in double precision if the table is on the host."""
    program = compiled(formula)

    def value(counts: Table, *others: Any) -> Float[Array, ""]:
        if isinstance(counts.cells, np.ndarray):
            return jax.device_put(in_double(program, counts, *others))
        return program(counts, *others)

    return value


def dense_counts(
    found: Labels, truth: Labels, weights: AnyArray | None, slots: int | None
) -> tuple[Float[Array, "K C"], Float[Array, " N"]]:
    """The contingency table with `slots` rows and columns and one for noise, and the weights that count."""
    clusters, classes, count = _numbered_alike(found, truth, weights, slots)
    dtype = jnp.result_type(float)
    known = jnp.asarray(weights_or_ones(classes.astype(dtype), weights), dtype) * (classes >= 0)
    clusters = jnp.where(clusters < 0, count, clusters)
    rows, columns = (one_hot(labels, count + 1, dtype=dtype) for labels in (clusters, classes))
    return contingency(rows, columns, known), known


def sparse_counts(
    found: Labels, truth: Labels, weights: AnyArray | None
) -> tuple[sparse.csr_array, Float[np.ndarray, " N"]]:
    """The contingency table of labels on the host, and the weights of the points that count."""
    clusters, classes, _ = _numbered_alike(found, truth, weights, None)
    known = np.ones(len(classes)) if weights is None else np.asarray(weights, np.float64)
    kept = (classes >= 0) & (known != 0)
    places = [np.unique(labels[kept], return_inverse=True)[1] for labels in (clusters, classes)]
    shape = tuple(int(place.max(initial=0)) + 1 for place in places)
    return sparse.coo_array((known[kept], tuple(places)), shape=shape).tocsr(), known[kept]


def numbered(name: str, labels: Any, slots: int | None) -> tuple[AnyArray, int]:
    """Labels as numbers from 0, where -1 is noise, and an upper bound of how many there are.

    Labels are renumbered without gaps unless `slots` is given, which is then the bound.

    Raises:
        InputError: labels are neither whole numbers nor words, or `slots` is missing inside `jit`.
    """
    if is_traced(labels):
        if slots is None:
            raise InputError("inside jit or vmap the number of labels is unknown; pass slots=.")
        if np.dtype(labels.dtype).kind not in "iub":
            raise InputError(f"{name} labels are not whole numbers; number them before jit or vmap.")
        return labels, slots
    labels = checked_labels(f"{name} labels", labels)
    if slots is not None and labels.dtype.kind != "U":
        return labels, slots
    values, places = np.unique(labels, return_inverse=True)
    noise = 0 if labels.dtype.kind == "U" else int(np.sum(values < 0))
    return np.maximum(places - noise, -1), len(values) - noise


def check_weights(weights: AnyArray | None, count: int, noun: str) -> None:
    """Raises an InputError unless there are no weights, or one of at least zero for each of `noun`."""
    if weights is None:
        return
    if np.shape(weights) != (count,):
        raise InputError(f"weights have shape {np.shape(weights)} for {count} {noun}; give one for each.")
    if not is_traced(weights):
        check_not_negative(weights)


def _numbered_alike(
    found: Labels, truth: Labels, weights: AnyArray | None, slots: int | None
) -> tuple[AnyArray, AnyArray, int]:
    """Both lists of labels as numbers, and an upper bound of how many there are in either."""
    clusters = as_array("found labels", found)
    classes = as_array("true labels", truth)
    if np.shape(clusters) != np.shape(classes) or np.ndim(clusters) != 1:
        raise InputError(
            f"found labels have shape {np.shape(clusters)} and true labels {np.shape(classes)}; "
            "give two lists of equal length."
        )
    check_weights(weights, len(classes), "labels")
    clusters, first = numbered("found", clusters, slots)
    classes, second = numbered("true", classes, slots)
    return clusters, classes, max(first, second)


def _padded(numbers: Float[np.ndarray, "..."]) -> Float[np.ndarray, " M"]:
    """Numbers padded with zeros, which change no formula, so that few programs are compiled."""
    flat = np.ravel(numbers)
    return np.pad(flat, (0, padded_size(len(flat)) - len(flat)))
