"""Zero-shot clustering as an estimator that is compatible with scikit-learn."""

from __future__ import annotations

import os
from functools import cache, partial
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, PyTree
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from ..clustering.zero_shot import ZeroShot, zero_shot
from ..distances import exact_squared_distances
from ..errors import InputError
from ..padding import pad_points, padded_size
from ..records import Batch, Clusterer, Model
from ..validation import LARGEST
from .models import pair_network
from .on_device import row_weights
from .preparation import count_distinct, largest_value

COLUMNS = 64
"""Columns are padded with zeros to a multiple of this number, so that tables share compiled programs."""
SLOTS = 50
"""The least number of slots for clusters, for the same reason."""
CHUNK = 16_384
"""The largest number of rows that are assigned at once."""
SMALLEST = 1e-10
"""Coordinates below this share of the largest count as zero, as squared distances would underflow."""
LIGHTEST, HEAVIEST = 1e-6, 1e6
"""The range that weights of rows are clipped to, so that sums over pairs stay in single precision."""
TEMPERATURE = 0.04
"""Of the softmax over expected adjusted Rand indices that gives the probabilities of numbers of clusters.

It was chosen by the likelihood of the true number of clusters on sets by pyclugen and densired.
"""


class ZeroShotClusterer(ClusterMixin, BaseEstimator):
    """Clusters by the predictions of a trained network, with a known or an unknown number of clusters.

    The network predicts for each pair of rows whether they belong together, from the distances of all rows; a
    tree on these predictions is cut. See `zero_shot`. Columns should have comparable scales; the scale of the
    table has no effect. Rows that are equal in single precision count as one row with the sum of their
    weights.

    Args:
        n_clusters: the number of clusters; found unless given.
        max_clusters: the largest number of clusters that is tried where it is unknown.
        sample_size: the largest number of rows that the network sees, or `2 * n_clusters` if that is more;
            they are drawn in proportion to their weights, and every other row belongs to the cluster of the
            nearest of them.
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
            X: [N, D] finite numbers, up to 1e300.
            y: ignored.
            sample_weight: [N] weight of each row, the same as a number of copies; a row of weight zero is
                labelled but has no effect.

        Raises:
            InputError: a setting is out of its range, fewer than `n_clusters` rows of nonzero weight differ,
                a number is too large, or the model cannot be read.
            ValueError: the table is empty, not finite or not numeric.
        """
        self._check()
        network = pair_network(self.model)
        x = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        largest_value(x)
        sample, weights = self._sample(x, row_weights(sample_weight, x))
        self._center = (weights / weights.sum()) @ sample
        self._scale = np.abs(sample - self._center).max() or 1.0
        points, weights = _merged(self._scaled(sample), weights)
        if len(points) < (self.n_clusters or 1):
            raise InputError(
                f"n_clusters is {self.n_clusters}, but only {len(points)} rows differ; give a smaller number."
            )
        self._points, self._weights = pad_points(_padded(points), padded_size(len(points)))
        self._weights[: len(points)] = weights
        most = self.n_clusters or self.max_clusters
        clusterer = _made(network.made, max(SLOTS, most), self.n_clusters is None)
        state = _fitted(clusterer, network.params, self._points, self._weights, np.int32(most))
        self._state: ZeroShot = jax.device_get(state)
        self.n_clusters_ = int(self._state.clusters)
        self.expected_score_ = float(self._state.scores[self.n_clusters_ - 1])
        self.cluster_probabilities_ = _probabilities(self._state.scores, self.n_clusters)
        self.labels_ = self._labels(x)
        return self

    def predict(self, X: Num[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:  # noqa: N803
        """The cluster of the nearest row that the network saw, for every row.

        Raises:
            ValueError: the table has different columns, or is not finite.
        """
        check_is_fitted(self)
        return self._labels(validate_data(self, X, dtype=[np.float64, np.float32], reset=False))

    def predict_proba(self, X: Num[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:  # noqa: N803
        """The probability of every cluster for every row, that of the nearest row that the network saw.

        `predict` follows the tree; in rare rows its cluster is not the most probable one.

        Raises:
            ValueError: the table has different columns, or is not finite.
        """
        check_is_fitted(self)
        x = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        log_probs = np.asarray(self._state.log_probs)[self._nearest(x), : self.n_clusters_]
        return np.exp(log_probs)

    def _check(self) -> None:
        for name, least in (("n_clusters", 1), ("max_clusters", 1), ("sample_size", 2)):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least
            if not whole and not (name == "n_clusters" and value is None):
                raise InputError(f"{name} is {value!r}; give a whole number >= {least}.")

    def _sample(
        self, x: Num[np.ndarray, "N D"], weights: Float[np.ndarray, " N"]
    ) -> tuple[Float[np.ndarray, "M D"], Float[np.ndarray, " M"]]:
        """The rows that the network sees, some of them equal, and their weights."""
        rows = np.flatnonzero(weights)
        if not len(rows):
            raise InputError("all weights are zero; give some rows a positive weight.")
        known = self.n_clusters or 1
        size = max(self.sample_size, 2 * known)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        if len(rows) <= size:
            return x[rows].astype(np.float64), np.clip(weights[rows], LIGHTEST, HEAVIEST)
        shares = np.maximum(weights[rows] / weights.max(), 1e-12)
        drawn = rng.choice(rows, size, replace=False, p=shares / shares.sum())
        if count_distinct(x[drawn], known) < known:  # most rows are equal: take some of the others
            _, first = np.unique(x[rows], axis=0, return_index=True)
            drawn = np.union1d(drawn[known:], rows[rng.permutation(first)[:known]])
        return x[drawn].astype(np.float64), np.ones(len(drawn))

    def _scaled(self, x: Num[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        """Rows in single precision, relative to the extent of the sample."""
        with np.errstate(over="ignore"):
            scaled = (x.astype(np.float64) - self._center) / self._scale
        scaled = np.clip(scaled, -LARGEST, LARGEST)
        return np.where(np.abs(scaled) < SMALLEST, 0, scaled).astype(np.float32)

    def _nearest(self, x: Num[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:
        """The place of the nearest row that the network saw, for every row."""
        size = min(padded_size(len(x)), CHUNK)
        chunks = (x[start : start + size] for start in range(0, len(x), size))
        padded = (pad_points(_padded(self._scaled(chunk)), size)[0] for chunk in chunks)
        places = [np.asarray(_nearest(self._points, self._weights, chunk)) for chunk in padded]
        return np.concatenate(places)[: len(x)]

    def _labels(self, x: Num[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:
        return np.asarray(self._state.labels, int)[self._nearest(x)]


def _merged(
    points: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, "M D"], Float[np.ndarray, " M"]]:
    """The distinct points, with the sums of their weights."""
    distinct, place = np.unique(points, axis=0, return_inverse=True)
    return distinct, np.bincount(place.ravel(), weights)


def _padded(points: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N F"]:
    """Points with columns of zeros up to a multiple of `COLUMNS`."""
    return np.pad(points, ((0, 0), (0, -points.shape[1] % COLUMNS)))


@cache
def _made(model: Model, slots: int, find: bool) -> Clusterer:
    """The algorithm; equal settings give the same object, so that it is compiled once."""
    return zero_shot(slots, model=model, find=find)


@partial(jax.jit, static_argnums=0)
def _fitted(clusterer: Clusterer, params: PyTree, points: Array, weights: Array, clusters: Array) -> PyTree:
    return clusterer.fit(params, Batch(points, None, weights, clusters), jax.random.key(0))


@jax.jit
def _nearest(
    points: Float[Array, "M D"], weights: Float[Array, " M"], rows: Float[Array, "N D"]
) -> Int[Array, " N"]:
    squared = exact_squared_distances(rows, points)
    return jnp.argmin(jnp.where(weights > 0, squared, jnp.inf), 1)


def _probabilities(scores: Float[np.ndarray, " K"], known: int | None) -> dict[int, float]:
    """The probability of each number of clusters: a softmax of the expected indices."""
    if known is not None:
        return {known: 1.0}
    shares = softmax(np.asarray(scores, float) / TEMPERATURE)
    return {int(place) + 1: float(shares[place]) for place in np.argsort(-shares) if shares[place] > 1e-3}
