"""Random Markov decision processes with few states, as in the RL2 paper.

Reference: Duan et al. 2016, RL2: Fast reinforcement learning via slow reinforcement learning; Osband et al.
2013, (More) efficient reinforcement learning via posterior sampling.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ..validation import check_counts
from .environment import Action, Environment, Space, Transition


class Process(NamedTuple):
    """The parameters of one process.

    Attributes:
        rewards: [S, A] mean rewards; rewards have a standard deviation of 1.
        logits: [S, A, S] logarithms of the transition probabilities.
    """

    rewards: Float[Array, "S A"]
    logits: Float[Array, "S A S"]


class Place(NamedTuple):
    """The state of an episode: the current state of the process, and the number of steps taken."""

    at: Int[Array, ""]
    steps: Int[Array, ""]


def tabular_mdp(states: int = 10, actions: int = 5, horizon: int = 10) -> Environment:
    """Decision processes with mean rewards ~ N(1, 1) and transition probabilities ~ Dirichlet(1).

    Every episode starts in the first state.

    Args:
        states: S, the number of states.
        actions: A, the number of actions.
        horizon: number of steps after which an episode is truncated.

    Raises:
        InputError: an argument is less than one.

    >>> process = tabular_mdp()
    >>> task = process.draw(jax.random.key(0))
    >>> print(jnp.exp(task.logits).sum(-1).round(4).min(), process.reset(task, jax.random.key(1))[1][:2])
    1.0 [1. 0.]
    """
    check_counts("tabular_mdp", states=states, actions=actions, horizon=horizon)

    def draw(key: Key[Array, ""]) -> Process:
        first, second = jax.random.split(key)
        rewards = 1 + jax.random.normal(first, (states, actions))
        chances = jax.random.dirichlet(second, jnp.ones(states), (states, actions))
        return Process(rewards, jnp.log(jnp.maximum(chances, 1e-30)))

    def observed(at: Int[Array, ""]) -> Float[Array, " S"]:
        return jax.nn.one_hot(at, states)

    def reset(task: Process, key: Key[Array, ""]) -> tuple[Place, Array]:
        start = Place(jnp.asarray(0), jnp.asarray(0))
        return start, observed(start.at)

    def step(task: Process, state: Place, action: Action, key: Key[Array, ""]) -> Transition:
        pay, move = jax.random.split(key)
        reward = task.rewards[state.at, action[0]] + jax.random.normal(pay)
        after = Place(jax.random.categorical(move, task.logits[state.at, action[0]]), state.steps + 1)
        return Transition(
            state=after,
            observation=observed(after.at),
            reward=reward,
            terminated=jnp.bool_(False),
            truncated=after.steps >= horizon,
            info={},
        )

    return Environment(
        draw=draw, reset=reset, step=step, observations=Space((states,), 0.0, 1.0), actions=(actions,)
    )
