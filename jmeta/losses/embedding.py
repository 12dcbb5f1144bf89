"""Losses of embeddings, which bring points of the same class together."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..compiler import compiled
from ..distances import quotient
from ..errors import InputError
from ..records import Loss, Metrics
from ..weights import LOG_ZERO, class_means, first_alike, weighted_average, weights_or_ones
from .counted import of_known_labels

SMALLEST = 1e-18
"""Embeddings whose squared length is at most this have no direction."""


def supervised_contrastive(temperature: float = 0.1) -> Loss:
    """The supervised contrastive loss of normalised embeddings, in nats.

    With z = f / ||f||, it is the mean of -log exp(z_i . z_p / t) / sum_{a != i} exp(z_i . z_a / t) over
    points i and over the other points p of their class; points alone in their class do not count.

    Args:
        temperature: t.

    Returns:
        A loss of embeddings [N, D] and labels [N], where -1 does not count; its metric "neighbour_accuracy"
        is the share of points whose most similar other point has the same class.

    Raises:
        InputError: the temperature is not positive.

    Reference: Khosla et al. 2020, Supervised contrastive learning.

    >>> two = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> loss, metrics = supervised_contrastive(1.0)(two, jnp.array([0, 0, 1, 1]))
    >>> print(f"{loss:.4f}", metrics["neighbour_accuracy"])
    0.5514 1.0
    """
    if not 0 < temperature < math.inf:
        raise InputError(f"temperature of supervised_contrastive is {temperature!r}; give a positive number.")

    @compiled
    @of_known_labels
    def loss(
        outputs: Float[Array, "N D"], targets: Int[Array, " N"], weights: Float[Array, " N"] | None = None
    ) -> tuple[Float[Array, ""], Metrics]:
        known = weights_or_ones(outputs, weights)
        squared = jnp.sum(outputs * outputs, 1, keepdims=True)
        none = squared <= SMALLEST  # not if it is NaN
        unit = jnp.where(none, 0, outputs * jax.lax.rsqrt(jnp.where(none, 1, squared)))
        others = (known[None, :] > 0) & ~jnp.eye(len(targets), dtype=bool)
        cosines = jnp.matmul(unit, unit.T, precision="highest")
        similar = jnp.where(others, cosines / temperature, LOG_ZERO)
        partners = known[None, :] * (others & (targets[:, None] == targets[None, :]))
        log_others = jnp.log(jnp.where(others, known[None, :], 1))
        log_share = similar - jax.nn.logsumexp(similar + log_others, 1, keepdims=True)
        count = jnp.sum(partners, 1)
        each = -quotient(jnp.sum(jnp.where(partners > 0, partners * log_share, 0), 1), count)
        counted = known * (count > 0)
        correct = targets[jnp.argmax(similar, 1)] == targets
        return weighted_average(each, counted), {"neighbour_accuracy": weighted_average(correct, counted)}

    return loss


@compiled
@of_known_labels
def within_class_variance(
    outputs: Float[Array, "N D"], targets: Int[Array, " N"], weights: Float[Array, " N"] | None = None
) -> tuple[Float[Array, ""], Metrics]:
    """The mean squared distance of embeddings to the mean of their class.

    Use it as a regulariser: alone, it is minimal if all embeddings are equal.

    Args:
        outputs: [N, D] embeddings.
        targets: [N] labels; -1 does not count.
        weights: [N]; all ones unless given.

    Returns:
        The loss, in squared units of the embedding, and {"variance": the same}.

    Reference: Huang et al. 2019, Centroid networks for few-shot clustering and unsupervised few-shot
    classification.

    >>> loss, _ = within_class_variance(jnp.array([[0.0], [2.0], [9.0]]), jnp.array([0, 0, 1]))
    >>> print(f"{loss:.4f}")
    0.6667
    """
    known = weights_or_ones(outputs, weights)
    classes = first_alike(targets)
    means, _ = class_means(outputs, classes, known, len(targets))
    loss = weighted_average(jnp.sum(jnp.square(outputs - means[classes]), 1), known)
    return loss, {"variance": loss}
