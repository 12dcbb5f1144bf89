"""What can be said of a partition without any label: what the learned criterion looks at.

All numbers are of at most `LANDMARKS` points, drawn at random, moved to their mean and divided by their
spread, with room for a power of two of them, so that few compiled programs serve all problems. Clusters are
numbered by size; those beyond `SLOTS` count as noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..agreement import entropy_of
from ..distances import square_root, squared_differences
from ..graphs import spanning_forest
from ..metrics import (
    adjusted_rand_index,
    calinski_harabasz,
    davies_bouldin,
    density_validity,
    dunn,
    silhouette,
    simplified_silhouette,
)
from ..padding import pad_points, padded_size

LANDMARKS, SLOTS, NEIGHBOURS, VOTERS = 1024, 64, 25, 9
NAMES = (
    *("silhouette", "simplified silhouette", "log Calinski-Harabasz", "Davies-Bouldin, 1 / (1 + x)"),
    *("log Dunn", "density validity"),
    *("log clusters", "evenness", "smallest share", "largest share", "noise"),
    *("nearest alike", "5 alike", "10 alike", "25 alike", "10 alike, worst cluster", "density within"),
    "told by neighbours",
    *("cut edges", "shortest cut edge", "longest edge kept", "gap", "edges cut beyond clusters"),
    *("log volume", "Gaussian likelihood"),
)
"""Of the numbers of `describe`, in their order."""


class Landmarks(NamedTuple):
    """Some points of a problem, and what partitions make of them.

    Attributes:
        points: [M, D] at zero mean and unit spread; padding at zero.
        weights: [M] one, zero for padding.
        labels: [A, M] of every partition, -1 noise; all -1 where a candidate failed.
        rows: [m] the places of these points in the problem.
    """

    points: Float[np.ndarray, "M D"]
    weights: Float[np.ndarray, " M"]
    labels: Int[np.ndarray, "A M"]
    rows: Int[np.ndarray, " m"]


class Structure(NamedTuple):
    """Neighbours and spanning tree of the points, which all partitions share.

    Attributes:
        near: [M, 25] the nearest others.
        away: [M, 25] how far they are.
        ends: two of [M - 1], the ends of the edges of a minimum spanning tree.
        lengths: [M - 1] the standardised logarithms of their lengths.
        real: [M - 1] one, zero for padding.
    """

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
    """At most `count` points, the same for all partitions, in a room of few sizes; None is one that failed.

    >>> found = landmarks(np.array([[0.0], [1.0], [5.0]]), [np.array([3, 3, 1]), None])
    >>> found.labels.shape, found.labels[:, :4].tolist()
    ((2, 128), [[3, 3, 1, -1], [-1, -1, -1, -1]])
    """
    kept = np.arange(len(points))
    if len(points) > count:
        kept = np.sort(np.random.default_rng(seed).choice(len(points), count, replace=False))
    x = np.asarray(points, np.float64)[kept]
    x = x - x.mean(0)
    spread = np.sqrt(np.mean(np.sum(x**2, 1)))
    room, weights = pad_points(x / (spread if spread > 0 else 1), padded_size(len(x)))
    labels = np.full((len(partitions), len(room)), -1)
    for row, found in zip(labels, partitions, strict=True):
        if found is not None:
            row[: len(x)] = found[kept]
    return Landmarks(room, weights, labels, kept)


def by_size(labels: Int[Array, " M"]) -> Int[Array, " M"]:
    """Clusters numbered by falling size; -1 for noise and what is beyond `SLOTS`.

    >>> by_size(jnp.array([7, 2, 2, -1]))
    Array([ 1,  0,  0, -1], dtype=int32)
    """
    values, which, sizes = jnp.unique(
        labels, return_inverse=True, return_counts=True, size=len(labels), fill_value=-1
    )
    order = jnp.argsort(jnp.where(values >= 0, -sizes, 1))
    rank = jnp.argsort(order)[which]
    return jnp.where((labels >= 0) & (rank < SLOTS), rank, -1)


@jax.jit
def describe(
    points: Float[Array, "M D"], weights: Float[Array, " M"], labels: Int[Array, "A M"]
) -> tuple[Float[Array, "A F"], Float[Array, "A A"]]:
    """The numbers `NAMES` of every partition, and the adjusted Rand index of every two.

    Args:
        points: [M, D] from `landmarks`.
        weights: [M].
        labels: [A, M].
    """
    labels = lax.map(by_size, labels)
    own = described(structure(points, weights), points, weights, labels)

    def agree(a: Int[Array, " M"]) -> Float[Array, " A"]:
        return jax.vmap(lambda b: adjusted_rand_index(a, b, weights, slots=SLOTS))(labels)

    return own, lax.map(agree, labels)


def described(
    shared: Structure, points: Float[Array, "M D"], weights: Float[Array, " M"], labels: Int[Array, "A M"]
) -> Float[Array, "A F"]:
    """The numbers `NAMES` of every partition, numbered `by_size`, of points whose structure is known."""

    def own(labels: Int[Array, " M"]) -> Float[Array, " F"]:
        labels = jnp.where(weights > 0, labels, -1)
        return jnp.stack(
            [
                *_indices(points, weights, labels),
                *_sizes(weights, labels),
                *_neighbourhood(shared, weights, labels),
                *_tree(shared, labels),
                *_shape(points, weights, labels),
            ]
        )

    return lax.map(own, labels)


def structure(points: Float[Array, "M D"], weights: Float[Array, " M"]) -> Structure:
    """Neighbours and a minimum spanning tree of the points whose weight is not zero."""
    count, counted = len(points), weights > 0
    possible = counted & counted[:, None] & ~jnp.eye(count, dtype=bool)
    apart = jnp.where(possible, square_root(squared_differences(points, points)), jnp.inf)
    away, near = lax.top_k(-apart, min(NEIGHBOURS, count - 1))
    edges = spanning_forest(apart, apart, possible)
    ends = jnp.nonzero(jnp.triu(edges), size=count - 1, fill_value=0)
    real = (ends[0] != ends[1]).astype(points.dtype)
    logs = jnp.where(real > 0, jnp.log(jnp.clip(apart[ends], 1e-9, 1e9)), 0)
    total = jnp.maximum(jnp.sum(real), 1)
    centered = jnp.where(real > 0, logs - jnp.sum(logs) / total, 0)
    deviation = square_root(jnp.sum(jnp.square(centered)) / total)
    lengths = centered / jnp.where(deviation > 0, deviation, 1)
    return Structure(near, jnp.where(jnp.isfinite(away), -away, 0), ends, lengths, real)


def _indices(points: Array, weights: Array, labels: Array) -> list[Array]:
    def index(kind: Callable[..., Array]) -> Array:
        return kind(points, labels, weights, slots=SLOTS)

    return [
        index(silhouette),
        index(simplified_silhouette),
        jnp.log1p(index(calinski_harabasz)),
        1 / (1 + index(davies_bouldin)),
        jnp.log(jnp.clip(index(dunn), 1e-4, 1e4)),
        index(density_validity),
    ]


def _owners(weights: Array, labels: Array) -> tuple[Float[Array, "M K"], Float[Array, " K"]]:
    """The weight of each point in its cluster, and the sizes of clusters."""
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
    """How many near neighbours are of the same cluster, how even density is within clusters, and stability.

    That is the adjusted Rand index with the partition in which every point follows most of its nine nearest.
    """
    owners, sizes = _owners(weights, labels)
    whole, total = jnp.maximum(sizes, 1), jnp.sum(weights)
    same = (labels[shared.near] == labels[:, None]) & (labels >= 0)[:, None]
    others = jnp.clip(jnp.sum(weights > 0) - 1, 1, shared.near.shape[1])
    place = jnp.arange(shared.near.shape[1])

    def share(count: int) -> Float[Array, " M"]:
        asked = jnp.minimum(count, others)
        return jnp.sum(same & (place < asked), 1) / asked

    alike = [share(count) for count in (1, 5, 10, 25)]
    worst = jnp.min(jnp.where(sizes > 0, owners.T @ alike[2] / whole, 1))
    density = jnp.log(jnp.clip(shared.away[:, jnp.minimum(9, others - 1)], 1e-9, 1e9))
    inside = jax.nn.one_hot(labels, SLOTS) @ (owners.T @ density / whole)
    within = jnp.sum(weights * jnp.where(labels >= 0, jnp.square(density - inside), 0)) / total
    whole_variance = jnp.sum(weights * jnp.square(density - weights @ density / total)) / total
    asked = jax.nn.one_hot(labels[shared.near], SLOTS) * (place < jnp.minimum(VOTERS, others))[:, None]
    votes = jnp.sum(asked, 1)
    told = jnp.where(jnp.max(votes, 1) > 0, jnp.argmax(votes, 1), -1)
    return [
        *(weights @ share / total for share in alike),
        worst,
        within / (whole_variance + 1e-6),
        adjusted_rand_index(labels, told, weights, slots=SLOTS),
    ]


def _tree(shared: Structure, labels: Array) -> list[Array]:
    """Which edges of the spanning tree the partition cuts: the long ones, if it follows the gaps."""
    first, second = (labels[ends] for ends in shared.ends)
    real = shared.real > 0
    cut = real & ((first != second) | (first < 0))
    kept = real & ~cut
    number = jnp.sum(cut)
    clusters = jnp.sum(jnp.any(jax.nn.one_hot(labels, SLOTS) > 0, 0))
    shortest = jnp.min(jnp.where(cut, shared.lengths, 10))
    longest = jnp.max(jnp.where(kept, shared.lengths, -10))
    return [
        jnp.sum(jnp.where(cut, shared.lengths, 0)) / jnp.maximum(number, 1),
        shortest,
        longest,
        shortest - longest,
        jnp.log1p(number) - jnp.log(jnp.maximum(clusters, 1).astype(shared.lengths.dtype)),
    ]


def _shape(points: Array, weights: Array, labels: Array) -> list[Array]:
    """How much smaller the volume is of Gaussians around the clusters than of one around all points."""
    owners, sizes = _owners(weights, labels)
    whole, total = jnp.maximum(sizes, 1), jnp.sum(weights)
    features = jnp.maximum(jnp.sum(jnp.any(points != 0, 0)), 1)  # constant columns change no volume

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
