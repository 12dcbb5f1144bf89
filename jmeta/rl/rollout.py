"""Rollouts: one trial played to its end, inside `jit` and `vmap`."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from ..batching import over_tasks
from ..errors import InputError
from ..records import Metrics
from ..validation import check_counts
from .environment import Environment, Transition, Trial
from .policy import Agent, Last, Masks, log_probability, logits_and_value, nothing_yet, sample


class History(NamedTuple):
    """A trial, step by step; what comes after its end does not count, and all its real numbers are zero.

    Attributes:
        inputs: [L, F] what the agent saw.
        masks: [L, ...] of every head; None where all is allowed.
        actions: [L, H].
        logs: [L] log-probabilities of the actions.
        values: [L] that the agent foretold.
        rewards: [L].
        resets: [L] whether an episode begins with the step.
        counts: [L] 1 for steps of the trial, 0 after its end.
        info: [L] what the environment says of every step.
    """

    inputs: Float[Array, "L F"]
    masks: Masks | None
    actions: Int[Array, "L H"]
    logs: Float[Array, " L"]
    values: Float[Array, " L"]
    rewards: Float[Array, " L"]
    resets: Bool[Array, " L"]
    counts: Float[Array, " L"]
    info: dict[str, Float[Array, " L"]]


class _Now(NamedTuple):
    """What is carried from step to step; `episodes` are those left."""

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
    """Play one trial: episodes one after the other, until there were enough or the steps are used up.

    Args:
        agent: who acts.
        environment: where.
        params: the agent's weights.
        trial: the task and its randomness.
        steps: L, the most that are taken.
        episodes: of the trial.
        greedy: whether the most probable actions are taken.

    Raises:
        InputError: a number is no count, or the agent's network cannot take so many steps.

    >>> import jmeta as jm
    >>> bandit = jm.rl.bernoulli_bandit(2)
    >>> agent = jm.rl.rl2(bandit, jm.networks.gru)
    >>> params = agent.network.init(jax.random.key(0))
    >>> trial = jm.rl.trials(bandit)(jax.random.key(1))
    >>> rollout(agent, bandit, params, trial, steps=4, episodes=3).counts
    Array([1., 1., 1., 0.], dtype=float32)
    """
    _check(agent, steps, episodes)
    task, begin, rest = trial.task, *jax.random.split(trial.key)
    empty = agent.network.start(params)

    def advance(now: _Now, number: Array) -> tuple[_Now, History]:
        act, move, anew = jax.random.split(jax.random.fold_in(rest, number), 3)
        masks = environment.masks(task, now.state) if environment.masks else None
        counts = now.episodes > 0
        if masks is not None:
            counts &= jnp.any(masks[0])

        def counted(value: Array) -> Float[Array, "..."]:
            return jnp.where(counts, value, 0.0)

        inputs = counted(agent.see(now.observation, now.last, number / steps))
        hidden, outputs = agent.network.step(params, now.hidden, inputs)
        logs, value = logits_and_value(outputs, agent.heads, masks)
        action = sample(logs, None if greedy else act)
        after = lax.cond(
            counts,
            lambda: environment.step(task, now.state, action, move),
            lambda: _stay(environment, task, now, action, move),
        )
        done = after.terminated | after.truncated
        state, observation = lax.cond(
            done, lambda: environment.reset(task, anew), lambda: (after.state, after.observation)
        )
        if agent.forgets:
            hidden = jax.tree.map(lambda new, old: jnp.where(done, new, old), empty, hidden)
        reward = jnp.asarray(after.reward, float)
        last = Last(action, reward, done.astype(float), jnp.ones(()))
        left = jnp.where(counts, now.episodes - done, 0)
        begun = (now.last.done > 0) | (number == 0)
        seen = History(
            inputs,
            masks,
            action,
            counted(log_probability(logs, action)),
            counted(value),
            counted(reward),
            begun,
            counts.astype(float),
            {name: counted(told) for name, told in after.info.items()},
        )
        return _Now(state, observation, hidden, last, left), seen

    start = _Now(*environment.reset(task, begin), empty, nothing_yet(len(agent.heads)), jnp.asarray(episodes))
    return lax.scan(advance, start, jnp.arange(steps))[1]


def _stay(environment: Environment, task: PyTree, now: _Now, action: Array, key: Array) -> Transition:
    """What comes of no step: nothing is run once a trial is over."""
    shapes = jax.eval_shape(environment.step, task, now.state, action, key)
    rest = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes[2:])
    return Transition(now.state, now.observation, *rest)


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
    """What an agent earns in every one of T trials: the sum of rewards, and of what is told of steps.

    Returns:
        "reward", "steps" and the environment's own, each [T].

    Raises:
        InputError: a number is no count, or the agent's network cannot take so many steps.
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
        found = rollout(
            agent, environment, params, Trial(task, key), steps=steps, episodes=episodes, greedy=greedy
        )
        sums = {"reward": found.rewards, "steps": found.counts} | found.info
        return {name: jnp.sum(values) for name, values in sums.items()}

    return over_tasks(one, shared=1)(params, trials.task, trials.key)


def _check(agent: Agent, steps: int, episodes: int) -> None:
    check_counts("rollout", steps=steps, episodes=episodes)
    limit = agent.network.limit
    if limit is not None and steps > limit:
        raise InputError(f"the network can take {limit} steps, but {steps} are asked for; make it longer.")
