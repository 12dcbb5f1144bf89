"""A point that is moved in the plane towards a goal that it does not see: continuous actions.

Reference: Finn et al. 2017, Model-agnostic meta-learning for fast adaptation of deep networks, the
navigation in two dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ..validation import check_counts
from .environment import Action, Environment, Space, Transition

REACH = 0.25
"""The largest move along each axis."""


class Position(NamedTuple):
    """The state of an episode: the position of the point, and the number of steps taken."""

    at: Float[Array, " 2"]
    steps: Int[Array, ""]


def point_mass(horizon: int = 10) -> Environment:
    """A point that starts at the origin, moves by `REACH` times the action, and pays its distance to a goal.

    A task is its goal [2], uniform in [-1, 1]^2. The agent sees the position alone, and infers the goal from
    rewards  -||position - goal||.

    Args:
        horizon: number of steps after which an episode is truncated.

    Raises:
        InputError: `horizon` is less than one.

    >>> world = point_mass()
    >>> goal = jnp.array([0.25, 0.0])
    >>> start, _ = world.reset(goal, jax.random.key(0))
    >>> float(world.step(goal, start, jnp.array([1.0, 0.0]), jax.random.key(1)).reward)
    -0.0
    """
    check_counts("point_mass", horizon=horizon)

    def draw(key: Key[Array, ""]) -> Float[Array, " 2"]:
        return jax.random.uniform(key, (2,), minval=-1.0)

    def reset(goal: Array, key: Key[Array, ""]) -> tuple[Position, Array]:
        return Position(jnp.zeros(2), jnp.asarray(0)), jnp.zeros(2)

    def step(goal: Array, state: Position, action: Action, key: Key[Array, ""]) -> Transition:
        after = Position(state.at + REACH * action, state.steps + 1)
        return Transition(
            state=after,
            observation=after.at,
            reward=-jnp.linalg.norm(after.at - goal),
            terminated=jnp.bool_(False),
            truncated=after.steps >= horizon,
            info={},
        )

    far = REACH * horizon
    return Environment(
        draw=draw,
        reset=reset,
        step=step,
        observations=Space((2,), -far, far),
        actions=Space((2,), -1.0, 1.0),
    )
