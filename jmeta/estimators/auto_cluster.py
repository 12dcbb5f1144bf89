"""AutoCluster: no number of clusters and no algorithm to choose.

A model that learned from thousands of clusterings orders candidates by what it sees of the table, runs them
while there is time, foretells from the shape of each partition how well it agrees with what people would call
the clusters, and takes the best.
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

from ..records import InputError
from ..rl.searcher import LearnedSearch, unpacked_searcher
from ..selection.advisor import SURE, Advisor
from ..selection.explanation import Explanation, explain
from ..selection.portfolio import Candidate, apply_candidate
from ..selection.saved import load_model
from ..selection.search import Found, search
from .preparation import Scaling, prepare

Way = Literal["ranked", "rl2"]
ALL_ROWS = {"kmeans": 10**6, "gaussian_mixture": 10**6}
"""Rows up to which an algorithm is fitted to all of them; for those not named here `MANY`."""
MANY = 5_000


class Row(NamedTuple):
    """One candidate of the ranking.

    Attributes:
        name: algorithm, parameters and, where it is part of the choice, the number of clusters.
        clusters: how many it found in the sample.
        quality: the adjusted Rand index with the true clusters that is foretold of it.
        width: half of the interval that holds it in four of five cases.
        seconds: how long it took on the sample.
    """

    name: str
    clusters: int
    quality: float
    width: float
    seconds: float


class Advice(NamedTuple):
    """What was chosen, and why.

    Attributes:
        candidate: the algorithm and its parameters; None where all rows are one cluster.
        clusters: how many were found.
        criterion: the internal criterion that is to be trusted most for such a table.
        quality: the adjusted Rand index with the true clusters that is foretold.
        width: half of the interval that holds it in four of five cases.
        scaling: what was done to the columns.
        rows: how the labels of all rows came about.
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
    """Cluster a table without choosing an algorithm or a number of clusters.

    Args:
        n_clusters: how many; found unless given.
        time_limit: seconds that candidates may take together.
        n_candidates: how many are run at most; all of the model's unless given.
        search: "ranked" runs candidates in the order that is foretold before any is run; "rl2" one after the
            other, each chosen by a trained agent after what those before found, at most ten: better where no
            more than ten can be run, worse where all can.
        scaling: "auto" divides columns by their deviations where these differ by a factor of ten or more,
            "standard" always, "none" never.
        sample_size: rows that candidates are compared on; the one chosen is then fitted to all rows where it
            can, else every other row follows its nearest row of the sample.
        model: a file that `save_model` wrote; what it lacks is taken from those that come with jmeta.
        random_state: everything random follows from it.

    Attributes:
        labels_: [N] cluster of each row; -1 where it belongs to none.
        strategy_: an `Advice`: what was chosen, and why.
        candidates_: a list of `Row`, the best first.
        n_clusters_: how many were found.
        features_: name -> meta-feature of the table.

    >>> points = np.concatenate([np.random.default_rng(0).normal(c, 0.1, (20, 2)) for c in (0, 3)])
    >>> found = AutoCluster(n_clusters=2, n_candidates=3).fit(points)
    >>> found.labels_[:20].tolist() == [found.labels_[0]] * 20, found.n_clusters_
    (True, 2)
    """

    def __init__(
        self,
        n_clusters: int | None = None,
        *,
        time_limit: float = 60.0,
        n_candidates: int | None = None,
        search: Way = "ranked",
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
        progress: Callable[[int, int, Candidate], None] = lambda done, count, one: None,
    ) -> Self:
        """Cluster the rows of a table.

        Args:
            X: [N, D] numbers; for tables with words and gaps see `jmeta cluster`.
            y: not looked at.
            progress: told after each candidate how many are done, how many there are, and which it was.

        Raises:
            InputError: a setting is out of its range, or the model cannot be read.
            ValueError: the table is empty, not finite or not of numbers.
        """
        self._check()
        table = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        seed = int(check_random_state(self.random_state).randint(2**31))
        self._prepared = prepare(table, self.scaling, seed=seed)
        points = self._prepared(table)
        distinct = _distinct(points, self.n_clusters or 2)
        if self.n_clusters is not None and self.n_clusters > distinct:
            raise InputError(
                f"{self.n_clusters} clusters were asked for, but only {distinct} rows differ; ask for fewer."
            )
        if distinct < 2 or self.n_clusters == 1:
            return self._one_cluster(
                points, "1 cluster was asked for" if distinct > 1 else "all rows are equal"
            )
        advisor = _advisor(self.model, self.n_clusters)
        kept = np.sort(np.random.default_rng(seed).permutation(len(points))[: self.sample_size])
        find = (
            _learned_search(self.model) if self.search == "rl2" else partial(search, clusters=self.n_clusters)
        )
        found = find(
            advisor,
            points[kept],
            seconds=self.time_limit,
            most=self.n_candidates,
            seed=seed,
            progress=progress,
        )
        return self._taken(points, kept, advisor, found, seed)

    def predict(self, X: Num[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:  # noqa: N803 - scikit-learn's name
        """The cluster of the nearest row that was clustered, for every new row.

        Raises:
            ValueError: the table has other columns, or is not finite.
        """
        check_is_fitted(self)
        table = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return self._nearest.predict(self._prepared(table))

    def explain(self) -> Explanation:
        """What the choice rests on, as numbers; a report shows them.

        Raises:
            InputError: all rows are one cluster, so that nothing was chosen.
        """
        check_is_fitted(self)
        if self._found is None:
            raise InputError(f"nothing was chosen: {self.strategy_.why}.")
        return explain(_advisor(self.model, self.n_clusters), self._sample, self._found, self.n_clusters)

    def _check(self) -> None:
        for name in ("n_clusters", "n_candidates"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int | np.integer) or value < 1):
                raise InputError(f"{name} is {value!r}; give a whole number >= 1, or None.")
        if self.search not in get_args(Way):
            raise InputError(f"search is {self.search!r}; choose one of {', '.join(get_args(Way))}.")
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
        self._found: Found | None = None
        self.candidates_: list[Row] = []
        self.features_: dict[str, float] = {}
        self.strategy_ = Advice(None, 1, "none", 0.0, 0.0, self._prepared.said, "all rows", why)
        return self._labelled(points, np.zeros(len(points), int))

    def _taken(
        self,
        points: Float[np.ndarray, "N D"],
        kept: Int[np.ndarray, " M"],
        advisor: Advisor,
        found: Found,
        seed: int,
    ) -> Self:
        """Keep what was found, and label all rows with the best of it."""
        self._found, self._sample = found, points[kept]
        quality, width, _ = found.judgement
        self.candidates_ = [
            Row(
                advisor.candidates[at].name,
                _count(found.outcomes[at].labels),
                float(np.clip(quality[at], -1, 1)),
                float(width[at]),
                found.outcomes[at].seconds,
            )
            for at in found.ranking
        ]
        best = found.ranking[0]
        chosen = advisor.candidates[best]
        labels, rows = _on_all_rows(chosen, points, kept, found.outcomes[best].labels, self.n_clusters, seed)
        self.features_ = dict(zip(found.names, found.features.tolist(), strict=True))
        self.strategy_ = Advice(
            chosen._replace(clusters=None),
            _count(labels),
            found.criterion,
            *self.candidates_[0][2:4],
            self._prepared.said,
            rows,
            _why(self.candidates_, found),
        )
        return self._labelled(points, labels)

    def _labelled(self, points: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"]) -> Self:
        self.labels_ = labels
        self.n_clusters_ = _count(labels)
        self._nearest = KNeighborsClassifier(1).fit(points, labels)
        return self


def _distinct(points: Float[np.ndarray, "N D"], enough: int) -> int:
    """How many rows differ; where they are enough among the first, of these alone."""
    first = len(np.unique(points[: 10 * enough], axis=0))
    return first if first >= enough else len(np.unique(points, axis=0))


def _count(labels: Int[np.ndarray, " N"]) -> int:
    return len(np.unique(labels[labels >= 0]))


def _advisor(path: str | os.PathLike | None, clusters: int | None) -> Advisor:
    return _part(*_version(path), "unknown" if clusters is None else "given")


def _learned_search(path: str | os.PathLike | None) -> LearnedSearch:
    return _ready_search(*_version(path))


def _version(path: str | os.PathLike | None) -> tuple[str | None, float]:
    """The path of a model, and when it was changed: a file is read again where it was."""
    try:
        return (None, 0.0) if path is None else (os.fspath(path), os.path.getmtime(path))
    except OSError as error:
        raise InputError(f"the model {os.fspath(path or '')} cannot be read ({error.strerror}).") from None


@cache
def _parts(path: str | None, changed: float, shipped: str) -> dict[str, Any]:
    return load_model(path, shipped=shipped)[0]


def _part(path: str | None, changed: float, name: str) -> Any:
    """A part of a model; the one that comes with jmeta where the file has others."""
    own = _parts(path, changed, "auto") if path else {}
    if own and not own.keys() & {"given", "unknown", "search"}:
        raise InputError(f"{path} holds {', '.join(own)}; AutoCluster asks for given, unknown or search.")
    return own[name] if name in own else _parts(None, 0.0, "search" if name == "search" else "auto")[name]


@cache
def _ready_search(path: str | None, changed: float) -> LearnedSearch:
    return LearnedSearch(unpacked_searcher(_part(path, changed, "search")))


def _on_all_rows(
    chosen: Candidate,
    points: Float[np.ndarray, "N D"],
    kept: Int[np.ndarray, " M"],
    labels: Int[np.ndarray, " M"],
    clusters: int | None,
    seed: int,
) -> tuple[Int[np.ndarray, " N"], str]:
    """The labels of all rows, and how they came about."""
    if len(kept) == len(points):
        return labels, "all rows were clustered together"
    if len(points) <= ALL_ROWS.get(chosen.algorithm, MANY):
        with warnings.catch_warnings(action="ignore"):
            return apply_candidate(chosen, points, clusters, seed), (
                f"chosen on {len(kept):,} rows, then fitted to all {len(points):,}"
            )
    nearest = KNeighborsClassifier(1).fit(points[kept], labels)
    return nearest.predict(points), (
        f"{len(kept):,} rows were clustered, and each of the other {len(points) - len(kept):,} follows the "
        "nearest of them"
    )


def _why(ranking: list[Row], found: Found) -> str:
    best = ranking[0]
    ran = sum(outcome.failure != "not run" for outcome in found.outcomes)
    said = (
        f"{best.name}, of {ran} candidates that were run, is foretold to agree best with the true clusters: "
        f"adjusted Rand index {best.quality:.2f} +- {best.width:.2f} ({SURE:.0%} sure)"
    )
    other = next((row for row in ranking[1:] if row.name.split(" /")[0] != best.name.split(" /")[0]), None)
    return said + (f"; the next algorithm is {other.name} with {other.quality:.2f}" if other else "")
