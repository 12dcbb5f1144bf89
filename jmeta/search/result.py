"""The result of a search: outcomes, their predicted quality, and the ranking that follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..errors import InputError
from ..metafeatures.tables import feature_names
from ..portfolio.candidates import fallback
from ..portfolio.running import NOT_RUN, Outcome, run_candidate, usable_or_failed
from ..selection.advisor import Advisor, Ranking
from ..selection.quality import Prediction, QualityModel, predict_quality
from ..selection.selector import CRITERIA


class SearchResult(NamedTuple):
    """The result of a search.

    Attributes:
        outcomes: A, one of every candidate; `NOT_RUN` for those that were not run.
        prediction: the predicted quality of their partitions.
        quality_model: which predicted it.
        features: [F] the meta-features of the problem.
        criterion: the internal criterion, of `CRITERIA`, that the selector trusts most here.
        seed: of the search.
    """

    outcomes: list[Outcome]
    prediction: Prediction
    quality_model: QualityModel
    features: Float[np.ndarray, " F"]
    criterion: str
    seed: int

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the meta-features."""
        return feature_names()

    @property
    def ranking(self) -> Int[np.ndarray, " A"]:
        """Places of the candidates that did not fail, the best predicted quality first."""
        places = np.argsort(-self.prediction.quality, kind="stable")
        return places[np.isfinite(self.prediction.quality[places])]

    @property
    def runs(self) -> int:
        """The number of candidates that were run."""
        return sum(outcome.failure != NOT_RUN.failure for outcome in self.outcomes)


def first_of_equal(
    places: Int[np.ndarray, " P"], partitions: Sequence[Int[np.ndarray, " N"] | None] | Int[np.ndarray, "A N"]
) -> list[int]:
    """The places without those whose partition is that of an earlier one, under other numbers of clusters.

    >>> first_of_equal(np.arange(3), [np.array([0, 0, 1]), np.array([1, 1, 0]), np.array([0, 1, 1])])
    [0, 2]
    """
    first: dict[bytes, int] = {}
    for place in places.tolist():
        _, starts, labels = np.unique(partitions[place], return_index=True, return_inverse=True)
        first.setdefault(np.argsort(np.argsort(starts))[labels].astype(np.int32).tobytes(), place)
    return list(first.values())


def search_result(
    advisor: Advisor,
    quality_model: QualityModel,
    points: Float[np.ndarray, "N D"],
    outcomes: Sequence[Outcome],
    ranking: Ranking,
    clusters: int | None = None,
    *,
    seed: int = 0,
) -> SearchResult:
    """The result of a search with these outcomes; runs the fallback, k-means, where every candidate failed.

    Args:
        advisor: of the candidates.
        quality_model: predicts the quality of the partitions.
        points: [N, D].
        outcomes: A, one of every candidate.
        ranking: of the candidates before they ran.
        clusters: the number of clusters, where it is known.
        seed: all randomness follows from it.

    Raises:
        InputError: no candidate could cluster the points, nor the fallback.
    """
    outcomes = list(outcomes)
    if all(outcome.labels is None for outcome in outcomes):
        place = fallback(advisor.candidates)
        candidate = advisor.candidates[place]
        outcome = run_candidate(candidate, points, clusters or candidate.clusters, seed)
        outcomes[place] = usable_or_failed(outcome)  # a sample may have fewer distinct points than K
        if outcomes[place].labels is None:
            raise InputError(
                f"no candidate could cluster these {len(points)} points, the last one as it "
                f"{outcomes[place].failure}; give more points, or more time."
            )
    labels = [outcome.labels for outcome in outcomes]
    prediction = predict_quality(quality_model, points, labels, clusters, seed=seed)
    criterion = tuple(CRITERIA)[ranking.criterion]
    return SearchResult(outcomes, prediction, quality_model, ranking.features, criterion, seed)
