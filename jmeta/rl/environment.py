"""Environments: records of pure functions, whose task is a pytree of numbers.

A trial is one task, played for some episodes; a batch of trials is a vmap over tasks and keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from ..records import Sampler


class Space(NamedTuple):
    """What may be observed: arrays of one shape, each number from `low` to `high`."""

    shape: tuple[int, ...]
    low: float
    high: float


class Transition(NamedTuple):
    """What one action leads to.

    Attributes:
        state: of the environment.
        observation: of that state.
        reward: for the action.
        terminated: whether the episode is over, as nothing more can come.
        truncated: whether it is over because its time is.
        info: named scalars that the agent does not see.
    """

    state: PyTree
    observation: Float[Array, "..."]
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]
    info: dict[str, Array]


class Environment(NamedTuple):
    """A distribution of tasks, and how to act in one.

    Attributes:
        draw: `key -> task`, the numbers of one task.
        reset: `(task, key) -> (state, observation)`, the start of an episode.
        step: `(task, state, action [H], key) -> Transition`.
        observations: what may be observed.
        actions: how many choices each of H heads has; an action is one of each, chosen in turn.
        masks: `(task, state) -> masks`, one a head: which choices are allowed, [n_1], [n_1, n_2], ..., given
            those of the heads before; None where all are. Where the first head allows none, the trial ends.
    """

    draw: Callable[[Key[Array, ""]], PyTree]
    reset: Callable[..., tuple[PyTree, Array]]
    step: Callable[..., Transition]
    observations: Space
    actions: tuple[int, ...]
    masks: Callable[[Any, Any], tuple[Bool[Array, "..."], ...]] | None = None


class Trial(NamedTuple):
    """One task to be played, and its randomness."""

    task: PyTree
    key: Key[Array, ""]


Action = Int[Array, " H"]


def trials(environment: Environment) -> Sampler:
    """The sampler of an environment's trials, for `train` and `loop`.

    >>> import jmeta as jm
    >>> trials(jm.rl.bernoulli_bandit(3))(jax.random.key(0)).task.shape
    (3,)
    """

    def sample(key: Key[Array, ""]) -> Any:
        own, rest = jax.random.split(key)
        return Trial(environment.draw(own), rest)

    return sample
