"""Zero-shot clustering as an estimator that is compatible with scikit-learn."""

from __future__ import annotations

import os
from functools import cache, partial
from typing import Any, Self

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Num, PyTree
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from ..artifacts.recipes import Trained, load_trained
from ..clustering.zero_shot import ZeroShot, zero_shot
from ..errors import InputError
from ..padding import pad_points, padded_size
from ..records import Batch, Clusterer
from .on_device import row_weights
from .space import in_range

COLUMNS = 64
"""Columns are padded with zeros to a multiple of this number, so that tables share compiled programs."""
SLOTS = 50
"""The least number of slots for clusters, for the same reason."""
TEMPERATURE = 0.05
"""Of the softmax over expected adjusted Rand indices that gives the probabilities of numbers of clusters."""


class ZeroShotClusterer(ClusterMixin, BaseEstimator):
    """Clusters by the predictions of a trained network, with a known or an unknown number of clusters.

    The network predicts for each pair of rows whether they belong together, from the distances of all rows; a
    tree on these predictions is cut. See `zero_shot`. Columns should have comparable scales.

    Args:
        n_clusters: the number of clusters; found unless given.
        max_clusters: the largest number of clusters that is tried where it is unknown.
        sample_size: the largest number of rows that the network sees, drawn in proportion to their weights;
            every other row belongs to the cluster of the nearest of them.
        model: the name of a trained model that comes with jmeta, or a file written by `save_trained`.
        random_state: all randomness follows from it.

    Attributes:
        labels_: [N] cluster of each row.
        n_clusters_: the number of clusters.
        cluster_probabilities_: number of clusters -> its probability, the most probable first.
        expected_score_: expected adjusted Rand index of the labels.
        n_features_in_: D.

    >>> points = np.concatenate([np.random.default_rng(0).normal(c, 0.1, (30, 2)) for c in (0, 3)])
    >>> model = ZeroShotClusterer(n_clusters=2).fit(points)
    >>> np.bincount(model.labels_).tolist(), model.predict([[3.0, 3.0]]).tolist()
    ([30, 30], [1])
    """

    def __init__(
        self,
        n_clusters: int | None = None,
        *,
        max_clusters: int = 50,
        sample_size: int = 1_000,
        model: str | os.PathLike = "zero_shot",
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.max_clusters = max_clusters
        self.sample_size = sample_size
        self.model = model
        self.random_state = random_state

    def fit(
        self,
        X: Num[np.ndarray, "N D"],  # noqa: N803 - scikit-learn's name
        y: Any = None,
        sample_weight: Float[np.ndarray, " N"] | None = None,
    ) -> Self:
        """Clusters the rows of a table.

        Args:
            X: [N, D] finite numbers.
            y: ignored.
            sample_weight: [N] weight of each row, about the same as a number of copies; a row of weight zero
                is labelled but has no effect.

        Raises:
            InputError: a setting is out of its range, fewer rows than clusters have nonzero weight, or the
                model cannot be read.
            ValueError: the table is empty, not finite or not numeric.
        """
        self._check()
        x = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        weights = row_weights(sample_weight, x)
        kept = self._sample(weights)
        if len(kept) < (self.n_clusters or 1):
            raise InputError(
                f"n_samples={len(kept)} with nonzero weight cannot form {self.n_clusters} clusters; "
                "give fewer clusters."
            )
        self._center = np.average(x[kept].astype(np.float64), axis=0)
        points, real = pad_points(self._centered(x[kept]), padded_size(len(kept)))
        if len(kept) == np.count_nonzero(weights):
            real[: len(kept)] = weights[kept]
        most = np.int32(self.n_clusters or self.max_clusters)
        params = _trained(os.fspath(self.model)).params
        self._state: ZeroShot = jax.device_get(_fitted(self._clusterer(), params, points, real, most))
        self.n_clusters_ = int(self._state.clusters)
        self.expected_score_ = float(self._state.scores[self.n_clusters_ - 1])
        self.cluster_probabilities_ = _probabilities(self._state.scores, self.n_clusters)
        self.labels_ = self.predict_proba(x).argmax(1)
        return self

    def predict(self, X: Num[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:  # noqa: N803
        """The cluster of the nearest row that the network saw, for every row.

        Raises:
            ValueError: the table has different columns, or is not finite.
        """
        return self.predict_proba(X).argmax(1)

    def predict_proba(self, X: Num[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:  # noqa: N803
        """The probability of every cluster for every row, that of the nearest row that the network saw.

        Raises:
            ValueError: the table has different columns, or is not finite.
        """
        check_is_fitted(self)
        x = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        points, _ = pad_points(self._centered(x), padded_size(len(x)))
        log_probs = np.asarray(_assigned(self._clusterer(), self._state, points))[
            : len(x), : self.n_clusters_
        ]
        return np.exp(log_probs)

    def _clusterer(self) -> Clusterer:
        """The algorithm; equal settings give the same object, so that it is compiled once."""
        slots = max(SLOTS, self.n_clusters or self.max_clusters)
        return _made(os.fspath(self.model), slots, self.n_clusters is None)

    def _check(self) -> None:
        for name, least in (("n_clusters", 1), ("max_clusters", 1), ("sample_size", 2)):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and value >= least
            if not whole and not (name == "n_clusters" and value is None):
                raise InputError(f"{name} is {value!r}; give a whole number >= {least}.")

    def _sample(self, weights: Float[np.ndarray, " N"]) -> Int[np.ndarray, " M"]:
        """The rows that the network sees, in their order."""
        rows = np.flatnonzero(weights)
        seed = int(check_random_state(self.random_state).randint(2**31))
        if len(rows) <= self.sample_size:
            return rows
        shares = weights[rows] / weights[rows].sum()
        drawn = np.random.default_rng(seed).choice(rows, self.sample_size, replace=False, p=shares)
        return np.sort(drawn)

    def _centered(self, x: Num[np.ndarray, "N D"]) -> Float[np.ndarray, "N F"]:
        centered = in_range(np.asarray(x, np.float64) - self._center)
        return np.pad(centered, ((0, 0), (0, -x.shape[1] % COLUMNS)))


@cache
def _trained(model: str) -> Trained:
    return load_trained(model)


@cache
def _made(model: str, slots: int, find: bool) -> Clusterer:
    made: Any = _trained(model).made
    return zero_shot(slots, model=made, find=find)


@partial(jax.jit, static_argnums=0)
def _fitted(clusterer: Clusterer, params: PyTree, points: Array, weights: Array, clusters: Array) -> PyTree:
    return clusterer.fit(params, Batch(points, None, weights, clusters), jax.random.key(0))


@partial(jax.jit, static_argnums=0)
def _assigned(clusterer: Clusterer, state: PyTree, points: Array) -> Float[Array, "N K"]:
    return clusterer.assign({}, state, points).log_probs


def _probabilities(scores: Float[np.ndarray, " K"], known: int | None) -> dict[int, float]:
    """The probability of each number of clusters: a softmax of the expected indices."""
    if known is not None:
        return {known: 1.0}
    weights = np.exp((np.asarray(scores, float) - scores.max()) / TEMPERATURE)
    shares = weights / weights.sum()
    return {int(place) + 1: float(shares[place]) for place in np.argsort(-shares) if shares[place] > 1e-3}
