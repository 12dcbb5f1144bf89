"""Agreement of predicted clusters with true classes; the values are equal to scikit-learn's.

All metrics take labels. True labels of -1 do not count; predicted labels of -1 are noise and form a further
cluster. Inside `jit` and `vmap` the number of label values must be given as `slots`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..agreement import adjusted_rand, best_matching, pairs_together
from ..records import AnyArray
from .partitions import compiled_metric, one_hots, table


@compiled_metric
def matched_accuracy(
    found: Int[AnyArray, " N"],
    truth: Int[AnyArray, " N"],
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
    counts, total = table(found, truth, weights, slots)
    matched = jnp.take_along_axis(counts, best_matching(counts)[:, None], 1)
    return jnp.sum(matched) / jnp.where(total > 0, total, 1)


@compiled_metric
def adjusted_rand_index(
    found: Int[AnyArray, " N"],
    truth: Int[AnyArray, " N"],
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
    return adjusted_rand(*one_hots(found, truth, weights, slots))


@compiled_metric
def purity(
    found: Int[AnyArray, " N"],
    truth: Int[AnyArray, " N"],
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
    counts, total = table(found, truth, weights, slots)
    return jnp.sum(jnp.max(counts, 1)) / jnp.where(total > 0, total, 1)


@compiled_metric
def fowlkes_mallows(
    found: Int[AnyArray, " N"],
    truth: Int[AnyArray, " N"],
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
    parts = one_hots(found, truth, weights, slots)
    both, in_found, in_truth, _ = pairs_together(*parts)
    defined = both > 8 * jnp.finfo(both.dtype).eps * (parts[2] @ parts[2])
    return jnp.where(defined, both / jnp.sqrt(jnp.where(defined, in_found * in_truth, 1)), 0)
