"""What a clustering says, in words: for the page of `jmeta cluster` and for its printed summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.metrics import silhouette_samples

from ..portfolio.running import count_clusters
from .profile import Profile, percent, profiles

if TYPE_CHECKING:
    from ..estimators import AutoCluster

STRONG, MODERATE = 0.75, 0.5
"""Predicted adjusted Rand indices from which on a clustering is called strong and moderate."""
MOST_ROWS = 5_000
"""The largest number of rows whose silhouettes are computed."""
TYPICAL = 3
"""The number of typical rows that are shown of each cluster."""
ODD = 5
"""The number of odd rows that are shown."""


class Alternative(NamedTuple):
    """The best partition of another number of clusters.

    Attributes:
        clusters: their number.
        change: how it differs from the chosen one, in words.
    """

    clusters: int
    change: str


class Findings(NamedTuple):
    """What a clustering says.

    Attributes:
        headline: the number of clusters.
        certainty: how sure it is, in words.
        clusters: the profile of each.
        alternatives: one cluster fewer, and one more, where there are such candidates.
        silhouettes: label -> mean silhouette of the compared rows of the cluster; empty for one cluster.
        typical: label -> rows nearest to the center of the cluster.
        odd: rows that fit their cluster least, the worst first.
    """

    headline: str
    certainty: str
    clusters: list[Profile]
    alternatives: list[Alternative]
    silhouettes: dict[int, float]
    typical: dict[int, list[int]]
    odd: list[int]


def findings_of(model: AutoCluster, table: pd.DataFrame) -> Findings:
    """The findings of a fitted model.

    Args:
        model: the model.
        table: the rows it was fitted to, in the user's columns and units.
    """
    labels = model.labels_
    units = {} if model.encoder_ is None else {one.name: one.unit for one in model.encoder_.used_}
    kept, points = model.compared_.rows[:MOST_ROWS], model.compared_.points[:MOST_ROWS]
    widths = _silhouettes(points, labels[kept])
    clusters = np.unique(labels[kept][labels[kept] >= 0]).tolist()
    return Findings(
        headline=headline(model),
        certainty=certainty(model),
        clusters=profiles(table, labels, units),
        alternatives=_alternatives(model),
        silhouettes={k: float(widths[labels[kept] == k].mean()) for k in clusters}
        if len(clusters) > 1
        else {},
        typical={k: _typical(points, kept, labels[kept] == k) for k in clusters},
        odd=kept[np.argsort(widths, kind="stable")[:ODD]].tolist() if len(clusters) > 1 else [],
    )


def headline(model: AutoCluster) -> str:
    """The number of clusters, in words."""
    if model.n_clusters_ == 1:
        return "No clusters: one group" if model.candidates_ else "1 cluster"
    return f"{model.n_clusters_} clusters"


def certainty(model: AutoCluster) -> str:
    """How sure the clustering is, in words."""
    chances = model.cluster_probabilities_
    chance = chances.get(model.n_clusters_, 0.0)
    if not model.candidates_:
        return f"Nothing was compared: {model.strategy_.why}."
    if model.n_clusters_ == 1:
        return (
            f"One group describes this table as well as any division of it; the probability of that is "
            f"{percent(chance)}."
        )
    quality = model.strategy_.quality
    words = (
        "Strong: the clusters are clearly separated"
        if quality >= STRONG
        else "Moderate: check the clusters against what you know of the rows"
        if quality >= MODERATE
        else "Weak: do not rely on it"
    )
    known = model.n_clusters is not None or not chances
    number = (
        ""
        if known
        else f" {model.n_clusters_} clusters have a probability of {percent(chance)}{_rival(model)}."
    )
    return (
        f"{words}. The predicted agreement with the true clusters is {max(quality, 0):.2f}, where 1 is "
        f"perfect and 0 is chance.{number}"
    )


def _rival(model: AutoCluster) -> str:
    """The most probable other number of clusters."""
    others = [(k, p) for k, p in model.cluster_probabilities_.items() if k != model.n_clusters_ and p >= 0.05]
    if not others:
        return ""
    count, chance = others[0]
    return f", {'one cluster has' if count == 1 else f'{count} clusters have'} {percent(chance)}"


def lines_of(found: Findings, most: int = 6) -> list[str]:
    """The findings in about ten lines.

    Args:
        found: the findings.
        most: the largest number of clusters that have a line.
    """
    lines = [found.headline, found.certainty]
    for one in found.clusters[:most]:
        parts = [f"{d.words} ({d.here}, all rows {d.overall})" for d in one.differences[:2]]
        what = "; ".join(parts) or "no column distinguishes it from the rest"
        lines.append(f"{one.title}: {one.rows:,} rows ({percent(one.share)}): {what}")
    if len(found.clusters) > most:
        lines.append(f"and {len(found.clusters) - most} more")
    return lines + [f"with {one.clusters} instead: {one.change}" for one in found.alternatives]


def _silhouettes(points: Float[np.ndarray, "M D"], labels: Int[np.ndarray, " M"]) -> Float[np.ndarray, " M"]:
    """The silhouette of every row; unassigned rows have -1, and all have 0 where there is one cluster."""
    owned = labels >= 0
    widths = np.where(owned, 0.0, -1.0)
    if 1 < count_clusters(labels) < owned.sum():
        widths[owned] = silhouette_samples(points[owned], labels[owned])
    return widths


def _typical(points: Float[np.ndarray, "M D"], kept: Int[np.ndarray, " M"], member: np.ndarray) -> list[int]:
    """The rows of a cluster that are nearest to its center."""
    distances = np.linalg.norm(points[member] - points[member].mean(0), axis=1)
    return kept[member][np.argsort(distances, kind="stable")[:TYPICAL]].tolist()


def _alternatives(model: AutoCluster) -> list[Alternative]:
    """What the best candidates of one cluster fewer and of one more would change."""
    found, labels = [], model.labels_[model.compared_.rows]
    for clusters in (model.n_clusters_ - 1, model.n_clusters_ + 1):
        partitions = model.compared_.partitions if clusters > 1 else []
        other = next((one for one in partitions if count_clusters(one) == clusters), None)
        if other is not None:
            found.append(Alternative(clusters, describe_change(labels, other)))
    return found


def describe_change(labels: Int[np.ndarray, " M"], other: Int[np.ndarray, " M"]) -> str:
    """How a partition of the same rows differs: which clusters it joins or divides.

    >>> describe_change(np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 1, 1]))
    'clusters 1 and 2 are joined'
    >>> describe_change(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 2, 2, 1, 1]))
    'cluster 0 is divided'
    """
    counts = pd.crosstab(labels[(labels >= 0) & (other >= 0)], other[(labels >= 0) & (other >= 0)])
    joined = [sorted(group) for group in counts.idxmax(axis=1).groupby(counts.idxmax(axis=1)).groups.values()]
    sources = counts.idxmax(axis=0)
    divided = [int(k) for k, parts in sources.groupby(sources).groups.items() if len(parts) > 1]
    parts = [
        f"clusters {', '.join(map(str, group[:-1]))} and {group[-1]} are joined"
        for group in joined
        if len(group) > 1
    ]
    parts += [f"cluster {k} is divided" for k in divided]
    return ", ".join(parts) or "rows move between the clusters"
