"""Losses of predictions against known targets."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..compiler import compiled
from ..errors import InputError
from ..records import Metrics
from ..weights import weighted_average, weights_or_ones
from .counted import check_given, of_counted_rows, of_known_labels


@compiled
@of_counted_rows
def squared_error(
    outputs: Float[Array, "N ..."],
    targets: Float[Array, "N ..."],
    weights: Float[Array, " N"] | None = None,
) -> tuple[Float[Array, ""], Metrics]:
    """The mean squared error, sum_n w_n mean_d (f_nd - y_nd)^2 / sum_n w_n.

    Args:
        outputs: [N, ...] predictions.
        targets: [N, ...] values of the same shape.
        weights: [N]; all ones unless given.

    Returns:
        The loss, in squared units of the targets, and {"mse": the same}.

    >>> loss, _ = squared_error(jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [4.0]]))
    >>> float(loss)
    2.0
    """
    check_given(targets)
    if outputs.shape != targets.shape:
        raise InputError(f"outputs have shape {outputs.shape} and targets {targets.shape}; make them equal.")
    if not outputs.size:
        raise InputError(f"outputs have shape {outputs.shape}; give at least one.")
    errors = jnp.square(outputs - targets).reshape(len(outputs), -1).mean(-1)
    loss = weighted_average(errors, weights_or_ones(outputs, weights))
    return loss, {"mse": loss}


@compiled
@of_known_labels
def cross_entropy(
    outputs: Float[Array, "N W"], targets: Int[Array, " N"], weights: Float[Array, " N"] | None = None
) -> tuple[Float[Array, ""], Metrics]:
    """The mean cross-entropy of logits against labels, -log softmax(f_n)[y_n], in nats.

    Args:
        outputs: [N, W] logits or log-probabilities.
        targets: [N] labels; -1 does not count. A label of W or more makes the loss NaN, so that meta-training
            skips the task and reports it.
        weights: [N]; all ones unless given.

    Returns:
        The loss, and {"accuracy"}.

    >>> loss, metrics = cross_entropy(jnp.zeros((3, 2)), jnp.array([0, 0, -1]))
    >>> print(loss.round(4), metrics["accuracy"])
    0.6931 1.0
    """
    known = weights_or_ones(outputs, weights)
    correct = jnp.argmax(outputs, -1) == targets
    log_probs = jax.nn.log_softmax(outputs)
    picked = jnp.take_along_axis(log_probs, targets[:, None], 1)[:, 0]
    return weighted_average(-picked, known), {"accuracy": weighted_average(correct, known)}
