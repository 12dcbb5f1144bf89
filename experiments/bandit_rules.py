"""What is known of Bernoulli bandits without learning: the Bayes-optimal value, and rules to act by.

With rewards ~ Bernoulli(p), p ~ U(0, 1), an arm that paid s times and f times not is worth (s + 1) / (s + f
+ 2). The optimal value follows from dynamic programming over these counts; arms are alike, so that only the
sorted counts matter.

References: Gittins 1979, Bandit processes and dynamic allocation indices; Auer et al. 2002, Finite-time
analysis of the multiarmed bandit problem; Thompson 1933, On the likelihood that one unknown probability
exceeds another.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np

UCB_WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Of UCB1's bonus, among which tasks of their own choose."""
PRICES = 400
"""At which Gittins' indices are found."""
Rule = Callable[[np.ndarray, np.ndarray, int, np.random.Generator], np.ndarray]
"""(times paid [T, k], times not [T, k], pulls left, random) -> how good each arm looks [T, k]."""


def optimal_value(pulls: int, arms: int) -> float:
    """The most that can be earned in so many pulls, in the mean over tasks.

    >>> print(f"{optimal_value(2, 2):.4f}")
    1.0833
    """

    @cache
    def value(left: int, seen: tuple[tuple[int, int], ...]) -> float:
        if not left:
            return 0.0
        options = list(dict.fromkeys(seen)) + ([(0, 0)] if len(seen) < arms else [])
        best = 0.0
        for paid, not_paid in options:
            rest = list(seen)
            if paid + not_paid:
                rest.remove((paid, not_paid))
            chance = (paid + 1) / (paid + not_paid + 2)
            won = tuple(sorted([*rest, (paid + 1, not_paid)]))
            lost = tuple(sorted([*rest, (paid, not_paid + 1)]))
            found = chance * (1 + value(left - 1, won)) + (1 - chance) * value(left - 1, lost)
            best = max(best, found)
        return best

    return value(pulls, ())


def gittins_indices(pulls: int) -> np.ndarray:
    """[pulls + 1, S, F] the price of a pull at which it just pays to start pulling one arm, by pulls left.

    >>> print(gittins_indices(1)[1, 0, 0].round(2))
    0.5
    """
    prices = (np.arange(PRICES) + 0.5) / PRICES
    paid, not_paid = np.meshgrid(np.arange(pulls + 1), np.arange(pulls + 1), indexing="ij")
    chance = ((paid + 1) / (paid + not_paid + 2))[..., None]
    worth = np.zeros((pulls + 1, pulls + 1, PRICES))
    found = np.zeros((pulls + 1, pulls + 1, pulls + 1))
    for left in range(1, pulls + 1):
        won = np.concatenate([worth[1:], worth[-1:]], 0)
        lost = np.concatenate([worth[:, 1:], worth[:, -1:]], 1)
        started = chance - prices + chance * won + (1 - chance) * lost
        worth = np.maximum(started, 0)
        found[left] = np.sum(started > 0, -1) / PRICES
    return found


def greedy(paid: np.ndarray, not_paid: np.ndarray, left: int, random: np.random.Generator) -> np.ndarray:
    """The mean of what is believed."""
    return (paid + 1) / (paid + not_paid + 2)


def thompson(paid: np.ndarray, not_paid: np.ndarray, left: int, random: np.random.Generator) -> np.ndarray:
    """A draw from what is believed."""
    return random.beta(paid + 1, not_paid + 1)


def ucb1(
    width: float, paid: np.ndarray, not_paid: np.ndarray, left: int, random: np.random.Generator
) -> np.ndarray:
    """The mean of what is believed, and a bonus for what was seldom tried."""
    tried = paid + not_paid
    bonus = np.sqrt(2 * np.log(1 + np.sum(tried, 1, keepdims=True)) / (1 + tried))
    return greedy(paid, not_paid, left, random) + width * bonus


def gittins(pulls: int) -> Rule:
    """The index of every arm, for the pulls that are left."""
    indices = gittins_indices(pulls)
    return lambda paid, not_paid, left, random: indices[left, paid, not_paid]


def earned(rule: Rule, pulls: int, means: np.ndarray, seed: int) -> np.ndarray:
    """[T] rewards of a rule that pulls the arm that looks best, ties broken at random."""
    random, rows = np.random.default_rng(seed), np.arange(len(means))
    paid, not_paid, total = np.zeros(means.shape, int), np.zeros(means.shape, int), np.zeros(len(means))
    for left in range(pulls, 0, -1):
        looks = rule(paid, not_paid, left, random) + 1e-9 * random.random(means.shape)
        arm = looks.argmax(1)
        won = random.random(len(means)) < means[rows, arm]
        paid[rows, arm] += won
        not_paid[rows, arm] += ~won
        total += won
    return total


def win_stay_lose_shift(pulls: int, means: np.ndarray, seed: int) -> np.ndarray:
    """[T] rewards of staying with an arm while it pays, else going on to the next."""
    random, rows = np.random.default_rng(seed), np.arange(len(means))
    arm, total = np.zeros(len(means), int), np.zeros(len(means))
    for _ in range(pulls):
        won = random.random(len(means)) < means[rows, arm]
        total += won
        arm = np.where(won, arm, (arm + 1) % means.shape[1])
    return total


def rules(pulls: int, arms: int, tasks: int, seed: int) -> dict[str, np.ndarray]:
    """[T] rewards of every rule on the same tasks."""
    random = np.random.default_rng(seed)
    means, others = random.random((tasks, arms)), random.random((10_000, arms))
    width = max(UCB_WIDTHS, key=lambda width: earned(partial(ucb1, width), pulls, others, seed + 1).mean())
    named: dict[str, Rule] = {
        "random": lambda paid, not_paid, left, random: random.random(paid.shape),
        "greedy": greedy,
        "thompson": thompson,
        "ucb1": partial(ucb1, width),
        "gittins": gittins(pulls),
    }
    found = {name: earned(rule, pulls, means, seed + 2) for name, rule in named.items()}
    return found | {"win_stay_lose_shift": win_stay_lose_shift(pulls, means, seed + 2)}
