"""The learned quality of the partitions in a pool, and the choice among them.

Boosted trees predict, from the descriptors of a partition, its adjusted Rand index with the true clusters and
by how much it falls short of the best partition of the pool. The score of a partition is the sum of the two
and of its expected index under P. The softmax of the scores, at a temperature, is taken as the probability of
each partition to be the true one, and the partition with the greatest expected adjusted Rand index under
these probabilities is chosen: of many similar partitions that share the probability among them, the one in
their middle. All that is for a table of several clusters; other trees predict, from the descriptors of all
partitions, the probability that there is one.

`EXPECTED_WEIGHT` and `PRIOR` are chosen by `experiments/choice_settings.py`, on published generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, logit, softmax

from ..metafeatures.expected import adjusted_rand
from ..portfolio.candidates import ONE_CLUSTER
from ..portfolio.running import count_clusters
from .boosted import BoostedTrees
from .pool import Pool

LIKELY = 60
"""How many partitions, those of highest score, have a probability."""
EXPECTED_WEIGHT = 2.0
"""Weight of the expected index under P in the score of a partition."""
TRAINED_PRIOR = 0.25
"""Share of tables with one cluster for which `PoolQuality.single` is trained."""
PRIOR = 0.14
"""Probability that there is one cluster, before the table is seen."""
LEADING = ("expected ARI", "agreement", "gaussian gain")
"""Descriptors whose greatest value marks a partition that describes the table best."""


class PoolQuality(NamedTuple):
    """What was learned about the partitions of pools.

    Attributes:
        features: names of the descriptors, in the order of the trees' inputs.
        methods: names of candidates without their number of clusters; one input each follows the descriptors.
        quality: predicts the adjusted Rand index, where there are several clusters.
        shortfall: predicts the index less that of the best partition of the pool, in the same case.
        temperature: of the softmax.
        spread: half-width of the interval around the predicted index of a chosen partition that holds the
            true one in four of five cases.
        single: predicts the log-odds that there is one cluster, where a share of `TRAINED_PRIOR` of all
            tables has one; None where the number is known.
    """

    features: tuple[str, ...]
    methods: tuple[str, ...]
    quality: BoostedTrees
    shortfall: BoostedTrees
    temperature: float
    spread: float
    single: BoostedTrees | None = None

    def probability_of_one(self, descriptors: Float[np.ndarray, "A D"]) -> float:
        """The probability that there is one cluster, from the descriptors of all other partitions."""
        if self.single is None:
            return 0.0
        return float(with_prior(self.single.predict(table_inputs(descriptors, self.features)))[0])


class Choice(NamedTuple):
    """The choice among the partitions of a pool.

    Attributes:
        ranking: [A] places of the candidates, the chosen one first.
        quality: [A] predicted adjusted Rand index.
        probability: [A] probability to be the true partition.
        expected: [A] expected adjusted Rand index under these probabilities; -inf beyond the likely ones.
    """

    ranking: Int[np.ndarray, " A"]
    quality: Float[np.ndarray, " A"]
    probability: Float[np.ndarray, " A"]
    expected: Float[np.ndarray, " A"]


def pool_inputs(pool: Pool, features: tuple[str, ...], methods: tuple[str, ...]) -> Float[np.ndarray, "A F"]:
    """The inputs of the trees for a pool, with the descriptors named."""
    return tree_inputs(pool_descriptors(pool, features), pool.methods, methods)


def pool_descriptors(pool: Pool, features: tuple[str, ...]) -> Float[np.ndarray, "A D"]:
    """The descriptors named, as a matrix."""
    return np.stack([pool.columns[name] for name in features], 1)


def tree_inputs(
    descriptors: Float[np.ndarray, "A D"], names: Sequence[str], methods: Sequence[str]
) -> Float[np.ndarray, "A F"]:
    """The inputs of the trees: descriptors, and which of the methods each candidate is.

    >>> tree_inputs(np.array([[0.5]]), ["ward"], ["kmeans", "ward"])
    array([[0.5, 0. , 1. ]], dtype=float32)
    """
    indicators = [[name == method for method in methods] for name in names]
    return np.column_stack([descriptors, np.array(indicators, float)]).astype(np.float32)


def table_inputs(descriptors: Float[np.ndarray, "A D"], features: Sequence[str]) -> Float[np.ndarray, "1 F"]:
    """The inputs of the trees for one cluster.

    These are extremes and medians of the descriptors over the other partitions, and the descriptors of those
    partitions that have the greatest value of one of `LEADING`.

    >>> table_inputs(np.array([[1.0], [2.0], [6.0]]), ["agreement"])
    array([[6., 2., 1., 6.]], dtype=float32)
    """
    leading = [
        descriptors[descriptors[:, features.index(name)].argmax()] for name in LEADING if name in features
    ]
    parts = (descriptors.max(0), np.median(descriptors, 0), descriptors.min(0), *leading)
    return np.concatenate(parts)[None].astype(np.float32)


def choose(model: PoolQuality, pool: Pool) -> Choice:
    """The candidates of a pool, ranked."""
    descriptors = pool_descriptors(pool, model.features)
    inputs = tree_inputs(descriptors, pool.methods, model.methods)
    quality = model.quality.predict(inputs)
    scores = total_scores(quality, model.shortfall.predict(inputs), pool.columns["expected ARI"])
    one, single = None, 0.0
    if ONE_CLUSTER in pool.candidates and len(scores) > 1:
        one = pool.candidates.index(ONE_CLUSTER)
        single = model.probability_of_one(np.delete(descriptors, one, 0))
        scores[one] = -np.inf
    likely = likely_places(scores)
    agreement = agreements(pool.partitions[likely])
    probability, expected = expectations(scores, likely, agreement, model.temperature, one, single)
    quality *= 1 - single
    if one is not None:
        quality[one] = single
    ranking = np.lexsort((-scores, -expected))
    return Choice(ranking, quality, probability, expected)


def total_scores(
    quality: Float[np.ndarray, " A"],
    shortfall: Float[np.ndarray, " A"],
    expected: Float[np.ndarray, " A"],
    weight: float = EXPECTED_WEIGHT,
) -> Float[np.ndarray, " A"]:
    """The score of every partition: predicted index, shortfall, and the weighted expected index under P."""
    return quality + shortfall + weight * expected


def with_prior(log_odds: Float[np.ndarray, "..."], prior: float = PRIOR) -> Float[np.ndarray, "..."]:
    """The probability of one cluster, from log-odds that trees of `PoolQuality.single` predict.

    >>> float(with_prior(np.array(0.0), prior=TRAINED_PRIOR))
    0.5
    """
    return expit(log_odds + logit(prior) - logit(TRAINED_PRIOR))


def likely_places(scores: Float[np.ndarray, " A"]) -> Int[np.ndarray, " L"]:
    """The places of the partitions of highest score."""
    return np.argsort(-scores, kind="stable")[:LIKELY]


def expectations(
    scores: Float[np.ndarray, " A"],
    likely: Int[np.ndarray, " L"],
    agreement: Float[np.ndarray, "L L"],
    temperature: float,
    one: int | None = None,
    single: float = 0.0,
) -> tuple[Float[np.ndarray, " A"], Float[np.ndarray, " A"]]:
    """The probability of each partition to be the true one, and its expected adjusted Rand index.

    Args:
        scores: of all partitions; -inf for the one into one cluster.
        likely: places of those that have a probability.
        agreement: adjusted Rand index of every two of these.
        temperature: of the softmax over their scores.
        one: the place of the partition into one cluster, if it is among all.
        single: the probability that there is one cluster.

    Returns:
        [A] probabilities, and [A] expected indices, -inf where there is no probability.
    """
    weights = softmax(scores[likely] / temperature)
    probability, expected = np.zeros(len(scores)), np.full(len(scores), -np.inf)
    probability[likely] = (1 - single) * weights
    expected[likely] = (1 - single) * (agreement @ weights)
    if one is not None:
        probability[one] = expected[one] = single  # its index with any other partition is zero
    return probability, expected


def agreements(partitions: Int[np.ndarray, "A N"]) -> Float[np.ndarray, "A A"]:
    """The adjusted Rand index of every two partitions."""
    size = len(partitions)
    found = np.eye(size)
    for i in range(size):
        for j in range(i):
            found[i, j] = found[j, i] = adjusted_rand(partitions[i], partitions[j])
    return found


def cluster_probabilities(pool: Pool, choice: Choice) -> dict[int, float]:
    """The probability of every number of clusters, the most probable first."""
    counts = np.array([count_clusters(labels) for labels in pool.partitions])
    found = {int(k): min(float(choice.probability[counts == k].sum()), 1.0) for k in np.unique(counts)}
    return dict(sorted(((k, p) for k, p in found.items() if p > 0), key=lambda pair: -pair[1]))
