"""MetaClusterer: clusters in an embedding that was trained on other data to separate unseen classes."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal, NamedTuple, Self, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num, PyTree
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from ..artifacts.recipes import Trained
from ..clustering.diagnostics import warn_of_fewer
from ..clustering.sinkhorn_kmeans import sinkhorn_kmeans
from ..clustering.soft_kmeans import soft_kmeans
from ..clustering.transport.rounding import balanced_labels
from ..errors import InputError
from ..metrics.internal import silhouette
from ..padding import pad_points, padded_size
from ..precision import in_double
from ..records import Batch, Clusterer
from .space import in_range, space

Sizes = Literal["any", "equal"]
ALGORITHMS: dict[Sizes, Callable[..., Clusterer]] = {"any": soft_kmeans, "equal": sinkhorn_kmeans}
STEPS = 20
"""The maximum number of steps of a clustering."""


class MetaClusterer(ClusterMixin, BaseEstimator):
    """Clusters rows or images of new classes in an embedding that was trained on other classes.

    Args:
        embedding: a file written by `save_trained` that holds a `Model` or a learner of `centroids`; the name
            of one that comes with jmeta, "omniglot", for handwritten characters of 28 x 28 pixels with bright
            strokes; a `Trained`; or None to cluster the rows themselves.
        n_clusters: the number of clusters; unless given, the one from 2 to `most_clusters` with the best
            silhouette in the embedding.
        most_clusters: the maximum number of clusters that is tried.
        sizes: "any" uses soft k-means; "equal" uses Sinkhorn k-means, for clusters of equal size.
        restarts: number of seedings that are tried.
        random_state: all randomness follows from it.

    Attributes:
        labels_: [N] cluster of each row, from 0.
        n_clusters_: the number of clusters.
        silhouettes_: number of clusters -> silhouette, for the numbers that were tried; empty if `n_clusters`
            was given.
        embedding_: [N, E] the embedded rows.

    A network with batch statistics computes them from the given rows: embed related rows in one call.

    >>> points = np.concatenate([np.random.default_rng(0).normal(c, 0.1, (20, 2)) for c in (0, 3, 9)])
    >>> MetaClusterer().fit(points).n_clusters_
    3
    """

    def __init__(
        self,
        embedding: str | os.PathLike | Trained | None = None,
        n_clusters: int | None = None,
        *,
        most_clusters: int = 20,
        sizes: Sizes = "any",
        restarts: int = 10,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.embedding = embedding
        self.n_clusters = n_clusters
        self.most_clusters = most_clusters
        self.sizes = sizes
        self.restarts = restarts
        self.random_state = random_state

    def fit(self, X: Num[np.ndarray, "N ..."], y: Any = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Embeds and clusters the rows.

        Args:
            X: [N, D], or images [N, H, W, C] of the embedding's shape, possibly flat; bytes, or from 0 to 1.
            y: ignored.

        Raises:
            InputError: a setting is out of its range, the file cannot be read, or the rows do not fit the
                embedding.
            ValueError: the table is empty, not finite or not numeric.
        """
        self._check()
        points = self._embedded(X, first=True)
        min_clusters = self.n_clusters or 2
        if min_clusters > len(points):
            raise InputError(f"n_samples={len(points)} cannot form {min_clusters} clusters; give fewer.")
        max_clusters = self.n_clusters or max(2, min(self.most_clusters, len(points) - 1))
        self._clusterer = (self.sizes, self.n_clusters or self.most_clusters, self.restarts)
        seed = int(check_random_state(self.random_state).randint(2**31))
        padded = pad_points(points, padded_size(len(points)), np.float64)
        fits = {
            count: in_double(_fitted, _made(*self._clusterer), *padded, count, jax.random.key(seed))
            for count in range(min_clusters, max_clusters + 1)
        }
        scores = {count: float(fit.silhouette) for count, fit in fits.items()}
        self.n_clusters_ = max(scores, key=scores.__getitem__)
        self.silhouettes_ = {} if self.n_clusters else scores
        chosen = fits[self.n_clusters_]
        self._state = chosen.state
        self.labels_ = self._labels(chosen.log_probs[: len(points), : self.n_clusters_])
        self.embedding_ = points
        warn_of_fewer(self.labels_, self.n_clusters_, points, category=ConvergenceWarning)
        return self

    def predict(self, X: Num[np.ndarray, "N ..."]) -> Int[np.ndarray, " N"]:  # noqa: N803
        """The nearest cluster of every new row.

        Raises:
            ValueError: the rows have another shape, or are not finite.
        """
        check_is_fitted(self)
        points = self._embedded(X, first=False)
        padded, _ = pad_points(points, padded_size(len(points)), np.float64)
        return in_double(_assigned, _made(*self._clusterer), self._state, padded)[: len(points)]

    def _labels(self, log_probs: Float[np.ndarray, "N K"]) -> Int[np.ndarray, " N"]:
        """The cluster of each fitted row: the most probable one, or rounded to clusters of equal size."""
        if self.sizes == "any":
            return log_probs.argmax(1)
        clusters = log_probs.shape[1]
        return balanced_labels(log_probs, np.ones(len(log_probs)), np.full(clusters, 1 / clusters))

    def _check(self) -> None:
        for name, minimum in (("n_clusters", 1), ("most_clusters", 2), ("restarts", 1)):
            value = getattr(self, name)
            missing = name == "n_clusters" and value is None
            if not missing and (not isinstance(value, int | np.integer) or value < minimum):
                raise InputError(f"{name} is {value!r}; give a whole number >= {minimum}.")
        if self.sizes not in get_args(Sizes):
            raise InputError(f"sizes is {self.sizes!r}; choose one of {', '.join(get_args(Sizes))}.")

    def _embedded(self, X: Any, *, first: bool) -> Float[np.ndarray, "N E"]:  # noqa: N803
        """The embedded rows."""
        embed = None if self.embedding is None else space(self.embedding)
        x = validate_data(
            self,
            X,
            dtype=np.float64 if embed is None else [np.float32, np.uint8],
            reset=first,
            ensure_min_samples=2 if first else 1,
            allow_nd=embed is not None,
        )
        points = np.asarray(x if embed is None else embed(x), np.float64)
        in_range(points - points.mean(0))
        return points


class _Fit(NamedTuple):
    state: PyTree
    log_probs: Float[Array, "N K"]
    silhouette: Float[Array, ""]


@cache
def _made(sizes: Sizes, slots: int, restarts: int) -> Clusterer:
    return ALGORITHMS[sizes](slots, steps=STEPS, restarts=restarts)


@partial(jax.jit, static_argnums=0)
def _fitted(
    clusterer: Clusterer, points: Array, weights: Array, count: Int[Array, ""], key: Key[Array, ""]
) -> _Fit:
    state = clusterer.fit({}, Batch(points, None, weights, count), key)
    log_probs = clusterer.assign({}, state, points).log_probs
    labels = jnp.argmax(log_probs, 1)
    return _Fit(state, log_probs, silhouette(points, labels, weights, slots=log_probs.shape[1]))


@partial(jax.jit, static_argnums=0)
def _assigned(clusterer: Clusterer, state: PyTree, points: Array) -> Int[Array, " N"]:
    return jnp.argmax(clusterer.assign({}, state, points).log_probs, 1)
