"""One clustering algorithm in the dress of scikit-learn, compiled for the device.

Rows are padded to the next power of two, with weight zero, so that tables of about the same size share one
compiled program.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal, Self

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num, PyTree
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, check_random_state, validate_data

from ..clustering.gaussian_mixture import Shape, gaussian_mixture
from ..clustering.sinkhorn_kmeans import sinkhorn_kmeans
from ..clustering.soft_kmeans import soft_kmeans
from ..errors import InputError
from ..iteration import one_step
from ..padding import pad_points, padded_size
from ..records import Batch, Clusterer
from ..validation import Metric
from .space import in_range

TOLERANCE = 1e-6
"""A fit stops once no number moves by more than this, in units of the largest coordinate."""


class OnDevice(ClusterMixin, BaseEstimator):
    """What the estimators of one algorithm share; see `SoftKMeans`."""

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
        """Cluster the rows of a table.

        Args:
            X: [N, D] finite numbers.
            y: not looked at.
            sample_weight: [N] how much each row counts; zero leaves it out, but it is still given a cluster.

        Raises:
            InputError: a setting is out of its range, or fewer rows count than there are clusters.
            ValueError: the table is empty, not finite or not of numbers.
        """
        clusterer = self._clusterer()
        x = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        weights = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
        counted = np.count_nonzero(weights)
        if counted < self.n_clusters:
            raise InputError(
                f"n_samples={counted} rows that count cannot form {self.n_clusters} clusters; ask for fewer."
            )
        self._middle = self._origin(np.asarray(x, np.float64), weights)
        seed = int(check_random_state(self.random_state).randint(2**31))
        points, real = pad_points(self._centered(x), padded_size(len(x)))
        real[: len(x)] = weights
        self._state = jax.device_get(_fitted(clusterer, points, real, jax.random.key(seed)))
        self._describe(self._state)
        self.labels_ = self._log_probs(clusterer, x).argmax(1)
        return self

    def predict(self, X: Num[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:  # noqa: N803
        """The likeliest cluster of every row, from 0 to K - 1.

        Raises:
            ValueError: the table has other columns, or is not finite.
        """
        return self.predict_proba(X).argmax(1)

    def predict_proba(self, X: Num[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:  # noqa: N803
        """How much every row belongs to every cluster; rows sum to one.

        Raises:
            ValueError: the table has other columns, or is not finite.
        """
        check_is_fitted(self)
        x = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return np.exp(self._log_probs(self._clusterer(), x))

    def _describe(self, state: Any) -> None:
        """Keep what was found under scikit-learn's names."""
        raise NotImplementedError

    def _origin(
        self, x: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"]
    ) -> Float[np.ndarray, " D"]:
        """What is taken away from rows: their mean, which saves digits in single precision."""
        return np.average(x, axis=0, weights=weights)

    def _clusterer(self) -> Clusterer:
        """The algorithm; the same object for the same settings, so that it is compiled once."""
        settings = self.get_params(deep=False)
        settings.pop("random_state")
        try:
            return _made(self._algorithm, settings.pop("n_clusters"), **settings)
        except TypeError:
            raise InputError(
                f"a setting of {type(self).__name__} is a list or an array; give numbers and words."
            ) from None

    def _centered(self, x: Num[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        return in_range(np.asarray(x, np.float64) - self._middle)

    def _log_probs(self, clusterer: Clusterer, x: Num[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        points, _ = pad_points(self._centered(x), padded_size(len(x)))
        return np.asarray(_assigned(clusterer, self._state, points))[: len(x)]


class SoftKMeans(OnDevice):
    """Soft k-means: every row belongs to every cluster, the more the nearer its centre; see `soft_kmeans`.

    Args:
        n_clusters: how many.
        steps: at most.
        inverse_temperature: how sharply rows are shared out, in inverse squared units; "auto" follows the
            table's own scale.
        metric: "euclidean" or "cosine".
        restarts: seedings that are tried; the one of least free energy is kept.
        random_state: everything random follows from it.

    Attributes:
        labels_: [N] the likeliest cluster of each row.
        cluster_centers_: [K, D].
        inertia_: sum of the weighted squared distances of rows to their nearest centre.
        n_features_in_: D.

    >>> points = np.concatenate([np.random.default_rng(0).normal(c, 0.1, (20, 2)) for c in (0, 3)])
    >>> found = SoftKMeans(2).fit(points)
    >>> sorted(abs(found.cluster_centers_.mean(1)).round().tolist())
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

    def _describe(self, state: Any) -> None:
        self.cluster_centers_ = state.centers + self._middle
        self.inertia_ = float(state.inertia)


class SinkhornKMeans(SoftKMeans):
    """Soft k-means whose clusters are equally large; see `sinkhorn_kmeans`.

    Args, attributes and methods are those of `SoftKMeans`; new rows are assigned by the rule that was found,
    and need not be in balance.

    >>> found = SinkhornKMeans(2).fit([[0.0], [1.0], [2.0], [3.0], [4.0], [9.0]])
    >>> np.bincount(found.labels_).tolist()
    [3, 3]
    """

    _algorithm = staticmethod(sinkhorn_kmeans)


class MixtureClusterer(OnDevice):
    """A mixture of Gaussians by EM; see `gaussian_mixture`.

    Args:
        n_clusters: components.
        covariance: "full", "tied", "diagonal" or "spherical".
        steps: of EM, at most.
        pseudo_points: weight of the prior in each component; 0 for maximum likelihood.
        ridge: added to every variance, as a part of the table's total variance.
        restarts: seedings that are tried; the likeliest end is kept.
        random_state: everything random follows from it.

    Attributes:
        labels_: [N] the likeliest component of each row.
        weights_: [K] shares of the components.
        means_: [K, D].
        covariances_: [K, D, D], or their diagonals [K, D].
        log_likelihood_: of the table, in nats.
        bic_: the smaller the better.
        n_features_in_: D.

    >>> points = np.concatenate([np.random.default_rng(0).normal(c, 0.1, (20, 2)) for c in (0, 3)])
    >>> found = MixtureClusterer(2).fit(points)
    >>> found.weights_.round(2).tolist()
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

    def _describe(self, state: Any) -> None:
        self.weights_ = np.exp(state.log_share)
        self.means_ = state.means + self._middle
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
