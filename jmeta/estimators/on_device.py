"""Estimators of single clustering algorithms that run on-device and are compatible with scikit-learn.

They compute in double precision, so that their attributes are as exact as scikit-learn's. Rows are padded to
the next power of two, with weight zero, so that tables of similar size share one compiled program.

Of a table of more than `SAMPLED_ROWS` rows, or `SAMPLED_PER_CLUSTER` for each cluster, the seedings are
tried on a weighted sample of so many rows, and the best one is run on all rows, until no value changes by
more than `SAMPLED_TOLERANCE`. See `best_of_sample`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, partial
from numbers import Real
from typing import Any, Literal, Self

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num, PyTree
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    check_non_negative,
    check_random_state,
    validate_data,
)

from ..clustering.diagnostics import warn_of_fewer, warn_of_rounding
from ..clustering.mixtures.gaussian import Mixture, Shape, gaussian_mixture
from ..clustering.seeding import best_of_sample
from ..clustering.sinkhorn_kmeans import sinkhorn_kmeans
from ..clustering.soft_kmeans import soft_kmeans
from ..clustering.transport.rounding import balanced_labels
from ..errors import InputError
from ..iteration import one_step
from ..padding import pad_points, padded_size
from ..precision import in_double
from ..records import Batch, Clusterer
from ..validation import Metric
from .preparation import count_distinct
from .space import in_range

TOLERANCE = 1e-10
"""A fit stops once no value changes by more than this, in units of the largest coordinate."""

SAMPLED_TOLERANCE = 1e-3
"""The same for a table of which a sample is used."""

SAMPLED_ROWS = 5_000
"""Number of rows of a sample on which seedings are tried; a table of no more rows is used whole."""

SAMPLED_PER_CLUSTER = 200
"""The same for each cluster, if that is more."""

DISTINCT = 10
"""Least number of distinct rows for each cluster in a table of which a sample is used."""

UNBALANCED = 1e-3
"""The largest error of the share of a cluster, or last move of a centre, that passes without a warning."""


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
    restarts: int
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
        self._clusterer()
        x = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        weights = row_weights(sample_weight, x)
        counted = np.count_nonzero(weights)
        if counted < self.n_clusters:
            raise InputError(
                f"n_samples={counted} with nonzero weight cannot form {self.n_clusters} clusters; give fewer."
            )
        in_range(x - x.mean(0))
        warn_of_rounding(x)
        self._set_units(x[weights > 0])
        seed = int(check_random_state(self.random_state).randint(2**31))
        points, real = pad_points(self._inside(x), padded_size(len(x)), np.float64)
        real[: len(x)] = weights
        clusterer = self._clusterer(self._sample_size(x[weights > 0]))
        self._state = in_double(_fitted, clusterer, points, real, jax.random.key(seed))
        self._set_attributes(self._state, weights)
        self.labels_ = self._labels(x, weights)
        self._warn(x, weights)
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
        return np.exp(self._log_probs(validate_data(self, X, dtype=np.float64, reset=False)))

    def _set_units(self, x: Float[np.ndarray, "N D"]) -> None:
        """Sets the units in which rows are clustered, unless they are those of the rows."""

    def _inside(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        """Rows in the units in which they are clustered."""
        return x

    def _labels(self, x: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
        """The cluster of each fitted row."""
        return self._log_probs(x).argmax(1)

    def _warn(self, x: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"]) -> None:
        """Warns if fewer clusters than asked for have rows."""
        counted = weights > 0
        warn_of_fewer(self.labels_[counted], self.n_clusters, x[counted], category=ConvergenceWarning)

    def _set_attributes(self, state: Any, weights: Float[np.ndarray, " N"]) -> None:
        """Sets the fitted attributes, under scikit-learn's names."""
        raise NotImplementedError

    def _sample_size(self, x: Float[np.ndarray, "N D"]) -> int | None:
        """Number of rows on which seedings are tried; None for all rows."""
        size = max(SAMPLED_ROWS, SAMPLED_PER_CLUSTER * self.n_clusters)
        enough = DISTINCT * self.n_clusters
        whole = self.restarts == 1 or len(x) <= size or count_distinct(x, enough) < enough
        return None if whole else size

    def _clusterer(self, sample_size: int | None = None) -> Clusterer:
        """The algorithm; equal settings give the same object, so that it is compiled once."""
        settings = self.get_params(deep=False)
        settings.pop("random_state")
        try:
            return _made(self._algorithm, settings.pop("n_clusters"), sample_size, **settings)
        except TypeError:
            raise InputError(
                f"a setting of {type(self).__name__} is a list or an array; give numbers and strings."
            ) from None

    def _log_probs(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        points, _ = pad_points(self._inside(x), padded_size(len(x)), np.float64)
        return in_double(_assigned, self._clusterer(), self._state, points)[: len(x)]


class SoftKMeans(OnDevice):
    """Soft k-means, which assigns every row to all clusters by its distances to them; see `soft_kmeans`.

    Args:
        n_clusters: the number of clusters.
        steps: the maximum number of steps.
        inverse_temperature: sharpness of the assignment, in inverse squared units; "auto" adapts it to the
            scale of the table.
        metric: "euclidean" or "cosine".
        restarts: number of seedings that are tried; the one with the lowest free energy is kept. Of more than
            5,000 rows, and more than 200 for each cluster, they are tried on a weighted sample of so many.
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

    def _set_attributes(self, state: Any, weights: Float[np.ndarray, " N"]) -> None:
        self.cluster_centers_ = state.centers
        self.inertia_ = float(state.inertia)


class SinkhornKMeans(SoftKMeans):
    """Soft k-means with clusters of equal size; see `sinkhorn_kmeans`.

    Arguments, attributes and methods are those of `SoftKMeans`. The probabilities of the fitted rows are
    balanced: they add up to the same weight in every cluster. `labels_` are rounded from them to clusters of
    equal size, and differ from `predict` for rows between clusters. New rows are assigned by the fitted rule
    and need not be balanced. A `ConvergenceWarning` says if the clusters could not be balanced, or if centres
    still moved in the last step.

    >>> model = SinkhornKMeans(2).fit([[0.0], [1.0], [2.0], [3.0], [4.0], [9.0]])
    >>> np.bincount(model.labels_).tolist()
    [3, 3]
    """

    _algorithm = staticmethod(sinkhorn_kmeans)

    def _labels(self, x: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
        return balanced_labels(self._log_probs(x), weights, np.full(self.n_clusters, 1 / self.n_clusters))

    def _warn(self, x: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"]) -> None:
        super()._warn(x, weights)
        shares = weights @ np.exp(self._log_probs(x)) / weights.sum() * self.n_clusters
        moved = float(self._state.residual / self._state.scale)
        if np.abs(shares - 1).max() > UNBALANCED or moved > UNBALANCED:
            warnings.warn(
                f"clusters hold {shares.min():.2f} to {shares.max():.2f} times their share, and centres "
                f"moved by {moved:.1e} of the range in the last step; raise steps.",
                ConvergenceWarning,
                stacklevel=3,
            )


class MixtureClusterer(OnDevice):
    """A Gaussian mixture fitted by EM; see `gaussian_mixture`.

    Columns are divided by their interquartile ranges, unless `covariance` is "spherical", so that the result
    does not depend on their units.

    Args:
        n_clusters: the number of components.
        covariance: "full", "tied", "diagonal" or "spherical".
        steps: the maximum number of EM steps.
        pseudo_points: weight of the prior in each component; 0 for maximum likelihood.
        ridge: added to the variance of each column, as a fraction of the mean squared distance of rows to
            their nearest seed along it.
        restarts: number of seedings that are tried; the fit with the highest likelihood is kept. Of more than
            5,000 rows, and more than 200 for each cluster, they are tried on a weighted sample of so many.
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

    def _set_units(self, x: Float[np.ndarray, "N D"]) -> None:
        """A unit of each column, as the likelihood has no common one; the columns' own if "spherical"."""
        self._center, self._scale = robust_units(x)
        if self.covariance == "spherical":
            self._scale = np.ones_like(self._scale)

    def _inside(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        return (x - self._center) / self._scale

    def _set_attributes(self, state: Any, weights: Float[np.ndarray, " N"]) -> None:
        unit = self._scale * state.scale
        stretch = weights.sum() * np.log(self._scale).sum()
        self.weights_ = np.exp(state.log_share)
        self.means_ = state.means * self._scale + self._center
        self.covariances_ = state.covariances * (
            np.outer(unit, unit) if state.covariances.ndim == 3 else unit**2
        )
        self.log_likelihood_ = float(state.log_likelihood - stretch)
        self.bic_ = float(state.bic + 2 * stretch)


def robust_units(x: Float[np.ndarray, "N D"]) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    """The median and the interquartile range of each column, or its deviation, or 1, where that is zero.

    >>> robust_units(np.array([[0.0, 7.0], [1.0, 7.0], [2.0, 7.0], [3.0, 7.0], [99.0, 7.0]]))
    (array([2., 7.]), array([2., 1.]))
    """
    low, center, high = np.percentile(x, [25, 50, 75], axis=0)
    scale = np.where(high > low, high - low, x.std(0))
    return center, np.where(scale > 0, scale, 1)


@cache
def _made(algorithm: Any, clusters: int, sample_size: int | None, **settings: Any) -> Clusterer:
    make = partial(algorithm, clusters, diff=one_step())
    if sample_size is None:
        return make(tol=TOLERANCE, **settings)
    restarts, make = settings.pop("restarts"), partial(make, tol=SAMPLED_TOLERANCE, **settings)

    def run(seeds: Array, points: Array, weights: Array) -> tuple[Array, Array]:
        from_seeds = make(seeding=lambda *given: seeds)
        state = from_seeds.fit({}, Batch(points, None, weights), jax.random.key(0))
        if isinstance(state, Mixture):
            return -state.log_likelihood, state.means
        return state.energy, seeds  # which the temperature follows from

    return make(seeding=best_of_sample(run, size=sample_size, restarts=restarts))


@partial(jax.jit, static_argnums=0)
def _fitted(clusterer: Clusterer, points: Array, weights: Array, key: Key[Array, ""]) -> PyTree:
    return clusterer.fit({}, Batch(points, None, weights), key)


@partial(jax.jit, static_argnums=0)
def _assigned(clusterer: Clusterer, state: PyTree, points: Array) -> Float[Array, "N K"]:
    return clusterer.assign({}, state, points).log_probs
