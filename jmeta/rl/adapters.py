"""Environments of other libraries as ours, and ours as gymnasium's.

gymnasium's are objects on the host that change: one at a time, and in order. gymnax's are pure functions.
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
    """An environment as a `gymnasium.Env`: every `reset` draws a new task.

    Args:
        environment: with any actions; with several heads they are a `MultiDiscrete`.

    Raises:
        InputError: gymnasium is not installed.

    >>> import jmeta as jm
    >>> outside = to_gymnasium(jm.rl.tabular_mdp(states=3, actions=2))
    >>> outside.action_space, outside.reset(seed=0)[0].tolist()
    (Discrete(2), [1.0, 0.0, 0.0])
    """
    gymnasium: Any = _gymnasium()
    seen = environment.observations
    one = len(environment.actions) == 1
    step, reset = jax.jit(environment.step), jax.jit(environment.reset)

    class Outside(gymnasium.Env):
        metadata: ClassVar[dict] = {"render_modes": []}
        observation_space = gymnasium.spaces.Box(seen.low, seen.high, seen.shape, np.float32)
        action_space = (
            gymnasium.spaces.Discrete(environment.actions[0])
            if one
            else gymnasium.spaces.MultiDiscrete(environment.actions)
        )

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
            super().reset(seed=seed)
            self._key = jax.random.key(int(self.np_random.integers(2**31)))
            self._task = environment.draw(self._next())
            self._state, observation = reset(self._task, self._next())
            return np.asarray(observation, np.float32), {}

        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
            after = step(self._task, self._state, jnp.atleast_1d(jnp.asarray(action)), self._next())
            self._state = after.state
            told = {name: float(value) for name, value in after.info.items()}
            ends = bool(after.terminated), bool(after.truncated)
            return np.asarray(after.observation, np.float32), float(after.reward), *ends, told

        def _next(self) -> Key[Array, ""]:
            self._key, own = jax.random.split(self._key)
            return own

    return Outside()


def from_gymnasium(outside: Any) -> Environment:
    """A `gymnasium.Env` as an environment, for `rollout` of one trial at a time; under `vmap` it raises.

    Its state is its own; the task is a seed, and every episode of a trial is reset with it. So an environment
    that draws its process when it is seeded has the same one in all episodes; but they also have the same
    start and the same chance: the same actions lead to the same.

    Raises:
        InputError: gymnasium is not installed, observations are no `Box`, or actions are neither `Discrete`
            nor one row of `MultiDiscrete`, counted from zero.
    """
    spaces = _gymnasium().spaces
    seen, acts = outside.observation_space, outside.action_space
    if not isinstance(seen, spaces.Box):
        raise InputError(f"observations are {seen}; flatten them into a Box.")
    one = isinstance(acts, spaces.Discrete)
    row = isinstance(acts, spaces.MultiDiscrete) and acts.nvec.ndim == 1
    if not (one or row) or np.any(acts.start):
        raise InputError(f"actions are {acts}; Discrete and MultiDiscrete from zero can be used.")
    counts = np.atleast_1d(acts.n if one else acts.nvec)
    number = jax.ShapeDtypeStruct((), np.float32)
    observation = jax.ShapeDtypeStruct(seen.shape, np.float32)

    def begin(seed: np.ndarray) -> np.ndarray:
        return np.asarray(outside.reset(seed=int(seed))[0], np.float32)

    def act(action: np.ndarray) -> tuple[np.ndarray, ...]:
        chosen = int(action[0]) if one else np.asarray(action)
        found, reward, terminated, truncated, _ = outside.step(chosen)
        return tuple(np.asarray(value, np.float32) for value in (found, reward, terminated, truncated))

    def reset(task: Array, key: Key[Array, ""]) -> tuple[tuple, Array]:
        return (), io_callback(begin, observation, task, ordered=True)

    def step(task: Array, state: tuple, action: Action, key: Key[Array, ""]) -> Transition:
        found = io_callback(act, (observation, number, number, number), action, ordered=True)
        return Transition((), found[0], found[1], found[2] > 0, found[3] > 0, {})

    def draw(key: Key[Array, ""]) -> Array:
        return jax.random.randint(key, (), 0, 2**31 - 1)

    low, high = float(np.min(seen.low)), float(np.max(seen.high))
    return Environment(draw, reset, step, Space(seen.shape, low, high), tuple(counts.tolist()))


def from_gymnax(outside: Any, params: PyTree) -> Environment:
    """A gymnax environment, whose every task has the same numbers.

    Args:
        outside: such as `gymnax.make(name)[0]`.
        params: its numbers, the second of what `make` gives.

    Raises:
        InputError: actions are not counted.
    """
    acts, seen = outside.action_space(params), outside.observation_space(params)
    if not hasattr(acts, "n"):
        raise InputError(f"actions are {type(acts).__name__}; those that are counted can be used.")

    def reset(task: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Array]:
        observation, state = outside.reset_env(key, task)
        return state, jnp.asarray(observation, float)

    def step(task: PyTree, state: PyTree, action: Action, key: Key[Array, ""]) -> Transition:
        observation, after, reward, done, _ = outside.step_env(key, state, action[0], task)
        return Transition(
            after,
            jnp.asarray(observation, float),
            jnp.asarray(reward, float),
            jnp.asarray(done, bool),
            jnp.bool_(False),
            {},
        )

    bounds = float(np.min(getattr(seen, "low", -np.inf))), float(np.max(getattr(seen, "high", np.inf)))
    return Environment(
        lambda key: jax.tree.map(jnp.asarray, params),
        reset,
        step,
        Space(tuple(seen.shape), *bounds),
        (acts.n,),
    )


def _gymnasium() -> Any:
    try:
        import gymnasium
    except ImportError:
        raise InputError("gymnasium is not installed; pip install 'jmeta[rl]'.") from None
    return gymnasium
