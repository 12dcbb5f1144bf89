"""Agreement of found clusters with true ones, equal to scikit-learn's numbers.

All take labels: true labels of -1 do not count; found labels of -1, noise, are one more cluster.
Inside `jit` and `vmap` the number of label values must be given as `slots`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..agreement import adjusted_rand, best_matching, contingency
from ..records import InputError
from ..trees import weights_or_ones


def matched_accuracy(
    found: Int[Array, " N"],
    truth: Int[Array, " N"],
    weights: Float[Array, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The share of points that are right after the best one-to-one matching of clusters to classes.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N]; all ones unless given.
        slots: an upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The accuracy, in [0, 1].

    >>> float(matched_accuracy(jnp.array([1, 1, 0, 0]), jnp.array([0, 0, 1, 0])))
    0.75
    """
    table, total = _table(found, truth, weights, slots)
    matched = jnp.take_along_axis(table, best_matching(table)[:, None], 1)
    return jnp.sum(matched) / jnp.where(total > 0, total, 1)


def adjusted_rand_index(
    found: Int[Array, " N"],
    truth: Int[Array, " N"],
    weights: Float[Array, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The Rand index, corrected for chance: 1 for equal partitions, 0 on average for random ones.

    Args:
        found: [N] cluster of each point.
        truth: [N] class of each point.
        weights: [N]; all ones unless given.
        slots: an upper bound of the number of labels in either; the largest label + 1 unless given.

    Returns:
        The index, in [-1/2, 1].

    Reference: Hubert & Arabie 1985, Comparing partitions.

    >>> float(adjusted_rand_index(jnp.array([1, 1, 0, 0]), jnp.array([0, 0, 1, 1])))
    1.0
    """
    return adjusted_rand(*_one_hots(found, truth, weights, slots))


def normalized_mutual_information(
    found: Int[Array, " N"],
    truth: Int[Array, " N"],
    weights: Float[Array, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """Mutual information over the mean of the two entropies.

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
    table, total = _table(found, truth, weights, slots)
    joint = table / jnp.where(total > 0, total, 1)
    entropy_found, entropy_truth = _entropy(joint.sum(1)), _entropy(joint.sum(0))
    information = jnp.maximum(entropy_found + entropy_truth - _entropy(joint.ravel()), 0)
    mean = (entropy_found + entropy_truth) / 2
    negligible = information <= 8 * jnp.finfo(joint.dtype).eps
    ratio = jnp.where(negligible, 0, information / jnp.where(mean > 0, mean, 1))
    return jnp.where(mean > 0, jnp.minimum(ratio, 1), 1)


def _numbered(labels: Array) -> Int[np.ndarray, " N"]:
    """Labels from 0 without a gap; negative ones become -1."""
    values, places = np.unique(np.asarray(labels), return_inverse=True)
    return np.maximum(places - int(np.sum(values < 0)), -1)


def _entropy(probabilities: Float[Array, " K"]) -> Float[Array, ""]:
    return jnp.sum(jax.scipy.special.entr(probabilities))


def _table(
    found: Array, truth: Array, weights: Array | None, slots: int | None
) -> tuple[Float[Array, "K K"], Float[Array, ""]]:
    one_hots = _one_hots(found, truth, weights, slots)
    return contingency(*one_hots), jnp.sum(one_hots[2])


def _one_hots(
    found: Array, truth: Array, weights: Array | None, slots: int | None
) -> tuple[Array, Array, Array]:
    """Both partitions one-hot, one slot wider than `slots` for noise, and the weights that count."""
    if np.shape(found) != np.shape(truth) or np.ndim(found) != 1:
        raise InputError(
            f"found labels have shape {np.shape(found)} and true labels {np.shape(truth)}; "
            "give two lists of one length."
        )
    for labels in (found, truth):
        if np.dtype(labels.dtype if hasattr(labels, "dtype") else np.asarray(labels).dtype).kind not in "iub":
            raise InputError("labels are not whole numbers; number them, for instance by np.unique.")
    if slots is None:
        if isinstance(found, jax.core.Tracer) or isinstance(truth, jax.core.Tracer):
            raise InputError("inside jit or vmap the number of labels is unknown; pass slots=.")
        found, truth = jnp.asarray(_numbered(found)), jnp.asarray(_numbered(truth))
        slots = 1 + max(int(np.max(found, initial=0)), int(np.max(truth, initial=0)))
    dtype = jnp.result_type(float)
    truth = jnp.asarray(truth)
    known = jnp.asarray(weights_or_ones(jnp.zeros(truth.shape, dtype), weights), dtype) * (truth >= 0)
    found = jnp.where(jnp.asarray(found) < 0, slots, jnp.asarray(found))
    width = slots + 1
    return jax.nn.one_hot(found, width, dtype=dtype), jax.nn.one_hot(truth, width, dtype=dtype), known
