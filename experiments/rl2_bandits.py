"""RL2 on Bernoulli bandits, compared with the Bayes-optimal value and with classical rules.

Protocol of Duan et al. 2016: k arms with p ~ U(0, 1), n pulls, the reward summed over the pulls; 50,000 new
test tasks. A gated recurrent unit of width 64 is trained by PPO on new tasks at every step; at test time it
takes its most probable action. Every pull is an episode.

- reward/NxK: the trained agent; reward/NxK/RULE: random, greedy, thompson, ucb1 (width chosen on other
  tasks), gittins (indices of a finite horizon), win_stay_lose_shift
- optimal/NxK: by dynamic programming, if n is at most 10
- ablation/NxK/no_reward: the agent does not observe the reward; ablation/NxK/forgets: its memory is reset
  before every episode, so that it only knows the last pull; both after half as many steps

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

MAX_OPTIMAL_PULLS = 10
"""Largest number of pulls for which the optimal value is computed."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    settings: tuple[tuple[int, int], ...] = ((10, 5), (10, 10))
    """Settings (n pulls, k arms)."""
    steps: int = 2_000
    """Training steps; ablations take half as many."""
    tasks: int = 1_024
    """Trials per step."""
    width: int = 64
    """Width of the memory."""
    rate: float = 5e-3
    """Initial learning rate of Adam, which decays to a tenth."""
    entropy: float = harness.option(0.005, least=0)
    """Weight of the entropy bonus."""
    discount: float = 1.0
    """Discount of future rewards."""
    epochs: int = 2
    """Epochs of PPO on each batch of trials."""
    test_tasks: int = 50_000
    """Number of test tasks."""
    every: int = 50
    """Steps between two rows of the log."""
    ablations: bool = True
    """Whether to train the ablated agents, in the first setting."""


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
    """Trains and tests in every setting."""
    metrics: dict[str, Interval] = {}
    for number, (pulls, arms) in enumerate(config.settings):
        name = f"{pulls}x{arms}"
        metrics[f"reward/{name}"] = _agent_reward(config, pulls, arms, config.steps, name)
        rewards = rules(pulls, arms, config.test_tasks, config.seed)
        metrics |= {f"reward/{name}/{rule}": jm.interval(values) for rule, values in rewards.items()}
        if pulls <= MAX_OPTIMAL_PULLS:
            metrics[f"optimal/{name}"] = Interval(optimal_value(pulls, arms), 0.0, 1)
        if config.ablations and number == 0:
            without_reward = tuple(part for part in SEES if part != "reward")
            ablations = (("no_reward", {"sees": without_reward}), ("forgets", {"forgets": True}))
            for ablation, options in ablations:
                metrics[f"ablation/{name}/{ablation}"] = _agent_reward(
                    config, pulls, arms, config.steps // 2, f"{name}_{ablation}", **options
                )
    return metrics


def _agent_reward(
    config: Config, pulls: int, arms: int, steps: int, name: str, **options: object
) -> Interval:
    """The reward of a trained agent on the test tasks."""
    bandit = jm.rl.bernoulli_bandit(arms)
    agent = jm.rl.rl2(bandit, partial(jm.networks.gru, width=config.width), **options)  # type: ignore[arg-type]
    updates = steps * config.epochs * 4
    optimizer = harness.clipped_adam(optax.exponential_decay(config.rate, updates, 0.1))
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
    tasks: Any = draw_tasks(sampler, test, 0, config.test_tasks)
    returns = jm.rl.play(agent, bandit, state.meta, tasks, steps=pulls, episodes=pulls, greedy=True)
    return jm.interval(np.asarray(returns["reward"]))


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
