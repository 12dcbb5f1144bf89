"""What `AutoCluster` says of its choice: the ranking, the strategy, and the labels of all rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..clustering.host.algorithms import nearest_rows
from ..metafeatures.expected import adjusted_rand
from ..portfolio.candidates import ONE_CLUSTER, POOL_ONLY, Candidate
from ..portfolio.running import count_clusters, run_usable
from ..search.pooled import PooledResult
from ..search.result import SearchResult, first_of_equal
from ..selection.advisor import Advisor
from ..selection.quality import COVERAGE

MAX_ROWS = {"kmeans": 10**6, "gaussian_mixture": 10**6, **dict.fromkeys(POOL_ONLY, 0)}
"""The maximum number of rows that an algorithm is fitted to."""
DEFAULT_MAX_ROWS = 5_000
"""The same for algorithms not named in `MAX_ROWS`."""
ROWS_PER_SECOND = 50_000
"""About how many rows a candidate is fitted to in a second."""
SAME_CLUSTERS = 0.8
"""Least adjusted Rand index, on the sample, of the clusters of all rows with those that were chosen."""


class CandidateRow(NamedTuple):
    """One candidate of the ranking.

    Attributes:
        name: algorithm, parameters and, where it is part of the candidate, the number of clusters.
        clusters: the number of clusters found in the sample.
        quality: predicted adjusted Rand index with the true clusters.
        width: half-width of the interval that holds it in four of five cases.
        seconds: run time on the sample; 0 where all candidates ran together.
        agreement: expected adjusted Rand index with the probable partitions, by which candidates that ran
            together are ranked; else None.
    """

    name: str
    clusters: int
    quality: float
    width: float
    seconds: float
    agreement: float | None = None


class Advice(NamedTuple):
    """The chosen strategy, and why.

    Attributes:
        candidate: the algorithm and its parameters; None where all rows are one cluster.
        clusters: the number of clusters found.
        criterion: the internal criterion to trust most for this table.
        quality: predicted adjusted Rand index with the true clusters.
        width: half-width of the interval that holds it in four of five cases.
        scaling: what was done to the columns.
        rows: how the labels of all rows were computed.
        why: the reason for the choice.
    """

    candidate: Candidate | None
    clusters: int
    criterion: str
    quality: float
    width: float
    scaling: str
    rows: str
    why: str


class Compared(NamedTuple):
    """The rows that candidates were compared on.

    Attributes:
        rows: [M] their places in the table.
        points: [M, D] the rows as candidates saw them.
        partitions: [M] clusters by every candidate of the ranking, the best first.
    """

    rows: Int[np.ndarray, " M"]
    points: Float[np.ndarray, "M D"]
    partitions: list[Int[np.ndarray, " M"]]


def ranked_rows(advisor: Advisor, result: SearchResult) -> list[CandidateRow]:
    """The candidates of a search that ran them one by one, the best first; of equal partitions only one."""
    quality, width, _ = result.prediction
    partitions: list[Any] = [outcome.labels for outcome in result.outcomes]
    return [
        CandidateRow(
            name=advisor.candidates[place].name,
            clusters=count_clusters(partitions[place]),
            quality=float(np.clip(quality[place], -1, 1)),
            width=float(width[place]),
            seconds=result.outcomes[place].seconds,
        )
        for place in first_of_equal(result.ranking, partitions)
    ]


def pooled_rows(result: PooledResult) -> list[CandidateRow]:
    """The candidates of a pooled search, the chosen one first; of equal partitions only one."""
    return [
        CandidateRow(
            name=result.pool.candidates[place].name,
            clusters=count_clusters(result.pool.partitions[place]),
            quality=float(np.clip(result.choice.quality[place], -1, 1)),
            width=result.model.spread,
            seconds=0.0,
            agreement=float(np.clip(result.choice.expected[place], -1, 1)),
        )
        for place in result.distinct
    ]


def one_cluster(scaling: str, why: str) -> Advice:
    """The strategy where nothing was compared."""
    return Advice(
        candidate=None,
        clusters=1,
        criterion="none",
        quality=0.0,
        width=0.0,
        scaling=scaling,
        rows="all rows",
        why=why,
    )


def on_all_rows(
    chosen: Candidate,
    points: Float[np.ndarray, "N D"],
    kept: Int[np.ndarray, " M"],
    labels: Int[np.ndarray, " M"],
    clusters: int | None,
    seed: int,
    seconds: float = math.inf,
) -> tuple[Int[np.ndarray, " N"], str]:
    """The labels of all rows, and how they were computed.

    The candidate is fitted to all rows if it scales to them, and if `seconds` are enough by their number: the
    answer does not depend on how fast the machine is.
    """
    if len(kept) == len(points):
        return labels, "all rows were clustered together"
    most = min(MAX_ROWS.get(chosen.algorithm, DEFAULT_MAX_ROWS), ROWS_PER_SECOND * seconds)
    if len(points) <= most:
        outcome = run_usable(chosen, points, clusters, seed)
        if outcome.labels is not None and adjusted_rand(outcome.labels[kept], labels) >= SAME_CLUSTERS:
            return outcome.labels, f"chosen on {len(kept):,} rows, then fitted to all {len(points):,}"
    followed = as_nearest(points, kept, labels)
    if clusters is not None and count_clusters(followed) != clusters:
        outcome = run_usable(Candidate("kmeans"), points, clusters, seed)
        if outcome.labels is not None:
            return outcome.labels, f"k-means of all {len(points):,} rows, as the sample had fewer clusters"
    return followed, (
        f"{len(kept):,} rows were clustered, and each of the other {len(points) - len(kept):,} follows the "
        "nearest of them"
    )


def as_nearest(
    points: Float[np.ndarray, "N D"], kept: Int[np.ndarray, " M"], labels: Int[np.ndarray, " M"]
) -> Int[np.ndarray, " N"]:
    """The labels of all rows, each that of the nearest row of a sample."""
    return labels if len(kept) == len(points) else labels[nearest_rows(points[kept], points)]


def why(rows: Sequence[CandidateRow], runs: int, wanted: int) -> str:
    """The reason for a choice, in words.

    Args:
        rows: the candidates, the best first.
        runs: the number of candidates that were run.
        wanted: the number that would have been run without a time limit.
    """
    best = rows[0]
    reason = (
        f"{best.name}, of {runs} candidates that were run, is predicted to agree best with the true "
        f"clusters: adjusted Rand index {best.quality:.2f} +- {best.width:.2f} ({COVERAGE:.0%} sure)"
    )
    other = _next_method(rows)
    reason += f"; the next algorithm is {other.name} with {other.quality:.2f}" if other else ""
    return reason + _ended_early(runs, wanted)


def why_pooled(result: PooledResult, rows: Sequence[CandidateRow]) -> str:
    """The reason for the choice of a pooled search, in words."""
    best, *others = rows
    runs = len(result.pool.candidates)
    predicted = f"predicted adjusted Rand index {best.quality:.2f} +- {best.width:.2f} ({COVERAGE:.0%} sure)"
    early = _ended_early(runs, runs + result.pool.left_out)
    if runs == 1:
        return f"{best.name} is the only candidate with as many clusters{early}"
    if result.best == ONE_CLUSTER:
        reason = "no clusters: that all rows are one group agrees best with the probable partitions"
        if others:
            reason += f"; the best of {runs - 1} candidates with clusters is {others[0].name}"
    else:
        reason = (
            f"{best.name}, of {runs} candidates, agrees best with the probable partitions; {predicted} with "
            "the true clusters"
        )
        other = _next_method(rows)
        reason += f"; the next algorithm is {other.name} with {other.quality:.2f}" if other else ""
    chances = [(count, chance) for count, chance in result.cluster_probabilities.items() if chance >= 0.01]
    counts = [f"{count} with {chance:.0%}" for count, chance in chances[:3]]
    reason += f"; probable numbers of clusters: {', '.join(counts)}" if len(chances) > 1 else ""
    return reason + early


def _ended_early(runs: int, wanted: int) -> str:
    """What a time limit left out, in words."""
    if runs >= wanted:
        return ""
    return (
        f"; the time limit ended the search after {runs} of {wanted} candidates: a longer limit may find a "
        "better one, and another answer"
    )


def _next_method(rows: Sequence[CandidateRow]) -> CandidateRow | None:
    """The best candidate of another algorithm than the best one."""
    method = rows[0].name.split(" /")[0]
    return next((row for row in rows[1:] if row.name.split(" /")[0] != method), None)
