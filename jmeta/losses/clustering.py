"""Losses of a clustering against hidden labels, invariant to the order of the clusters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..agreement import adjusted_rand, best_matching, contingency, mutual_information, part_of
from ..compiler import compiled
from ..records import Metrics
from ..weights import first_alike, weighted_average, weights_or_ones
from .counted import of_known_labels

LOWEST = -1e6
"""Lower bound of log-probabilities, so that rounding errors do not decide the matching."""


@compiled
@of_known_labels
def matched_cross_entropy(
    outputs: Float[Array, "N K"], targets: Int[Array, " N"], weights: Float[Array, " N"] | None = None
) -> tuple[Float[Array, ""], Metrics]:
    """The cross-entropy after the best matching of classes to clusters, -log r_n[m(y_n)], in nats.

    The matching m minimises this loss (Hungarian algorithm) and is not differentiated.

    Args:
        outputs: [N, K] log-probabilities of the clusters.
        targets: [N] labels; -1 does not count. A label of K or more makes the loss NaN, so that meta-training
            skips the task and reports it.
        weights: [N]; all ones unless given.

    Returns:
        The loss, and {"accuracy"} under this matching.

    >>> swapped = jnp.log(jnp.array([[0.1, 0.9], [0.8, 0.2]]))
    >>> loss, metrics = matched_cross_entropy(swapped, jnp.array([0, 1]))
    >>> print(loss.round(4), metrics["accuracy"])
    0.1643 1.0
    """
    known = weights_or_ones(outputs, weights)
    classes = jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype)
    log_probs = jnp.maximum(outputs, LOWEST)
    matching = best_matching(contingency(classes, log_probs, known))
    cluster = matching.at[targets].get(mode="fill", fill_value=outputs.shape[-1])
    picked = jnp.take_along_axis(log_probs, cluster[:, None], 1)[:, 0]
    correct = jnp.argmax(outputs, -1) == cluster
    return weighted_average(-picked, known), {"accuracy": weighted_average(correct, known)}


@compiled
@of_known_labels
def pairwise_cross_entropy(
    outputs: Float[Array, "N K"], targets: Int[Array, " N"], weights: Float[Array, " N"] | None = None
) -> tuple[Float[Array, ""], Metrics]:
    """The binary cross-entropy of s_ij = sum_k r_ik r_jk, for whether two points share a class, in nats.

    This is the meta classification likelihood (MCL), averaged over pairs of different points. It is computed
    from log s_ij and log (1 - s_ij) = log sum_k r_ik (1 - r_jk), so that pairs which are wrong with certainty
    still have a gradient.

    Args:
        outputs: [N, K] log-probabilities of the clusters.
        targets: [N] labels; -1 does not count.
        weights: [N]; all ones unless given.

    Returns:
        The loss, and {"pair_accuracy"}, with s_ij > 1/2 as the prediction.

    Reference: Hsu et al. 2019, Multi-class classification without multi-class labels.

    >>> apart = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
    >>> print(f"{pairwise_cross_entropy(apart, jnp.array([0, 1]))[0]:.4f}")
    0.1985
    """
    known = weights_or_ones(outputs, weights)
    log_probs = jnp.maximum(outputs, LOWEST)
    others = jnp.where(jnp.eye(outputs.shape[-1], dtype=bool), LOWEST, log_probs[:, None, :])
    together = _log_product(log_probs, log_probs)
    apart = _log_product(log_probs, jax.nn.logsumexp(others, -1))
    same = targets[:, None] == targets[None, :]
    pairs = known[:, None] * known[None, :] * (1 - jnp.eye(len(targets)))
    losses = -jnp.where(same, together, apart)
    correct = (together > apart) == same
    return weighted_average(losses, pairs), {"pair_accuracy": weighted_average(correct, pairs)}


@compiled
@of_known_labels
def pairwise_divergence(
    outputs: Float[Array, "N K"], targets: Int[Array, " N"], weights: Float[Array, " N"] | None = None
) -> tuple[Float[Array, ""], Metrics]:
    """The contrastive divergence of the assignments of pairs of points, in nats.

    KL(r_i || r_j) for points of the same class, max(0, 2 - KL(r_i || r_j)) for others, averaged over ordered
    pairs of different points; r_i is the target of its pair and is not differentiated.

    Args:
        outputs: [N, K] log-probabilities of the clusters.
        targets: [N] labels; -1 does not count.
        weights: [N]; all ones unless given.

    Returns:
        The loss, and {"pair_accuracy"}, with KL < 1, half the margin, as the prediction.

    Reference: Hsu & Kira 2016, Neural network-based clustering using pairwise constraints.

    >>> apart = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
    >>> print(f"{pairwise_divergence(apart, jnp.array([0, 1]))[0]:.4f}")
    0.2422
    """
    known = weights_or_ones(outputs, weights)
    log_probs = jnp.maximum(outputs, LOWEST)
    fixed = jax.lax.stop_gradient(log_probs)
    own = jnp.sum(jnp.exp(fixed) * fixed, 1)
    divergence = own[:, None] - jnp.matmul(jnp.exp(fixed), log_probs.T, precision="highest")
    same = targets[:, None] == targets[None, :]
    pairs = known[:, None] * known[None, :] * (1 - jnp.eye(len(targets)))
    losses = jnp.where(same, divergence, jnp.maximum(2 - divergence, 0))
    correct = (divergence < 1) == same
    return weighted_average(losses, pairs), {"pair_accuracy": weighted_average(correct, pairs)}


@compiled
@of_known_labels
def soft_nmi(
    outputs: Float[Array, "N K"], targets: Int[Array, " N"], weights: Float[Array, " N"] | None = None
) -> tuple[Float[Array, ""], Metrics]:
    """1 - the normalised mutual information of soft assignments; equal to the metric for hard ones.

    Args:
        outputs: [N, K] log-probabilities of the clusters.
        targets: [N] labels; -1 does not count.
        weights: [N]; all ones unless given.

    Returns:
        The loss, in [0, 1], and {"soft_nmi"}.

    >>> hard = jnp.log(jnp.eye(2)[jnp.array([0, 0, 1, 1])] + 1e-30)
    >>> print(soft_nmi(hard, jnp.array([1, 1, 0, 0]))[0].round(4))
    0.0
    """
    known = weights_or_ones(outputs, weights)
    classes = jax.nn.one_hot(first_alike(targets), len(targets), dtype=outputs.dtype)
    counts = contingency(jnp.exp(outputs), classes, known)
    information, of_found, of_truth = mutual_information(counts, counts.sum(1), counts.sum(0))
    ratio = part_of(information, (of_found + of_truth) / 2)
    return 1 - ratio, {"soft_nmi": ratio}


@compiled
@of_known_labels
def soft_ari(
    outputs: Float[Array, "N K"], targets: Int[Array, " N"], weights: Float[Array, " N"] | None = None
) -> tuple[Float[Array, ""], Metrics]:
    """1 - the adjusted Rand index of soft assignments; equal to the metric for hard ones.

    Args:
        outputs: [N, K] log-probabilities of the clusters.
        targets: [N] labels; -1 does not count.
        weights: [N]; all ones unless given.

    Returns:
        The loss, 0 for a perfect clustering and about 1 for a random one, and {"soft_ari"}.

    Reference: Hubert & Arabie 1985, Comparing partitions.

    >>> hard = jnp.log(jnp.eye(2)[jnp.array([0, 0, 1, 1])] + 1e-30)
    >>> print(soft_ari(hard, jnp.array([1, 1, 0, 0]))[0].round(4))
    0.0
    """
    known = weights_or_ones(outputs, weights)
    classes = jax.nn.one_hot(first_alike(targets), len(targets), dtype=outputs.dtype)
    index = adjusted_rand(jnp.exp(outputs), classes, known)
    return 1 - index, {"soft_ari": index}


def _log_product(a: Float[Array, "N K"], b: Float[Array, "N K"]) -> Float[Array, "N N"]:
    """The logarithm of sum_k exp(a_ik + b_jk)."""
    return jax.nn.logsumexp(a[:, None, :] + b[None, :, :], -1)
