"""Agglomerative clustering on-device: repeatedly merges the two closest clusters.

Distances to a merged cluster follow from those to its two parts (Lance & Williams). If i and j, of weights
n_i and n_j, are merged, the distance to k becomes

    single    min(d_ik, d_jk)                   complete  max(d_ik, d_jk)
    average   (n_i d_ik + n_j d_jk) / (n_i + n_j)
    ward      ((n_i + n_k) d_ik + (n_j + n_k) d_jk - n_k d_ij) / (n_i + n_j + n_k)

where Ward's distances are 2 n_i n_j / (n_i + n_j) ||m_i - m_j||^2, twice the increase of the inertia by a
merge. A merged cluster is never closer to a third one than the closer of its parts, so that the order of
merges can be changed: the nearest-neighbour chain algorithm walks from a cluster to its nearest neighbour
until two are mutual nearest neighbours, merges these, and continues; at the end the merges of least distance
are kept. It takes 3 N steps of cost N.

The partition is piecewise constant, so that its derivative is zero; learn embeddings with a loss of their
distances instead.

References: Lance & Williams 1967, A general theory of classificatory sorting strategies; Ward 1963,
Hierarchical grouping to optimize an objective function; Murtagh 1983, A survey of recent advances in
hierarchical clustering algorithms.
"""

from __future__ import annotations

from typing import Literal, get_args

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key, PyTree

from ..compiler import compiled
from ..distances import exact_squared_distances, square_root
from ..errors import InputError
from ..graphs import adjacency_of_pairs, components, largest_components
from ..records import Assignment, Batch, Clusterer
from ..validation import check_counts
from ..weights import LOG_ZERO
from .partition import Partition, like_nearest, partition
from .points import prepare_points

Linkage = Literal["ward", "average", "complete", "single"]
"""Distances between clusters."""


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
        roots = merged(linkage, squared, points.weights, jnp.sum(used))
        _, _, labels = largest_components(roots, points.weights, clusters, used)
        return partition(points, units, jnp.maximum(labels, 0))

    def assign(params: PyTree, state: Partition, inputs: Float[Array, "N D"]) -> Assignment:
        return like_nearest(state, inputs)

    return Clusterer(lambda key: {}, compiled(fit), compiled(assign))


def merged(
    linkage: Linkage, squared: Float[Array, "N N"], weights: Float[Array, " N"], clusters: Array
) -> Array:
    """The cluster of each point, named by one of its points, once `clusters` are left."""
    count = len(squared)
    weights = weights / jnp.maximum(jnp.max(weights), jnp.finfo(weights.dtype).tiny)
    far = jnp.asarray(jnp.inf, squared.dtype)
    if linkage == "ward":
        pairs = weights[:, None] + weights
        distances = 2 * weights[:, None] * weights / jnp.where(pairs > 0, pairs, 1) * squared
    else:
        distances = square_root(squared)
    alive = weights > 0
    distances = jnp.where(alive[:, None] & alive & ~jnp.eye(count, dtype=bool), distances, far)

    def walk(carry: tuple, _: None) -> tuple[tuple, tuple]:
        distances, sizes, alive, chain, length = carry
        last = jnp.maximum(length - 1, 0)
        top = jnp.where(length > 0, chain[last], jnp.argmax(alive))
        chain = chain.at[last].set(top)
        row = distances[top]
        nearest = jnp.argmin(row)
        before = chain[jnp.maximum(last - 1, 0)]
        found = jnp.isfinite(row[nearest])
        merging = found & (length > 1) & (row[before] <= row[nearest])

        union = _updated(linkage, distances[before], row, row[before], sizes, sizes[before], sizes[top])
        union = jnp.where(jnp.isfinite(distances[before]) & jnp.isfinite(row), union, far)
        kept = jnp.where(merging, union, distances[before])
        gone = jnp.where(merging, far, row)
        distances = distances.at[before].set(kept).at[:, before].set(kept)
        distances = distances.at[top].set(gone).at[:, top].set(gone)
        distances = distances.at[before, before].set(far)
        sizes = sizes.at[before].add(jnp.where(merging, sizes[top], 0))
        alive = alive.at[top].set(alive[top] & ~merging)
        pushed = jnp.where(merging | ~found, chain[last + 1], nearest)
        chain = chain.at[last + 1].set(pushed)
        length = jnp.where(merging, length - 2, last + 1 + found)
        return (distances, sizes, alive, chain, length), (before, top, jnp.where(merging, row[before], far))

    start = (distances, weights, alive, jnp.zeros(count + 2, int), jnp.asarray(0))
    _, (kept, gone, heights) = lax.scan(walk, start, None, length=3 * count)
    rank = jnp.argsort(jnp.argsort(heights))
    taken = jnp.isfinite(heights) & (rank < jnp.sum(alive) - clusters)
    return components(adjacency_of_pairs(kept, gone, taken, count))


def _updated(
    linkage: Linkage, to_i: Array, to_j: Array, ij: Array, n_k: Array, n_i: Array, n_j: Array
) -> Array:
    """The distances from other clusters to the union of i and j."""
    if linkage == "single":
        return jnp.minimum(to_i, to_j)
    if linkage == "complete":
        return jnp.maximum(to_i, to_j)
    if linkage == "average":
        return (n_i * to_i + n_j * to_j) / (n_i + n_j)
    return ((n_i + n_k) * to_i + (n_j + n_k) * to_j - n_k * ij) / (n_i + n_j + n_k)
