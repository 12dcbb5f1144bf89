"""Why a partition was chosen: what a report shows, as numbers."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.stats import percentileofscore

from ..metrics.stability import stability
from ..records import InputError
from .advisor import Advisor
from .choice import choice_scores
from .criterion import criterion_inputs
from .descriptors import NAMES
from .features import FEATURES, feature_names
from .judge import judged, look_inputs
from .portfolio import clusterer_of
from .search import Found

SHOWN = 8
"""Candidates, and reasons, that are shown."""
RESAMPLES = 5
SEEN = (*NAMES, "mean agreement", "nearest agreement")


class Placed(NamedTuple):
    """A meta-feature of the table, and the share of the known problems that have less of it."""

    name: str
    value: float
    percentile: float


class Reason(NamedTuple):
    """A descriptor of the chosen partition, and the mean of all candidates'.

    `effect` is how much the quality that is foretold falls when the one is replaced by the other.
    """

    name: str
    value: float
    others: float
    effect: float


class Explanation(NamedTuple):
    """What is to be said of a choice.

    Attributes:
        flat: [N, 2] the points on their two principal axes.
        kept: the share of the variance these two hold.
        chosen: [N] labels of the best candidate.
        other: [N] labels of the best one that differs from it, and its name; None where there is none.
        stability: mean adjusted Rand index of the chosen algorithm on parts of the points; None where it
            cannot cluster them.
        features: of the table beside those of the problems that were learned from.
        reasons: what the criterion looked at, the strongest first.
    """

    flat: Float[np.ndarray, "N 2"]
    kept: float
    chosen: Int[np.ndarray, " N"]
    other: tuple[str, Int[np.ndarray, " N"]] | None
    stability: float | None
    features: list[Placed]
    reasons: list[Reason]


def explain(
    advisor: Advisor, points: Float[np.ndarray, "N D"], found: Found, clusters: int | None, *, seed: int = 0
) -> Explanation:
    """Explain the best of what was found.

    Args:
        advisor: that was asked.
        points: that were clustered.
        found: from `search`.
        clusters: how many there are, where that was given.
        seed: as given to `search`.
    """
    labels = [outcome.labels for outcome in found.outcomes]
    best, *rest = found.ranking.tolist()
    seen = found.judgement.seen
    differ = [at for at in rest if seen.agreement[best, at] < 0.999]
    flat, kept = _flat(points)
    return Explanation(
        flat,
        kept,
        labels[best],
        (advisor.candidates[differ[0]].name, labels[differ[0]]) if differ else None,
        _stability(advisor, best, points, clusters or len(np.unique(labels[best][labels[best] >= 0])), seed),
        _placed(advisor, found),
        _reasons(advisor, found, clusters, best),
    )


def _flat(points: Float[np.ndarray, "N D"]) -> tuple[Float[np.ndarray, "N 2"], float]:
    """The points on two principal axes, and the share of variance these hold."""
    centered = points - points.mean(0)
    _, values, axes = np.linalg.svd(centered, full_matrices=False)
    flat = centered @ axes[:2].T
    shares = np.square(values) / max(np.square(values).sum(), 1e-300)
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1]))), float(shares[:2].sum())


def _stability(advisor: Advisor, best: int, points: np.ndarray, clusters: int, seed: int) -> float | None:
    one = advisor.candidates[best]
    spread = points.std(0)
    x = jnp.asarray(points / np.where(spread > 0, spread, 1) if one.scaled else points)
    try:
        clusterer = clusterer_of(one._replace(clusters=one.sought(clusters)))
        return float(stability(clusterer, x, key=jax.random.key(seed), resamples=RESAMPLES))
    except InputError:
        return None


def _placed(advisor: Advisor, found: Found) -> list[Placed]:
    """Meta-features but those of landmark partitions, each beside the known problems'."""
    kept = set(feature_names([group for group in FEATURES if group != "landmarks"]))
    known = advisor.selector.known
    return [
        Placed(name, float(value), float(percentileofscore(known[:, place], value, "mean")))
        for place, (name, value) in enumerate(zip(found.names, found.features, strict=True))
        if name in kept
    ]


def _reasons(advisor: Advisor, found: Found, clusters: int | None, best: int) -> list[Reason]:
    """What was looked at, by how much the foretold quality falls without it."""
    usable, seen = np.isfinite(found.judgement.quality), found.judgement.seen
    if found.judge is None:
        names: tuple[str, ...] = SEEN
        score = partial(choice_scores, advisor.criterion.choice)
        inputs = criterion_inputs(seen, advisor.candidates, clusters, usable)
    else:
        names, score = NAMES, partial(judged, found.judge)
        inputs = look_inputs(seen, advisor.candidates, clusters)
    count = len(names)
    usual, changed = inputs[usable, :count].mean(0), np.repeat(inputs[None], count + 1, 0)
    for place in range(count):
        changed[place, best, place] = usual[place]
        if found.judge is None:  # the criterion sees every number again, less its mean
            changed[place, best, count + place] = 0
    scores = score(changed)[:, best]
    made = [
        Reason(name, float(inputs[best, place]), float(usual[place]), float(scores[-1] - scores[place]))
        for place, name in enumerate(names)
    ]
    return sorted(made, key=lambda reason: -abs(reason.effect))[:SHOWN]
