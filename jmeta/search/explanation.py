"""Why a search chose a partition: the numbers that a report shows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.stats import percentileofscore

from ..errors import InputError
from ..metafeatures.tables import FEATURES, feature_names
from ..metrics.stability import stability
from ..portfolio.candidates import POOL_ONLY, Candidate
from ..portfolio.on_device import clusterer_of
from ..portfolio.running import count_clusters
from ..selection.advisor import Advisor
from ..selection.pool_quality import pool_inputs
from .pooled import PooledResult
from .result import SearchResult

MAX_REASONS = 8
RESAMPLES = 5
SAME_PARTITION = 0.999
"""Adjusted Rand index from which on two partitions are shown as one."""


class FeaturePercentile(NamedTuple):
    """A meta-feature of the table, and the share of the known problems that have less of it, in percent."""

    name: str
    value: float
    percentile: float


class Reason(NamedTuple):
    """A descriptor of the chosen partition.

    Attributes:
        name: of the descriptor.
        value: of the chosen partition.
        mean: over all candidates.
        effect: by how much the predicted quality falls when the value is replaced by the mean.
    """

    name: str
    value: float
    mean: float
    effect: float


class Explanation(NamedTuple):
    """Why a partition was chosen.

    Attributes:
        projection: [N, 2] the points on their first two principal axes.
        explained_variance: the share of the variance on these axes.
        chosen: [N] labels of the best candidate.
        other: name and [N] labels of the best candidate with another partition; None where there is none.
        stability: mean adjusted Rand index of the chosen algorithm on random parts of the points; None where
            it cannot cluster them, or where the search ran another variant of it.
        features: meta-features of the table, beside those of the known problems.
        reasons: what the predicted quality rests on, the largest effect first.
    """

    projection: Float[np.ndarray, "N 2"]
    explained_variance: float
    chosen: Int[np.ndarray, " N"]
    other: tuple[str, Int[np.ndarray, " N"]] | None
    stability: float | None
    features: list[FeaturePercentile]
    reasons: list[Reason]


def explain(
    advisor: Advisor, points: Float[np.ndarray, "N D"], result: SearchResult, clusters: int | None = None
) -> Explanation:
    """An explanation of the best partition of a search.

    Args:
        advisor: of the search.
        points: [N, D] that were clustered.
        result: of the search, whose seed is used again.
        clusters: the number of clusters, where it is known.
    """
    labels = [outcome.labels for outcome in result.outcomes]
    best, *rest = result.ranking.tolist()
    agreement = result.prediction.description.agreement
    others = [place for place in rest if agreement[best, place] < SAME_PARTITION]
    projection, explained_variance = _principal_axes(points)
    count = clusters or count_clusters(labels[best])
    return Explanation(
        projection=projection,
        explained_variance=explained_variance,
        chosen=labels[best],
        other=(advisor.candidates[others[0]].name, labels[others[0]]) if others else None,
        stability=_stability(advisor.candidates[best], points, count, result.seed),
        features=_percentiles(advisor, result.feature_names, result.features),
        reasons=_reasons(result, best, clusters),
    )


def explain_pooled(
    advisor: Advisor,
    points: Float[np.ndarray, "N D"],
    result: PooledResult,
    features: Mapping[str, float],
    clusters: int | None = None,
) -> Explanation:
    """An explanation of the choice of a pooled search.

    Args:
        advisor: whose training problems the table is compared with.
        points: [N, D] that were clustered.
        result: of the search, whose seed is used again.
        features: meta-features of the points.
        clusters: the number of clusters, where it is known.
    """
    best, *rest = result.distinct
    pool = result.pool
    other = (pool.candidates[rest[0]].name, pool.partitions[rest[0]]) if rest else None
    projection, explained_variance = _principal_axes(points)
    count = clusters or count_clusters(pool.partitions[best])
    chosen = pool.candidates[best]
    # The pool connects the graph of spectral clustering; scikit-learn's, which would run here, does not.
    stable = None if chosen.algorithm == "spectral" else _stability(chosen, points, count, result.seed)
    return Explanation(
        projection=projection,
        explained_variance=explained_variance,
        chosen=pool.partitions[best],
        other=other,
        stability=stable,
        features=_percentiles(advisor, tuple(features), np.array([*features.values()])),
        reasons=_pool_reasons(result, best),
    )


def _pool_reasons(result: PooledResult, best: int) -> list[Reason]:
    """The descriptors of the chosen partition whose replacement by the mean changes its quality most."""
    model, pool = result.model, result.pool
    if not pool.columns:
        return []
    inputs = pool_inputs(pool, model.features, model.methods)
    means = inputs[:, : len(model.features)].mean(0)
    changed = np.tile(inputs[best], (len(means) + 1, 1))
    changed[np.arange(len(means)), np.arange(len(means))] = means
    scores = model.quality.predict(changed)
    reasons = [
        Reason(name, float(inputs[best, place]), float(means[place]), float(scores[-1] - scores[place]))
        for place, name in enumerate(model.features)
    ]
    return sorted(reasons, key=lambda reason: -abs(reason.effect))[:MAX_REASONS]


def _principal_axes(points: Float[np.ndarray, "N D"]) -> tuple[Float[np.ndarray, "N 2"], float]:
    """The points on their first two principal axes, and the share of the variance on these."""
    centered = points - points.mean(0)
    _, values, axes = np.linalg.svd(centered, full_matrices=False)
    projection = centered @ axes[:2].T
    shares = np.square(values) / max(np.square(values).sum(), 1e-300)
    return np.pad(projection, ((0, 0), (0, 2 - projection.shape[1]))), float(shares[:2].sum())


def _stability(
    candidate: Candidate, points: Float[np.ndarray, "N D"], clusters: int, seed: int
) -> float | None:
    if candidate.algorithm in POOL_ONLY:
        return None
    spread = points.std(0)
    centered = points - points.mean(0)
    x = jnp.asarray(centered / np.where(spread > 0, spread, 1) if candidate.scaled else centered)
    try:
        clusterer = clusterer_of(candidate._replace(clusters=candidate.clusters_for(clusters)))
        with warnings.catch_warnings(action="ignore"):  # as where candidates are run
            return float(stability(clusterer, x, key=jax.random.key(seed), resamples=RESAMPLES))
    except InputError:
        return None


def _percentiles(
    advisor: Advisor, names: Sequence[str], values: Float[np.ndarray, " F"]
) -> list[FeaturePercentile]:
    """The meta-features without those of landmark partitions, whose names say little to a reader."""
    shown = set(feature_names([group for group in FEATURES if group != "landmarks"]))
    known = advisor.selector.features
    return [
        FeaturePercentile(name, float(value), float(percentileofscore(known[:, place], value, "mean")))
        for place, (name, value) in enumerate(zip(names, values, strict=True))
        if name in shown
    ]


def _reasons(result: SearchResult, best: int, clusters: int | None) -> list[Reason]:
    """The descriptors of the best partition whose replacement by the mean changes its quality most."""
    model, prediction = result.quality_model, result.prediction
    usable = np.isfinite(prediction.quality)
    inputs = model.inputs(prediction.description, clusters, usable)
    names = model.feature_names
    means = inputs[usable, : len(names)].mean(0)
    changed = [model.replaced(inputs, best, place, mean) for place, mean in enumerate(means)]
    scores = model.network_scores(np.stack([*changed, inputs])).mean(0)[:, best]
    reasons = [
        Reason(name, float(inputs[best, place]), float(means[place]), float(scores[-1] - scores[place]))
        for place, name in enumerate(names)
    ]
    return sorted(reasons, key=lambda reason: -abs(reason.effect))[:MAX_REASONS]
