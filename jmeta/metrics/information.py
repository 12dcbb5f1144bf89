"""What one partition tells about another, as a part of their entropies; equal to scikit-learn's numbers.

All take labels, as in `agreement`.
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
    """Mutual information over the mean of the two entropies; also called the V-measure.

    It is the harmonic mean of `homogeneity` and `completeness`.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N]; all ones unless given.
        slots: an upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The ratio, in [0, 1]; 1 where both partitions are a single cluster.

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
    """How pure clusters are: the information about the classes, over the entropy of the classes.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N]; all ones unless given.
        slots: an upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The ratio, in [0, 1]; 1 where each cluster holds one class.

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
    """How whole classes are: the information about the classes, over the entropy of the clusters.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N]; all ones unless given.
        slots: an upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The ratio, in [0, 1]; 1 where each class lies in one cluster.

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
    """Mutual information, corrected for chance: 1 for equal partitions, 0 on average for random ones.

    (I - E[I]) / (mean entropy - E[I]), with the expectation over all partitions of these sizes. It is
    summed over a grid of slots^2 N counts, in differences of log-factorials, so that for thousands of
    points float32 gives three digits and float64 is needed for more.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N] zeros and ones: sizes must be whole numbers; all ones unless given.
        slots: an upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The index, at most 1; 1 where both partitions are trivial in the same way.

    Reference: Vinh et al. 2010, Information theoretic measures for clusterings comparison.

    >>> print(adjusted_mutual_information(jnp.array([1, 1, 0, 0]), jnp.array([0, 0, 1, 1])).round(4))
    1.0
    """
    counts, total = table(found, truth, weights, slots)
    information, of_found, of_truth = mutual_information(counts)
    expected = _expected_information(counts.sum(1), counts.sum(0), total, len(found))
    span = (of_found + of_truth) / 2 - expected
    says = jnp.abs(span) > 32 * jnp.finfo(span.dtype).eps
    trivial = (of_found == 0) & (of_truth == 0)
    return jnp.where(trivial | ~says, 1, (information - expected) / jnp.where(says, span, 1))


def _expected_information(
    rows: Float[Array, " K"], columns: Float[Array, " C"], total: Float[Array, ""], most: int
) -> Float[Array, ""]:
    """The mean information of random partitions of these sizes: their overlap is hypergeometric."""
    a, b, n = rows[:, None, None], columns[None, :, None], jnp.arange(1, most + 1, dtype=rows.dtype)
    possible = (n <= jnp.minimum(a, b)) & (n >= a + b - total)
    a, b, overlap = (jnp.where(possible, value, 1) for value in (a, b, n))
    whole = jnp.where(possible, total, 1)
    chosen = gammaln(a + 1) - gammaln(overlap + 1) - gammaln(a - overlap + 1)
    others = gammaln(whole - a + 1) - gammaln(b - overlap + 1) - gammaln(whole - a - b + overlap + 1)
    every = gammaln(whole + 1) - gammaln(b + 1) - gammaln(whole - b + 1)
    gain = overlap / whole * jnp.log(whole * overlap / (a * b))
    return jnp.sum(jnp.where(possible, gain * jnp.exp(chosen + others - every), 0))
