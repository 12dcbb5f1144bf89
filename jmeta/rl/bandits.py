"""Bandits: some arms, each with a reward of its own; every pull is an episode.

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
    """Arms that pay 1 with probabilities p_i ~ U(0, 1), else 0.

    Args:
        arms: k; the task is [k] probabilities.

    Raises:
        InputError: there is no arm.

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
    """Arms that pay mu_i + noise * e, with mu_i = spread * e_i and all e standard normal.

    Args:
        arms: k; the task is [k] means.
        spread: the deviation of means.
        noise: the deviation of one arm's rewards.

    Raises:
        InputError: there is no arm.

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
    nothing, over = jnp.zeros, jnp.bool_

    def reset(means: Float[Array, " k"], key: Key[Array, ""]) -> tuple[tuple, Array]:
        return (), nothing(1)

    def step(means: Float[Array, " k"], state: tuple, action: Action, key: Key[Array, ""]) -> Transition:
        mean = means[action[0]]
        info = {"regret": jnp.max(means) - mean}
        return Transition((), nothing(1), pay(mean, key), over(True), over(False), info)

    return Environment(draw, reset, step, Space((1,), 0.0, 1.0), (arms,))
