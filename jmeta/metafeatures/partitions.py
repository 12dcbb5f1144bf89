"""Descriptors of a partition that need no labels: the inputs of the quality models.

They are computed on at most `LANDMARKS` points, drawn at random, centred, divided by their spread and padded
to a power of two, so that few compiled programs serve all problems. Clusters are numbered by size; those
beyond `SLOTS` count as noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..agreement import entropy_of
from ..distances import exact_squared_distances, square_root
from ..graphs.components import spanning_pairs
from ..metrics import adjusted_rand_index
from ..metrics.clusters import Clusters, clusters_of
from ..metrics.density import mean_validity
from ..metrics.internal import (
    gap_over_diameter,
    mean_silhouette,
    mean_simplified_silhouette,
    mean_worst_ratio,
    ratio_of_variances,
)
from ..padding import pad_points, padded_size

LANDMARKS = 1024
"""The maximum number of points that descriptors are computed on."""
SLOTS = 64
"""The maximum number of clusters of a partition; smaller clusters count as noise."""
NEIGHBOURS = 25
"""The number of nearest neighbours of each point."""
VOTERS = 9
"""The number of nearest neighbours whose majority label is compared with the label of a point."""
NAMES = (
    *("silhouette", "simplified silhouette", "log Calinski-Harabasz", "Davies-Bouldin, 1 / (1 + x)"),
    *("log Dunn", "density validity"),
    *("log clusters", "evenness", "smallest share", "largest share", "noise"),
    *("nearest alike", "5 alike", "10 alike", "25 alike", "10 alike, worst cluster", "density within"),
    "told by neighbours",
    *("cut edges", "shortest cut edge", "longest edge kept", "gap", "edges cut beyond clusters"),
    *("log volume", "Gaussian likelihood"),
)
"""The names of the descriptors, in the order of `describe`."""


class Landmarks(NamedTuple):
    """Points drawn from a problem, and their labels in every partition.

    Attributes:
        points: [M, D] at zero mean and unit spread; zero for padding.
        weights: [M] one; zero for padding.
        labels: [A, M] of every partition; -1 for noise, and for all points of a failed candidate.
        rows: [m] indices of the points in the problem.
    """

    points: Float[np.ndarray, "M D"]
    weights: Float[np.ndarray, " M"]
    labels: Int[np.ndarray, "A M"]
    rows: Int[np.ndarray, " m"]


class Structure(NamedTuple):
    """Nearest neighbours and minimum spanning tree of the points, shared by all partitions.

    Attributes:
        apart: [M, M] distances.
        near: [M, 25] indices of the nearest other points.
        away: [M, 25] distances to them.
        ends: two arrays [M - 1], the end points of the edges of a minimum spanning tree.
        lengths: [M - 1] standardised logarithms of the lengths of the edges.
        real: [M - 1] one; zero for padding.
    """

    apart: Float[Array, "M M"]
    near: Int[Array, "M n"]
    away: Float[Array, "M n"]
    ends: tuple[Int[Array, " E"], ...]
    lengths: Float[Array, " E"]
    real: Float[Array, " E"]


def landmarks(
    points: Float[np.ndarray, "N D"],
    partitions: Sequence[Int[np.ndarray, " N"] | None],
    *,
    seed: int = 0,
    count: int = LANDMARKS,
) -> Landmarks:
    """Draws at most `count` points, the same for all partitions, and pads them; None is a failed partition.

    >>> drawn = landmarks(np.array([[0.0], [1.0], [5.0]]), [np.array([3, 3, 1]), None])
    >>> drawn.labels.shape, drawn.labels[:, :4].tolist()
    ((2, 128), [[3, 3, 1, -1], [-1, -1, -1, -1]])
    """
    kept = np.arange(len(points))
    if len(points) > count:
        kept = np.sort(np.random.default_rng(seed).choice(len(points), count, replace=False))
    x = np.asarray(points, np.float64)[kept]
    x = x - x.mean(0)
    spread = np.sqrt(np.mean(np.sum(x**2, 1)))
    padded, weights = pad_points(x / (spread if spread > 0 else 1), padded_size(len(x)))
    labels = np.full((len(partitions), len(padded)), -1)
    for row, partition in zip(labels, partitions, strict=True):
        if partition is not None:
            row[: len(x)] = partition[kept]
    return Landmarks(padded, weights, labels, kept)


def by_size(labels: Int[Array, " M"]) -> Int[Array, " M"]:
    """Renumbers clusters by decreasing size; -1 for noise and clusters beyond `SLOTS`.

    >>> by_size(jnp.array([7, 2, 2, -1]))
    Array([ 1,  0,  0, -1], dtype=int32)
    """
    values, inverse, sizes = jnp.unique(
        labels, return_inverse=True, return_counts=True, size=len(labels), fill_value=-1
    )
    order = jnp.argsort(jnp.where(values >= 0, -sizes, 1))
    rank = jnp.argsort(order)[inverse]
    return jnp.where((labels >= 0) & (rank < SLOTS), rank, -1)


@jax.jit
def describe(
    points: Float[Array, "M D"], weights: Float[Array, " M"], labels: Int[Array, "A M"]
) -> tuple[Float[Array, "A F"], Float[Array, "A A"]]:
    """The descriptors `NAMES` of every partition, and the adjusted Rand index of every pair.

    Args:
        points: [M, D] from `landmarks`.
        weights: [M] from `landmarks`.
        labels: [A, M] from `landmarks`.
    """
    labels = lax.map(by_size, labels)
    descriptors = descriptors_of(structure(points, weights), points, weights, labels)

    def agree(a: Int[Array, " M"]) -> Float[Array, " A"]:
        return jax.vmap(lambda b: adjusted_rand_index(a, b, weights, slots=SLOTS))(labels)

    return descriptors, lax.map(agree, labels)


def descriptors_of(
    shared: Structure, points: Float[Array, "M D"], weights: Float[Array, " M"], labels: Int[Array, "A M"]
) -> Float[Array, "A F"]:
    """The descriptors `NAMES` of partitions numbered `by_size`, from the structure of the points."""

    def one(labels: Int[Array, " M"]) -> Float[Array, " F"]:
        labels = jnp.where(weights > 0, labels, -1)
        return jnp.stack(
            [
                *_indices(clusters_of(points, labels, weights, SLOTS, shared.apart), weights),
                *_sizes(weights, labels),
                *_neighbourhood(shared, weights, labels),
                *_tree(shared, labels),
                *_shape(points, weights, labels),
            ]
        )

    return lax.map(one, labels)


def structure(
    points: Float[Array, "M D"], weights: Float[Array, " M"], apart: Float[Array, "M M"] | None = None
) -> Structure:
    """Nearest neighbours and a minimum spanning tree of the points with nonzero weight.

    Args:
        points: [M, D].
        weights: [M].
        apart: [M, M] their distances; computed unless given.
    """
    count, counted = len(points), weights > 0
    distances = distances_of(points) if apart is None else apart
    possible = counted & counted[:, None] & ~jnp.eye(count, dtype=bool)
    apart = jnp.where(possible, distances, jnp.inf)
    away, near = lax.top_k(-apart, min(NEIGHBOURS, count - 1))
    ends = _sorted_pairs(*spanning_pairs(apart, apart, possible))
    real = (ends[0] != ends[1]).astype(points.dtype)
    logs = jnp.where(real > 0, jnp.log(jnp.clip(apart[ends], 1e-9, 1e9)), 0)
    total = jnp.maximum(jnp.sum(real), 1)
    centered = jnp.where(real > 0, logs - jnp.sum(logs) / total, 0)
    deviation = square_root(jnp.sum(jnp.square(centered)) / total)
    lengths = centered / jnp.where(deviation > 0, deviation, 1)
    return Structure(
        apart=distances,
        near=near,
        away=jnp.where(jnp.isfinite(away), -away, 0),
        ends=ends,
        lengths=lengths,
        real=real,
    )


def _sorted_pairs(
    first: Int[Array, " M"], second: Int[Array, " M"], real: Array
) -> tuple[Int[Array, " E"], Int[Array, " E"]]:
    """The M - 1 edges of a tree of M points, the smaller end first, in order; (0, 0) for those missing."""
    lower, upper = jnp.minimum(first, second), jnp.maximum(first, second)
    order = jnp.lexsort((upper, lower, ~real))[: len(first) - 1]
    return jnp.where(real, lower, 0)[order], jnp.where(real, upper, 0)[order]


def distances_of(points: Float[Array, "M D"]) -> Float[Array, "M M"]:
    """The distances of all points."""
    return square_root(exact_squared_distances(points, points))


def _indices(clusters: Clusters, weights: Array) -> list[Array]:
    return [
        mean_silhouette(clusters),
        mean_simplified_silhouette(clusters),
        jnp.log1p(ratio_of_variances(clusters)),
        1 / (1 + mean_worst_ratio(clusters)),
        jnp.log(jnp.clip(gap_over_diameter(clusters), 1e-4, 1e4)),
        mean_validity(clusters, jnp.sum(weights > 0)),
    ]


def _owners(weights: Array, labels: Array) -> tuple[Float[Array, "M K"], Float[Array, " K"]]:
    """The weight of each point in its cluster, and the sizes of the clusters."""
    owners = jax.nn.one_hot(labels, SLOTS, dtype=weights.dtype) * weights[:, None]
    return owners, jnp.sum(owners, 0)


def _sizes(weights: Array, labels: Array) -> list[Array]:
    _, sizes = _owners(weights, labels)
    shares = sizes / jnp.sum(weights)
    count = jnp.sum(sizes > 0)
    return [
        jnp.log(jnp.maximum(count, 1).astype(weights.dtype)),
        entropy_of(shares) / jnp.log(jnp.maximum(count, 2)),
        jnp.min(jnp.where(sizes > 0, shares, 1)),
        jnp.max(shares),
        1 - jnp.sum(shares),
    ]


def _neighbourhood(shared: Structure, weights: Array, labels: Array) -> list[Array]:
    """Shares of neighbours in the same cluster, variation of density within clusters, and stability.

    Stability is the adjusted Rand index with the partition that gives every point the most common label of
    its `VOTERS` nearest neighbours.
    """
    owners, sizes = _owners(weights, labels)
    whole, total = jnp.maximum(sizes, 1), jnp.sum(weights)
    same = (labels[shared.near] == labels[:, None]) & (labels >= 0)[:, None]
    others = jnp.clip(jnp.sum(weights > 0) - 1, 1, shared.near.shape[1])
    place = jnp.arange(shared.near.shape[1])

    def share(count: int) -> Float[Array, " M"]:
        available = jnp.minimum(count, others)
        return jnp.sum(same & (place < available), 1) / available

    shares = [share(count) for count in (1, 5, 10, 25)]
    worst = jnp.min(jnp.where(sizes > 0, owners.T @ shares[2] / whole, 1))
    density = jnp.log(jnp.clip(shared.away[:, jnp.minimum(9, others - 1)], 1e-9, 1e9))
    inside = jax.nn.one_hot(labels, SLOTS) @ (owners.T @ density / whole)
    within = jnp.sum(weights * jnp.where(labels >= 0, jnp.square(density - inside), 0)) / total
    whole_variance = jnp.sum(weights * jnp.square(density - weights @ density / total)) / total
    ballots = jax.nn.one_hot(labels[shared.near], SLOTS) * (place < jnp.minimum(VOTERS, others))[:, None]
    votes = jnp.sum(ballots, 1)
    elected = jnp.where(jnp.max(votes, 1) > 0, jnp.argmax(votes, 1), -1)
    return [
        *(weights @ share / total for share in shares),
        worst,
        within / (whole_variance + 1e-6),
        adjusted_rand_index(labels, elected, weights, slots=SLOTS),
    ]


def _tree(shared: Structure, labels: Array) -> list[Array]:
    """Lengths of the spanning tree's edges that a partition cuts and keeps; gaps between points are long."""
    first, second = (labels[ends] for ends in shared.ends)
    real = shared.real > 0
    cut = real & ((first != second) | (first < 0))
    kept = real & ~cut
    cuts = jnp.sum(cut)
    clusters = jnp.sum(jnp.any(jax.nn.one_hot(labels, SLOTS) > 0, 0))
    shortest = jnp.min(jnp.where(cut, shared.lengths, 10))
    longest = jnp.max(jnp.where(kept, shared.lengths, -10))
    return [
        jnp.sum(jnp.where(cut, shared.lengths, 0)) / jnp.maximum(cuts, 1),
        shortest,
        longest,
        shortest - longest,
        jnp.log1p(cuts) - jnp.log(jnp.maximum(clusters, 1).astype(shared.lengths.dtype)),
    ]


def _shape(points: Array, weights: Array, labels: Array) -> list[Array]:
    """Log volume of Gaussians around the clusters relative to one around all points, and log-likelihood."""
    owners, sizes = _owners(weights, labels)
    whole, total = jnp.maximum(sizes, 1), jnp.sum(weights)
    features = jnp.maximum(jnp.sum(jnp.any(points != 0, 0)), 1)  # constant columns do not change the volume
    width = points.shape[1]
    means = owners.T @ points / whole[:, None]
    centered = points - jax.nn.one_hot(labels, SLOTS) @ means
    everything = jnp.einsum("n,nd,ne->de", weights, points, points) / total
    ridge = 1e-3 * jnp.trace(everything) / features * jnp.eye(width) + 1e-9 * jnp.eye(width)
    covariances = jnp.einsum("nk,nd,ne->kde", owners, centered, centered) / whole[:, None, None]
    volumes = jnp.linalg.slogdet(covariances + ridge)[1]
    shares = sizes / total
    volume = (jnp.sum(shares * volumes) - jnp.linalg.slogdet(everything + ridge)[1]) / (2 * features)
    return [volume, volume + entropy_of(shares) / features]
