"""scikit-learn's algorithms behind the record of all clusterers; they run on the host, outside `jit`.

The state holds the points that were clustered and their labels. A point is assigned by the nearest of
them: points that were seen get their own label, and others that of their neighbour, noise included.

Reference: Pedregosa et al. 2011, Scikit-learn: machine learning in Python.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from ..distances import as_float
from ..records import Assignment, Batch, Clusterer, InputError
from .partition import Partition, hard_assignment
from .validation import check_enough, check_points


class Entry(NamedTuple):
    """One algorithm of the portfolio.

    Attributes:
        module: where its class is.
        name: of the class.
        told: its argument for the number of clusters; None where it finds that itself.
        options: arguments that make it this algorithm.
    """

    module: str
    name: str
    told: str | None = None
    options: dict[str, Any] = {}  # noqa: RUF012 - never written to


PORTFOLIO = {
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


def host(name: str, clusters: int | None = None, **options: Any) -> Clusterer:
    """An algorithm of scikit-learn, or Genie.

    Points of weight zero are left out; fractional weights are used by the algorithms that take them,
    and refused by the others.

    Args:
        name: one of `PORTFOLIO`, such as "ward" or "hdbscan".
        clusters: K, for the algorithms that are told.
        options: further arguments of its class, under their own names.

    Returns:
        A `Clusterer` whose state is `Partition`, and which says that it is not traceable.

    Raises:
        InputError: the name is unknown, its package is not installed, an option is none of its own, or
            K is missing or not wanted; and, when it is run, points that it cannot cluster.

    >>> import jmeta as jm
    >>> points = np.array([[0.0], [0.1], [5.0], [5.1]])
    >>> found = jm.cluster(host("ward", 2), points, key=jax.random.key(0))
    >>> labels = found.log_probs.argmax(-1)
    >>> bool(labels[0] == labels[1] != labels[2] == labels[3])
    True
    """
    make = _constructor(name, clusters, options)
    takes_weights = "sample_weight" in inspect.signature(make(0).fit).parameters

    def fit(params: PyTree, batch: Batch, key: Key[Array, ""]) -> Partition:
        _refuse_traced(name, batch.inputs, batch.weights, key)
        if batch.clusters is not None or batch.targets is not None:
            raise InputError(
                f"{name} of scikit-learn takes neither labels nor a number of clusters per task."
            )
        points = np.asarray(batch.inputs, np.float64)
        check_points(points, batch.weights)
        weights = np.ones(len(points)) if batch.weights is None else np.asarray(batch.weights, np.float64)
        check_enough(points, weights, clusters or 1)
        kept = weights > 0
        whole = np.all(weights[kept] == 1)
        if not whole and not takes_weights:
            raise InputError(f"{name} takes weights of zero and one only; choose another, or round them.")
        estimator = make(int(jax.random.bits(key)) >> 1)
        labels = _labels(name, estimator, points[kept], None if whole else weights[kept])
        count = max(int(labels.max(initial=-1)) + 1, clusters or 1)
        x = as_float(jnp.asarray(points[kept]))
        return Partition(x, jnp.ones(len(x)), jnp.asarray(labels), jnp.zeros(count), jnp.ones(()))

    def assign(params: PyTree, state: Partition, inputs: Float[Array, "N D"]) -> Assignment:
        from sklearn.neighbors import KDTree

        _refuse_traced(name, inputs, state.points)
        if not len(inputs):
            return hard_assignment(jnp.zeros(0, int), state.log_slots)
        x = np.asarray(as_float(inputs), np.float64)
        x = np.where(np.isfinite(x), x, 0)  # points of weight zero may hold anything
        nearest = KDTree(np.asarray(state.points, np.float64)).query(x, return_distance=False)[:, 0]
        return hard_assignment(state.labels[jnp.asarray(nearest)], state.log_slots)

    return Clusterer(lambda key: {}, fit, assign, traceable=False)


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
        name: one of `PORTFOLIO`.
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
    if name not in PORTFOLIO:
        raise InputError(f"there is no algorithm {name!r}; choose one of {', '.join(PORTFOLIO)}.")
    entry = PORTFOLIO[name]
    package = entry.module.split(".")[0]
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{name} needs the package {package}; install it with pip install {package}.")
    kind = getattr(importlib.import_module(entry.module), entry.name)
    known = inspect.signature(kind).parameters
    if unknown := set(options) - set(known):
        raise InputError(f"{name} has no options {sorted(unknown)}; it has {', '.join(sorted(known))}.")
    if entry.told in options:
        raise InputError(f"{name} is told the number of clusters by clusters; leave out {entry.told}.")
    if (clusters is None) != (entry.told is None):
        wanted = (
            "has to be told the number of clusters" if entry.told else "finds the number of clusters itself"
        )
        raise InputError(f"{name} {wanted}; {'give' if entry.told else 'leave out'} clusters.")
    if clusters is not None and (not isinstance(clusters, int | np.integer) or clusters < 1):
        raise InputError(f"clusters of {name} is {clusters!r}; give a whole number >= 1.")
    given = entry.options | options | ({entry.told: clusters} if entry.told else {})

    def make(seed: int) -> Any:
        seeded = {"random_state": seed} if "random_state" in known and "random_state" not in given else {}
        return kind(**given, **seeded)

    return make


def _refuse_traced(name: str, *arrays: Any) -> None:
    if any(isinstance(array, jax.core.Tracer) for array in arrays):
        raise InputError(f"{name} of scikit-learn runs on the host; call it outside jit, vmap and grad.")


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
