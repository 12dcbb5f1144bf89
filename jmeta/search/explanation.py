"""Why a search chose a partition: the numbers that a report shows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..errors import InputError
from ..metrics.stability import stability
from ..portfolio.candidates import POOL_ONLY, Candidate
from ..portfolio.on_device import clusterer_of
from ..portfolio.running import count_clusters
from ..selection.pool_quality import pool_inputs
from .pooled import PooledResult
from .result import SearchResult

MAX_REASONS = 8
RESAMPLES = 5


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
        stability: mean adjusted Rand index of the chosen algorithm on random parts of the points; None where
            it cannot cluster them, or where the search ran another variant of it.
        reasons: what the predicted quality rests on, the largest effect first.
    """

    stability: float | None
    reasons: list[Reason]


def explain(
    candidates: Sequence[Candidate],
    points: Float[np.ndarray, "N D"],
    result: SearchResult,
    clusters: int | None = None,
) -> Explanation:
    """An explanation of the best partition of a search.

    Args:
        candidates: of the search.
        points: [N, D] that were clustered.
        result: of the search, whose seed is used again.
        clusters: the number of clusters, where it is known.
    """
    best = int(result.ranking[0])
    labels: Any = result.outcomes[best].labels
    count = clusters or count_clusters(labels)
    return Explanation(
        stability=_stability(candidates[best], points, count, result.seed),
        reasons=_reasons(result, best, clusters),
    )


def explain_pooled(
    points: Float[np.ndarray, "N D"], result: PooledResult, clusters: int | None = None
) -> Explanation:
    """An explanation of the choice of a pooled search.

    Args:
        points: [N, D] that were clustered.
        result: of the search, whose seed is used again.
        clusters: the number of clusters, where it is known.
    """
    best = result.distinct[0]
    count = clusters or count_clusters(result.pool.partitions[best])
    chosen = result.pool.candidates[best]
    # The pool connects the graph of spectral clustering; scikit-learn's, which would run here, does not.
    stable = None if chosen.algorithm == "spectral" else _stability(chosen, points, count, result.seed)
    return Explanation(stability=stable, reasons=_pool_reasons(result, best))


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
