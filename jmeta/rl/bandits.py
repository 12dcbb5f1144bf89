"""Bandits: arms with different reward distributions; every pull is an episode.

Reference: Duan et al. 2016, RL2: Fast reinforcement learning via slow reinforcement learning.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..validation import check_counts
from .environment import Action, Environment, Space, Transition


def bernoulli_bandit(arms: int) -> Environment:
    """A bandit whose arms pay 1 with probability p_i ~ U(0, 1), else 0.

    Args:
        arms: k, the number of arms; a task is their [k] probabilities.

    Raises:
        InputError: `arms` is less than one.

    >>> bandit = bernoulli_bandit(2)
    >>> sure = jnp.array([0.0, 1.0])
    >>> float(bandit.step(sure, (), jnp.array([1]), jax.random.key(0)).reward)
    1.0
    """
    check_counts("bernoulli_bandit", arms=arms)

    def draw(key: Key[Array, ""]) -> Float[Array, " k"]:
        return jax.random.uniform(key, (arms,))

    def pay(mean: Array, key: Key[Array, ""]) -> Array:
        return jax.random.bernoulli(key, mean).astype(mean.dtype)

    return _bandit(arms, draw, pay)


def gaussian_bandit(arms: int, *, spread: float = 1.0, noise: float = 1.0) -> Environment:
    """A bandit whose arms pay mu_i + noise * e, with mu_i = spread * e_i and all e standard normal.

    Args:
        arms: k, the number of arms; a task is their [k] means.
        spread: standard deviation of the means.
        noise: standard deviation of the rewards of one arm.

    Raises:
        InputError: `arms` is less than one.

    >>> gaussian_bandit(2).draw(jax.random.key(0)).shape
    (2,)
    """
    check_counts("gaussian_bandit", arms=arms)

    def draw(key: Key[Array, ""]) -> Float[Array, " k"]:
        return spread * jax.random.normal(key, (arms,))

    def pay(mean: Array, key: Key[Array, ""]) -> Array:
        return mean + noise * jax.random.normal(key)

    return _bandit(arms, draw, pay)


def _bandit(
    arms: int, draw: Callable[[Key[Array, ""]], Array], pay: Callable[[Array, Key[Array, ""]], Array]
) -> Environment:
    def reset(means: Float[Array, " k"], key: Key[Array, ""]) -> tuple[tuple, Array]:
        return (), jnp.zeros(1)

    def step(means: Float[Array, " k"], state: tuple, action: Action, key: Key[Array, ""]) -> Transition:
        mean = means[action[0]]
        return Transition(
            state=(),
            observation=jnp.zeros(1),
            reward=pay(mean, key),
            terminated=jnp.bool_(True),
            truncated=jnp.bool_(False),
            info={"regret": jnp.max(means) - mean},
        )

    return Environment(draw=draw, reset=reset, step=step, observations=Space((1,), 0.0, 1.0), actions=(arms,))
