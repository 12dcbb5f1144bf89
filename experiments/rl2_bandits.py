"""RL2 on Bernoulli bandits, beside the Bayes-optimal value and the rules that people use.

Protocol of Duan et al. 2016: k arms with p ~ U(0, 1), n pulls, reward summed over the n; 50,000 tasks that
no training saw. A gated recurrent unit of 64 is trained by PPO on new tasks at every step; it acts by its
most probable action. Every pull is an episode.

- reward/NxK: the trained agent; reward/NxK/RULE: random, greedy, thompson, ucb1 (width chosen on other
  tasks), gittins (indices of a finite horizon), win_stay_lose_shift
- optimal/NxK: by dynamic programming, where n is at most 10
- ablation/NxK/no_reward: the agent does not see what it earned; ablation/NxK/forgets: its memory is emptied
  before every episode, so that it knows the last pull alone; both after half as many steps

    python -m experiments.rl2_bandits --preset cpu
        minutes on two cores; reward/10x5 6.6, of at most 6.660

The gpu preset trains for 100 and 500 pulls.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import numpy as np
import optax

import jmeta as jm
from experiments.bandit_rules import optimal_value, rules
from jmeta import harness
from jmeta.metrics import Interval
from jmeta.rl.policy import SEES
from jmeta.training.loop import draw_tasks

SHORT = 10
"""Pulls up to which the optimal value is computed."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    settings: tuple[tuple[int, int], ...] = ((10, 5), (10, 10))
    """(n pulls, k arms)."""
    steps: int = 2_000
    """Of training; ablations take half."""
    tasks: int = 1_024
    """Trials per step."""
    width: int = 64
    """Of the memory."""
    rate: float = 5e-3
    """Of Adam at the start; it falls to a tenth."""
    entropy: float = harness.option(0.005, least=0)
    """Weight of the entropy."""
    discount: float = 1.0
    """Of rewards to come."""
    epochs: int = 2
    """How often a trial is learned from."""
    test_tasks: int = 50_000
    """Tasks of the table."""
    every: int = 50
    """Steps between two rows of the log."""
    ablations: bool = True
    """Whether agents are trained that lack something, in the first setting."""


PRESETS = {
    "quick": Config(preset="quick", settings=((3, 2),), steps=9, tasks=16, width=8, test_tasks=100, every=3),
    "cpu": Config(),
    "gpu": Config(
        preset="gpu",
        settings=((10, 5), (10, 10), (100, 5), (100, 10), (500, 5)),
        steps=3_000,
        tasks=4_096,
        width=256,
        discount=0.99,
    ),
}


def experiment(config: Config) -> harness.Metrics:
    """Train and test in every setting."""
    metrics: dict[str, Interval] = {}
    for place, (pulls, arms) in enumerate(config.settings):
        name = f"{pulls}x{arms}"
        metrics[f"reward/{name}"] = _trained(config, pulls, arms, config.steps, name)
        found = rules(pulls, arms, config.test_tasks, config.seed)
        metrics |= {f"reward/{name}/{rule}": jm.interval(values) for rule, values in found.items()}
        if pulls <= SHORT:
            metrics[f"optimal/{name}"] = Interval(optimal_value(pulls, arms), 0.0, 1)
        if config.ablations and not place:
            blind = tuple(part for part in SEES if part != "reward")
            for way, changed in (("no_reward", {"sees": blind}), ("forgets", {"forgets": True})):
                metrics[f"ablation/{name}/{way}"] = _trained(
                    config, pulls, arms, config.steps // 2, f"{name}_{way}", **changed
                )
    return metrics


def _trained(config: Config, pulls: int, arms: int, steps: int, name: str, **changed: object) -> Interval:
    """What an agent earns after training."""
    bandit = jm.rl.bernoulli_bandit(arms)
    agent = jm.rl.rl2(bandit, partial(jm.networks.gru, width=config.width), **changed)  # type: ignore[arg-type]
    taken = steps * config.epochs * 4
    optimizer = harness.clipped_adam(optax.exponential_decay(config.rate, taken, 0.1))
    learn = jm.rl.ppo(
        agent,
        bandit,
        optimizer,
        steps=pulls,
        episodes=pulls,
        epochs=config.epochs,
        entropy_weight=config.entropy,
        discount=config.discount,
        trace=0.9,
        value_weight=0.25,
    )
    start, train, test = jax.random.split(config.key, 3)
    sampler = jm.rl.trials(bandit)
    state, _ = harness.train(
        config,
        name,
        learn,
        sampler,
        learn.init(agent.network.init(start)),
        train,
        steps=steps,
        tasks=config.tasks,
        every=config.every,
    )
    asked: Any = draw_tasks(sampler, test, 0, config.test_tasks)
    played = jm.rl.play(agent, bandit, state.meta, asked, steps=pulls, episodes=pulls, greedy=True)
    return jm.interval(np.asarray(played["reward"]))


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
