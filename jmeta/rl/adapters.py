"""Conversion of environments to gymnasium, and from gymnasium and gymnax.

Gymnasium environments are stateful objects on the host, which run one at a time and in order. Gymnax
environments are pure functions.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jaxtyping import Array, Key, PyTree

from ..errors import InputError
from .environment import Action, Environment, Space, Transition


def to_gymnasium(environment: Environment) -> Any:
    """Converts an environment to a `gymnasium.Env`; every `reset` draws a new task.

    Args:
        environment: the environment; its action space is `Discrete`, `MultiDiscrete` if it has several heads,
            or a `Box`.

    Raises:
        InputError: gymnasium is not installed.

    >>> import jmeta as jm
    >>> env = to_gymnasium(jm.rl.tabular_mdp(states=3, actions=2))
    >>> env.action_space, env.reset(seed=0)[0].tolist()
    (Discrete(2), [1.0, 0.0, 0.0])
    """
    gymnasium: Any = _gymnasium()
    space, actions = environment.observations, environment.actions
    step, reset = jax.jit(environment.step), jax.jit(environment.reset)

    class GymnasiumEnv(gymnasium.Env):
        metadata: ClassVar[dict] = {"render_modes": []}
        observation_space = gymnasium.spaces.Box(space.low, space.high, space.shape, np.float32)
        action_space = _outside_space(gymnasium.spaces, actions)

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
            super().reset(seed=seed)
            self._key = jax.random.key(int(self.np_random.integers(2**31)))
            self._task = environment.draw(self._next())
            self._state, observation = reset(self._task, self._next())
            return np.asarray(observation, np.float32), {}

        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
            after = step(self._task, self._state, jnp.atleast_1d(jnp.asarray(action)), self._next())
            self._state = after.state
            info = {name: float(value) for name, value in after.info.items()}
            ends = bool(after.terminated), bool(after.truncated)
            return np.asarray(after.observation, np.float32), float(after.reward), *ends, info

        def _next(self) -> Key[Array, ""]:
            self._key, key = jax.random.split(self._key)
            return key

    return GymnasiumEnv()


def from_gymnasium(outside: Any) -> Environment:
    """Converts a `gymnasium.Env`, for `rollout` of one trial at a time; under `vmap` it raises.

    The state stays in the object. The task is a seed, and every episode of a trial is reset with it: an
    environment that draws its process when it is seeded has the same process in all episodes of a trial, but
    also the same start and the same random draws, so that equal actions have equal outcomes.

    Raises:
        InputError: gymnasium is not installed, the observation space is not a `Box`, or the action space is
            neither `Discrete` nor one-dimensional `MultiDiscrete`, counted from zero, nor a one-dimensional
            `Box` with the same finite bounds for all numbers.
    """
    spaces = _gymnasium().spaces
    space, actions = outside.observation_space, outside.action_space
    if not isinstance(space, spaces.Box):
        raise InputError(f"observations are {space}; flatten them into a Box.")
    single = isinstance(actions, spaces.Discrete)
    inside = _inside_space(spaces, actions)
    scalar = jax.ShapeDtypeStruct((), np.float32)
    observation = jax.ShapeDtypeStruct(space.shape, np.float32)

    def begin(seed: np.ndarray) -> np.ndarray:
        return np.asarray(outside.reset(seed=int(seed))[0], np.float32)

    def act(action: np.ndarray) -> tuple[np.ndarray, ...]:
        chosen = int(action[0]) if single else np.asarray(action)
        return tuple(np.asarray(value, np.float32) for value in outside.step(chosen)[:4])

    def reset(task: Array, key: Key[Array, ""]) -> tuple[tuple, Array]:
        return (), io_callback(begin, observation, task, ordered=True)

    def step(task: Array, state: tuple, action: Action, key: Key[Array, ""]) -> Transition:
        observed, reward, terminated, truncated = io_callback(
            act, (observation, scalar, scalar, scalar), action, ordered=True
        )
        return Transition(
            state=(),
            observation=observed,
            reward=reward,
            terminated=terminated > 0,
            truncated=truncated > 0,
            info={},
        )

    def draw(key: Key[Array, ""]) -> Array:
        return jax.random.randint(key, (), 0, 2**31 - 1)

    return Environment(
        draw=draw,
        reset=reset,
        step=step,
        observations=Space(space.shape, float(np.min(space.low)), float(np.max(space.high))),
        actions=inside,
    )


def from_gymnax(outside: Any, params: PyTree) -> Environment:
    """Converts a gymnax environment; all tasks have the same parameters.

    Args:
        outside: the environment, such as `gymnax.make(name)[0]`.
        params: its parameters, the second value that `make` returns.

    Raises:
        InputError: the action space is neither discrete nor a box of vectors with the same finite bounds for
            all numbers.
    """
    actions, space = outside.action_space(params), outside.observation_space(params)
    counted = hasattr(actions, "n")
    inside = (actions.n,) if counted else _box_of(actions)
    if inside is None:
        raise InputError(
            f"actions are {type(actions).__name__}; give discrete actions, or a box of vectors with the same "
            "finite bounds for all numbers."
        )

    def reset(task: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Array]:
        observation, state = outside.reset_env(key, task)
        return state, jnp.asarray(observation, float)

    def step(task: PyTree, state: PyTree, action: Action, key: Key[Array, ""]) -> Transition:
        chosen = action[0] if counted else action
        observation, after, reward, done, _ = outside.step_env(key, state, chosen, task)
        return Transition(
            state=after,
            observation=jnp.asarray(observation, float),
            reward=jnp.asarray(reward, float),
            terminated=jnp.asarray(done, bool),
            truncated=jnp.bool_(False),
            info={},
        )

    bounds = float(np.min(getattr(space, "low", -np.inf))), float(np.max(getattr(space, "high", np.inf)))
    return Environment(
        draw=lambda key: jax.tree.map(jnp.asarray, params),
        reset=reset,
        step=step,
        observations=Space(tuple(space.shape), *bounds),
        actions=inside,
    )


def _outside_space(spaces: Any, actions: tuple[int, ...] | Space) -> Any:
    """The space of gymnasium with these actions."""
    if isinstance(actions, Space):
        return spaces.Box(actions.low, actions.high, actions.shape, np.float32)
    return spaces.Discrete(actions[0]) if len(actions) == 1 else spaces.MultiDiscrete(actions)


def _inside_space(spaces: Any, actions: Any) -> tuple[int, ...] | Space:
    """The actions of an environment whose space of gymnasium this is."""
    if isinstance(actions, spaces.Discrete) and not actions.start:
        return (int(actions.n),)
    if isinstance(actions, spaces.MultiDiscrete) and actions.nvec.ndim == 1 and not np.any(actions.start):
        return tuple(actions.nvec.tolist())
    if isinstance(actions, spaces.Box) and (box := _box_of(actions)):
        return box
    raise InputError(
        f"actions are {actions}; give Discrete or MultiDiscrete actions that start at 0, or a Box of vectors "
        "with the same finite bounds for all numbers."
    )


def _box_of(actions: Any) -> Space | None:
    """The space of vectors with the bounds of a box; None if they differ or are infinite."""
    shape = tuple(getattr(actions, "shape", ()))
    low, high = (np.unique(np.asarray(getattr(actions, name, np.nan))) for name in ("low", "high"))
    if len(shape) != 1 or len(low) != 1 or len(high) != 1 or not np.all(np.isfinite([low, high])):
        return None
    return Space(shape, float(low[0]), float(high[0]))


def _gymnasium() -> Any:
    try:
        import gymnasium
    except ImportError:
        raise InputError("gymnasium is not installed; pip install 'jmeta[rl]'.") from None
    return gymnasium
