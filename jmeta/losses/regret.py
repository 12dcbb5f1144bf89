"""Losses of predicted scores against the values of the choices.

Reference: Cao et al. 2007, Learning to rank: from pairwise approach to listwise approach.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..compiler import compiled
from ..errors import InputError
from ..records import Metrics
from ..weights import weighted_average, weights_or_ones
from .counted import of_counted_rows


@compiled
@of_counted_rows
def expected_regret(
    outputs: Float[Array, "N A"],
    targets: Float[Array, "N A"],
    weights: Float[Array, " N"] | None = None,
    *,
    sharpness: float = 5.0,
) -> tuple[Float[Array, ""], Metrics]:
    """The expected regret of a choice drawn with probability softmax(beta s).

    For every example it is  sum_a softmax(beta s)_a (max_b y_b - y_a), with scores s and values y. As beta
    grows it approaches the regret of the choice with the highest score.

    Args:
        outputs: [N, A] predicted scores of A choices.
        targets: [N, A] their values.
        weights: [N]; all ones unless given.
        sharpness: beta.

    Returns:
        The mean over examples, in units of the values, and {"regret", "score"}: the regret and the value of
        the choice with the highest score.

    Raises:
        InputError: the shapes differ, or there is no choice.

    >>> loss, metrics = expected_regret(jnp.array([[9.0, 0.0]]), jnp.array([[0.5, 0.75]]))
    >>> print(f"{loss:.3f} {metrics['regret']:.3f}")
    0.250 0.250
    """
    _check(outputs, targets)
    counted = weights_or_ones(outputs, weights)
    best = jnp.max(targets, 1)
    chances = jax.nn.softmax(sharpness * outputs, 1)
    chosen = jnp.take_along_axis(targets, jnp.argmax(outputs, 1)[:, None], 1)[:, 0]
    loss = weighted_average(best - jnp.sum(chances * targets, 1), counted)
    return loss, {
        "regret": weighted_average(best - chosen, counted),
        "score": weighted_average(chosen, counted),
    }


@compiled
@of_counted_rows
def regret_and_error(
    outputs: Float[Array, "N A"],
    targets: Float[Array, "N A"],
    weights: Float[Array, " N"] | None = None,
    *,
    sharpness: float = 20.0,
    share: float = 1.0,
) -> tuple[Float[Array, ""], Metrics]:
    """The sum of expected regret and squared error, for scores that also predict the values.

    It is  `expected_regret` + c mean_a (s_a - y_a)^2, with a larger default sharpness, as differences of
    values are small.

    Args:
        outputs: [N, A] predicted scores of A choices.
        targets: [N, A] their values.
        weights: [N]; all ones unless given.
        sharpness: beta of the regret.
        share: c.

    Returns:
        The mean over examples, and {"regret", "score", "squared_error"}.

    Raises:
        InputError: the shapes differ, or there is no choice.

    >>> loss, _ = regret_and_error(jnp.array([[1.0, 0.0]]), jnp.array([[1.0, 0.5]]))
    >>> print(f"{loss:.3f}")
    0.125
    """
    loss, metrics = expected_regret(outputs, targets, weights, sharpness=sharpness)
    error = weighted_average(jnp.mean(jnp.square(outputs - targets), 1), weights_or_ones(outputs, weights))
    return loss + share * error, metrics | {"squared_error": error}


@compiled
@of_counted_rows
def listwise(
    outputs: Float[Array, "N A"],
    targets: Float[Array, "N A"],
    weights: Float[Array, " N"] | None = None,
    *,
    sharpness: float = 5.0,
) -> tuple[Float[Array, ""], Metrics]:
    """The listwise ranking loss (ListNet): a cross-entropy between softmaxes of values and of scores.

    For every example it is  -sum_a softmax(2 beta y)_a log softmax(beta s)_a, with scores s and values y. If
    a wrong choice is certain, the gradient of `expected_regret` vanishes, but that of this loss is largest,
    so that a few steps of descent correct it.

    Args:
        outputs: [N, A] predicted scores of A choices.
        targets: [N, A] their values.
        weights: [N]; all ones unless given.
        sharpness: beta.

    Returns:
        The mean over examples, in nats, and {"listwise": the same}.

    Raises:
        InputError: the shapes differ, or there is no choice.

    >>> loss, _ = listwise(jnp.array([[9.0, 0.0]]), jnp.array([[0.0, 9.0]]))
    >>> print(f"{loss:.1f}")
    45.0
    """
    _check(outputs, targets)
    wanted = jax.nn.softmax(2 * sharpness * targets, 1)
    each = -jnp.sum(wanted * jax.nn.log_softmax(sharpness * outputs, 1), 1)
    loss = weighted_average(each, weights_or_ones(outputs, weights))
    return loss, {"listwise": loss}


def _check(outputs: Float[Array, "N A"], targets: Float[Array, "N A"]) -> None:
    if outputs.shape != targets.shape or outputs.ndim != 2 or not outputs.size:
        raise InputError(
            f"outputs have shape {outputs.shape} and targets {targets.shape}; give both as "
            "[examples, choices]."
        )
