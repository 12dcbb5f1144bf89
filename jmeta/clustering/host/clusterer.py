"""scikit-learn's algorithms as clusterers; they run on the host, outside `jit`.

The state holds the clustered points and their labels. A point is assigned the label of the nearest clustered
point, which may be noise.

Reference: Pedregosa et al. 2011, Scikit-learn: machine learning in Python.
"""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from ...distances import as_float
from ...errors import InputError
from ...masking import make_clusterer
from ...records import Assignment, Batch, Clusterer
from ...validation import check_enough, check_points
from ..partition import Partition, hard_assignment
from .algorithms import _constructor, estimator_labels


def host(name: str, clusters: int | None = None, **options: Any) -> Clusterer:
    """An algorithm of scikit-learn, or Genie, as a clusterer.

    Points of weight zero are left out. Algorithms that do not support sample weights raise InputError for
    fractional weights.

    Args:
        name: one of `HOST_ALGORITHMS`, such as "ward" or "hdbscan".
        clusters: K; only for algorithms that take the number of clusters.
        options: further arguments of the algorithm's class.

    Returns:
        A `Clusterer` that is not traceable and whose state is `Partition`.

    Raises:
        InputError: the name or an option is unknown, the package is not installed, or K is missing or not
            supported; when fitted, the algorithm fails on the points.

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
                f"{name} of scikit-learn takes neither labels nor a number of clusters per task; "
                "give a batch without targets and clusters."
            )
        points = np.asarray(batch.inputs, np.float64)
        check_points(points, batch.weights)
        weights = np.ones(len(points)) if batch.weights is None else np.asarray(batch.weights, np.float64)
        check_enough(points, weights, clusters or 1)
        kept = weights > 0
        whole = np.all(weights[kept] == 1)
        if not whole and not takes_weights:
            raise InputError(
                f"{name} takes weights of zero and one only; choose another algorithm, or round the weights."
            )
        estimator = make(int(jax.random.bits(key, dtype=jnp.uint32)) >> 1)
        labels = estimator_labels(name, estimator, points[kept], None if whole else weights[kept])
        count = max(int(labels.max(initial=-1)) + 1, clusters or 1)
        x = as_float(jnp.asarray(points[kept]))
        return Partition(
            points=x,
            weights=jnp.ones(len(x)),
            labels=jnp.asarray(labels),
            log_slots=jnp.zeros(count),
            scale=jnp.ones(()),
        )

    def assign(params: PyTree, state: Partition, inputs: Float[Array, "N D"]) -> Assignment:
        from sklearn.neighbors import KDTree

        _refuse_traced(name, inputs, state.points)
        if not len(inputs):
            return hard_assignment(jnp.zeros(0, int), state.log_slots)
        x = np.asarray(as_float(inputs), np.float64)
        nearest = KDTree(np.asarray(state.points, np.float64)).query(x, return_distance=False)[:, 0]
        return hard_assignment(state.labels[jnp.asarray(nearest)], state.log_slots)

    return make_clusterer(lambda key: {}, fit, assign, traceable=False)


def _refuse_traced(name: str, *arrays: Any) -> None:
    if any(isinstance(array, jax.core.Tracer) for array in arrays):
        raise InputError(f"{name} of scikit-learn runs on the host; call it outside jit, vmap and grad.")
