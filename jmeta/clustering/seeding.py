"""Seedings: functions `(points, weights, clusters, key) -> centres [K, D]`.

All have fixed shapes, so that they can be vmapped over tasks. A seed is one of the points: its choice is not
differentiated, but its value is. Points of weight zero are never chosen. If there are fewer distinct points
than clusters, points are repeated.

References: Arthur & Vassilvitskii 2007, k-means++: the advantages of careful seeding; Gonzalez
1985, Clustering to minimize the maximum intercluster distance; Bachem, Lucic & Krause 2018, Scalable k-means
clustering via lightweight coresets.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key, PyTree

from ..distances import squared_distances
from ..sharding.points import points_at
from ..weights import weighted_mean

Seeding = Callable[..., Float[Array, "K D"]]
"""(points [N, D], weights [N], clusters, key) -> centres [K, D]."""


def random_points(
    points: Float[Array, "N D"], weights: Float[Array, " N"], clusters: int, key: Key[Array, ""]
) -> Float[Array, "K D"]:
    """Distinct points, drawn in proportion to their weights.

    >>> random_points(jnp.array([[1.0], [2.0]]), jnp.array([1.0, 0.0]), 1, jax.random.key(0))
    Array([[1.]], dtype=float32)
    """
    points_count = points.shape[0]
    noisy = jnp.log(weights) + jax.random.gumbel(key, weights.shape, weights.dtype)
    _, chosen = lax.top_k(noisy, min(clusters, points_count))
    usable = jnp.maximum(jnp.sum(weights > 0), 1)
    return points_at(points, chosen[jnp.arange(clusters) % jnp.minimum(usable, chosen.size)])


def kmeans_plus_plus(
    points: Float[Array, "N D"], weights: Float[Array, " N"], clusters: int, key: Key[Array, ""]
) -> Float[Array, "K D"]:
    """Greedy k-means++: draws each seed in proportion to weight times squared distance.

    Of 2 + floor(log K) draws, the one that lowers the potential sum_n w_n min_k d_nk most is kept.

    >>> two = jnp.array([[0.0], [0.0], [9.0]])
    >>> kmeans_plus_plus(two, jnp.ones(3), 2, jax.random.key(0)).ravel().sort()
    Array([0., 9.], dtype=float32)
    """
    trials = 2 + int(math.log(clusters))

    def draw(key: Key[Array, ""], nearest: Array) -> Int[Array, ""]:
        mass = weights * nearest
        mass = jnp.where(jnp.any(mass > 0), mass, weights)
        candidates = jax.random.categorical(key, jnp.log(mass), shape=(trials,))
        closer = jnp.minimum(nearest, squared_distances(points_at(points, candidates), points))
        return candidates[jnp.argmin(closer @ weights)]

    first, *rest = jax.random.split(key, clusters)
    return _one_by_one(points, jax.random.categorical(first, jnp.log(weights)), draw, rest)


def farthest_first(
    points: Float[Array, "N D"], weights: Float[Array, " N"], clusters: int, key: Key[Array, ""]
) -> Float[Array, "K D"]:
    """The point farthest from the mean, then repeatedly the point farthest from all seeds so far.

    Deterministic: the key is not used. Weights matter only by being zero or not.

    >>> line = jnp.array([[0.0], [1.0], [10.0]])
    >>> farthest_first(line, jnp.ones(3), 2, jax.random.key(0)).ravel()
    Array([10.,  0.], dtype=float32)
    """

    def draw(_: Array, nearest: Array) -> Int[Array, ""]:
        return jnp.argmax(jnp.where(weights > 0, nearest, -1))

    center = weighted_mean(points, weights)[None]
    first = draw(key, squared_distances(points, center)[:, 0])
    return _one_by_one(points, first, draw, list(jax.random.split(key, clusters))[1:])


def best_of_sample(
    run: Callable[..., tuple[Float[Array, ""], Float[Array, "K D"]]],
    *,
    size: int,
    restarts: int,
    seeding: Seeding = kmeans_plus_plus,
) -> Seeding:
    """A seeding that runs an algorithm from several seedings in a sample, and returns the best centres.

    The centres are not differentiated.

    Args:
        run: (seeds, points, weights) -> loss of the algorithm that starts at the seeds, and centres [K, D] to
            start at with all points: the seeds, or where they have moved.
        size: number of points in the sample, see `weighted_sample`.
        restarts: number of seedings that are tried.
        seeding: chooses the seeds in the sample.

    >>> def nearest(seeds, points, weights):
    ...     return weights @ jnp.min(squared_distances(points, seeds), 1), seeds
    >>> line = jnp.repeat(jnp.array([0.0, 5.0, 9.0]), 40)[:, None]
    >>> seeding = best_of_sample(nearest, size=30, restarts=2)
    >>> seeding(line, jnp.ones(120), 3, jax.random.key(0)).ravel().sort()
    Array([0., 5., 9.], dtype=float32)
    """

    def seed(
        points: Float[Array, "N D"], weights: Float[Array, " N"], clusters: int, key: Key[Array, ""]
    ) -> Float[Array, "K D"]:
        drawing, key = jax.random.split(key)
        points, weights = lax.stop_gradient((points, weights))
        places, mass = weighted_sample(points, weights, size, drawing)
        sample = points_at(points, places)

        def tried(key: Key[Array, ""]) -> tuple[Array, Array]:
            return run(seeding(sample, mass, clusters, key), sample, mass)

        losses, centers = jax.vmap(tried)(attempts(restarts, key))
        return centers[jnp.argmin(jnp.where(jnp.isnan(losses), jnp.inf, losses))]

    return seed


def weighted_sample(
    points: Float[Array, "N D"], weights: Float[Array, " N"], size: int, key: Key[Array, ""]
) -> tuple[Int[Array, " M"], Float[Array, " M"]]:
    """Places of points, some of them repeated, and weights by which they represent all points.

    Half of them are drawn in proportion to weight, half in proportion to weight times squared distance from
    the mean, so that distant points are in the sample: a lightweight coreset (Bachem et al. 2018).

    >>> places, mass = weighted_sample(jnp.array([[0.0], [0.0], [9.0]]), jnp.ones(3), 8, jax.random.key(0))
    >>> bool(jnp.any(places == 2)), float(mass.sum().round())
    (True, 3.0)
    """
    total = jnp.sum(weights)
    away = weights * jnp.sum(jnp.square(points - weighted_mean(points, weights)), 1)
    share = weights / total + away / jnp.where(jnp.any(away > 0), jnp.sum(away), 1)
    share = share / jnp.sum(share)
    steps = (jnp.arange(size) + jax.random.uniform(key, (size,), share.dtype)) / size
    reached = jnp.cumsum(share)
    places = jnp.searchsorted(reached, steps * reached[-1], side="right")
    places = jnp.minimum(places, jnp.max(jnp.where(weights > 0, jnp.arange(len(weights)), 0)))
    mass = weights[places] / share[places]
    return places, mass * (total / jnp.sum(mass))


def attempts(restarts: int, key: Key[Array, ""]) -> Key[Array, " R"]:
    """Splits `key` into `restarts` keys; returns it unchanged, with a leading axis, when `restarts` is 1."""
    return key[None] if restarts == 1 else jax.random.split(key, restarts)


def least(loss: Callable[[PyTree], Float[Array, ""]], choices: PyTree) -> Int[Array, ""]:
    """The index, along the leading axis, of the choice with the least loss; 0 at no cost if there is one."""
    if len(jax.tree.leaves(choices)[0]) == 1:
        return jnp.asarray(0)
    losses = jax.vmap(loss)(choices)
    return jnp.argmin(jnp.where(jnp.isnan(losses), jnp.inf, losses))


def _one_by_one(points: Array, first: Array, draw: Callable[[Array, Array], Array], keys: list) -> Array:
    """Chooses seeds one after another, given the squared distances to the nearest seed so far."""
    fixed = lax.stop_gradient(points)

    def to_seed(index: Array) -> Array:
        return squared_distances(fixed, points_at(fixed, index[None]))[:, 0]

    def add(nearest: Array, key: Array) -> tuple[Array, Array]:
        index = draw(key, nearest)
        return jnp.minimum(nearest, to_seed(index)), index

    if not keys:
        return points_at(points, first[None])
    _, others = lax.scan(add, to_seed(first), jnp.stack(keys))
    return points_at(points, jnp.concatenate([first[None], others]))
