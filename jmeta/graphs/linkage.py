"""Construction of hierarchical clustering trees by linkage.

Single linkage takes Prim's algorithm, N steps of cost N: the order in which points are reached is the order
of the leaves. The other linkages take the nearest-neighbour chain algorithm, 3 N steps of cost N: it walks
from a cluster to its nearest neighbour until two are mutual nearest neighbours, merges these, and continues.
Distances to a merged cluster follow from those to its two parts (Lance & Williams). If i and j, of weights
n_i and n_j, are merged, the distance to k becomes

    single    min(d_ik, d_jk)                   complete  max(d_ik, d_jk)
    average   (n_i d_ik + n_j d_jk) / (n_i + n_j)
    ward      ((n_i + n_k) d_ik + (n_j + n_k) d_jk - n_k d_ij) / (n_i + n_j + n_k)

where Ward's distances are 2 n_i n_j / (n_i + n_j) ||m_i - m_j||^2, twice the increase of the inertia by a
merge. A merged cluster is never closer to a third one than the closer of its parts, so that the order of
merges can be changed.

Heights are differentiable in the distances and in the weights, with the structure of the tree held fixed. A
height of average linkage is the weighted mean distance of the pairs that the merge joins; for Ward's linkage

    ||m_i - m_j||^2 = X / (n_i n_j) - S_i / n_i^2 - S_j / n_j^2

with X the weighted sum of the squared distances of these pairs, and S the same sum over the pairs within a
part.

References: Lance & Williams 1967, A general theory of classificatory sorting strategies; Ward 1963,
Hierarchical grouping to optimize an objective function; Murtagh 1983, A survey of recent advances in
hierarchical clustering algorithms; Prim 1957, Shortest connection networks and some generalizations.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..distances import square_root
from .dendrograms import Dendrogram, merge_ranks, parts_of_merges

Linkage = Literal["ward", "average", "complete", "single"]
"""Distances between clusters."""


def single_linkage(distances: Float[Array, "N N"], weights: Float[Array, " N"]) -> Dendrogram:
    """The tree of single linkage, by Prim's algorithm.

    >>> line = jnp.array([[0.0], [7.0], [1.0], [4.0]])
    >>> tree = single_linkage(jnp.abs(line - line.T), jnp.ones(4))
    >>> tree.order.tolist(), tree.heights.tolist()
    ([0, 2, 3, 1], [1.0, 3.0, 3.0, inf])
    """
    alive = weights > 0
    far = jnp.where(alive[:, None] & alive, distances, jnp.inf)

    def reach(carry: tuple, _: None) -> tuple[tuple, tuple]:
        reached, done, at = carry
        done = done.at[at].set(True)
        reached = jnp.minimum(reached, far[at])
        open_ = jnp.where(done, jnp.inf, reached)
        nearest = jnp.argmin(jnp.where(done, jnp.inf, jnp.minimum(reached, jnp.finfo(reached.dtype).max)))
        # Points of weight zero, which are infinitely far, come last.
        return (reached, done, nearest), (at, open_[nearest])

    count = len(distances)
    start = (jnp.full(count, jnp.inf, far.dtype), jnp.zeros(count, bool), jnp.argmax(alive))
    _, (order, heights) = lax.scan(reach, start, None, length=count)
    return _tree(order, heights)


def linkage_tree(linkage: Linkage, squared: Float[Array, "N N"], weights: Float[Array, " N"]) -> Dendrogram:
    """The tree of a linkage, by the nearest-neighbour chain algorithm.

    Args:
        linkage: distance between clusters; heights of "ward" are those of its formula above, and of all
            others distances.
        squared: [N, N] squared distances of the points.
        weights: [N] multiplicities of the points; 0 for padding.

    Returns:
        The tree; its heights are differentiable.

    >>> line = jnp.array([[0.0], [7.0], [1.0], [4.0]])
    >>> tree = linkage_tree("average", jnp.square(line - line.T), jnp.ones(4))
    >>> tree.order.tolist(), tree.heights.tolist()
    ([0, 2, 3, 1], [1.0, 5.0, 3.0, inf])
    """
    tree = _chained(linkage, lax.stop_gradient(squared), lax.stop_gradient(weights))
    return tree._replace(heights=_heights(linkage, squared, weights, tree))


def _chained(linkage: Linkage, squared: Float[Array, "N N"], weights: Float[Array, " N"]) -> Dendrogram:
    count = len(squared)
    unit = jnp.maximum(jnp.max(weights), jnp.finfo(weights.dtype).tiny)
    weights = weights / unit
    far = jnp.asarray(jnp.inf, squared.dtype)
    alive = weights > 0
    apart = alive[:, None] & alive & ~jnp.eye(count, dtype=bool)
    distances = jnp.where(apart, _between_points(linkage, squared, weights), far)

    def walk(carry: tuple, _: None) -> tuple[tuple, None]:
        distances, sizes, alive, chain, length, leaves = carry
        last = jnp.maximum(length - 1, 0)
        top = jnp.where(length > 0, chain[last], jnp.argmax(alive))
        chain = chain.at[last].set(top)
        before = chain[jnp.maximum(last - 1, 0)]
        row, other = distances[jnp.stack([top, before])]
        nearest = jnp.argmin(row)
        found = jnp.isfinite(row[nearest])
        merging = found & (length > 1) & (row[before] <= row[nearest])

        union = _updated(linkage, other, row, row[before], sizes, sizes[before], sizes[top])
        union = jnp.where(jnp.isfinite(other) & jnp.isfinite(row), union, far)
        kept = jnp.where(merging, union, other)
        gone = jnp.where(merging, far, row)
        kept = kept.at[before].set(far)
        distances = _with_row_and_column(_with_row_and_column(distances, before, kept), top, gone)
        sizes = sizes.at[before].add(jnp.where(merging, sizes[top], 0))
        alive = alive.at[top].set(alive[top] & ~merging)
        leaves = _joined(leaves, before, top, row[before], merging)
        pushed = jnp.where(merging | ~found, chain[last + 1], nearest)
        chain = chain.at[last + 1].set(pushed)
        length = jnp.where(merging, length - 2, last + 1 + found)
        return (distances, sizes, alive, chain, length, leaves), None

    places = jnp.arange(count)
    leaves = (
        jnp.full(count, count),
        places,
        jnp.full(count, far),
        jnp.asarray(0),
        jnp.full(count, 4 * count),
    )
    start = (distances, weights, alive, jnp.zeros(count + 2, int), jnp.asarray(0), leaves)
    (_, _, alive, _, _, (following, _, heights, _, steps)), _ = lax.scan(walk, start, None, length=3 * count)

    def follow(at: Array, place: Array) -> tuple[Array, Array]:
        return following.at[at].get(mode="fill", fill_value=count), at

    _, visited = lax.scan(follow, jnp.argmax(alive), places)
    position = jnp.full(count, count).at[visited].set(places, mode="drop")
    order = jnp.argsort(position, stable=True)
    tree = _tree(order, heights[order], steps[order])
    if linkage != "ward":
        return tree
    most = jnp.finfo(heights.dtype).max
    return tree._replace(heights=jnp.where(tree.heights < far, jnp.minimum(tree.heights * unit, most), far))


def _with_row_and_column(matrix: Array, place: Array, values: Array) -> Array:
    """A symmetric matrix with one row and the same column replaced; slices are written in place."""
    matrix = lax.dynamic_update_slice(matrix, values[None], (place, 0))
    return lax.dynamic_update_slice(matrix, values[:, None], (0, place))


def _joined(leaves: tuple, kept: Array, gone: Array, height: Array, merging: Array) -> tuple:
    """Appends the leaves of cluster `gone` to those of cluster `kept`; each is named by its first leaf."""
    following, tails, heights, merges, steps = leaves
    tail = jnp.where(merging, tails[kept], len(tails))
    return (
        following.at[tail].set(gone, mode="drop"),
        tails.at[kept].set(jnp.where(merging, tails[gone], tails[kept])),
        heights.at[tail].set(height, mode="drop"),
        merges + merging,
        steps.at[tail].set(merges, mode="drop"),
    )


def _between_points(linkage: Linkage, squared: Array, weights: Array) -> Array:
    if linkage != "ward":
        return jnp.sqrt(jnp.maximum(squared, 0))
    pairs = weights[:, None] + weights
    return 2 * weights[:, None] * weights / jnp.where(pairs > 0, pairs, 1) * squared


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


def _tree(order: Array, heights: Array, steps: Array | None = None) -> Dendrogram:
    """Ranks merges by height; of equal ones, the earlier first."""
    steps = jnp.arange(len(heights)) if steps is None else steps
    sorted_ = jnp.lexsort((steps, heights))
    ranks = jnp.zeros_like(order).at[sorted_].set(jnp.arange(len(order)))
    return Dendrogram(order, heights, ranks)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _heights(
    linkage: Linkage, squared: Float[Array, "N N"], weights: Float[Array, " N"], tree: Dendrogram
) -> Float[Array, " N"]:
    """The heights of a tree, with the derivative of `_heights_of_structure`."""
    return tree.heights


@_heights.defjvp
def _heights_jvp(linkage: Linkage, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    squared, weights, tree = primals
    function = partial(_heights_of_structure, linkage, tree)
    _, tangent = jax.jvp(function, (squared, weights), tangents[:2])
    return _heights(linkage, squared, weights, tree), tangent


def _heights_of_structure(
    linkage: Linkage, tree: Dendrogram, squared: Float[Array, "N N"], weights: Float[Array, " N"]
) -> Float[Array, " N"]:
    """The heights as sums over the pairs that each merge joins; zero where they are infinite."""
    count = len(squared)
    unit = lax.stop_gradient(jnp.maximum(jnp.max(weights), jnp.finfo(weights.dtype).tiny))
    weights = weights / unit
    ranks = merge_ranks(tree)
    values = squared if linkage == "ward" else square_root(squared)
    pairs = jnp.triu(weights[:, None] * weights, 1)
    if linkage in ("single", "complete"):  # of the pairs that a merge joins, one has this distance
        error = jnp.abs(values - tree.heights[tree.by_rank][ranks])
        pairs = jnp.where((pairs > 0) & (error <= 4 * jnp.finfo(values.dtype).eps * values), 1.0, 0)
    sums = jnp.stack([pairs * jnp.where(pairs > 0, values, 0), pairs], -1).reshape(-1, 2)
    merged, total = jax.ops.segment_sum(sums, ranks.reshape(-1), num_segments=count)[tree.ranks].T
    total = jnp.where(total > 0, total, 1)
    if linkage != "ward":
        return merged / total
    before, after = parts_of_merges(tree)
    at = jnp.arange(count)
    # Which merges lie within the left part of each merge, and within its right part.
    left = (at > before[:, None]) & (at < at[:, None])
    right = (at > at[:, None]) & (at < after[:, None])
    ordered = weights[tree.order]
    n_i = left @ ordered + ordered
    n_j = (right | (at == after[:, None])) @ ordered
    n_i, n_j = (jnp.where(n > 0, n, 1) for n in (n_i, n_j))
    apart = merged / total - (left @ merged) / n_i**2 - (right @ merged) / n_j**2
    heights = 2 * n_i * n_j / (n_i + n_j) * apart * unit
    return jnp.where(jnp.isfinite(tree.heights), heights, 0)
