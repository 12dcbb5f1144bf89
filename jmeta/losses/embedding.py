"""Losses of embeddings against labels: points of one class close, others far."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..compiler import compiled
from ..errors import InputError
from ..records import Loss, Metrics
from ..weights import class_means, weighted_average, weights_or_ones

SMALLEST = 1e-18
"""An embedding whose squared length is less has no direction."""


def supervised_contrastive(temperature: float = 0.1) -> Loss:
    """Pull together what is of one class, on the sphere: a loss of embeddings, in nats.

    With z = f / ||f||, the mean over points i that have a partner, and over their partners p, of
    -log exp(z_i . z_p / t) / sum_{a != i} exp(z_i . z_a / t).

    Args:
        temperature: t.

    Returns:
        A loss of [N, D] embeddings and [N] labels, -1 not counting; its metric is "neighbour_accuracy",
        how often the most similar other point is of the same class.

    Raises:
        InputError: the temperature is not positive.

    Reference: Khosla et al. 2020, Supervised contrastive learning.

    >>> two = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> loss, metrics = supervised_contrastive(1.0)(two, jnp.array([0, 0, 1, 1]))
    >>> print(f"{loss:.4f}", metrics["neighbour_accuracy"])
    0.5514 1.0
    """
    if not 0 < temperature < math.inf:
        raise InputError(
            f"the temperature of supervised_contrastive is {temperature!r}; give a positive one."
        )

    @compiled
    def loss(
        outputs: Float[Array, "N D"], targets: Int[Array, " N"], weights: Float[Array, " N"] | None = None
    ) -> tuple[Float[Array, ""], Metrics]:
        known = weights_or_ones(outputs, weights) * (targets >= 0)
        squared = jnp.sum(outputs * outputs, 1, keepdims=True)
        somewhere = squared > SMALLEST
        unit = jnp.where(somewhere, outputs * jax.lax.rsqrt(jnp.where(somewhere, squared, 1)), 0)
        others = (known[None, :] > 0) & ~jnp.eye(len(targets), dtype=bool)
        similar = jnp.where(others, jnp.matmul(unit, unit.T, precision="highest") / temperature, -1e30)
        partners = known[None, :] * (others & (targets[:, None] == targets[None, :]))
        log_others = jnp.log(jnp.where(others, known[None, :], 1))
        log_share = similar - jax.nn.logsumexp(similar + log_others, 1, keepdims=True)
        count = jnp.sum(partners, 1)
        each = -jnp.sum(jnp.where(partners > 0, partners * log_share, 0), 1) / jnp.where(count > 0, count, 1)
        counted = known * (count > 0)
        right = targets[jnp.argmax(similar, 1)] == targets
        return weighted_average(each, counted), {"neighbour_accuracy": weighted_average(right, counted)}

    return loss


@compiled
def within_class_variance(
    outputs: Float[Array, "N D"], targets: Int[Array, " N"], weights: Float[Array, " N"] | None = None
) -> tuple[Float[Array, ""], Metrics]:
    """The mean squared distance of embeddings to the mean of their class.

    A regulariser: alone it is least where all embeddings are equal.

    Args:
        outputs: [N, D] embeddings.
        targets: [N] labels below N; -1 does not count.
        weights: [N]; all ones unless given.

    Returns:
        The loss, in squared units of the embedding, and {"variance": the same}.

    Reference: Huang et al. 2019, Centroid networks for few-shot clustering and unsupervised few-shot
    classification.

    >>> loss, _ = within_class_variance(jnp.array([[0.0], [2.0], [9.0]]), jnp.array([0, 0, 1]))
    >>> print(f"{loss:.4f}")
    0.6667
    """
    known = weights_or_ones(outputs, weights) * (targets >= 0)
    outputs = jnp.where(known[:, None] > 0, outputs, 0)
    means, _ = class_means(outputs, targets, known, len(targets))
    loss = weighted_average(jnp.sum(jnp.square(outputs - means[targets]), 1), known)
    return loss, {"variance": loss}
