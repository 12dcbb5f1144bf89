"""Pooled search: make the partitions of all candidates in one pass, and choose among them.

The zero-shot network predicts which points belong together, `make_pool` makes and describes the partitions,
and a `PoolQuality` chooses. One cluster that holds every point is among the candidates.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, PyTree
from scipy.special import expit

from ..errors import InputError
from ..metafeatures.tables import feature_names
from ..padding import pad_points, padded_size
from ..portfolio.candidates import ONE_CLUSTER, Candidate
from ..portfolio.running import run_usable
from ..portfolio.sweep import Progress
from ..records import Model
from ..selection.pool import FirstAnswer, Pool, make_pool
from ..selection.pool_quality import Choice, PoolQuality, choose, cluster_probabilities
from ..selection.selector import problem_features
from .result import first_of_equal

WIDTH = 64
"""Columns are padded to a multiple of this number, so that few compiled programs serve all tables."""
MOST_CLUSTERS = 2_500
"""With more known clusters only k-means is run, as other candidates compare all pairs of rows."""
CRITERIA: dict[str, tuple[str, int]] = {
    "silhouette": ("silhouette", 1),
    "calinski_harabasz": ("log variance ratio", 1),
    "near_neighbours": ("neighbours cut", -1),
    "gap": ("edge gap", 1),
    "most_agreement": ("agreement", 1),
}
"""Internal criteria that a strategy may name, each with the descriptor that it follows, and its sign."""


class PooledResult(NamedTuple):
    """The result of a pooled search.

    Attributes:
        pool: the partitions and their descriptors.
        choice: among them.
        model: that made the choice.
        seed: of the search.
    """

    pool: Pool
    choice: Choice
    model: PoolQuality
    seed: int

    @property
    def best(self) -> Candidate:
        """The chosen candidate."""
        return self.pool.candidates[self.choice.ranking[0]]

    @property
    def labels(self) -> Int[np.ndarray, " N"]:
        """[N] the chosen partition."""
        return self.pool.partitions[self.choice.ranking[0]]

    @property
    def distinct(self) -> list[int]:
        """Places of the likely candidates, the chosen one first, of equal partitions only one."""
        likely = self.choice.ranking[np.isfinite(self.choice.expected[self.choice.ranking])]
        return first_of_equal(likely, self.pool.partitions)

    @property
    def cluster_probabilities(self) -> dict[int, float]:
        """The probability of each number of clusters, the most probable first."""
        return cluster_probabilities(self.pool, self.choice)

    @property
    def criterion(self) -> str:
        """The internal criterion whose favourite partition is expected to be best."""
        several = np.array([one != ONE_CLUSTER for one in self.pool.candidates])
        if not several.any() or not self.pool.columns:  # k-means stands in without descriptors
            return "none"

        def quality_of(name: str) -> float:
            column, sign = CRITERIA[name]
            place = int(np.where(several, sign * self.pool.columns[column], -np.inf).argmax())
            return float(max(self.choice.expected[place], -1) + 1e-3 * self.choice.quality[place])

        return max(CRITERIA, key=quality_of)

    def features(self, points: Float[np.ndarray, "N D"], clusters: int | None) -> dict[str, float]:
        """The meta-features of the points, by name."""
        found = problem_features([points], None if clusters is None else [clusters], seed=self.seed)[0]
        return dict(zip(feature_names(), found.tolist(), strict=True))


def pooled_search(
    network: tuple[Model, PyTree],
    quality: PoolQuality,
    points: Float[np.ndarray, "N D"],
    clusters: int | None = None,
    *,
    seed: int = 0,
    first_answer: FirstAnswer = lambda labels, expected: None,
    seconds: float = math.inf,
    progress: Progress = lambda done, total, last: None,
) -> PooledResult:
    """The choice among the partitions of all candidates.

    Args:
        network: a `pair_transformer` and its parameters.
        quality: trained with the number of clusters where it is known, and without where it is not.
        points: [N, D], centred and scaled, at most a few thousand rows.
        clusters: the number of clusters, where it is known.
        seed: all randomness follows from it.
        first_answer: called with the partition by the network alone, before the candidates are run.
        seconds: as of `make_pool`.
        progress: as of `make_pool`.

    Raises:
        InputError: no candidate finds the known number of clusters, not even k-means.
    """
    model, params = network

    def predict(points: Float[np.ndarray, "M D"], clusters: int) -> Float[np.ndarray, "M M"]:
        return predict_together(model, params, points, clusters)

    pool = Pool((), np.zeros((0, len(points)), int), {})
    if clusters is None or clusters <= MOST_CLUSTERS:
        pool = make_pool(
            points,
            predict,
            clusters,
            seed=seed,
            first_answer=first_answer,
            seconds=seconds,
            progress=progress,
        )
    if not pool.candidates:
        outcome = run_usable(Candidate("kmeans", clusters=clusters), points, clusters, seed)
        if outcome.labels is None:
            raise InputError(f"no candidate found {clusters} clusters; the last one {outcome.failure}.")
        only = Candidate("kmeans", clusters=clusters)
        choice = Choice(np.zeros(1, int), np.zeros(1), np.ones(1), np.ones(1))
        return PooledResult(Pool((only,), outcome.labels[None], {}), choice, quality, seed)
    return PooledResult(pool, choose(quality, pool), quality, seed)


def predict_together(
    model: Model, params: PyTree, points: Float[np.ndarray, "M D"], clusters: int = 0
) -> Float[np.ndarray, "M M"]:
    """The probability that two points belong together, with ones on the diagonal.

    Args:
        model: a `pair_transformer`.
        params: of it.
        points: [M, D].
        clusters: their number of clusters, 0 where it is unknown.
    """
    count, width = points.shape
    centered = points - points.mean(0)
    scale = np.abs(centered).max()
    padded, weights = pad_points(centered / (scale if scale > 0 else 1), padded_size(count))
    padded = np.pad(padded, ((0, 0), (0, -width % WIDTH)))
    logits = np.asarray(model.apply(params, padded, weights, np.float32(clusters)), float)[:count, :count]
    together = expit(logits)
    np.fill_diagonal(together, 1)
    return together
