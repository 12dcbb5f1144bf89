"""Environments: records of pure functions whose tasks are pytrees of arrays.

A trial is a number of episodes in one task; a batch of trials is a vmap over tasks and keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Key, Num, PyTree

from ..records import Sampler


class Space(NamedTuple):
    """A space of observations or of actions: arrays of one shape, with elements from `low` to `high`."""

    shape: tuple[int, ...]
    low: float
    high: float


class Transition(NamedTuple):
    """The outcome of one action.

    Attributes:
        state: the next state of the environment.
        observation: the observation of that state.
        reward: the reward of the action.
        terminated: whether the episode has reached a terminal state.
        truncated: whether the episode has reached its time limit.
        info: named scalars that the agent does not observe.
    """

    state: PyTree
    observation: Float[Array, "..."]
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]
    info: dict[str, Array]


class Environment(NamedTuple):
    """A distribution of tasks, and the dynamics of a task.

    Attributes:
        draw: `key -> task`, draws a task.
        reset: `(task, key) -> (state, observation)`, starts an episode.
        step: `(task, state, action [H], key) -> Transition`.
        observations: the space of observations.
        actions: number of choices of each of H heads; an action is one choice per head, made in order. Or the
            space of actions that are H numbers.
        masks: `(task, state) -> masks`, one per head: the allowed choices, [n_1], [n_1, n_2], ..., given
            those of earlier heads; None if all are allowed. The trial ends when the first head allows none.
    """

    draw: Callable[[Key[Array, ""]], PyTree]
    reset: Callable[..., tuple[PyTree, Array]]
    step: Callable[..., Transition]
    observations: Space
    actions: tuple[int, ...] | Space
    masks: Callable[[Any, Any], tuple[Bool[Array, "..."], ...]] | None = None


class Trial(NamedTuple):
    """One task to play, and its key."""

    task: PyTree
    key: Key[Array, ""]


Action = Num[Array, " H"]


def trials(environment: Environment) -> Sampler:
    """The sampler of an environment's trials, for `train` and `loop`.

    >>> import jmeta as jm
    >>> trials(jm.rl.bernoulli_bandit(3))(jax.random.key(0)).task.shape
    (3,)
    """

    def sample(key: Key[Array, ""]) -> Any:
        task_key, trial_key = jax.random.split(key)
        return Trial(environment.draw(task_key), trial_key)

    return sample
