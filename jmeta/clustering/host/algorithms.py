"""Algorithms that run on the host, on NumPy arrays: scikit-learn's and Genie.

This module does not import jax, so that processes that only run these algorithms start quickly.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ...errors import InputError


class Entry(NamedTuple):
    """The class of a host algorithm.

    Attributes:
        module: module of the class.
        name: name of the class.
        clusters_argument: name of the argument for the number of clusters; None if the algorithm finds it.
        options: fixed arguments of the class.
        noise_option: whether there is the option `noise`: "keep", or "nearest" to give noise to the cluster
            of the nearest clustered point.
    """

    module: str
    name: str
    clusters_argument: str | None = None
    options: dict[str, Any] = {}  # noqa: RUF012 - never written to
    noise_option: bool = False


HOST_ALGORITHMS = {
    "kmeans": Entry("sklearn.cluster", "KMeans", "n_clusters"),
    "minibatch_kmeans": Entry("sklearn.cluster", "MiniBatchKMeans", "n_clusters"),
    "bisecting_kmeans": Entry("sklearn.cluster", "BisectingKMeans", "n_clusters"),
    "gaussian_mixture": Entry("sklearn.mixture", "GaussianMixture", "n_components"),
    "ward": Entry("sklearn.cluster", "AgglomerativeClustering", "n_clusters", {"linkage": "ward"}),
    "average": Entry("sklearn.cluster", "AgglomerativeClustering", "n_clusters", {"linkage": "average"}),
    "complete": Entry("sklearn.cluster", "AgglomerativeClustering", "n_clusters", {"linkage": "complete"}),
    "single": Entry("sklearn.cluster", "AgglomerativeClustering", "n_clusters", {"linkage": "single"}),
    "spectral": Entry("sklearn.cluster", "SpectralClustering", "n_clusters"),
    "birch": Entry("sklearn.cluster", "Birch", "n_clusters"),
    "dbscan": Entry("sklearn.cluster", "DBSCAN"),
    "hdbscan": Entry("sklearn.cluster", "HDBSCAN", None, {"copy": True}, noise_option=True),
    "optics": Entry("sklearn.cluster", "OPTICS"),
    "mean_shift": Entry("sklearn.cluster", "MeanShift"),
    "affinity_propagation": Entry("sklearn.cluster", "AffinityPropagation"),
    "genie": Entry("jmeta.clustering.host.genie", "Genie", "n_clusters"),
}


def host_labels(
    name: str,
    points: Float[np.ndarray, "N D"],
    clusters: int | None = None,
    *,
    seed: int = 0,
    **options: Any,
) -> Int[np.ndarray, " N"]:
    """The labels of `host(name, clusters, **options)`, computed with NumPy alone, without starting a device.

    Args:
        name: one of `HOST_ALGORITHMS`.
        points: [N, D].
        clusters: K; only for algorithms that take the number of clusters.
        seed: all randomness follows from it.
        options: further arguments of the algorithm's class; "hdbscan" also takes `noise`, see `Entry`.

    Returns:
        [N] cluster of each point, from 0; -1 is noise.

    Raises:
        InputError: the same cases as for `host`.

    >>> labels = host_labels("ward", np.array([[0.0], [0.1], [5.0], [5.1]]), 2)
    >>> bool(labels[0] == labels[1] != labels[2] == labels[3])
    True
    """
    return estimator_labels(name, _constructor(name, clusters, options)(seed), points)


def _constructor(name: str, clusters: int | None, options: dict[str, Any]) -> Any:
    """A function from a random seed to an estimator; raises an InputError if the arguments are invalid."""
    if name not in HOST_ALGORITHMS:
        raise InputError(f"there is no algorithm {name!r}; choose one of {', '.join(HOST_ALGORITHMS)}.")
    entry = HOST_ALGORITHMS[name]
    package = entry.module.split(".")[0]
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{name} needs the package {package}; install it with pip install {package}.")
    estimator_class = getattr(importlib.import_module(entry.module), entry.name)
    known = {*inspect.signature(estimator_class).parameters, *["noise"] * entry.noise_option}
    if unknown := set(options) - known:
        raise InputError(f"{name} has no options {sorted(unknown)}; choose from {', '.join(sorted(known))}.")
    if entry.clusters_argument in options:
        raise InputError(
            f"{name} takes the number of clusters as clusters; leave out {entry.clusters_argument}."
        )
    if clusters is None and entry.clusters_argument is not None:
        raise InputError(f"{name} needs the number of clusters; give clusters.")
    if clusters is not None and entry.clusters_argument is None:
        raise InputError(f"{name} finds the number of clusters itself; leave out clusters.")
    if clusters is not None and (not isinstance(clusters, int | np.integer) or clusters < 1):
        raise InputError(f"clusters of {name} is {clusters!r}; give a whole number >= 1.")
    arguments = entry.options | options
    noise = arguments.pop("noise", "keep")
    if noise not in ("keep", "nearest"):
        raise InputError(f"noise of {name} is {noise!r}; choose 'keep' or 'nearest'.")
    if entry.clusters_argument:
        arguments = arguments | {entry.clusters_argument: clusters}
    seeded = "random_state" in known and "random_state" not in arguments

    def make(seed: int) -> Any:
        estimator = estimator_class(**arguments, **({"random_state": seed} if seeded else {}))
        return _NoiseToNearest(estimator) if noise == "nearest" else estimator

    return make


class _NoiseToNearest:
    """An estimator whose noise is given to the cluster of the nearest clustered point."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, points: Float[np.ndarray, "N D"]) -> _NoiseToNearest:
        self.labels_ = noise_to_nearest(points, self.estimator.fit(points).labels_)
        return self


def noise_to_nearest(
    points: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"]
) -> Int[np.ndarray, " N"]:
    """The labels with every noise point, -1, in the cluster of the nearest clustered point.

    Where all points are noise, they stay noise.

    >>> noise_to_nearest(np.array([[0.0], [1.0], [9.0]]), np.array([0, -1, 1])).tolist()
    [0, 0, 1]
    """
    noise = labels < 0
    if not noise.any() or noise.all():
        return labels
    filled = labels.copy()
    filled[noise] = labels[~noise][nearest_rows(points[~noise], points[noise])]
    return filled


def nearest_rows(known: Float[np.ndarray, "M D"], points: Float[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:
    """The place of the nearest of the known rows, for every point.

    >>> nearest_rows(np.array([[0.0], [9.0]]), np.array([[1.0], [7.0], [0.0]])).tolist()
    [0, 1, 0]
    """
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=1).fit(known).kneighbors(points)[1][:, 0]


def estimator_labels(
    name: str,
    estimator: Any,
    points: Float[np.ndarray, "M D"],
    weights: Float[np.ndarray, " M"] | None = None,
) -> Int[np.ndarray, " M"]:
    """Fits the estimator and returns its labels, numbered from 0, with noise as -1."""
    extra = {} if weights is None else {"sample_weight": weights}
    try:
        estimator.fit(points, **extra)
        raw = estimator.labels_ if hasattr(estimator, "labels_") else estimator.predict(points)
    except (ValueError, np.linalg.LinAlgError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{name} cannot cluster these points ({reason}); change its options.") from error
    raw = np.asarray(raw, int)
    values = np.unique(raw[raw >= 0])
    return np.where(raw >= 0, np.searchsorted(values, raw), -1)
