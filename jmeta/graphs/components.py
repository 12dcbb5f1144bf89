"""Connected components and spanning trees of graphs stored as adjacency matrices, with fixed shapes.

All functions can be vmapped over tasks.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int


def components(joined: Bool[Array, "N N"]) -> Int[Array, " N"]:
    """The connected components of a symmetric adjacency matrix, each named by its smallest index.

    In every round each point takes the smallest label of its neighbours and writes it to the point that its
    previous label names; then each point takes the label of its label. A path takes about log N rounds.

    >>> joined = jnp.array([[0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]], bool)
    >>> components(joined)
    Array([0, 1, 0, 0], dtype=int32)
    """
    count = len(joined)
    near = joined | jnp.eye(count, dtype=bool)

    def settle(carry: tuple) -> tuple:
        _, labels = carry
        least = jnp.min(jnp.where(near, labels, count), 1)
        least = least.at[labels].min(least)
        return labels, least[least]

    indices = jnp.arange(count)
    start = (indices - 1, indices)
    return lax.while_loop(lambda carry: jnp.any(carry[0] != carry[1]), settle, start)[1]


def largest_components(
    roots: Int[Array, " N"], weights: Float[Array, " N"], clusters: int, used: Bool[Array, " K"]
) -> tuple[Int[Array, " K"], Bool[Array, " K"], Int[Array, " N"]]:
    """Assigns the components of largest weight to K slots.

    Args:
        roots: [N] the component of each point, named by one of its points.
        weights: [N] weight of each point within its component.
        clusters: K.
        used: [K] which slots may be used.

    Returns:
        The root of each slot, whether the slot holds a component, and the slot of each point, -1 for none.
    """
    mass = jax.ops.segment_sum(weights, roots, num_segments=max(len(roots), clusters))
    heaviest, chosen = lax.top_k(mass, clusters)
    filled = used & (heaviest > 0)
    owned = (roots[:, None] == chosen) & filled
    slots = jnp.where(jnp.any(owned, 1), jnp.argmax(owned, 1), -1)
    return jnp.minimum(chosen, len(roots) - 1), filled, slots


def spanning_forest(
    lengths: Float[Array, "N N"], ties: Float[Array, "N N"], joined: Bool[Array, "N N"]
) -> Bool[Array, "N N"]:
    """The edges of a minimum spanning tree of each component, by Prim's algorithm in N steps of cost N.

    Among edges of equal length, which are common where points are sparse, the one with the smaller value in
    `ties` comes first.

    >>> lengths = jnp.array([[0.0, 1, 5], [1, 0, 2], [5, 2, 0]])
    >>> spanning_forest(lengths, lengths, ~jnp.eye(3, dtype=bool)).astype(int)
    Array([[0, 1, 0],
           [1, 0, 1],
           [0, 1, 0]], dtype=int32)
    """
    return adjacency_of_pairs(*spanning_pairs(lengths, ties, joined), len(lengths))


def spanning_pairs(
    lengths: Float[Array, "N N"], ties: Float[Array, "N N"], joined: Bool[Array, "N N"]
) -> tuple[Int[Array, " N"], Int[Array, " N"], Bool[Array, " N"]]:
    """The edges of `spanning_forest` in the order of the algorithm: their ends, and which are edges at all.

    >>> lengths = jnp.array([[0.0, 1, 5], [1, 0, 2], [5, 2, 0]])
    >>> [part.tolist() for part in spanning_pairs(lengths, lengths, ~jnp.eye(3, dtype=bool))]
    [[0, 1, 2], [0, 0, 1], [False, True, True]]
    """
    count = len(lengths)
    lengths = jnp.where(joined, lengths, jnp.inf)

    def grow(carry: tuple, _: None) -> tuple[tuple, tuple]:
        reached, tied, parent, done = carry
        # If no point can be reached, the next tree starts, at a point without an edge.
        near = jnp.where(done, jnp.inf, jnp.minimum(reached, jnp.finfo(reached.dtype).max))
        nearest = jnp.argmin(jnp.where(near == jnp.min(near), tied, jnp.inf))
        edge = (nearest, parent[nearest], jnp.isfinite(reached[nearest]))
        new = lengths[nearest]
        new_tied = ties[nearest]
        closer = (new < reached) | ((new == reached) & (new_tied < tied))
        after = (
            jnp.where(closer, new, reached),
            jnp.where(closer, new_tied, tied),
            jnp.where(closer, nearest, parent),
            done.at[nearest].set(True),
        )
        return after, edge

    unreached = jnp.full(count, jnp.inf, lengths.dtype)
    start = (unreached, jnp.zeros(count, ties.dtype), jnp.arange(count), jnp.zeros(count, bool))
    return lax.scan(grow, start, None, length=count)[1]


def adjacency_of_pairs(
    first: Int[Array, " E"], second: Int[Array, " E"], holds: Bool[Array, " E"], count: int
) -> Bool[Array, "N N"]:
    """The symmetric adjacency matrix of `count` points from a list of pairs.

    Both directions are scattered, as XLA's CPU code for the transpose of a scattered boolean matrix crashes
    the process from a thousand points on.

    >>> adjacency_of_pairs(jnp.array([0, 0]), jnp.array([1, 2]), jnp.array([True, False]), 3).astype(int)
    Array([[0, 1, 0],
           [1, 0, 0],
           [0, 0, 0]], dtype=int32)
    """
    return jnp.zeros((count, count), bool).at[first, second].max(holds).at[second, first].max(holds)
