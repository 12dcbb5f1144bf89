"""How an agent acts: the distribution of its actions, given the outputs of its network.

An action is one choice per head, made in order, each given the earlier choices (`choices`); or it is a vector
of numbers with a normal distribution (`gaussian`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, Num, PyTree

from ..errors import InputError
from ..weights import LOG_ZERO
from .environment import Space

Masks = tuple[Bool[Array, "..."], ...]
LOG_DEVIATIONS = (-5.0, 2.0)
"""Bounds of the logarithms of deviations, relative to a quarter of the width of the space of actions."""


class Actions(NamedTuple):
    """A family of distributions of actions.

    Attributes:
        size: H, the length of an action.
        dtype: of its elements: int for choices, float for numbers.
        outputs: number of outputs of a network that determine a distribution.
        distribution: `(outputs, masks) -> parameters` of a distribution.
        sample: `(parameters, key) -> action`, not differentiated; the most probable one if the key is None.
        log_probability: `(parameters, action) -> scalar`; of numbers the logarithm of the density.
        entropy: `parameters -> scalar`, in nats.
        seen: `action -> [E]`, as inputs of a network.
        applied: `action -> action`, as the environment gets it.
    """

    size: int
    dtype: type
    outputs: int
    distribution: Callable[[Float[Array, " O"], Masks | None], PyTree]
    sample: Callable[[PyTree, Any], Num[Array, " H"]]
    log_probability: Callable[[PyTree, Num[Array, " H"]], Float[Array, ""]]
    entropy: Callable[[PyTree], Float[Array, ""]]
    seen: Callable[[Num[Array, " H"]], Float[Array, " E"]]
    applied: Callable[[Num[Array, " H"]], Num[Array, " H"]]


def actions_of(space: tuple[int, ...] | Space) -> Actions:
    """`gaussian` for a space of numbers, `choices` for numbers of choices.

    >>> actions_of((2, 3)).outputs, actions_of(Space((2,), -1.0, 1.0)).outputs
    (8, 4)
    """
    return gaussian(space) if isinstance(space, Space) else choices(space)


def choices(heads: tuple[int, ...]) -> Actions:
    """One choice per head, each given the earlier ones.

    Args:
        heads: number of choices of each head.

    >>> some = choices((2, 3))
    >>> some.outputs, some.seen(jnp.array([1, 0])).tolist()
    (8, [0.0, 1.0, 1.0, 0.0, 0.0])
    """

    def seen(action: Int[Array, " H"]) -> Float[Array, " E"]:
        pairs = zip(action, heads, strict=True)
        return jnp.concatenate([jax.nn.one_hot(one, count) for one, count in pairs])

    return Actions(
        size=len(heads),
        dtype=int,
        outputs=sum(itertools.accumulate(heads, lambda a, b: a * b)),
        distribution=partial(choice_logs, heads),
        sample=sample_choices,
        log_probability=log_probability_of_choices,
        entropy=entropy_of_choices,
        seen=seen,
        applied=lambda action: action,
    )


def choice_logs(
    heads: tuple[int, ...], outputs: Float[Array, " O"], masks: Masks | None
) -> list[Float[Array, "..."]]:
    """The log-probabilities of every head, given the choices of earlier heads.

    Head i has an array [n_1, ..., n_i], normalised over its last axis.

    >>> logs = choice_logs((2, 3), jnp.zeros(2 + 6), None)
    >>> [log.shape for log in logs], jnp.exp(logs[1]).sum(-1).round(4).tolist()
    ([(2,), (2, 3)], [1.0, 1.0])
    """
    logs: list[Float[Array, "..."]] = []
    offset = 0
    for place in range(len(heads)):
        shape = heads[: place + 1]
        logits = outputs[offset : offset + math.prod(shape)].reshape(shape)
        offset += math.prod(shape)
        logits = logits if masks is None else jnp.where(masks[place], logits, LOG_ZERO)
        logs.append(jax.nn.log_softmax(logits, -1))
    return logs


def sample_choices(logs: list[Float[Array, "..."]], key: Key[Array, ""] | None) -> Int[Array, " H"]:
    """Draws an action, head by head; takes the most probable choices if `key` is None."""
    action: list[Array] = []
    for place, log in enumerate(logs):
        conditional = log[tuple(action)]
        chosen = (
            jnp.argmax(conditional)
            if key is None
            else jax.random.categorical(jax.random.fold_in(key, place), conditional)
        )
        action.append(chosen)
    return jnp.stack(action)


def log_probability_of_choices(logs: list[Float[Array, "..."]], action: Int[Array, " H"]) -> Float[Array, ""]:
    """The log-probability of an action: the sum over heads, each given the earlier choices.

    >>> logs = choice_logs((2, 3), jnp.zeros(2 + 6), None)
    >>> print(f"{jnp.exp(log_probability_of_choices(logs, jnp.array([1, 2]))):.4f}")
    0.1667
    """
    return sum((log[tuple(action[: place + 1])] for place, log in enumerate(logs)), start=jnp.zeros(()))


def entropy_of_choices(logs: list[Float[Array, "..."]]) -> Float[Array, ""]:
    """The entropy H = -sum_a p(a) log p(a) over all actions a; forbidden actions add nothing.

    It equals the sum of the entropies of all heads, each averaged over the earlier choices.

    >>> print(f"{jnp.exp(entropy_of_choices(choice_logs((2, 3), jnp.zeros(2 + 6), None))):.4f}")
    6.0000
    """
    joint = reduce(lambda earlier, log: earlier[..., None] + log, logs)
    return -jnp.sum(jnp.exp(joint) * joint)


class Normal(NamedTuple):
    """Independent normal distributions; both arrays are [A]."""

    mean: Float[Array, " A"]
    log_deviation: Float[Array, " A"]


def gaussian(space: Space) -> Actions:
    """Normally distributed numbers with mean m + h o_i and deviation h / 2 exp(o_(A+i)), for outputs o.

    m is the middle of the space and h half its width. The environment gets numbers clipped to the space,
    while probabilities are those of the numbers before clipping.

    Args:
        space: of actions [A], with finite bounds.

    Raises:
        InputError: the space is not one of vectors with finite bounds.

    >>> some = gaussian(Space((1,), 0.0, 4.0))
    >>> normal = some.distribution(jnp.zeros(2), None)
    >>> print(some.sample(normal, None), f"{some.log_probability(normal, jnp.array([2.0])):.4f}")
    [2.] -0.9189
    """
    if len(space.shape) != 1 or not (math.isfinite(space.low) and space.low < space.high < math.inf):
        raise InputError(f"actions are {space}; give a Space of vectors, Space((A,), low, high), low < high.")
    size, middle, half = space.shape[0], (space.low + space.high) / 2, (space.high - space.low) / 2

    def distribution(outputs: Float[Array, " O"], masks: Masks | None) -> Normal:
        logs = jnp.clip(outputs[size:], *LOG_DEVIATIONS)
        return Normal(middle + half * outputs[:size], logs + math.log(half / 2))

    def sample(normal: Normal, key: Key[Array, ""] | None) -> Float[Array, " A"]:
        noise = 0 if key is None else jax.random.normal(key, (size,))
        return lax.stop_gradient(normal.mean + jnp.exp(normal.log_deviation) * noise)

    def log_probability(normal: Normal, action: Float[Array, " A"]) -> Float[Array, ""]:
        standard = (action - normal.mean) * jnp.exp(-normal.log_deviation)
        return -jnp.sum(jnp.square(standard) / 2 + normal.log_deviation) - size * math.log(2 * math.pi) / 2

    def entropy(normal: Normal) -> Float[Array, ""]:
        return jnp.sum(normal.log_deviation) + size * (1 + math.log(2 * math.pi)) / 2

    def applied(action: Float[Array, " A"]) -> Float[Array, " A"]:
        return jnp.clip(action, space.low, space.high)

    return Actions(
        size=size,
        dtype=float,
        outputs=2 * size,
        distribution=distribution,
        sample=sample,
        log_probability=log_probability,
        entropy=entropy,
        seen=lambda action: (applied(action) - middle) / half,
        applied=applied,
    )
