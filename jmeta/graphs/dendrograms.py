"""Hierarchical clustering trees (dendrograms) of the points of a task, with fixed shapes.

A tree is stored by the order of its leaves, in which every cluster is contiguous, and by the height of the
merge that joins each leaf to the next one. The merge that joins two points is then the highest one between
them, and cutting the tree into K clusters is cutting the order at its K - 1 highest merges.

Points of weight zero are leaves at the end of the order, with infinite heights. All functions can be vmapped.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


class Dendrogram(NamedTuple):
    """A tree of N points.

    Attributes:
        order: [N] the points in the order of the leaves.
        heights: [N] distance at which each leaf, in this order, is joined to the next one; infinite for the
            last one and for points of weight zero.
        ranks: [N] place of each of these merges among all merges, the lowest first.
    """

    order: Int[Array, " N"]
    heights: Float[Array, " N"]
    ranks: Int[Array, " N"]

    @property
    def position(self) -> Int[Array, " N"]:
        """[N] the place of each point in the order of the leaves."""
        return jnp.zeros_like(self.order).at[self.order].set(jnp.arange(len(self.order)))

    @property
    def by_rank(self) -> Int[Array, " N"]:
        """[N] the place, in the order of the leaves, of each merge, the lowest first."""
        return jnp.zeros_like(self.ranks).at[self.ranks].set(jnp.arange(len(self.ranks)))


def merge_ranks(tree: Dendrogram) -> Int[Array, "N N"]:
    """The rank of the merge that joins each pair of points; on the diagonal 0.

    >>> from jmeta.graphs.linkage import linkage_tree
    >>> line = jnp.array([[0.0], [7.0], [1.0], [4.0]])
    >>> merge_ranks(linkage_tree("average", jnp.square(line - line.T), jnp.ones(4)))
    Array([[0, 2, 0, 2],
           [2, 0, 2, 1],
           [0, 2, 0, 2],
           [2, 1, 2, 0]], dtype=int32)
    """
    places = jnp.arange(len(tree.ranks))

    def extend(row: Array, at: Array) -> tuple[Array, Array]:
        # Row i holds the highest rank between leaf j <= i and leaf i.
        return jnp.maximum(row, jnp.where(places <= at, tree.ranks[at], 0)), row

    _, lower = lax.scan(extend, jnp.zeros_like(tree.ranks), places)
    lower = jnp.where(places < places[:, None], lower, 0)
    ranks = lower + lower.T
    position = tree.position
    return ranks[position][:, position]


def smaller_parts(tree: Dendrogram, weights: Float[Array, " N"]) -> Float[Array, " N"]:
    """The weight of the smaller part of each merge, in the order of `by_rank`.

    >>> from jmeta.graphs.linkage import linkage_tree
    >>> line = jnp.array([[0.0], [7.0], [1.0], [4.0]])
    >>> smaller_parts(linkage_tree("average", jnp.square(line - line.T), jnp.ones(4)), jnp.ones(4))
    Array([1., 1., 2., 0.], dtype=float32)
    """
    places = jnp.arange(len(tree.ranks))
    before, after = parts_of_merges(tree)
    total = jnp.concatenate([jnp.zeros(1, weights.dtype), jnp.cumsum(weights[tree.order])])
    parts = jnp.minimum(total[places + 1] - total[before + 1], total[after + 1] - total[places + 1])
    return parts[tree.by_rank]


def parts_of_merges(tree: Dendrogram) -> tuple[Int[Array, " N"], Int[Array, " N"]]:
    """The leaves that each merge joins, in the order of the leaves, as the ends of two ranges.

    The merge after leaf p joins the leaves from `before + 1` to p with those from p + 1 to `after`.

    >>> from jmeta.graphs.linkage import linkage_tree
    >>> line = jnp.array([[0.0], [7.0], [1.0], [4.0]])
    >>> before, after = parts_of_merges(linkage_tree("average", jnp.square(line - line.T), jnp.ones(4)))
    >>> before.tolist(), after.tolist()
    ([-1, -1, 1, -1], [1, 3, 3, 3])
    """
    count = len(tree.ranks)
    places = jnp.arange(count)
    higher = tree.ranks > tree.ranks[:, None]
    before = jnp.max(jnp.where(higher & (places < places[:, None]), places, -1), 1)
    after = jnp.min(jnp.where(higher & (places > places[:, None]), places, count - 1), 1)
    return before, after


def cut(tree: Dendrogram, clusters: Int[Array, ""]) -> Int[Array, " N"]:
    """The cluster of each point, named by one of its points, where the tree has `clusters` clusters.

    >>> from jmeta.graphs.linkage import linkage_tree
    >>> line = jnp.array([[0.0], [7.0], [1.0], [4.0]])
    >>> cut(linkage_tree("average", jnp.square(line - line.T), jnp.ones(4)), jnp.asarray(2))
    Array([0, 3, 0, 3], dtype=int32)
    """
    alive = jnp.sum(jnp.isfinite(tree.heights)) + 1
    closed = tree.ranks >= alive - clusters  # the leaf is the last of its cluster
    places = jnp.arange(len(tree.ranks))
    starts = jnp.concatenate([jnp.ones(1, bool), closed[:-1]])
    first = lax.cummax(jnp.where(starts, places, 0))
    return tree.order[first][tree.position]
