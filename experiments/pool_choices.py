"""What is chosen from pools of partitions whose true scores are known, and how good the choices are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

import jmeta as jm
from jmeta.metrics import Interval
from jmeta.portfolio.candidates import ONE_CLUSTER
from jmeta.selection.pool_quality import agreements, expectations, likely_places, total_scores

TEMPERATURES = (0.02, 0.05, 0.1, 0.2)
HDBSCAN = "hdbscan(min_cluster_size=10, min_samples=8, noise=nearest)"


class Example(NamedTuple):
    """A pool with the true scores of its partitions.

    Attributes:
        family: of its task.
        clusters: true number of clusters.
        known: whether the pool was made with it.
        methods: [A] names of the candidates without their number of clusters.
        inputs: [A, F] descriptors, in the order of sorted names.
        scores: [A] true adjusted Rand index.
        partitions: [A, N].
    """

    family: str
    clusters: int
    known: bool
    methods: list[str]
    inputs: Float[np.ndarray, "A F"]
    scores: Float[np.ndarray, " A"]
    partitions: np.ndarray


class Scored(NamedTuple):
    """What is chosen from one pool by every method.

    Attributes:
        example: the pool.
        scores: true adjusted Rand index.
        clusters_of: number of clusters.
        errors: of the predicted index, absolute.
    """

    example: Example
    scores: dict[str, float]
    clusters_of: dict[str, int]
    errors: dict[str, float]


class Prediction(NamedTuple):
    """What a model predicts of the partitions of a pool.

    Attributes:
        quality: [A] adjusted Rand index.
        shortfall: [A] the index less the best one of the pool.
        single: probability that there is one cluster.
    """

    quality: Float[np.ndarray, " A"]
    shortfall: Float[np.ndarray, " A"]
    single: float = 0.0


def scored(example: Example, predicted: Prediction, names: list[str]) -> Scored:
    """What is chosen from a pool at every temperature, and by other methods."""
    expected_ari = example.inputs[:, names.index("expected ARI")]
    scores = total_scores(predicted.quality, predicted.shortfall, expected_ari)
    quality = (1 - predicted.single) * predicted.quality
    one = example.methods.index(ONE_CLUSTER.algorithm) if ONE_CLUSTER.algorithm in example.methods else None
    if one is not None:
        scores[one], quality[one] = -np.inf, predicted.single
    likely = likely_places(scores)
    agreement = agreements(example.partitions[likely])
    places = {
        "best_quality": int(scores.argmax()),
        "expected_ari": int(expected_ari.argmax()),
        "oracle": int(example.scores.argmax()),
    }
    if HDBSCAN in example.methods and not example.known:
        places["hdbscan"] = example.methods.index(HDBSCAN)
    for temperature in TEMPERATURES:
        _, expected = expectations(scores, likely, agreement, temperature, one, predicted.single)
        places[f"choice_{temperature}"] = int(expected.argmax())
    return Scored(
        example,
        {method: float(example.scores[place]) for method, place in places.items()},
        {method: int(example.partitions[place].max() + 1) for method, place in places.items()},
        {method: float(abs(quality[place] - example.scores[place])) for method, place in places.items()},
    )


def best_temperature(found: list[Scored]) -> float:
    """The temperature with the best choices."""
    return max(TEMPERATURES, key=lambda t: np.mean([one.scores[f"choice_{t}"] for one in found]))


def choice_of(found: list[Scored]) -> Interval:
    """The index of the choice over tasks of more than one cluster, at the best temperature."""
    name = f"choice_{best_temperature(found)}"
    return jm.interval(np.array([one.scores[name] for one in found if one.example.clusters > 1]))


def summary(prefix: str, found: list[Scored]) -> tuple[dict[str, Interval], float]:
    """The metrics of pools that were predicted with their family left out, and the best temperature."""
    several = [one for one in found if one.example.clusters > 1]
    temperature = best_temperature(found)
    chosen = f"choice_{temperature}"
    methods = ("best_quality", "expected_ari", "hdbscan", "oracle", chosen)
    metrics = {
        f"ari/{prefix}/{method.split('_0')[0]}": jm.interval(
            np.array([s.scores[method] for s in several if method in s.scores])
        )
        for method in methods
        if any(method in s.scores for s in several)
    }
    for family in sorted({s.example.family for s in several}):
        regrets = [s.scores["oracle"] - s.scores[chosen] for s in several if s.example.family == family]
        metrics[f"regret/{prefix}/{family}"] = jm.interval(np.array(regrets))
    metrics[f"error/{prefix}"] = jm.interval(np.array([s.errors[chosen] for s in found]))
    single = [s for s in found if s.example.clusters == 1]
    if single and prefix == "unknown":
        one = [float(s.clusters_of[chosen] == 1) for s in single]
        wrong = [float(s.clusters_of[chosen] == 1) for s in several]
        exact = [float(s.clusters_of[chosen] == s.example.clusters) for s in several]
        metrics["one_cluster/found"] = jm.interval(np.array(one))
        metrics["one_cluster/wrong"] = jm.interval(np.array(wrong))
        metrics["exact_clusters"] = jm.interval(np.array(exact))
    return metrics, temperature
