"""Rollouts: plays one trial to its end, inside `jit` and `vmap`."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, Num, PyTree

from ..batching import over_tasks
from ..errors import InputError
from ..records import Metrics
from ..validation import check_counts
from .actions import Masks
from .environment import Environment, Transition, Trial
from .policy import Agent, Last, before_first_step


class History(NamedTuple):
    """The steps of a trial; all floating-point values after its end are zero.

    Attributes:
        inputs: [L, F] inputs of the agent's network.
        masks: [L, ...] allowed choices of every head; None if all are allowed.
        actions: [L, H].
        logs: [L] log-probabilities of the actions; of numbers the logarithms of their density.
        values: [L] values that the agent predicted.
        rewards: [L].
        resets: [L] whether an episode starts at the step.
        counts: [L] 1 for steps of the trial, 0 after its end.
        info: [L] each, the `info` of the transitions.
    """

    inputs: Float[Array, "L F"]
    masks: Masks | None
    actions: Num[Array, "L H"]
    logs: Float[Array, " L"]
    values: Float[Array, " L"]
    rewards: Float[Array, " L"]
    resets: Bool[Array, " L"]
    counts: Float[Array, " L"]
    info: dict[str, Float[Array, " L"]]


class _Carry(NamedTuple):
    """The carry of the scan over steps; `episodes` is the number of episodes left."""

    state: PyTree
    observation: Array
    hidden: PyTree
    last: Last
    episodes: Int[Array, ""]


def rollout(
    agent: Agent,
    environment: Environment,
    params: PyTree,
    trial: Trial,
    *,
    steps: int,
    episodes: int,
    greedy: bool = False,
) -> History:
    """Plays one trial: consecutive episodes, until their number or the steps are reached.

    Args:
        agent: the agent that acts.
        environment: the environment it acts in.
        params: the agent's weights.
        trial: the task and its key.
        steps: L, the maximum number of steps.
        episodes: the maximum number of episodes.
        greedy: whether the most probable actions are taken.

    Raises:
        InputError: `steps` or `episodes` is out of its range, or `steps` exceeds the limit of the network.

    >>> import jmeta as jm
    >>> bandit = jm.rl.bernoulli_bandit(2)
    >>> agent = jm.rl.rl2(bandit, jm.networks.gru)
    >>> params = agent.network.init(jax.random.key(0))
    >>> trial = jm.rl.trials(bandit)(jax.random.key(1))
    >>> rollout(agent, bandit, params, trial, steps=4, episodes=3).counts
    Array([1., 1., 1., 0.], dtype=float32)
    """
    _check(agent, steps, episodes)
    task = trial.task
    start_key, steps_key = jax.random.split(trial.key)
    empty = agent.network.start(params)

    def advance(carry: _Carry, number: Array) -> tuple[_Carry, History]:
        act, move, anew = jax.random.split(jax.random.fold_in(steps_key, number), 3)
        masks = environment.masks(task, carry.state) if environment.masks else None
        counts = carry.episodes > 0
        if masks is not None:
            counts &= jnp.any(masks[0])

        def counted(value: Array) -> Float[Array, "..."]:
            return jnp.where(counts, value, 0.0)

        inputs = counted(agent.see(carry.observation, carry.last, number / steps))
        hidden, outputs = agent.network.step(params, carry.hidden, inputs)
        policy, value = agent.policy_and_value(outputs, masks)
        action = agent.actions.sample(policy, None if greedy else act)
        applied = agent.actions.applied(action)
        after = lax.cond(
            counts,
            lambda: environment.step(task, carry.state, applied, move),
            lambda: _stay(environment, task, carry, applied, move),
        )
        done = after.terminated | after.truncated
        state, observation = lax.cond(
            done, lambda: environment.reset(task, anew), lambda: (after.state, after.observation)
        )
        if agent.forgets:
            hidden = jax.tree.map(lambda new, old: jnp.where(done, new, old), empty, hidden)
        reward = jnp.asarray(after.reward, float)
        last = Last(action, reward, done.astype(float), jnp.ones(()))
        left = jnp.where(counts, carry.episodes - done, 0)
        record = History(
            inputs=inputs,
            masks=masks,
            actions=jnp.where(counts, action, jnp.zeros((), action.dtype)),
            logs=counted(agent.actions.log_probability(policy, action)),
            values=counted(value),
            rewards=counted(reward),
            resets=(carry.last.done > 0) | (number == 0),
            counts=counts.astype(float),
            info={name: counted(scalar) for name, scalar in after.info.items()},
        )
        return _Carry(state=state, observation=observation, hidden=hidden, last=last, episodes=left), record

    state, observation = environment.reset(task, start_key)
    last = before_first_step(agent.actions)
    start = _Carry(
        state=state, observation=observation, hidden=empty, last=last, episodes=jnp.asarray(episodes)
    )
    return lax.scan(advance, start, jnp.arange(steps))[1]


def _stay(environment: Environment, task: PyTree, carry: _Carry, action: Array, key: Array) -> Transition:
    """The transition after the end of a trial, where the environment is not run."""
    shapes = jax.eval_shape(environment.step, task, carry.state, action, key)
    rest = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes[2:])
    return Transition(carry.state, carry.observation, *rest)


def returns_of(history: History, episodes: int) -> Float[Array, " E"]:
    """The total reward of each episode of a trial; zero for those that were not played.

    >>> rewards, resets = jnp.array([1.0, 2.0, 4.0, 0.0]), jnp.array([True, False, True, True])
    >>> rest = dict.fromkeys(["inputs", "masks", "actions", "logs", "values", "counts", "info"])
    >>> returns_of(History(rewards=rewards, resets=resets, **rest), 3)
    Array([3., 4., 0.], dtype=float32)
    """
    return jax.ops.segment_sum(history.rewards, jnp.cumsum(history.resets) - 1, episodes)


def play(
    agent: Agent,
    environment: Environment,
    params: PyTree,
    trials: Trial,
    *,
    steps: int,
    episodes: int,
    greedy: bool = False,
) -> Metrics:
    """The total reward, number of steps and total `info` of an agent in each of T trials.

    Returns:
        "reward", "steps" and the names in `info`, each [T]; and "returns" [T, E], the total reward of each of
        E episodes, in which an agent that learns within a trial improves; zero for those not played.

    Raises:
        InputError: `steps` or `episodes` is out of its range, or `steps` exceeds the limit of the network.
    """
    return _play(agent, environment, steps, episodes, greedy, params, trials)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _play(
    agent: Agent,
    environment: Environment,
    steps: int,
    episodes: int,
    greedy: bool,
    params: PyTree,
    trials: Trial,
) -> Metrics:
    def one(params: PyTree, task: PyTree, key: Key[Array, ""]) -> Metrics:
        history = rollout(
            agent, environment, params, Trial(task, key), steps=steps, episodes=episodes, greedy=greedy
        )
        sums = {"reward": history.rewards, "steps": history.counts} | history.info
        totals = {name: jnp.sum(values) for name, values in sums.items()}
        return totals | {"returns": returns_of(history, episodes)}

    return over_tasks(one, shared=1)(params, trials.task, trials.key)


def _check(agent: Agent, steps: int, episodes: int) -> None:
    check_counts("rollout", steps=steps, episodes=episodes)
    limit = agent.network.limit
    if limit is not None and steps > limit:
        raise InputError(f"steps is {steps}, but the network can take {limit}; give fewer, or lengthen it.")
