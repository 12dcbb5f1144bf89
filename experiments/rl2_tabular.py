"""RL2 on random Markov decision processes with ten states, beside planning with what is believed.

Protocol of Duan et al. 2016: 10 states, 5 actions, rewards of mean N(1, 1) and deviation 1, transitions
Dirichlet(1), episodes of 10 steps that start in one state; n episodes of the same process are a trial, and
its whole reward counts. Tasks that no training saw.

- reward/N: the trained agent
- random: any action; greedy: at every episode a plan for the process of the means of what is believed;
  psrl: for one that is drawn from what is believed (Osband et al. 2013); epsilon_greedy: greedy, but any
  action in a tenth of the steps; known: a plan for the process itself, which nobody knows

    python -m experiments.rl2_tabular --preset cpu

The quick preset takes seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import optax

import jmeta as jm
from jmeta import harness
from jmeta.metrics import Interval
from jmeta.training.loop import draw_tasks

WHIMS = 0.1
"""Of epsilon-greedy's steps."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    episodes: tuple[int, ...] = (10,)
    """n, of a trial."""
    states: int = 10
    """S."""
    actions: int = 5
    """A."""
    horizon: int = 10
    """Steps of an episode."""
    steps: int = 1_000
    """Of training."""
    tasks: int = 128
    """Trials per step."""
    width: int = 128
    """Of the memory."""
    rate: float = 2e-3
    """Of Adam at the start; it falls to a tenth."""
    test_tasks: int = 1_000
    """Tasks of the table."""
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
    """Train and test at every number of episodes."""
    metrics: dict[str, Interval] = {}
    for count in config.episodes:
        metrics[f"reward/{count}"] = _trained(config, count)
        found = rules(config, count)
        metrics |= {f"reward/{count}/{rule}": jm.interval(values) for rule, values in found.items()}
    return metrics


def _trained(config: Config, episodes: int) -> Interval:
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
    asked: Any = draw_tasks(sampler, test, 0, config.test_tasks)
    played = jm.rl.play(agent, process, state.meta, asked, steps=steps, episodes=episodes)
    return jm.interval(np.asarray(played["reward"]))


Belief = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Pulls [T, S, A], sums of rewards [T, S, A], and arrivals [T, S, A, S]."""


def rules(config: Config, episodes: int) -> dict[str, np.ndarray]:
    """[T] rewards of planning in every way, on the same processes."""
    random = np.random.default_rng(config.seed)
    shape = (config.test_tasks, config.states, config.actions)
    means = 1 + random.normal(size=shape)
    chances = random.dirichlet(np.ones(config.states), shape)
    play = partial(_played, config, episodes, means, chances)
    return {
        "random": play(_expected, 1.0),
        "greedy": play(_expected, 0.0),
        "epsilon_greedy": play(_expected, WHIMS),
        "psrl": play(_drawn, 0.0),
        "known": play(lambda belief, random: (means, chances), 0.0),
    }


def _played(
    config: Config,
    episodes: int,
    means: np.ndarray,
    chances: np.ndarray,
    imagine: Callable[[Belief, np.random.Generator], tuple[np.ndarray, np.ndarray]],
    whims: float,
) -> np.ndarray:
    """[T] rewards of a new plan at every episode, for the process that is imagined."""
    random, rows = np.random.default_rng(config.seed + 1), np.arange(len(means))
    belief = np.zeros(means.shape), np.zeros(means.shape), np.zeros(chances.shape)
    ladder, total = np.cumsum(chances, -1), np.zeros(len(means))
    for _ in range(episodes):
        plan = planned(*imagine(belief, random), config.horizon)
        at = np.zeros(len(means), int)
        for step in range(config.horizon):
            any_action = random.integers(0, config.actions, len(means))
            act = np.where(random.random(len(means)) < whims, any_action, plan[step][rows, at])
            reward = means[rows, at, act] + random.normal(size=len(means))
            drawn = random.random((len(means), 1)) > ladder[rows, at, act]
            after = np.minimum(drawn.sum(1), config.states - 1)
            belief[0][rows, at, act] += 1
            belief[1][rows, at, act] += reward
            belief[2][rows, at, act, after] += 1
            total, at = total + reward, after
    return total


def planned(rewards: np.ndarray, chances: np.ndarray, horizon: int) -> list[np.ndarray]:
    """The best action [T, S] at every step, by dynamic programming from the end.

    >>> rewards, stay = np.array([[[1.0, 0.0]]]), np.ones((1, 1, 2, 1))
    >>> [plan.tolist() for plan in planned(rewards, stay, 2)]
    [[[0]], [[0]]]
    """
    value, plans = np.zeros(rewards.shape[:2]), []
    for _ in range(horizon):
        worth = rewards + np.einsum("tsaz,tz->tsa", chances, value)
        plans.append(worth.argmax(2))
        value = worth.max(2)
    return plans[::-1]


def _expected(belief: Belief, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    pulls, sums, arrivals = belief
    counts = 1 + arrivals
    return (1 + sums) / (1 + pulls), counts / counts.sum(-1, keepdims=True)


def _drawn(belief: Belief, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    pulls, sums, arrivals = belief
    rewards = (1 + sums) / (1 + pulls) + random.normal(size=sums.shape) / np.sqrt(1 + pulls)
    weights = random.gamma(1 + arrivals)
    return rewards, weights / weights.sum(-1, keepdims=True)


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
