"""Agglomerative clustering on-device: repeatedly merges the two closest clusters.

The linkages, and the algorithm that builds the tree, are described in `jmeta.graphs.linkage`.

The partition is piecewise constant, so that its derivative is zero; learn embeddings with a loss of their
distances instead.
"""

from __future__ import annotations

from typing import get_args

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key, PyTree

from ..distances import exact_squared_distances
from ..errors import InputError
from ..graphs.components import largest_components
from ..graphs.dendrograms import cut
from ..graphs.linkage import Linkage, linkage_tree
from ..masking import make_clusterer
from ..records import Assignment, Batch, Clusterer
from ..validation import check_counts
from ..weights import LOG_ZERO
from .partition import Partition, like_nearest, partition
from .points import prepare_points


def agglomerative(clusters: int, *, linkage: Linkage = "ward") -> Clusterer:
    """Merges the two closest clusters until K are left.

    Args:
        clusters: K, the number of slots; a batch may use fewer.
        linkage: distance between clusters: "ward", "average", "complete" or "single".

    Returns:
        A `Clusterer` whose state is `Partition`. Weights act as multiplicities of points, also fractional
        ones; for "complete" and "single" they matter only by being zero or not.

    Raises:
        InputError: an argument is out of range, or the linkage is unknown.

    >>> import jax, jmeta as jm
    >>> chain = jnp.array([[0.0], [1.0], [2.0], [3.0], [5.0]])
    >>> found = jm.cluster(agglomerative(2, linkage="single"), chain, key=jax.random.key(0))
    >>> found.log_probs.argmax(-1)
    Array([0, 0, 0, 0, 1], dtype=int32)
    """
    check_counts("agglomerative", clusters=clusters)
    if linkage not in get_args(Linkage):
        raise InputError(f"linkage is {linkage!r}; choose one of {get_args(Linkage)}.")

    def fit(params: PyTree, batch: Batch, key: Key[Array, ""]) -> Partition:
        points, units = prepare_points(batch, clusters)
        used = points.log_slots > LOG_ZERO / 2
        points = lax.stop_gradient(points)
        squared = exact_squared_distances(points.x, points.x)
        roots = cut(linkage_tree(linkage, squared, points.weights), jnp.sum(used))
        _, _, labels = largest_components(roots, points.weights, clusters, used)
        return partition(points, units, jnp.maximum(labels, 0))

    def assign(params: PyTree, state: Partition, inputs: Float[Array, "N D"]) -> Assignment:
        return like_nearest(state, inputs)

    return make_clusterer(lambda key: {}, fit, assign)
