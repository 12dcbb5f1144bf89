"""RL2 on random Markov decision processes with ten states, compared with Bayesian planning.

Protocol of Duan et al. 2016: 10 states, 5 actions, rewards of mean N(1, 1) and standard deviation 1,
transitions Dirichlet(1), episodes of 10 steps that start in a fixed state; a trial is n episodes of the same
process, and its reward is the sum over all of them. Test tasks are new.

- reward/N: the trained agent
- random: uniformly random actions; greedy: in every episode, the optimal plan for the posterior mean of the
  process; psrl: the plan for a draw from the posterior (Osband et al. 2013); epsilon_greedy: greedy, with a
  random action in a tenth of the steps; known: the plan for the true process, an upper bound

    python -m experiments.rl2_tabular --preset cpu

The quick preset takes seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import jmeta as jm
from jmeta import harness
from jmeta.metrics import Interval
from jmeta.training.loop import draw_tasks

EPSILON = 0.1
"""Share of random actions of epsilon-greedy."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    episodes: tuple[int, ...] = (10,)
    """n, episodes of a trial."""
    states: int = 10
    """S, number of states."""
    actions: int = 5
    """A, number of actions."""
    horizon: int = 10
    """Steps of an episode."""
    steps: int = 1_000
    """Training steps."""
    tasks: int = 128
    """Trials per step."""
    width: int = 128
    """Width of the memory."""
    rate: float = 2e-3
    """Initial learning rate of Adam, which decays to a tenth."""
    test_tasks: int = 1_000
    """Number of test tasks."""
    every: int = 50
    """Steps between two rows of the log."""


PRESETS = {
    "quick": Config(
        preset="quick",
        episodes=(2,),
        states=3,
        actions=2,
        horizon=3,
        steps=4,
        tasks=8,
        width=8,
        test_tasks=20,
        every=2,
    ),
    "cpu": Config(),
    "gpu": Config(preset="gpu", episodes=(10, 25, 50, 75, 100), steps=5_000, tasks=1_024, width=256),
}


def experiment(config: Config) -> harness.Metrics:
    """Trains and tests with every number of episodes."""
    metrics: dict[str, Interval] = {}
    for count in config.episodes:
        metrics[f"reward/{count}"] = _agent_reward(config, count)
        rewards = rules(config, count)
        metrics |= {f"reward/{count}/{rule}": jm.interval(values) for rule, values in rewards.items()}
    return metrics


def _agent_reward(config: Config, episodes: int) -> Interval:
    """The reward of a trained agent on the test tasks."""
    process = jm.rl.tabular_mdp(config.states, config.actions, config.horizon)
    agent = jm.rl.rl2(process, partial(jm.networks.gru, width=config.width))
    schedule = optax.exponential_decay(config.rate, config.steps * 8, 0.1)
    steps = episodes * config.horizon
    learn = jm.rl.ppo(
        agent,
        process,
        harness.clipped_adam(schedule),
        steps=steps,
        episodes=episodes,
    )
    start, train, test = jax.random.split(config.key, 3)
    sampler = jm.rl.trials(process)
    state, _ = harness.train(
        config,
        f"{episodes}_episodes",
        learn,
        sampler,
        learn.init(agent.network.init(start)),
        train,
        steps=config.steps,
        tasks=config.tasks,
        every=config.every,
    )
    tasks: Any = draw_tasks(sampler, test, 0, config.test_tasks)
    returns = jm.rl.play(agent, process, state.meta, tasks, steps=steps, episodes=episodes)
    return jm.interval(np.asarray(returns["reward"]))


class Statistics(NamedTuple):
    """The sufficient statistics of the posterior of T processes.

    Attributes:
        visits: [T, S, A] how often an action was taken in a state.
        rewards: [T, S, A] sums of its rewards.
        transitions: [T, S, A, S] counts of the next states.
    """

    visits: np.ndarray
    rewards: np.ndarray
    transitions: np.ndarray


def rules(config: Config, episodes: int) -> dict[str, np.ndarray]:
    """[T] total rewards of every planning rule on the same processes."""
    random = np.random.default_rng(config.seed)
    shape = (config.test_tasks, config.states, config.actions)
    means = 1 + random.normal(size=shape)
    transitions = random.dirichlet(np.ones(config.states), shape)
    play = partial(_play, config, episodes, means, transitions)
    return {
        "random": play(_posterior_mean, 1.0),
        "greedy": play(_posterior_mean, 0.0),
        "epsilon_greedy": play(_posterior_mean, EPSILON),
        "psrl": play(_posterior_draw, 0.0),
        "known": play(lambda statistics, random: (means, transitions), 0.0),
    }


def _play(
    config: Config,
    episodes: int,
    means: np.ndarray,
    transitions: np.ndarray,
    estimate: Callable[[Statistics, np.random.Generator], tuple[np.ndarray, np.ndarray]],
    epsilon: float,
) -> np.ndarray:
    """[T] total rewards of planning, before every episode, for an estimate of the process.

    Args:
        config: the options.
        episodes: of a trial.
        means: [T, S, A] mean rewards.
        transitions: [T, S, A, S] transition probabilities.
        estimate: (statistics, random generator) -> estimates of `means` and `transitions`.
        epsilon: the probability of a random action.
    """
    random = np.random.default_rng(config.seed + 1)
    rows = np.arange(len(means))
    statistics = Statistics(np.zeros(means.shape), np.zeros(means.shape), np.zeros(transitions.shape))
    cumulative = np.cumsum(transitions, -1)
    total = np.zeros(len(means))
    for _ in range(episodes):
        actions = plan(*estimate(statistics, random), config.horizon)
        state = np.zeros(len(means), int)
        for step in range(config.horizon):
            any_action = random.integers(0, config.actions, len(means))
            explored = random.random(len(means)) < epsilon
            action = np.where(explored, any_action, actions[step][rows, state])
            reward = means[rows, state, action] + random.normal(size=len(means))
            above = random.random((len(means), 1)) > cumulative[rows, state, action]
            next_state = np.minimum(above.sum(1), config.states - 1)
            statistics.visits[rows, state, action] += 1
            statistics.rewards[rows, state, action] += reward
            statistics.transitions[rows, state, action, next_state] += 1
            total = total + reward
            state = next_state
    return total


def plan(rewards: np.ndarray, transitions: np.ndarray, horizon: int) -> list[np.ndarray]:
    """The best action [T, S] at every step, by dynamic programming from the end.

    >>> rewards, stay = np.array([[[1.0, 0.0]]]), np.ones((1, 1, 2, 1))
    >>> [actions.tolist() for actions in plan(rewards, stay, 2)]
    [[[0]], [[0]]]
    """
    values = np.zeros(rewards.shape[:2])
    actions = []
    for _ in range(horizon):
        action_values = rewards + np.einsum("tsaz,tz->tsa", transitions, values)
        actions.append(action_values.argmax(2))
        values = action_values.max(2)
    return actions[::-1]


def _posterior_mean(statistics: Statistics, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    visits, sums, transitions = statistics
    counts = 1 + transitions
    return (1 + sums) / (1 + visits), counts / counts.sum(-1, keepdims=True)


def _posterior_draw(statistics: Statistics, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    visits, sums, transitions = statistics
    rewards = (1 + sums) / (1 + visits) + random.normal(size=sums.shape) / np.sqrt(1 + visits)
    weights = random.gamma(1 + transitions)
    return rewards, weights / weights.sum(-1, keepdims=True)


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
