"""Bernoulli bandits without learning: the Bayes-optimal value, and classical rules for choosing an arm.

With rewards ~ Bernoulli(p), p ~ U(0, 1), an arm with s successes and f failures has the posterior mean
(s + 1) / (s + f + 2). The optimal value follows from dynamic programming over these counts; arms are
exchangeable, so that only the sorted counts matter.

References: Gittins 1979, Bandit processes and dynamic allocation indices; Auer et al. 2002, Finite-time
analysis of the multiarmed bandit problem; Thompson 1933, On the likelihood that one unknown probability
exceeds another.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np

UCB_WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Widths of UCB1's bonus, of which separate tasks choose one."""
PRICES = 400
"""Number of prices on the grid for Gittins' indices."""
Rule = Callable[[np.ndarray, np.ndarray, int, np.random.Generator], np.ndarray]
"""(successes [T, k], failures [T, k], pulls left, random generator) -> the value of each arm [T, k]."""


def optimal_value(pulls: int, arms: int) -> float:
    """The largest expected total reward of `pulls` pulls.

    >>> print(f"{optimal_value(2, 2):.4f}")
    1.0833
    """

    @cache
    def value(left: int, pulled: tuple[tuple[int, int], ...]) -> float:
        if not left:
            return 0.0
        options = list(dict.fromkeys(pulled)) + ([(0, 0)] if len(pulled) < arms else [])
        best = 0.0
        for successes, failures in options:
            rest = list(pulled)
            if successes + failures:
                rest.remove((successes, failures))
            mean = (successes + 1) / (successes + failures + 2)
            won = tuple(sorted([*rest, (successes + 1, failures)]))
            lost = tuple(sorted([*rest, (successes, failures + 1)]))
            expected = mean * (1 + value(left - 1, won)) + (1 - mean) * value(left - 1, lost)
            best = max(best, expected)
        return best

    return value(pulls, ())


def gittins_indices(pulls: int) -> np.ndarray:
    """[pulls + 1, S, F] the price per pull at which pulling an arm just breaks even, by pulls left.

    >>> print(gittins_indices(1)[1, 0, 0].round(2))
    0.5
    """
    prices = (np.arange(PRICES) + 0.5) / PRICES
    successes, failures = np.meshgrid(np.arange(pulls + 1), np.arange(pulls + 1), indexing="ij")
    mean = ((successes + 1) / (successes + failures + 2))[..., None]
    value = np.zeros((pulls + 1, pulls + 1, PRICES))
    indices = np.zeros((pulls + 1, pulls + 1, pulls + 1))
    for left in range(1, pulls + 1):
        won = np.concatenate([value[1:], value[-1:]], 0)
        lost = np.concatenate([value[:, 1:], value[:, -1:]], 1)
        pulled = mean - prices + mean * won + (1 - mean) * lost
        value = np.maximum(pulled, 0)
        indices[left] = np.sum(pulled > 0, -1) / PRICES
    return indices


def greedy(successes: np.ndarray, failures: np.ndarray, left: int, random: np.random.Generator) -> np.ndarray:
    """The posterior mean."""
    return (successes + 1) / (successes + failures + 2)


def thompson(
    successes: np.ndarray, failures: np.ndarray, left: int, random: np.random.Generator
) -> np.ndarray:
    """A draw from the posterior."""
    return random.beta(successes + 1, failures + 1)


def ucb1(
    width: float, successes: np.ndarray, failures: np.ndarray, left: int, random: np.random.Generator
) -> np.ndarray:
    """The posterior mean plus a bonus for arms that were rarely pulled."""
    pulled = successes + failures
    bonus = np.sqrt(2 * np.log(1 + np.sum(pulled, 1, keepdims=True)) / (1 + pulled))
    return greedy(successes, failures, left, random) + width * bonus


def gittins(pulls: int) -> Rule:
    """The Gittins index of every arm for the pulls that are left."""
    indices = gittins_indices(pulls)
    return lambda successes, failures, left, random: indices[left, successes, failures]


def simulate(rule: Rule, pulls: int, means: np.ndarray, seed: int) -> np.ndarray:
    """[T] total rewards of pulling the arm of highest value, with ties broken at random."""
    random = np.random.default_rng(seed)
    rows = np.arange(len(means))
    successes = np.zeros(means.shape, int)
    failures = np.zeros(means.shape, int)
    total = np.zeros(len(means))
    for left in range(pulls, 0, -1):
        values = rule(successes, failures, left, random) + 1e-9 * random.random(means.shape)
        arm = values.argmax(1)
        won = random.random(len(means)) < means[rows, arm]
        successes[rows, arm] += won
        failures[rows, arm] += ~won
        total += won
    return total


def win_stay_lose_shift(pulls: int, means: np.ndarray, seed: int) -> np.ndarray:
    """[T] total rewards of repeating an arm after a success and moving to the next after a failure."""
    random = np.random.default_rng(seed)
    rows = np.arange(len(means))
    arm = np.zeros(len(means), int)
    total = np.zeros(len(means))
    for _ in range(pulls):
        won = random.random(len(means)) < means[rows, arm]
        total += won
        arm = np.where(won, arm, (arm + 1) % means.shape[1])
    return total


def rules(pulls: int, arms: int, tasks: int, seed: int) -> dict[str, np.ndarray]:
    """[T] total rewards of every rule on the same tasks."""
    random = np.random.default_rng(seed)
    means = random.random((tasks, arms))
    others = random.random((10_000, arms))
    width = max(UCB_WIDTHS, key=lambda width: simulate(partial(ucb1, width), pulls, others, seed + 1).mean())
    named: dict[str, Rule] = {
        "random": lambda successes, failures, left, random: random.random(successes.shape),
        "greedy": greedy,
        "thompson": thompson,
        "ucb1": partial(ucb1, width),
        "gittins": gittins(pulls),
    }
    rewards = {name: simulate(rule, pulls, means, seed + 2) for name, rule in named.items()}
    return rewards | {"win_stay_lose_shift": win_stay_lose_shift(pulls, means, seed + 2)}
