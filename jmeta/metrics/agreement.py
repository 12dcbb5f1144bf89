"""Agreement of predicted clusters with true classes; the values are equal to scikit-learn's.

All metrics take labels: whole numbers or words, also as lists or columns of a table. True labels of -1 do not
count; predicted labels of -1 are noise and form a further cluster. Weights are relative: multiplying all of
them by a number changes no metric. Labels on the host are counted in double
precision, in sparse tables. Inside `jit` and `vmap` the number of label values must be given as `slots`.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from ..agreement import adjusted_for_chance, best_matching
from ..precision import is_traced
from ..records import AnyArray
from .partitions import Labels, Table, dense_counts, of_table, sparse_counts, table


def matched_accuracy(
    found: Labels,
    truth: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The accuracy after the best one-to-one matching of clusters to classes.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N]; all ones unless given.
        slots: upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The accuracy, in [0, 1].

    >>> float(matched_accuracy(jnp.array([1, 1, 0, 0]), jnp.array([0, 0, 1, 0])))
    0.75
    """
    if not is_traced(found, truth, weights):
        sparse_table, _ = sparse_counts(found, truth, weights)
        return jnp.asarray(_matched(sparse_table) / (sparse_table.sum() or 1))
    counts, known = dense_counts(found, truth, weights, slots)
    matched = jnp.take_along_axis(counts, best_matching(counts)[:, None], 1)
    total = jnp.sum(known)
    return jnp.sum(matched) / jnp.where(total > 0, total, 1)


def adjusted_rand_index(
    found: Labels,
    truth: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The adjusted Rand index: 1 for equal partitions, 0 on average for random ones.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N]; all ones unless given.
        slots: upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The index, in [-1/2, 1].

    Reference: Hubert & Arabie 1985, Comparing partitions.

    >>> float(adjusted_rand_index(jnp.array([1, 1, 0, 0]), jnp.array([0, 0, 1, 1])))
    1.0
    """
    return _adjusted_rand(table(found, truth, weights, slots))


def purity(
    found: Labels,
    truth: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The share of points that have the most common class of their cluster.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N]; all ones unless given.
        slots: upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The purity, in [0, 1]; 1 also if every point is its own cluster.

    >>> float(purity(jnp.array([0, 0, 0, 1]), jnp.array([0, 0, 1, 1])))
    0.75
    """
    return _purity(table(found, truth, weights, slots))


def fowlkes_mallows(
    found: Labels,
    truth: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The geometric mean of the precision and the recall of pairs in the same cluster.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N]; all ones unless given.
        slots: upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The index, in [0, 1]; 0 if no pair is together in both partitions.

    Reference: Fowlkes & Mallows 1983, A method for comparing two hierarchical clusterings.

    >>> print(fowlkes_mallows(jnp.array([0, 0, 0, 1]), jnp.array([0, 0, 1, 1])).round(4))
    0.4082
    """
    return _fowlkes_mallows(table(found, truth, weights, slots))


def _matched(counts: sparse.csr_array) -> float:
    """The largest total of cells of which no two share a row or a column.

    Rows and columns may stay unmatched: with a copy of the transposed table and one spare cell for each row
    and column there is always a full matching. One is added to all cells, as zeros are no edges.
    """
    rows, columns = counts.shape
    edges = counts.copy()
    edges.data += 1
    spare = edges.T.copy()
    spare.data[:] = 1
    doubled = sparse.block_array([[edges, sparse.eye_array(rows)], [sparse.eye_array(columns), spare]])
    first, second = min_weight_full_bipartite_matching(doubled.tocsr(), maximize=True)
    real = (first < rows) & (second < columns)
    return float(np.sum(counts[first[real], second[real]]))


def _pairs(counts: Table) -> tuple[Array, Array, Array, Array]:
    """The weight of the pairs of points together in both partitions, in each, and of all pairs."""

    def pairs(masses: AnyArray) -> Array:
        return (jnp.sum(masses * masses) - counts.squares) / 2

    total = jnp.sum(counts.rows)
    return pairs(counts.cells), pairs(counts.rows), pairs(counts.columns), pairs(total)


@of_table
def _adjusted_rand(counts: Table) -> Float[Array, ""]:
    return adjusted_for_chance(*_pairs(counts), jnp.asarray(counts.squares))


@of_table
def _purity(counts: Table) -> Float[Array, ""]:
    total = jnp.sum(counts.rows)
    return jnp.sum(counts.largest) / jnp.where(total > 0, total, 1)


@of_table
def _fowlkes_mallows(counts: Table) -> Float[Array, ""]:
    both, in_found, in_truth, _ = _pairs(counts)
    defined = both > 8 * jnp.finfo(both.dtype).eps * counts.squares
    return jnp.where(defined, both / jnp.sqrt(jnp.where(defined, in_found * in_truth, 1)), 0)
