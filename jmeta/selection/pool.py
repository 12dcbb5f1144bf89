"""The partitions of one table that a quality model chooses from, with their descriptors.

All classical candidates are run in one pass, by `sweep`. To them come the cuts of the tree on P, the
predictions of the zero-shot network, and one cluster that holds every point.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from threadpoolctl import threadpool_limits

from ..clustering.host.algorithms import nearest_rows
from ..metafeatures.candidates import Columns, describe_candidates
from ..metafeatures.expected import MOST, cuts_of_p
from ..portfolio.candidates import ONE_CLUSTER, Candidate
from ..portfolio.running import count_clusters
from ..portfolio.sweep import ALONE, Progress, counts_to_try, sweep

SAMPLE = 512
"""The largest number of points that P is predicted for."""
RUN_SHARE = 0.6
"""Share of the time limit for running candidates; the rest is for describing them."""
PairPredictor = Callable[[Float[np.ndarray, "M D"], int], Float[np.ndarray, "M M"]]
"""From points and their number of clusters, 0 where it is unknown, to P."""
FirstAnswer = Callable[[Int[np.ndarray, " N"], float], None]
"""Takes the partition by the zero-shot network alone, and its expected adjusted Rand index."""


class Pool(NamedTuple):
    """Partitions of one table.

    Attributes:
        candidates: A of them.
        partitions: [A, N] their labels, from 0; -1 is noise.
        columns: descriptors, name -> [A].
        left_out: the number of candidates that there was no time for.
    """

    candidates: tuple[Candidate, ...]
    partitions: Int[np.ndarray, "A N"]
    columns: Columns
    left_out: int = 0

    @property
    def methods(self) -> list[str]:
        """[A] names of the candidates without their number of clusters."""
        return [one._replace(clusters=None).name for one in self.candidates]


def make_pool(
    points: Float[np.ndarray, "N D"],
    predict: PairPredictor,
    clusters: int | None = None,
    *,
    seed: int = 0,
    first_answer: FirstAnswer = lambda labels, expected: None,
    seconds: float = math.inf,
    progress: Progress = lambda done, total, last: None,
) -> Pool:
    """The partitions of all candidates, with their descriptors.

    Args:
        points: [N, D], centred and scaled, at most a few thousand.
        predict: P of at most `SAMPLE` points.
        clusters: the number of clusters, if it is known: the pool then holds partitions of that number only.
        seed: all randomness follows from it.
        first_answer: called before the classical candidates are run, unless more clusters are known than P
            has points.
        seconds: for running and describing the candidates; those that there is no time for are left out.
        progress: called after each classical candidate.
    """
    counts = counts_to_try(len(points)) if clusters is None else (clusters,)
    sample = np.sort(np.random.default_rng(seed).permutation(len(points))[:SAMPLE])
    together = predict(points[sample], clusters or 0)
    until = time.monotonic() + RUN_SHARE * seconds  # compilation, if any, is over
    with ALONE, threadpool_limits(1):
        cuts = cuts_of_p(together, max(MOST, *counts))
        own, scores = cuts
        if len(sample) < len(points):
            own = own[:, nearest_rows(points[sample], points)]
    best = int(scores[: max(counts)].argmax()) if clusters is None else clusters - 1
    if best < len(own):
        first_answer(own[best], float(scores[best]))
    found, left_out = sweep(points, counts, seed=seed, until=until, progress=progress)
    for count in counts:
        if count <= len(own):
            found[Candidate("zero_shot", clusters=count)] = own[count - 1]
    if clusters is None:
        found[ONE_CLUSTER] = own[0]
    else:
        found = {one: labels for one, labels in found.items() if count_clusters(labels) == clusters}
    with ALONE, threadpool_limits(1):
        columns = describe_candidates(points, sample, together, cuts, list(found.values())) if found else {}
    partitions = np.stack([*found.values()]) if found else np.zeros((0, len(points)), int)
    return Pool(tuple(found), partitions, columns, left_out)
