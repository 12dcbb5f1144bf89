"""Information-theoretic agreement of two partitions; the values are equal to scikit-learn's.

All metrics take labels, as in `agreement`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Int

from ..agreement import mutual_information, part_of
from ..records import AnyArray
from .partitions import compiled_metric, table


@compiled_metric
def normalized_mutual_information(
    found: Int[AnyArray, " N"],
    truth: Int[AnyArray, " N"],
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
    information, of_found, of_truth = mutual_information(table(found, truth, weights, slots)[0])
    return part_of(information, (of_found + of_truth) / 2)


@compiled_metric
def homogeneity(
    found: Int[AnyArray, " N"],
    truth: Int[AnyArray, " N"],
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
    information, _, of_truth = mutual_information(table(found, truth, weights, slots)[0])
    return part_of(information, of_truth)


@compiled_metric
def completeness(
    found: Int[AnyArray, " N"],
    truth: Int[AnyArray, " N"],
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
    return part_of(*mutual_information(table(found, truth, weights, slots)[0])[:2])


@compiled_metric
def adjusted_mutual_information(
    found: Int[AnyArray, " N"],
    truth: Int[AnyArray, " N"],
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The adjusted mutual information: 1 for equal partitions, 0 on average for random ones.

    It is (I - E[I]) / (mean entropy - E[I]), with the expectation over all partitions with the same cluster
    sizes, a sum over slots^2 N terms of differences of log-factorials. For thousands of points float32 gives
    three digits; use float64 for more.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N] zeros and ones, as cluster sizes must be whole numbers; all ones unless given.
        slots: upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The index, at most 1; 1 if both partitions are trivial in the same way.

    Reference: Vinh et al. 2010, Information theoretic measures for clusterings comparison.

    >>> print(adjusted_mutual_information(jnp.array([1, 1, 0, 0]), jnp.array([0, 0, 1, 1])).round(4))
    1.0
    """
    counts, total = table(found, truth, weights, slots)
    information, of_found, of_truth = mutual_information(counts)
    expected = _expected_information(counts.sum(1), counts.sum(0), total, len(found))
    span = (of_found + of_truth) / 2 - expected
    defined = jnp.abs(span) > 32 * jnp.finfo(span.dtype).eps
    trivial = (of_found == 0) & (of_truth == 0)
    return jnp.where(trivial | ~defined, 1, (information - expected) / jnp.where(defined, span, 1))


def _expected_information(
    rows: Float[Array, " K"], columns: Float[Array, " C"], total: Float[Array, ""], max_overlap: int
) -> Float[Array, ""]:
    """The mean mutual information of random partitions of these sizes, with hypergeometric overlaps."""
    a = rows[:, None, None]
    b = columns[None, :, None]
    n = jnp.arange(1, max_overlap + 1, dtype=rows.dtype)
    possible = (n <= jnp.minimum(a, b)) & (n >= a + b - total)
    a, b, overlap = (jnp.where(possible, value, 1) for value in (a, b, n))
    whole = jnp.where(possible, total, 1)
    chosen = gammaln(a + 1) - gammaln(overlap + 1) - gammaln(a - overlap + 1)
    others = gammaln(whole - a + 1) - gammaln(b - overlap + 1) - gammaln(whole - a - b + overlap + 1)
    every = gammaln(whole + 1) - gammaln(b + 1) - gammaln(whole - b + 1)
    gain = overlap / whole * jnp.log(whole * overlap / (a * b))
    return jnp.sum(jnp.where(possible, gain * jnp.exp(chosen + others - every), 0))
