"""Estimators of single clustering algorithms that run on-device and are compatible with scikit-learn.

Rows are padded to the next power of two, with weight zero, so that tables of similar size share one compiled
program.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from numbers import Real
from typing import Any, Literal, Self

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num, PyTree
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    check_non_negative,
    check_random_state,
    validate_data,
)

from ..clustering.mixtures.gaussian import Shape, gaussian_mixture
from ..clustering.sinkhorn_kmeans import sinkhorn_kmeans
from ..clustering.soft_kmeans import soft_kmeans
from ..errors import InputError
from ..iteration import one_step
from ..padding import pad_points, padded_size
from ..records import Batch, Clusterer
from ..validation import Metric
from .space import in_range

TOLERANCE = 1e-6
"""A fit stops once no value changes by more than this, in units of the largest coordinate."""


def row_weights(
    sample_weight: Float[np.ndarray, " N"] | float | None, x: Num[np.ndarray, "N D"]
) -> Float[np.ndarray, " N"]:
    """The weights of rows; all ones unless given, one number for all rows if it is one.

    Raises:
        ValueError: they are not one finite number >= 0 for each row.
    """
    if sample_weight is None or isinstance(sample_weight, Real):
        sample_weight = np.full(len(x), 1.0 if sample_weight is None else sample_weight)
    weights = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, order="C", copy=False, input_name="sample_weight"
    )
    if weights.ndim != 1:
        raise ValueError(f"sample_weight has shape {weights.shape}; give one number for each row.")
    check_consistent_length(x, weights)
    check_non_negative(weights, "sample_weight")
    return weights


class OnDevice(ClusterMixin, BaseEstimator):
    """Base class of the estimators of one algorithm; see `SoftKMeans`."""

    n_clusters: int
    random_state: int | np.random.RandomState | None
    labels_: Int[np.ndarray, " N"]
    _algorithm: Callable[..., Clusterer]

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
            sample_weight: [N] weight of each row; a row of weight zero is labelled but has no effect.

        Raises:
            InputError: a setting is out of its range, or fewer rows than clusters have nonzero weight.
            ValueError: the table is empty, not finite or not numeric.
        """
        clusterer = self._clusterer()
        x = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        weights = row_weights(sample_weight, x)
        counted = np.count_nonzero(weights)
        if counted < self.n_clusters:
            raise InputError(
                f"n_samples={counted} with nonzero weight cannot form {self.n_clusters} clusters; give fewer."
            )
        self._center = self._origin(np.asarray(x, np.float64), weights)
        seed = int(check_random_state(self.random_state).randint(2**31))
        points, real = pad_points(self._centered(x), padded_size(len(x)))
        real[: len(x)] = weights
        self._state = jax.device_get(_fitted(clusterer, points, real, jax.random.key(seed)))
        self._set_attributes(self._state)
        self.labels_ = self._log_probs(clusterer, x).argmax(1)
        return self

    def predict(self, X: Num[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:  # noqa: N803
        """The most probable cluster of every row, from 0 to K - 1.

        Raises:
            ValueError: the table has different columns, or is not finite.
        """
        return self.predict_proba(X).argmax(1)

    def predict_proba(self, X: Num[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:  # noqa: N803
        """The probability of every cluster for every row.

        Raises:
            ValueError: the table has different columns, or is not finite.
        """
        check_is_fitted(self)
        x = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return np.exp(self._log_probs(self._clusterer(), x))

    def _set_attributes(self, state: Any) -> None:
        """Sets the fitted attributes, under scikit-learn's names."""
        raise NotImplementedError

    def _origin(
        self, x: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"]
    ) -> Float[np.ndarray, " D"]:
        """The point that is subtracted from rows: their mean, to preserve digits in single precision."""
        return np.average(x, axis=0, weights=weights)

    def _clusterer(self) -> Clusterer:
        """The algorithm; equal settings give the same object, so that it is compiled once."""
        settings = self.get_params(deep=False)
        settings.pop("random_state")
        try:
            return _made(self._algorithm, settings.pop("n_clusters"), **settings)
        except TypeError:
            raise InputError(
                f"a setting of {type(self).__name__} is a list or an array; give numbers and strings."
            ) from None

    def _centered(self, x: Num[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        return in_range(np.asarray(x, np.float64) - self._center)

    def _log_probs(self, clusterer: Clusterer, x: Num[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        points, _ = pad_points(self._centered(x), padded_size(len(x)))
        return np.asarray(_assigned(clusterer, self._state, points))[: len(x)]


class SoftKMeans(OnDevice):
    """Soft k-means, which assigns every row to all clusters by its distances to them; see `soft_kmeans`.

    Args:
        n_clusters: the number of clusters.
        steps: the maximum number of steps.
        inverse_temperature: sharpness of the assignment, in inverse squared units; "auto" adapts it to the
            scale of the table.
        metric: "euclidean" or "cosine".
        restarts: number of seedings that are tried; the one with the lowest free energy is kept.
        random_state: all randomness follows from it.

    Attributes:
        labels_: [N] the most probable cluster of each row.
        cluster_centers_: [K, D].
        inertia_: weighted sum of the squared distances of rows to their nearest centre.
        n_features_in_: D.

    >>> points = np.concatenate([np.random.default_rng(0).normal(c, 0.1, (20, 2)) for c in (0, 3)])
    >>> model = SoftKMeans(2).fit(points)
    >>> sorted(abs(model.cluster_centers_.mean(1)).round().tolist())
    [0.0, 3.0]
    """

    _algorithm: Callable[..., Clusterer] = staticmethod(soft_kmeans)

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        steps: int = 100,
        inverse_temperature: float | Literal["auto"] = "auto",
        metric: Metric = "euclidean",
        restarts: int = 10,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.steps = steps
        self.inverse_temperature = inverse_temperature
        self.metric = metric
        self.restarts = restarts
        self.random_state = random_state

    def _origin(
        self, x: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"]
    ) -> Float[np.ndarray, " D"]:
        return np.zeros(x.shape[1]) if self.metric == "cosine" else super()._origin(x, weights)

    def _set_attributes(self, state: Any) -> None:
        self.cluster_centers_ = state.centers + self._center
        self.inertia_ = float(state.inertia)


class SinkhornKMeans(SoftKMeans):
    """Soft k-means with clusters of equal size; see `sinkhorn_kmeans`.

    Arguments, attributes and methods are those of `SoftKMeans`. New rows are assigned by the fitted rule and
    need not be balanced.

    >>> model = SinkhornKMeans(2).fit([[0.0], [1.0], [2.0], [3.0], [4.0], [9.0]])
    >>> np.bincount(model.labels_).tolist()
    [3, 3]
    """

    _algorithm = staticmethod(sinkhorn_kmeans)


class MixtureClusterer(OnDevice):
    """A Gaussian mixture fitted by EM; see `gaussian_mixture`.

    Args:
        n_clusters: the number of components.
        covariance: "full", "tied", "diagonal" or "spherical".
        steps: the maximum number of EM steps.
        pseudo_points: weight of the prior in each component; 0 for maximum likelihood.
        ridge: added to every variance, as a fraction of the table's total variance.
        restarts: number of seedings that are tried; the fit with the highest likelihood is kept.
        random_state: all randomness follows from it.

    Attributes:
        labels_: [N] the most probable component of each row.
        weights_: [K] shares of the components.
        means_: [K, D].
        covariances_: [K, D, D], or their diagonals [K, D].
        log_likelihood_: log-likelihood of the table, in nats.
        bic_: Bayesian information criterion; lower is better.
        n_features_in_: D.

    >>> points = np.concatenate([np.random.default_rng(0).normal(c, 0.1, (20, 2)) for c in (0, 3)])
    >>> model = MixtureClusterer(2).fit(points)
    >>> model.weights_.round(2).tolist()
    [0.5, 0.5]
    """

    _algorithm = staticmethod(gaussian_mixture)

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        covariance: Shape = "full",
        steps: int = 100,
        pseudo_points: float = 0.0,
        ridge: float = 1e-5,
        restarts: int = 10,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.covariance = covariance
        self.steps = steps
        self.pseudo_points = pseudo_points
        self.ridge = ridge
        self.restarts = restarts
        self.random_state = random_state

    def _set_attributes(self, state: Any) -> None:
        self.weights_ = np.exp(state.log_share)
        self.means_ = state.means + self._center
        self.covariances_ = state.covariances * state.scale**2
        self.log_likelihood_ = float(state.log_likelihood)
        self.bic_ = float(state.bic)


@cache
def _made(algorithm: Any, clusters: int, **settings: Any) -> Clusterer:
    return algorithm(clusters, diff=one_step(), tol=TOLERANCE, **settings)


@partial(jax.jit, static_argnums=0)
def _fitted(clusterer: Clusterer, points: Array, weights: Array, key: Key[Array, ""]) -> PyTree:
    return clusterer.fit({}, Batch(points, None, weights), key)


@partial(jax.jit, static_argnums=0)
def _assigned(clusterer: Clusterer, state: PyTree, points: Array) -> Float[Array, "N K"]:
    return clusterer.assign({}, state, points).log_probs
