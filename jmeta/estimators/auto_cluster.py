"""AutoCluster: clusters a table without choosing an algorithm or a number of clusters.

All candidates are run in one pass, a meta-model predicts the adjusted Rand index of each partition with the
true clusters, and the one with the greatest expected index is returned. Other searches run candidates one by
one, in the order that a meta-model predicts or that a trained agent chooses.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.metrics import silhouette_score
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, check_random_state

from ..errors import InputError, InputWarning
from ..portfolio.candidates import ONE_CLUSTER, Candidate
from ..portfolio.running import count_clusters
from ..search.explanation import Explanation, explain, explain_pooled
from ..search.pooled import MOST_CLUSTERS, PooledResult, pooled_search
from ..search.ranked import ranked_search
from ..search.result import SearchResult
from .choice import (
    Advice,
    CandidateRow,
    Compared,
    as_nearest,
    on_all_rows,
    one_cluster,
    pooled_rows,
    ranked_rows,
    why,
    why_pooled,
)
from .inputs import encoded, prepared_rows
from .memberships import Neighbours
from .models import advisor_of, learned_search_of, pair_network, pool_quality
from .preparation import Scaling
from .progress import at_intervals, ignore, print_first_answer, print_progress

if TYPE_CHECKING:
    from ..tables.encoder import TableEncoder

SearchMethod = Literal["auto", "all", "ranked", "rl2"]


SCORED_ROWS = 5_000
"""The maximum number of rows that a score is computed from."""


class AutoCluster(TransformerMixin, ClassNamePrefixFeaturesOutMixin, ClusterMixin, BaseEstimator):
    """Clusters a table without choosing an algorithm or a number of clusters.

    A table is an array, a sparse matrix, or a DataFrame of pandas or polars. The columns of a DataFrame may
    hold numbers, dates, words, text and gaps: a `TableEncoder` is fitted to them, and columns that identify
    rows are left out. Words count by the classes of rows that they and the other columns form, and not at all
    if they are unrelated to the other columns, unless `scaling` is "none" or more clusters than distinct rows
    remained.

    Args:
        n_clusters: the number of clusters, which is then exact; estimated unless given.
        time_limit: seconds for fitting, without compilation. Unless candidates are left out for lack of time,
            which `strategy_.why` says, the answer does not depend on the clock.
        n_candidates: the maximum number of candidates that are run one by one; all unless given.
        search: "all" runs all candidates in one pass, in seconds; "ranked" runs them one by one, in the order
            that a meta-model predicts; "rl2" runs at most ten, each chosen by a trained agent from the
            outcomes so far; "auto" is "ranked" where `n_candidates` or `model` is given, else "all".
        scaling: "auto" divides columns by their standard deviations if these differ by a factor of ten or
            more, "standard" always, "none" never.
        sample_size: number of rows that candidates are compared on; the chosen one is then fitted to all rows
            if it scales to them, else every other row gets the label of its nearest row of the sample.
        model: a file written by `save_model`; parts that it lacks are taken from the models that come with
            jmeta.
        encoder: how the columns of a DataFrame are encoded; `TableEncoder()` unless given.
        verbose: whether the first answer and, every few seconds, the number of candidates that were run are
            printed.
        random_state: all randomness follows from it.

    Attributes:
        labels_: [N] cluster of each row; -1 for noise.
        strategy_: an `Advice`: the chosen strategy, and why.
        candidates_: a list of `CandidateRow`, the best first.
        n_clusters_: the number of clusters found.
        cluster_probabilities_: number of clusters -> its probability, the most probable first; of a search
            of "all". The partition that is chosen may have another number than the most probable one, as it
            is the one that agrees best with all that are probable.
        compared_: a `Compared`: the rows that candidates were compared on, and their partitions.
        features_: name -> meta-feature of the table.
        encoder_: the fitted `TableEncoder` of a DataFrame, whose `columns_` say what was done to each column;
            None for an array.
        table_: the DataFrame in its own columns and terms, as `TableEncoder.read` returns it; else None.

    >>> points = np.concatenate([np.random.default_rng(0).normal(c, 0.1, (20, 2)) for c in (0, 3)])
    >>> model = AutoCluster(n_clusters=2, n_candidates=3).fit(points)
    >>> model.labels_[:20].tolist() == [model.labels_[0]] * 20, model.n_clusters_
    (True, 2)
    """

    _features: dict[str, float] | None

    def __init__(
        self,
        n_clusters: int | None = None,
        *,
        time_limit: float = 60.0,
        n_candidates: int | None = None,
        search: SearchMethod = "auto",
        scaling: Scaling = "auto",
        sample_size: int = 2_000,
        model: str | os.PathLike | None = None,
        encoder: TableEncoder | None = None,
        verbose: bool = False,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.time_limit = time_limit
        self.n_candidates = n_candidates
        self.search = search
        self.scaling = scaling
        self.sample_size = sample_size
        self.model = model
        self.encoder = encoder
        self.verbose = verbose
        self.random_state = random_state

    def fit(
        self,
        X: Any,  # noqa: N803 - scikit-learn's name
        y: Any = None,
        *,
        progress: Callable[[int, int, Candidate], None] | None = None,
        first_answer: Callable[[Int[np.ndarray, " N"], float], None] | None = None,
    ) -> Self:
        """Clusters the rows of a table.

        Args:
            X: [N, D] numbers, dense or sparse; or a DataFrame.
            y: ignored.
            progress: called after each run with the number done, the number in total, and the candidate.
            first_answer: called by a search of "all" before the candidates are run, with the clusters of all
                rows by the zero-shot network alone and their expected adjusted Rand index.

        Raises:
            InputError: a setting is out of its range, fewer than `n_clusters` rows differ, the model cannot
                be read, or no column of a DataFrame can be used.
            ValueError: an array is empty, or holds something other than finite numbers.
        """
        self._check()
        progress = progress or (at_intervals(print_progress) if self.verbose else ignore)
        first_answer = first_answer or (print_first_answer if self.verbose else ignore)
        seed = int(check_random_state(self.random_state).randint(2**31))
        self._prepared, points, distinct = prepared_rows(self, X, seed)
        if distinct < 2 or self.n_clusters == 1:
            return self._one_cluster(
                points, self._prepared.equal if distinct < 2 else "one cluster was requested"
            )
        known = self.n_clusters or 0
        size = max(self.sample_size, 2 * known) if known <= MOST_CLUSTERS else len(points)
        kept = np.sort(np.random.default_rng(seed).permutation(len(points))[:size])
        self.compared_ = Compared(kept, points[kept], [])
        if self._method() == "all":
            return self._search_pool(points, kept, seed, progress, first_answer)
        return self._search_one_by_one(points, kept, seed, progress)

    def _method(self) -> SearchMethod:
        """The search that "auto" stands for."""
        given = self.n_candidates is not None or self.model is not None
        return self.search if self.search != "auto" else "ranked" if given else "all"

    def _search_pool(
        self,
        points: Float[np.ndarray, "N D"],
        kept: Int[np.ndarray, " M"],
        seed: int,
        progress: Callable[[int, int, Candidate], None],
        first_answer: Callable[[Int[np.ndarray, " N"], float], None],
    ) -> Self:
        network: Any = pair_network()
        result = pooled_search(
            (network.made, network.params),
            pool_quality(self.n_clusters is not None),
            self.compared_.points,
            self.n_clusters,
            seed=seed,
            first_answer=lambda labels, expected: first_answer(as_nearest(points, kept, labels), expected),
            seconds=self.time_limit,
            progress=progress,
        )
        return self._keep_pooled(points, kept, result)

    def _search_one_by_one(
        self,
        points: Float[np.ndarray, "N D"],
        kept: Int[np.ndarray, " M"],
        seed: int,
        progress: Callable[[int, int, Candidate], None],
    ) -> Self:
        self._advisor = advisor_of(self.model, self.n_clusters)
        search = (
            learned_search_of(self.model)
            if self._method() == "rl2"
            else partial(ranked_search, clusters=self.n_clusters)
        )
        result = search(
            self._advisor,
            self.compared_.points,
            seconds=self.time_limit,
            max_candidates=self.n_candidates,
            seed=seed,
            progress=progress,
        )
        return self._keep(points, kept, result)

    def predict(self, X: Any) -> Int[np.ndarray, " N"]:  # noqa: N803 - scikit-learn's name
        """The cluster of the nearest clustered row, for every new row.

        Raises:
            InputError: a DataFrame lacks a column, or holds words where it held numbers.
            ValueError: the table has different columns, or is not finite.
        """
        check_is_fitted(self)
        return self._neighbours.labels(self._prepared(encoded(self, X)))

    def predict_proba(self, X: Any) -> Float[np.ndarray, "N K"]:  # noqa: N803 - scikit-learn's name
        """How much every new row belongs to each cluster, from the nearest clustered rows.

        The nearest ten rows count, each half as much as the one before, so that the most probable cluster is
        that of `predict`. A row sums to one less the share of noise among them.
        """
        check_is_fitted(self)
        return self._neighbours.probabilities(self._prepared(encoded(self, X)), self.n_clusters_)

    def transform(self, X: Any) -> Float[np.ndarray, "N K"]:  # noqa: N803 - scikit-learn's name
        """The probabilities of `predict_proba`, as columns of a pipeline."""
        return self.predict_proba(X)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803 - scikit-learn's name
        """The mean silhouette of the predicted clusters, of at most 5,000 rows; 0 if there is one cluster.

        Args:
            X: rows.
            y: ignored.
        """
        check_is_fitted(self)
        points = self._prepared(encoded(self, X))
        kept = np.random.default_rng(0).permutation(len(points))[:SCORED_ROWS]
        labels = self._neighbours.labels(points[kept])
        if not 1 < len(np.unique(labels)) < len(kept):
            return 0.0
        return float(silhouette_score(points[kept], labels))

    @property
    def _n_features_out(self) -> int:
        """The number of columns that `transform` returns."""
        return self.n_clusters_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def explain(self) -> Explanation:
        """The numbers that explain the choice, for a report.

        Raises:
            InputError: all rows are one cluster, and no candidate was chosen.
        """
        check_is_fitted(self)
        if self._result is None:
            reason = "it was loaded from a file" if self.candidates_ else self.strategy_.why
            raise InputError(f"the choice cannot be explained: {reason}.")
        if isinstance(self._result, PooledResult):
            return explain_pooled(self.compared_.points, self._result, self.n_clusters)
        points = self.compared_.points
        return explain(self._advisor.candidates, points, self._result, self.n_clusters)

    @property
    def features_(self) -> dict[str, float]:
        """Name -> meta-feature of the table, computed when it is asked for."""
        check_is_fitted(self)
        if self._features is None and isinstance(self._result, PooledResult):
            self._features = self._result.features(self.compared_.points, self.n_clusters)
        return self._features or {}

    def _check(self) -> None:
        for name in ("n_clusters", "n_candidates"):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if value is not None and (not whole or value < 1):
                raise InputError(f"{name} is {value!r}; give a whole number >= 1, or None.")
        if self.search not in get_args(SearchMethod):
            raise InputError(f"search is {self.search!r}; choose one of {', '.join(get_args(SearchMethod))}.")
        if self.search == "rl2" and self.n_clusters is not None:
            raise InputError(
                "search='rl2' finds the number of clusters; leave n_clusters out, or choose search='all'."
            )
        if self.search == "all" and (self.n_candidates is not None or self.model is not None):
            raise InputError(
                "search='all' runs all candidates with its own model; leave n_candidates and model out, or "
                "choose search='ranked'."
            )
        if not isinstance(self.sample_size, int | np.integer) or self.sample_size < 10:
            raise InputError(f"sample_size is {self.sample_size!r}; give a whole number >= 10.")
        if not self.time_limit > 0:
            raise InputError(f"time_limit is {self.time_limit!r}; give a positive number of seconds.")

    def _one_cluster(self, points: Float[np.ndarray, "N D"], why: str) -> Self:
        warnings.warn(f"{why}: every row is put into one cluster.", InputWarning, stacklevel=3)
        self._result: SearchResult | PooledResult | None = None
        self._features = {}
        self.candidates_: list[CandidateRow] = []
        kept = np.sort(np.random.default_rng(0).permutation(len(points))[: self.sample_size])
        self.compared_ = Compared(kept, points[kept], [])
        self.cluster_probabilities_ = {1: 1.0}
        self.strategy_ = one_cluster(self._prepared.description, why)
        return self._labelled(points, np.zeros(len(points), int))

    def _keep(
        self, points: Float[np.ndarray, "N D"], kept: Int[np.ndarray, " M"], result: SearchResult
    ) -> Self:
        """Sets the attributes from the result of a search, and labels all rows with its best candidate."""
        self._result = result
        self._features = dict(zip(result.feature_names, result.features.tolist(), strict=True))
        self.candidates_ = ranked_rows(self._advisor, result)
        self.cluster_probabilities_ = {}
        best = result.ranking[0]
        labels = result.outcomes[best].labels
        partitions = [result.outcomes[place].labels for place in result.ranking]
        self.compared_ = self.compared_._replace(partitions=partitions)
        asked = self.n_candidates or len(result.outcomes)
        wanted = min(asked, len(result.outcomes)) if self._method() == "ranked" else result.runs
        reason = why(self.candidates_, result.runs, wanted)
        return self._advised(
            points, kept, self._advisor.candidates[best], labels, result.criterion, reason, result.seed
        )

    def _keep_pooled(
        self, points: Float[np.ndarray, "N D"], kept: Int[np.ndarray, " M"], result: PooledResult
    ) -> Self:
        """The same for the result of a pooled search."""
        self._result = result
        self._features = None
        self.candidates_ = pooled_rows(result)
        self.cluster_probabilities_ = result.cluster_probabilities
        partitions = [result.pool.partitions[place] for place in result.distinct]
        self.compared_ = self.compared_._replace(partitions=partitions)
        reason = why_pooled(result, self.candidates_)
        return self._advised(points, kept, result.best, result.labels, result.criterion, reason, result.seed)

    def _advised(
        self,
        points: Float[np.ndarray, "N D"],
        kept: Int[np.ndarray, " M"],
        chosen: Candidate,
        labels: Int[np.ndarray, " M"],
        criterion: str,
        reason: str,
        seed: int,
    ) -> Self:
        labels, rows = on_all_rows(chosen, points, kept, labels, self.n_clusters, seed, self.time_limit)
        self.strategy_ = Advice(
            candidate=None if chosen == ONE_CLUSTER else chosen._replace(clusters=None),
            clusters=count_clusters(labels),
            criterion=criterion,
            quality=self.candidates_[0].quality,
            width=self.candidates_[0].width,
            scaling=self._prepared.description,
            rows=rows,
            why=reason,
        )
        return self._labelled(points, labels)

    def _labelled(self, points: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"]) -> Self:
        self.labels_ = labels
        self.n_clusters_ = count_clusters(labels)
        self._neighbours = Neighbours(points, labels)
        return self
