"""The algorithms that run on the host, on NumPy arrays: scikit-learn's and Genie.

This module imports no jax, so that a process that only runs them starts quickly.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..errors import InputError


class Entry(NamedTuple):
    """One algorithm of the portfolio.

    Attributes:
        module: where its class is.
        name: of the class.
        clusters_argument: name of its argument for the number of clusters; None if it finds that itself.
        options: arguments that make it this algorithm.
    """

    module: str
    name: str
    clusters_argument: str | None = None
    options: dict[str, Any] = {}  # noqa: RUF012 - never written to


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
    "hdbscan": Entry("sklearn.cluster", "HDBSCAN", None, {"copy": True}),
    "optics": Entry("sklearn.cluster", "OPTICS"),
    "mean_shift": Entry("sklearn.cluster", "MeanShift"),
    "affinity_propagation": Entry("sklearn.cluster", "AffinityPropagation"),
    "genie": Entry("jmeta.clustering.genie", "Genie", "n_clusters"),
}


def host_labels(
    name: str,
    points: Float[np.ndarray, "N D"],
    clusters: int | None = None,
    *,
    seed: int = 0,
    **options: Any,
) -> Int[np.ndarray, " N"]:
    """What `host(name, clusters, **options)` finds, of NumPy arrays alone: no device is started.

    Args:
        name: one of `HOST_ALGORITHMS`.
        points: [N, D].
        clusters: K, for the algorithms that are told.
        seed: everything random follows from it.
        options: further arguments of its class.

    Returns:
        [N] clusters from 0; -1 is noise.

    Raises:
        InputError: as `host`.

    >>> labels = host_labels("ward", np.array([[0.0], [0.1], [5.0], [5.1]]), 2)
    >>> bool(labels[0] == labels[1] != labels[2] == labels[3])
    True
    """
    return _labels(name, _constructor(name, clusters, options)(seed), points, None)


def _constructor(name: str, clusters: int | None, options: dict[str, Any]) -> Any:
    """Random seed -> an estimator, after a look at the arguments."""
    if name not in HOST_ALGORITHMS:
        raise InputError(f"there is no algorithm {name!r}; choose one of {', '.join(HOST_ALGORITHMS)}.")
    entry = HOST_ALGORITHMS[name]
    package = entry.module.split(".")[0]
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{name} needs the package {package}; install it with pip install {package}.")
    kind = getattr(importlib.import_module(entry.module), entry.name)
    known = inspect.signature(kind).parameters
    if unknown := set(options) - set(known):
        raise InputError(f"{name} has no options {sorted(unknown)}; it has {', '.join(sorted(known))}.")
    if entry.clusters_argument in options:
        raise InputError(
            f"{name} is told the number of clusters by clusters; leave out {entry.clusters_argument}."
        )
    if (clusters is None) != (entry.clusters_argument is None):
        wanted = (
            "has to be told the number of clusters"
            if entry.clusters_argument
            else "finds the number of clusters itself"
        )
        raise InputError(f"{name} {wanted}; {'give' if entry.clusters_argument else 'leave out'} clusters.")
    if clusters is not None and (not isinstance(clusters, int | np.integer) or clusters < 1):
        raise InputError(f"clusters of {name} is {clusters!r}; give a whole number >= 1.")
    given = entry.options | options | ({entry.clusters_argument: clusters} if entry.clusters_argument else {})

    def make(seed: int) -> Any:
        seeded = {"random_state": seed} if "random_state" in known and "random_state" not in given else {}
        return kind(**given, **seeded)

    return make


def _labels(
    name: str, estimator: Any, points: Float[np.ndarray, "M D"], weights: Float[np.ndarray, " M"] | None
) -> Int[np.ndarray, " M"]:
    """What the estimator finds, numbered from 0 with noise at -1."""
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
