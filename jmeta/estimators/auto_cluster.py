"""AutoCluster: clusters a table without choosing an algorithm or a number of clusters.

A meta-model ranks candidates by the meta-features of the table, runs them while there is time, predicts the
adjusted Rand index of each partition with the true clusters, and returns the best.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
from jaxtyping import Float, Int, Num
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from ..artifacts.advisors import load_model
from ..errors import InputError
from ..portfolio.candidates import Candidate
from ..portfolio.running import count_clusters, run_usable
from ..search.explanation import Explanation, explain
from ..search.learned import LearnedSearch
from ..search.ranked import ranked_search
from ..search.result import SearchResult
from ..selection.advisor import Advisor
from ..selection.quality import COVERAGE
from .preparation import Scaling, prepare

SearchMethod = Literal["ranked", "rl2"]
MAX_ROWS = {"kmeans": 10**6, "gaussian_mixture": 10**6}
"""The maximum number of rows that an algorithm is fitted to."""
DEFAULT_MAX_ROWS = 5_000
"""The same for algorithms not named in `MAX_ROWS`."""


class CandidateRow(NamedTuple):
    """One candidate of the ranking.

    Attributes:
        name: algorithm, parameters and, where it is part of the candidate, the number of clusters.
        clusters: the number of clusters found in the sample.
        quality: predicted adjusted Rand index with the true clusters.
        width: half-width of the interval that holds it in four of five cases.
        seconds: run time on the sample.
    """

    name: str
    clusters: int
    quality: float
    width: float
    seconds: float


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


class AutoCluster(ClusterMixin, BaseEstimator):
    """Clusters a table without choosing an algorithm or a number of clusters.

    Args:
        n_clusters: the number of clusters, which is then exact; estimated unless given.
        time_limit: seconds for running all candidates.
        n_candidates: the maximum number of candidates that are run; all unless given.
        search: "ranked" runs candidates in the order that the meta-model predicts; "rl2" runs at most ten,
            each chosen by a trained agent from the outcomes so far: better if no more than ten can be run,
            worse if all can.
        scaling: "auto" divides columns by their standard deviations if these differ by a factor of ten or
            more, "standard" always, "none" never.
        sample_size: number of rows that candidates are compared on; the chosen one is then fitted to all rows
            if it scales to them, else every other row gets the label of its nearest row of the sample.
        model: a file written by `save_model`; parts that it lacks are taken from the models that come with
            jmeta.
        random_state: all randomness follows from it.

    Attributes:
        labels_: [N] cluster of each row; -1 for noise.
        strategy_: an `Advice`: the chosen strategy, and why.
        candidates_: a list of `CandidateRow`, the best first.
        n_clusters_: the number of clusters found.
        features_: name -> meta-feature of the table.

    >>> points = np.concatenate([np.random.default_rng(0).normal(c, 0.1, (20, 2)) for c in (0, 3)])
    >>> model = AutoCluster(n_clusters=2, n_candidates=3).fit(points)
    >>> model.labels_[:20].tolist() == [model.labels_[0]] * 20, model.n_clusters_
    (True, 2)
    """

    def __init__(
        self,
        n_clusters: int | None = None,
        *,
        time_limit: float = 60.0,
        n_candidates: int | None = None,
        search: SearchMethod = "ranked",
        scaling: Scaling = "auto",
        sample_size: int = 2_000,
        model: str | os.PathLike | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.time_limit = time_limit
        self.n_candidates = n_candidates
        self.search = search
        self.scaling = scaling
        self.sample_size = sample_size
        self.model = model
        self.random_state = random_state

    def fit(
        self,
        X: Num[np.ndarray, "N D"],  # noqa: N803 - scikit-learn's name
        y: Any = None,
        *,
        progress: Callable[[int, int, Candidate], None] = lambda done, total, candidate: None,
    ) -> Self:
        """Clusters the rows of a table.

        Args:
            X: [N, D] numbers; for tables with text and missing values see `jmeta cluster`.
            y: ignored.
            progress: called after each run with the number done, the number in total, and the candidate.

        Raises:
            InputError: a setting is out of its range, fewer than `n_clusters` rows differ, or the model
                cannot be read.
            ValueError: the table is empty, or holds something other than finite numbers.
        """
        self._check()
        table = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        seed = int(check_random_state(self.random_state).randint(2**31))
        self._prepared = prepare(table, self.scaling, seed=seed)
        points = self._prepared(table)
        distinct = _distinct(points, self.n_clusters or 2)
        if self.n_clusters is not None and self.n_clusters > distinct:
            raise InputError(
                f"n_clusters is {self.n_clusters}, but only {distinct} rows differ; give a smaller number."
            )
        if distinct < 2 or self.n_clusters == 1:
            return self._one_cluster(
                points, "one cluster was requested" if distinct > 1 else "all rows are equal"
            )
        advisor = _advisor(self.model, self.n_clusters)
        kept = np.sort(np.random.default_rng(seed).permutation(len(points))[: self.sample_size])
        search = (
            _learned_search(self.model)
            if self.search == "rl2"
            else partial(ranked_search, clusters=self.n_clusters)
        )
        result = search(
            advisor,
            points[kept],
            seconds=self.time_limit,
            max_candidates=self.n_candidates,
            seed=seed,
            progress=progress,
        )
        return self._keep(points, kept, advisor, result)

    def predict(self, X: Num[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:  # noqa: N803 - scikit-learn's name
        """The cluster of the nearest clustered row, for every new row.

        Raises:
            ValueError: the table has different columns, or is not finite.
        """
        check_is_fitted(self)
        table = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return self._nearest.predict(self._prepared(table))

    def explain(self) -> Explanation:
        """The numbers that explain the choice, for a report.

        Raises:
            InputError: all rows are one cluster, and no candidate was chosen.
        """
        check_is_fitted(self)
        if self._result is None or self._advisor is None:
            raise InputError(f"nothing was chosen: {self.strategy_.why}.")
        return explain(self._advisor, self._sample, self._result, self.n_clusters)

    def _check(self) -> None:
        for name in ("n_clusters", "n_candidates"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int | np.integer) or value < 1):
                raise InputError(f"{name} is {value!r}; give a whole number >= 1, or None.")
        if self.search not in get_args(SearchMethod):
            raise InputError(f"search is {self.search!r}; choose one of {', '.join(get_args(SearchMethod))}.")
        if self.search == "rl2" and self.n_clusters is not None:
            raise InputError(
                "search='rl2' finds the number of clusters; leave n_clusters out, or choose search='ranked'."
            )
        if not isinstance(self.sample_size, int | np.integer) or self.sample_size < 10:
            raise InputError(f"sample_size is {self.sample_size!r}; give a whole number >= 10.")
        if not self.time_limit > 0:
            raise InputError(f"time_limit is {self.time_limit!r}; give a positive number of seconds.")

    def _one_cluster(self, points: Float[np.ndarray, "N D"], why: str) -> Self:
        warnings.warn(f"{why}: every row is put into one cluster.", stacklevel=3)
        self._result: SearchResult | None = None
        self._advisor: Advisor | None = None
        self.candidates_: list[CandidateRow] = []
        self.features_: dict[str, float] = {}
        self.strategy_ = Advice(
            candidate=None,
            clusters=1,
            criterion="none",
            quality=0.0,
            width=0.0,
            scaling=self._prepared.description,
            rows="all rows",
            why=why,
        )
        return self._labelled(points, np.zeros(len(points), int))

    def _keep(
        self,
        points: Float[np.ndarray, "N D"],
        kept: Int[np.ndarray, " M"],
        advisor: Advisor,
        result: SearchResult,
    ) -> Self:
        """Sets the attributes from the result of a search, and labels all rows with its best candidate."""
        self._result, self._advisor, self._sample = result, advisor, points[kept]
        quality, width, _ = result.prediction
        self.candidates_ = [
            CandidateRow(
                name=advisor.candidates[place].name,
                clusters=count_clusters(result.outcomes[place].labels),
                quality=float(np.clip(quality[place], -1, 1)),
                width=float(width[place]),
                seconds=result.outcomes[place].seconds,
            )
            for place in result.ranking
        ]
        best = result.ranking[0]
        chosen = advisor.candidates[best]
        labels, rows = _on_all_rows(
            chosen, points, kept, result.outcomes[best].labels, self.n_clusters, result.seed
        )
        self.features_ = dict(zip(result.feature_names, result.features.tolist(), strict=True))
        self.strategy_ = Advice(
            candidate=chosen._replace(clusters=None),
            clusters=count_clusters(labels),
            criterion=result.criterion,
            quality=self.candidates_[0].quality,
            width=self.candidates_[0].width,
            scaling=self._prepared.description,
            rows=rows,
            why=_why(self.candidates_, result.runs),
        )
        return self._labelled(points, labels)

    def _labelled(self, points: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"]) -> Self:
        self.labels_ = labels
        self.n_clusters_ = count_clusters(labels)
        self._nearest = KNeighborsClassifier(1).fit(points, labels)
        return self


def _distinct(points: Float[np.ndarray, "N D"], enough: int) -> int:
    """The number of distinct rows, or of distinct first rows if these are enough."""
    first = len(np.unique(points[: 10 * enough], axis=0))
    return first if first >= enough else len(np.unique(points, axis=0))


def _advisor(path: str | os.PathLike | None, clusters: int | None) -> Advisor:
    return _part(*_version(path), "unknown" if clusters is None else "given")


def _learned_search(path: str | os.PathLike | None) -> LearnedSearch:
    return _ready_search(*_version(path))


def _version(path: str | os.PathLike | None) -> tuple[str | None, float]:
    """The path of a model and its modification time, so that a changed file is read again."""
    try:
        return (None, 0.0) if path is None else (os.fspath(path), os.path.getmtime(path))
    except OSError as error:
        raise InputError(f"the model {os.fspath(path or '')} cannot be read ({error.strerror}).") from None


@cache
def _parts(path: str | None, changed: float, shipped: str) -> dict[str, Any]:
    return load_model(path, shipped=shipped)[0]


def _part(path: str | None, changed: float, name: str) -> Any:
    """A part of a model; the one that comes with jmeta if the file lacks it."""
    own = _parts(path, changed, "auto") if path else {}
    if own and not own.keys() & {"given", "unknown", "search"}:
        raise InputError(f"{path} holds {', '.join(own)}; AutoCluster needs given, unknown or search.")
    return own[name] if name in own else _parts(None, 0.0, "search" if name == "search" else "auto")[name]


@cache
def _ready_search(path: str | None, changed: float) -> LearnedSearch:
    return LearnedSearch(_part(path, changed, "search"))


def _on_all_rows(
    chosen: Candidate,
    points: Float[np.ndarray, "N D"],
    kept: Int[np.ndarray, " M"],
    labels: Int[np.ndarray, " M"],
    clusters: int | None,
    seed: int,
) -> tuple[Int[np.ndarray, " N"], str]:
    """The labels of all rows, and how they were computed."""
    if len(kept) == len(points):
        return labels, "all rows were clustered together"
    if len(points) <= MAX_ROWS.get(chosen.algorithm, DEFAULT_MAX_ROWS):
        outcome = run_usable(chosen, points, clusters, seed)
        if outcome.labels is not None:
            return outcome.labels, f"chosen on {len(kept):,} rows, then fitted to all {len(points):,}"
    followed = KNeighborsClassifier(1).fit(points[kept], labels).predict(points)
    if clusters is not None and count_clusters(followed) != clusters:
        outcome = run_usable(Candidate("kmeans"), points, clusters, seed)
        if outcome.labels is not None:
            return outcome.labels, f"k-means of all {len(points):,} rows, as the sample had fewer clusters"
    return followed, (
        f"{len(kept):,} rows were clustered, and each of the other {len(points) - len(kept):,} follows the "
        "nearest of them"
    )


def _why(rows: list[CandidateRow], runs: int) -> str:
    best = rows[0]
    why = (
        f"{best.name}, of {runs} candidates that were run, is predicted to agree best with the true "
        f"clusters: adjusted Rand index {best.quality:.2f} +- {best.width:.2f} ({COVERAGE:.0%} sure)"
    )
    method = best.name.split(" /")[0]
    other = next((row for row in rows[1:] if row.name.split(" /")[0] != method), None)
    return why + (f"; the next algorithm is {other.name} with {other.quality:.2f}" if other else "")
