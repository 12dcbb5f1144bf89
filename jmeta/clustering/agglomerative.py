"""Agglomerative clustering on the device: the two closest clusters become one, again and again.

Distances to the new cluster follow from those to its two parts (Lance & Williams). With i and j merged, of
weights n_i and n_j, the distance to k becomes

    single    min(d_ik, d_jk)                   complete  max(d_ik, d_jk)
    average   (n_i d_ik + n_j d_jk) / (n_i + n_j)
    ward      ((n_i + n_k) d_ik + (n_j + n_k) d_jk - n_k d_ij) / (n_i + n_j + n_k)

where Ward's are 2 n_i n_j / (n_i + n_j) ||m_i - m_j||^2, twice what a merger adds to the inertia. It takes N
mergers of N^2 comparisons: for small N, in batches. The partition is constant almost everywhere, so that
no derivative passes; learn what the points are by a loss of their distances instead.

References: Lance & Williams 1967, A general theory of classificatory sorting strategies; Ward 1963,
Hierarchical grouping to optimize an objective function.
"""

from __future__ import annotations

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key, PyTree

from ..distances import square_root, squared_differences
from ..records import Assignment, Batch, Clusterer, InputError
from .neighbours import largest
from .partition import Partition, like_nearest, partition
from .points import EMPTY, prepare_points
from .validation import check_counts

Linkage = Literal["ward", "average", "complete", "single"]


def agglomerative(clusters: int, *, linkage: Linkage = "ward") -> Clusterer:
    """Merge the two closest clusters until K are left.

    Args:
        clusters: K, the number of slots; a batch may use fewer.
        linkage: how far two clusters are: "ward", "average", "complete" or "single".

    Returns:
        A `Clusterer` whose state is `Partition`. Weights count like copies of points, fractional ones
        included; "complete" and "single" look only at whether they are zero.

    Raises:
        InputError: a number is out of its range, or the linkage has no such name.

    >>> import jmeta as jm
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
        used = points.log_slots > EMPTY / 2
        points = lax.stop_gradient(points)
        squared = squared_differences(points.x, points.x)
        roots = merged(linkage, squared, points.weights, jnp.sum(used))
        _, _, labels = largest(roots, points.weights, clusters, used)
        return partition(points, units, jnp.maximum(labels, 0))

    def assign(params: PyTree, state: Partition, inputs: Float[Array, "N D"]) -> Assignment:
        return like_nearest(state, inputs)

    return Clusterer(lambda key: {}, fit, assign)


def merged(
    linkage: Linkage, squared: Float[Array, "N N"], weights: Float[Array, " N"], clusters: Array
) -> Array:
    """The cluster of each point, named by one of its points, when so many clusters are left."""
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

    def merge(carry: tuple, _: None) -> tuple[tuple, None]:
        distances, sizes, roots, left = carry
        i, j = jnp.divmod(jnp.argmin(distances), count)
        going_on = left > clusters
        row = _updated(linkage, distances[i], distances[j], distances[i, j], sizes, sizes[i], sizes[j])
        row = jnp.where(jnp.isfinite(distances[i]) & jnp.isfinite(distances[j]), row, far)
        gone = jnp.arange(count) == j
        joined = distances.at[i].set(row).at[:, i].set(row)
        joined = jnp.where(gone | gone[:, None], far, joined)
        after = (
            joined,
            jnp.where(gone, 0, sizes.at[i].add(sizes[j])),
            jnp.where(roots == j, i, roots),
            left - 1,
        )
        return jax.tree.map(lambda new, old: jnp.where(going_on, new, old), after, carry), None

    start = (distances, weights, jnp.arange(count), jnp.sum(alive))
    return lax.scan(merge, start, None, length=count - 1)[0][2]


def _updated(
    linkage: Linkage, to_i: Array, to_j: Array, ij: Array, n_k: Array, n_i: Array, n_j: Array
) -> Array:
    """The distances to the union of i and j."""
    if linkage == "single":
        return jnp.minimum(to_i, to_j)
    if linkage == "complete":
        return jnp.maximum(to_i, to_j)
    if linkage == "average":
        return (n_i * to_i + n_j * to_j) / (n_i + n_j)
    return ((n_i + n_k) * to_i + (n_j + n_k) * to_j - n_k * ij) / (n_i + n_j + n_k)
