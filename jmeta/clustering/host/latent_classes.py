"""Latent classes of rows of words and numbers: a mixture whose columns are independent within each class.

Class k has probability p_k, word w of column j has probability q_jw|k, and number e is N(m_ke, v_ke). Words
alone form as many clumps of equal rows as they have combinations; classes are what columns share, so that
words which mean the same to all other columns count as one, and a column that is related to no other counts
for nothing. The number of classes has the least Bayesian information criterion (BIC), by which it is also
decided whether the words of a column depend on the class.

Numbers are there to relate words to them. Several classes may describe one group of numbers that is not
normal, and have the same words: classes whose words do not differ, by BIC, are one.

References: Lazarsfeld & Henry 1968, Latent structure analysis; Biernacki et al. 2003, Choosing starting
values for the EM algorithm; Marbac & Sedki 2017, Variable selection for model-based clustering using the
integrated complete-data likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp, xlogy
from threadpoolctl import threadpool_limits

MOST = 10
"""The largest number of classes that is tried."""
WORSE = 2
"""No larger number is tried after so many that have a worse criterion than the best."""
STARTS, SHORT, LONG = 6, 8, 60
"""The number of starts, of EM steps of each, and of EM steps from the best of them."""
TOLERANCE = 1e-4
"""The least increase of the mean log-likelihood for another step."""
CERTAIN = 0.8
"""The probability of the class of the nearest seed in the first step."""
PSEUDO_ROWS = 0.5
"""Rows of every word, in its share of all rows, that are added to each class."""
LEAST_VARIANCE = 0.01
"""Of a number in a class, as a share of its variance in all rows."""


class LatentClasses(NamedTuple):
    """A fitted mixture.

    Attributes:
        log_shares: [K] logarithm of the probability of each class.
        log_words: [K, W] logarithm of the probability of each word; zero in columns that no class depends on.
        means: [K, E] of the numbers.
        variances: [K, E].
        groups: [K] from 0; classes whose words do not differ are in one group.
    """

    log_shares: Float[np.ndarray, " K"]
    log_words: Float[np.ndarray, "K W"]
    means: Float[np.ndarray, "K E"]
    variances: Float[np.ndarray, "K E"]
    groups: Int[np.ndarray, " K"]

    def probabilities(
        self, words: Float[np.ndarray, "N W"], numbers: Float[np.ndarray, "N E"]
    ) -> Float[np.ndarray, "N G"]:
        """The probability of each group of classes for every row."""
        joint = self.log_joint(words, numbers)
        shares = np.exp(joint - logsumexp(joint, 1, keepdims=True))
        return shares @ np.eye(self.groups.max() + 1)[self.groups]

    def log_joint(
        self, words: Float[np.ndarray, "N W"], numbers: Float[np.ndarray, "N E"]
    ) -> Float[np.ndarray, "N K"]:
        """The logarithm of the joint density of each row and class."""
        precisions = 1 / self.variances
        squares = numbers**2 @ precisions.T - 2 * numbers @ (self.means * precisions).T
        constants = (self.means**2 * precisions + np.log(2 * math.pi * self.variances)).sum(1)
        return self.log_shares + words @ self.log_words.T - 0.5 * (squares + constants)


def latent_classes(
    words: Float[np.ndarray, "N W"],
    columns: Int[np.ndarray, " W"],
    numbers: Float[np.ndarray, "N E"],
    *,
    seed: int = 0,
) -> LatentClasses:
    """The classes of rows, in one group if no column of words is related to another column.

    Args:
        words: [N, W] one where a row has a word, else zero.
        columns: [W] the column that each word belongs to, in order.
        numbers: [N, E] of mean about 0 and variance about 1.
        seed: all randomness follows from it.

    >>> group = np.arange(60) % 2
    >>> words, columns = np.eye(4)[group] + np.eye(4)[2 + group], np.array([0, 0, 1, 1])
    >>> latent_classes(words, columns, np.zeros((60, 0))).probabilities(words[:2], np.zeros((2, 0))).round(1)
    array([[1., 0.],
           [0., 1.]])
    """
    with threadpool_limits(1):  # more threads take longer over products as small as these
        return _grouped(_best(words, columns, numbers, np.random.default_rng(seed)), words, columns, numbers)


def _best(
    words: Float[np.ndarray, "N W"],
    columns: Int[np.ndarray, " W"],
    numbers: Float[np.ndarray, "N E"],
    random: np.random.Generator,
) -> LatentClasses:
    """The mixture with the least criterion; with one class where none is finite."""
    best, least, worse = _step(np.ones((len(words), 1)), words, columns, numbers), math.inf, 0
    for count in range(1, MOST + 1):
        found = _fitted(words, columns, numbers, count, random)
        free = count * (words.shape[1] - len(np.unique(columns)) + 2 * numbers.shape[1] + 1) - 1
        criterion = 0.5 * free * math.log(len(words)) - logsumexp(found.log_joint(words, numbers), 1).sum()
        worse = 0 if criterion < least else worse + 1
        best, least = (found, criterion) if criterion < least else (best, least)
        if worse > WORSE:
            break
    return best


def _fitted(
    words: Float[np.ndarray, "N W"],
    columns: Int[np.ndarray, " W"],
    numbers: Float[np.ndarray, "N E"],
    count: int,
    random: np.random.Generator,
) -> LatentClasses:
    """The mixture of so many classes by EM, from the best of several short runs."""
    rows = np.hstack([words, numbers])
    starts = []
    for _ in range(STARTS if count > 1 else 1):
        seeds = rows[random.choice(len(rows), count, replace=len(rows) < count)]
        nearest = (0.5 * (seeds**2).sum(1) - rows @ seeds.T).argmin(1)
        shares = CERTAIN * np.eye(count)[nearest] + (1 - CERTAIN) / count
        starts.append(_run(_step(shares, words, columns, numbers), words, columns, numbers, SHORT))
    return _run(max(starts, key=lambda start: start[1])[0], words, columns, numbers, LONG)[0]


def _run(
    model: LatentClasses,
    words: Float[np.ndarray, "N W"],
    columns: Int[np.ndarray, " W"],
    numbers: Float[np.ndarray, "N E"],
    steps: int,
) -> tuple[LatentClasses, float]:
    """The mixture after EM steps, with its mean log-likelihood before the last one."""
    before = -math.inf
    for _ in range(steps):
        joint = model.log_joint(words, numbers)
        total = logsumexp(joint, 1, keepdims=True)
        likelihood = float(total.mean())
        if likelihood - before < TOLERANCE:
            break
        before = likelihood
        model = _step(np.exp(joint - total), words, columns, numbers)
    return model, before


def _step(
    shares: Float[np.ndarray, "N K"],
    words: Float[np.ndarray, "N W"],
    columns: Int[np.ndarray, " W"],
    numbers: Float[np.ndarray, "N E"],
) -> LatentClasses:
    """The mixture whose classes have these shares of the rows."""
    mass = shares.sum(0) + np.finfo(float).tiny
    means = shares.T @ numbers / mass[:, None]
    variances = np.maximum(shares.T @ numbers**2 / mass[:, None] - means**2, LEAST_VARIANCE)
    pseudo = PSEUDO_ROWS * np.bincount(columns)[columns] * np.maximum(words.mean(0), 1 / len(words))
    counts = shares.T @ words + pseudo
    return LatentClasses(
        log_shares=np.log((mass + PSEUDO_ROWS) / (len(words) + PSEUDO_ROWS * len(mass))),
        log_words=np.log(counts / _totals(counts, columns)),
        means=means,
        variances=variances,
        groups=np.arange(len(mass)),
    )


def _totals(counts: Float[np.ndarray, "K W"], columns: Int[np.ndarray, " W"]) -> Float[np.ndarray, "K W"]:
    """For every word, the sum over the words of its column.

    >>> _totals(np.array([[1.0, 2.0, 4.0]]), np.array([0, 0, 3]))
    array([[3., 3., 4.]])
    """
    first = np.diff(columns, prepend=-1) > 0
    return np.add.reduceat(counts, np.flatnonzero(first), axis=1)[:, np.cumsum(first) - 1]


def _grouped(
    model: LatentClasses,
    words: Float[np.ndarray, "N W"],
    columns: Int[np.ndarray, " W"],
    numbers: Float[np.ndarray, "N E"],
) -> LatentClasses:
    """The mixture with the groups of its classes, without the columns that depend on no class."""
    joint = model.log_joint(words, numbers)
    counts = np.exp(joint - logsumexp(joint, 1, keepdims=True)).T @ words
    price = 0.5 * math.log(len(words)) * (1 - 1 / np.bincount(columns)[columns])  # of one class more, by word
    gains = _gains(counts, columns) - _gains(counts.sum(0, keepdims=True), columns)
    related = np.bincount(columns, gains - (len(counts) - 1) * price)[columns] > 0
    if not related.any():
        return model._replace(log_words=0 * model.log_words, groups=np.zeros(len(counts), int))
    groups = [[place] for place in range(len(counts))]
    parts = [count for count in counts[:, related]]
    while len(parts) > 1:
        losses = {(i, j): _loss(parts[i], parts[j], columns[related]) for i, j in _pairs(len(parts))}
        first, second = min(losses, key=losses.__getitem__)
        if losses[first, second] > price[related].sum():
            break
        parts[first] = parts[first] + parts.pop(second)
        groups[first] += groups.pop(second)
    group = np.empty(len(counts), int)
    for place, classes in enumerate(groups):
        group[classes] = place
    return model._replace(log_words=np.where(related, model.log_words, 0), groups=group)


def _gains(counts: Float[np.ndarray, "K W"], columns: Int[np.ndarray, " W"]) -> Float[np.ndarray, " W"]:
    """What each word adds to the greatest log-likelihood of the words, given how often each class has it."""
    return (xlogy(counts, counts) - xlogy(counts, _totals(counts, columns))).sum(0)


def _loss(
    one: Float[np.ndarray, " W"], other: Float[np.ndarray, " W"], columns: Int[np.ndarray, " W"]
) -> float:
    """The log-likelihood that is lost if two classes have the same words."""
    apart, together = np.stack([one, other]), (one + other)[None]
    return float((_gains(apart, columns) - _gains(together, columns)).sum())


def _pairs(count: int) -> Iterable[tuple[int, int]]:
    return ((first, second) for second in range(count) for first in range(second))
