"""What the pair transformer sees of points: their distances alone.

Features of a point are logarithms of the radii that hold so many neighbours, relative to the scale of the
task. Features of a pair are its distance, absolute and relative to the local scale of its two points; its
rank among the neighbours of both; and, in several hierarchical trees, the height of the merge that joins it
and the size of what is merged there. All of them are the same after any rotation, shift or scaling of the
points, for any number of columns.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ..distances import exact_squared_distances, quotient, square_root
from ..graphs.dendrograms import Dendrogram, merge_ranks, smaller_parts
from ..graphs.linkage import linkage_tree, single_linkage
from ..pairs import half

AMOUNTS = tuple(2.0**power for power in range(13))
"""Amounts of neighbours between whose radii the rank of a neighbour is interpolated."""
NEAR = (1, 2, 4, 8, 16, 32)
"""Amounts of neighbours whose radii are features of a point."""
CORE = 5
"""The number of neighbours within the local scale of a point."""
WIDER_CORE = 12
"""The same for a second tree of mutual reachability distances."""
TIES = 1e-3
"""Share of the distance that is added to mutual reachability distances, many of which are equal, so that the
tree does not depend on the order of the points."""
CLOSEST = 1e-4
"""The smallest distance, relative to the scale of the task."""
POINT_FEATURES = 10
PAIR_FEATURES = 15


def pair_features(
    points: Float[Array, "N D"], weights: Float[Array, " N"]
) -> tuple[Float[Array, "N 10"], Float[Array, "15 N H"]]:
    """The features of points and of pairs; zero where a weight is zero.

    Args:
        points: [N, D], N even.
        weights: [N] multiplicities: a point of weight two counts as two equal points; 0 for padding.

    Returns:
        The features of points, and those of pairs in the order of `pairs.half`.

    >>> nodes, edges = pair_features(jnp.arange(8.0).reshape(4, 2), jnp.ones(4))
    >>> nodes.shape, edges.shape
    ((4, 10), (15, 4, 2))
    """
    alive = weights > 0
    pair_alive = alive[:, None] & alive
    count = jnp.where(jnp.any(alive), jnp.sum(weights), 1)
    points = jnp.where(alive[:, None], points, 0)
    distances = square_root(exact_squared_distances(points, points))
    radii, median = _radii(distances, weights)
    scale = jnp.where((median > 0) & jnp.isfinite(median), median, 1)
    distances = jnp.maximum(distances / scale, CLOSEST)
    log_radii = jnp.log(jnp.maximum(radii / scale, CLOSEST))
    log_distances = jnp.log(distances)
    at = {amount: log_radii[:, place] for place, amount in enumerate(_amounts())}
    local = at[CORE]
    middle = (local[:, None] + local) / 2
    nodes = _point_features(at, local, distances, weights)

    ranks = _log_ranks(log_distances, jnp.stack([at[amount] for amount in AMOUNTS], 1)) - jnp.log(count)
    edges = [
        log_distances,
        log_distances - middle,
        jnp.minimum(ranks, ranks.T),
        jnp.maximum(ranks, ranks.T),
        jnp.abs(local[:, None] - local),
    ]
    reaches = jnp.exp(jnp.stack([jnp.full_like(local, -jnp.inf), at[CORE], at[WIDER_CORE]]))
    reachable = jnp.maximum(reaches[:, :, None], reaches[:, None])
    lengths = jnp.maximum(distances, reachable) + jnp.where(reachable > 0, TIES * distances, 0)
    trees = jax.vmap(single_linkage, (0, None))(lengths, weights)
    sizes = jnp.log(jax.vmap(smaller_parts, (0, None))(trees, weights) + 1) - jnp.log(count)
    heights, sizes = jax.vmap(_on_pairs)(trees, sizes)
    edges += [*(heights - middle), *sizes]
    for linkage in ("average", "ward"):
        tree = linkage_tree(linkage, jnp.square(distances), weights)
        left = jnp.maximum(jnp.sum(alive) - jnp.arange(len(points)), 1)
        height, remaining = _on_pairs(tree, jnp.log(left.astype(points.dtype)), linkage == "ward")
        edges += [height, remaining]
    return jnp.where(alive[:, None], nodes, 0), half(jnp.where(pair_alive, jnp.stack(edges), 0))


def _amounts() -> tuple[float, ...]:
    return tuple(sorted({*AMOUNTS, *NEAR, CORE, WIDER_CORE}))


def _radii(
    distances: Float[Array, "N N"], weights: Float[Array, " N"]
) -> tuple[Float[Array, "N A"], Float[Array, ""]]:
    """The radius around each point that holds each amount of neighbours, and a median distance."""
    alive = weights > 0
    order = _nearest_first(distances, alive)
    ordered = jnp.take_along_axis(distances, order, 1)
    # A point of weight two has itself as a neighbour at distance zero.
    held = jnp.cumsum(weights[order], 1) + (weights[:, None] - 1)
    amounts = jnp.minimum(jnp.array([*_amounts(), 0.5]).at[-1].set(jnp.sum(weights) / 2), held[:, -1:])
    places = jnp.sum(held[:, None, :] < amounts[..., None] * (1 - 1e-5), -1)
    last = jnp.maximum(jnp.sum(alive) - 2, 0)
    radii = jnp.take_along_axis(ordered, jnp.minimum(places, last), 1)
    radii = jnp.where(alive[:, None] & (weights[:, None] - 1 < amounts * (1 - 1e-5)), radii, 0)
    medians = radii[:, -1]
    above = jnp.sum(jnp.where(medians > medians[:, None], weights, 0), 1)
    balanced = alive & (above <= jnp.sum(weights) / 2)
    return radii[:, :-1], jnp.min(jnp.where(balanced, medians, jnp.inf))


def _nearest_first(distances: Float[Array, "N N"], alive: Bool[Array, " N"]) -> Int[Array, "N M"]:
    """The other points of each point, the nearest first, then those of weight zero.

    Distances are sorted as whole numbers that also hold the place of the point: on CPU XLA sorts these six
    times faster than floats. Distances that agree to five digits count as equal.
    """
    count = len(alive)
    bits = max(count - 1, 1).bit_length()
    logs = jnp.log(jnp.maximum(lax.stop_gradient(distances), jnp.finfo(distances.dtype).tiny))
    apart = alive & ~jnp.eye(count, dtype=bool)
    highest = jnp.max(jnp.where(apart, logs, -jnp.inf))
    span = 24.0  # distances below exp(-24) of the largest count as equal
    levels = 2 ** min(31 - bits, 25) - 2  # float32 holds no larger number of this form
    level = jnp.clip((logs - highest) / span + 1, 0, 1) * levels
    level = jnp.where(apart, level.astype(jnp.int32), levels + 1)
    keys = (level << bits) | jnp.arange(count, dtype=jnp.int32)
    return jnp.sort(keys, 1)[:, : count - 1] & (2**bits - 1)


def _point_features(
    at: dict[float, Array], local: Array, distances: Float[Array, "N N"], weights: Float[Array, " N"]
) -> Float[Array, "N 10"]:
    near = (distances <= jnp.exp(at[8.0])[:, None] * (1 + 1e-6)) * weights
    near = near * (1 - jnp.eye(len(weights))) + jnp.diag(jnp.maximum(weights - 1, 0))
    mean = quotient(near @ local, jnp.sum(near, 1))
    least = jnp.min(jnp.where(near > 0, local, jnp.inf), 1)
    least = jnp.where(jnp.isfinite(least), least, local)
    everywhere = distances @ weights / jnp.maximum(jnp.sum(weights), 1)
    columns = [*(at[amount] for amount in NEAR), local - mean, local - least]
    return jnp.stack([*columns, jnp.log(jnp.maximum(everywhere, CLOSEST)), at[16.0] - at[2.0]], 1)


def _log_ranks(log_distances: Float[Array, "N N"], knots: Float[Array, "N A"]) -> Float[Array, "N N"]:
    """Log of the rank of each point among the neighbours of each, interpolated between radii."""
    steps = zip(AMOUNTS, AMOUNTS[1:], knots.T, knots.T[1:], strict=False)
    ranks = jnp.zeros_like(log_distances)
    for low, high, inner, outer in steps:
        width = (outer - inner)[:, None]
        share = jnp.clip((log_distances - inner[:, None]) / jnp.maximum(width, 1e-6), 0, 1)
        ranks += jnp.log(high / low) * jnp.where(width > 1e-6, share, lax.stop_gradient(share))
    return ranks


def _on_pairs(
    tree: Dendrogram, by_rank: Float[Array, " N"], squared: bool = False
) -> tuple[Float[Array, "N N"], Float[Array, "N N"]]:
    """The log height of the merge that joins each pair, and a number of that merge."""
    finite = jnp.where(jnp.isfinite(tree.heights), tree.heights, 1)
    heights = jnp.log(jnp.maximum(square_root(finite) if squared else finite, CLOSEST))
    both = jnp.stack([heights[tree.by_rank], by_rank])
    ranks = merge_ranks(tree)
    return tuple(both[:, ranks])
