"""Information-theoretic agreement of two partitions; the values are equal to scikit-learn's.

All metrics take labels, as in `agreement`.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import gammaln
from jaxtyping import Array, Bool, Float
from scipy import sparse

from ..agreement import mutual_information, part_of
from ..errors import InputError
from ..precision import is_traced
from ..records import AnyArray
from ..validation import as_array
from .partitions import Labels, Table, check_weights, of_table, sparse_counts, table


def normalized_mutual_information(
    found: Labels,
    truth: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The mutual information divided by the mean of the two entropies; also called the V-measure.

    It is the harmonic mean of `homogeneity` and `completeness`.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N]; all ones unless given.
        slots: upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The ratio, in [0, 1]; 1 if both partitions are a single cluster.

    Reference: Strehl & Ghosh 2002, Cluster ensembles.

    >>> float(normalized_mutual_information(jnp.array([0, 1, 0, 1]), jnp.array([0, 0, 1, 1])))
    0.0
    """
    return _normalized(table(found, truth, weights, slots))


def homogeneity(
    found: Labels,
    truth: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The homogeneity of clusters: the mutual information divided by the entropy of the classes.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N]; all ones unless given.
        slots: upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The ratio, in [0, 1]; 1 if each cluster holds points of one class.

    Reference: Rosenberg & Hirschberg 2007, V-measure.

    >>> float(homogeneity(jnp.array([0, 1, 2, 2]), jnp.array([0, 0, 1, 1])))
    1.0
    """
    return _homogeneity(table(found, truth, weights, slots))


def completeness(
    found: Labels,
    truth: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The completeness of classes: the mutual information divided by the entropy of the clusters.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N]; all ones unless given.
        slots: upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The ratio, in [0, 1]; 1 if each class lies in one cluster.

    Reference: Rosenberg & Hirschberg 2007, V-measure.

    >>> float(completeness(jnp.array([0, 0, 0, 0]), jnp.array([0, 0, 1, 1])))
    1.0
    """
    return _completeness(table(found, truth, weights, slots))


def adjusted_mutual_information(
    found: Labels,
    truth: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The adjusted mutual information: 1 for equal partitions, 0 on average for random ones.

    It is (I - E[I]) / (mean entropy - E[I]), with the expectation over all partitions with the same cluster
    sizes, a sum over slots^2 N terms of differences of log-factorials. Inside `jit`, float32 gives three
    digits for thousands of points.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N]; equal wherever they are not zero, as chance is defined for points that count alike. All
            ones unless given.
        slots: upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The index, at most 1; 1 if both partitions are trivial in the same way. Inside `jit` it is NaN if
        weights differ.

    Raises:
        InputError: weights differ that are not zero.

    Reference: Vinh et al. 2010, Information theoretic measures for clusterings comparison.

    >>> print(adjusted_mutual_information(jnp.array([1, 1, 0, 0]), jnp.array([0, 0, 1, 1])).round(4))
    1.0
    """
    weights = None if weights is None else as_array("weights", weights)
    check_weights(weights, len(found), "labels")
    counted = None if weights is None else weights > 0
    counts = table(found, truth, counted, slots)
    if is_traced(found, truth, weights):
        adjusted = _adjusted(counts, _expected_information(counts, len(found)))
        return adjusted if weights is None else jnp.where(_alike(weights), adjusted, jnp.nan)
    if weights is not None and not _alike(weights):
        raise InputError("the weights of adjusted_mutual_information differ; give zeros and ones.")
    return _adjusted(counts, _expected_on_host(sparse_counts(found, truth, counted)[0].astype(np.int64)))


def _alike(weights: Float[AnyArray, " N"]) -> Bool[Array, ""]:
    """Whether all weights but zeros are equal."""
    return jnp.all((weights == 0) | (weights == jnp.max(weights)))


@of_table
def _normalized(counts: Table) -> Float[Array, ""]:
    information, of_found, of_truth = mutual_information(counts.cells, counts.rows, counts.columns)
    return part_of(information, (of_found + of_truth) / 2)


@of_table
def _homogeneity(counts: Table) -> Float[Array, ""]:
    information, _, of_truth = mutual_information(counts.cells, counts.rows, counts.columns)
    return part_of(information, of_truth)


@of_table
def _completeness(counts: Table) -> Float[Array, ""]:
    information, of_found, _ = mutual_information(counts.cells, counts.rows, counts.columns)
    return part_of(information, of_found)


@of_table
def _adjusted(counts: Table, expected: Float[Array, ""]) -> Float[Array, ""]:
    """The adjusted index; 1 if the span is no larger than the rounding error of log-factorials."""
    information, of_found, of_truth = mutual_information(counts.cells, counts.rows, counts.columns)
    span = (of_found + of_truth) / 2 - expected
    total = jnp.sum(counts.rows)
    defined = jnp.abs(span) > 4 * jnp.finfo(span.dtype).eps * jnp.log(total + 1)
    trivial = (of_found == 0) & (of_truth == 0)
    index = (information - expected) / jnp.where(defined, span, 1)
    return jnp.where(trivial | ~defined, 1, jnp.minimum(index, 1))


def _expected_on_host(counts: sparse.csr_array) -> float:
    from sklearn.metrics.cluster import expected_mutual_information  # scikit-learn takes a second to import

    return expected_mutual_information(counts, int(counts.sum())) if counts.nnz else 0.0


def _expected_information(counts: Table, max_overlap: int) -> Float[Array, ""]:
    """The mean mutual information of random partitions of these sizes, with hypergeometric overlaps."""
    a = counts.rows[:, None]
    b = counts.columns[None, :]
    total = jnp.sum(counts.rows)

    def add(sum_so_far: Array, overlap: Array) -> tuple[Array, None]:
        possible = (overlap <= jnp.minimum(a, b)) & (overlap >= a + b - total)
        rows, columns, shared, whole = (jnp.where(possible, value, 1) for value in (a, b, overlap, total))
        chosen = gammaln(rows + 1) - gammaln(shared + 1) - gammaln(rows - shared + 1)
        others = (
            gammaln(whole - rows + 1)
            - gammaln(columns - shared + 1)
            - gammaln(whole - rows - columns + shared + 1)
        )
        every = gammaln(whole + 1) - gammaln(columns + 1) - gammaln(whole - columns + 1)
        gain = shared / whole * jnp.log(whole * shared / (rows * columns))
        return sum_so_far + jnp.sum(jnp.where(possible, gain * jnp.exp(chosen + others - every), 0)), None

    overlaps = jnp.arange(1, max_overlap + 1, dtype=counts.rows.dtype)
    return lax.scan(add, jnp.zeros((), counts.rows.dtype), overlaps)[0]
