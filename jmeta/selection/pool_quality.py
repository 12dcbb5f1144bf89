"""The learned quality of the partitions in a pool, and the choice among them.

Boosted trees predict, from the descriptors of a partition, its adjusted Rand index with the true clusters and
by how much it falls short of the best partition of the pool. The softmax of the two together, at a
temperature, is taken as the probability of each partition to be the true one, and the partition with the
greatest expected adjusted Rand index under these probabilities is chosen: of many similar partitions that
share the probability among them, the one in their middle.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..metafeatures.expected import adjusted_rand
from ..portfolio.running import count_clusters
from .boosted import BoostedTrees
from .pool import Pool

LIKELY = 60
"""How many partitions, those of highest score, have a probability."""


class PoolQuality(NamedTuple):
    """What was learned about the partitions of pools.

    Attributes:
        features: names of the descriptors, in the order of the trees' inputs.
        methods: names of candidates without their number of clusters; one input each follows the descriptors.
        quality: predicts the adjusted Rand index.
        shortfall: predicts the index less that of the best partition of the pool.
        temperature: of the softmax.
        spread: half-width of the interval that holds the true index in four of five cases.
    """

    features: tuple[str, ...]
    methods: tuple[str, ...]
    quality: BoostedTrees
    shortfall: BoostedTrees
    temperature: float
    spread: float


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
    """The inputs of the trees: descriptors, and which method each candidate is."""
    names = [one._replace(clusters=None).name for one in pool.candidates]
    indicators = np.array([[name == method for method in methods] for name in names], np.float32)
    return np.column_stack([*(pool.columns[name] for name in features), indicators]).astype(np.float32)


def choose(model: PoolQuality, pool: Pool) -> Choice:
    """The candidates of a pool, ranked."""
    inputs = pool_inputs(pool, model.features, model.methods)
    quality = model.quality.predict(inputs)
    scores = quality + model.shortfall.predict(inputs)
    likely = np.argsort(-scores, kind="stable")[:LIKELY]
    weights = np.exp((scores[likely] - scores[likely[0]]) / model.temperature)
    weights /= weights.sum()
    probability = np.zeros(len(scores))
    probability[likely] = weights
    expected = np.full(len(scores), -np.inf)
    expected[likely] = agreements(pool.partitions[likely]) @ weights
    ranking = np.lexsort((-scores, -expected))
    return Choice(ranking, quality, probability, expected)


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
    found = {int(count): float(choice.probability[counts == count].sum()) for count in np.unique(counts)}
    return dict(sorted(((k, p) for k, p in found.items() if p > 0), key=lambda pair: -pair[1]))
