"""The groups of meta-features, each a function of a `Sketch`, and the names of their numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from ..agreement import entropy_of
from ..clustering.kmeans import kmeans
from ..distances import exact_squared_distances, square_root
from ..graphs.components import adjacency_of_pairs, components, largest_components
from ..metrics import adjusted_rand_index
from ..records import Batch
from ..weights import weighted_mean
from .partitions import NAMES, SLOTS, Structure, descriptors_of, distances_of

BINS = 10
"""The number of bins of the histogram of distances."""
PROBES = 64
"""The number of random places of Hopkins' statistic."""
NOISE = 0.1
"""The standard deviation of the noise, relative to that of the columns."""
CHEAP = ("k-means", "single linkage")
"""The clusterings of the group "landmarks"."""
FEATURES = {
    "size": ("log points", "log columns", "log points per column", "log clusters"),
    "marginals": (
        *("mean skewness", "spread of skewness", "mean kurtosis", "spread of kurtosis"),
        *("mean correlation", "spread of correlation", "spread of log deviation"),
    ),
    "spectrum": (
        *("first share", "first two", "evenness", "effective columns", "columns for 95 %"),
        *("columns above noise", "signal to noise"),
    ),
    "distances": (
        *(f"distances in tenth {place + 1}" for place in range(BINS)),
        *("mean distance", "spread of distance", "skewness of distance", "kurtosis of distance"),
    ),
    "neighbours": (
        *("spread of density", "skewness of density", "kurtosis of density", "near to mean distance"),
        *("dimension of two neighbours", "dimension of ten", "Hopkins"),
        *("skewness of edges", "longest edge", "edge of the last cluster", "gap below it"),
    ),
    "noise": ("neighbours kept", "growth of the nearest distance"),
    "landmarks": (
        *(f"{cheap}: {name}" for cheap in CHEAP for name in NAMES),
        "agreement of k-means and single linkage",
    ),
}
"""The names of all meta-features, by group."""


class Sketch(NamedTuple):
    """The inputs of all groups.

    Attributes:
        x: [N, D] centred points with a mean squared norm of one; zero for padding.
        weights: [N]; zero for padding.
        columns: [D] whether the column varies.
        clusters: the number of clusters.
        key: a typed key.
        width: number of columns that random draws have, the others being padding; D if None.
        apart: [N, N] distances; None if no group needs them.
        shared: neighbours and spanning tree; None if no group needs them.
    """

    x: Float[Array, "N D"]
    weights: Float[Array, " N"]
    columns: Bool[Array, " D"]
    clusters: Int[Array, ""]
    key: Key[Array, ""]
    width: Int[Array, ""] | None = None
    apart: Float[Array, "N N"] | None = None
    shared: Structure | None = None

    @property
    def dimension(self) -> Float[Array, ""]:
        """The number of columns that vary; at least one."""
        return jnp.maximum(jnp.sum(self.columns), 1).astype(self.x.dtype)


def _size(sketch: Sketch) -> list[Array]:
    points = jnp.log(jnp.maximum(jnp.sum(sketch.weights), 1))
    columns = jnp.log(sketch.dimension)
    return [points, columns, points - columns, jnp.log(jnp.maximum(sketch.clusters, 1).astype(points.dtype))]


def _marginals(sketch: Sketch) -> list[Array]:
    """Moments of the columns, and their absolute correlations."""
    variances = weighted_mean(jnp.square(sketch.x), sketch.weights)
    deviations = jnp.where(sketch.columns, square_root(variances), 1)
    x = sketch.x / jnp.where(deviations > 0, deviations, 1)
    one = sketch.columns.astype(x.dtype)
    pairs = jnp.triu(one[:, None] * one, 1)
    correlation = jnp.abs(_covariance(x, sketch.weights))
    return [
        *_mean_and_spread(weighted_mean(x**3, sketch.weights), one),
        *_mean_and_spread(weighted_mean(x**4, sketch.weights) - 3, one),
        *_mean_and_spread(correlation, pairs),
        _mean_and_spread(jnp.log(jnp.where(deviations > 0, deviations, 1)), one)[1],
    ]


def _spectrum(sketch: Sketch) -> list[Array]:
    """Statistics of the principal axes' shares of the total variance.

    The largest eigenvalue of noise of variance s in d columns and n points is about s (1 + sqrt(d / n))^2.
    Axes are signal, from the first on, as long as they exceed that, with s the mean of the remaining shares.
    """
    values = jnp.maximum(jnp.linalg.eigvalsh(_covariance(sketch.x, sketch.weights))[::-1], 0)
    shares = values / jnp.maximum(jnp.sum(values), 1e-12)
    dimension, place = sketch.dimension, jnp.arange(len(shares))
    left = jnp.maximum(dimension - place, 1)
    rest = jnp.maximum(jnp.sum(shares) - jnp.cumsum(shares) + shares, 0) / left
    edge = rest * jnp.square(1 + jnp.sqrt(left / jnp.maximum(jnp.sum(sketch.weights), 1)))
    signal = jnp.cumprod((shares > edge * 1.05) & (left > 1)).astype(shares.dtype)
    noise = rest[jnp.minimum(jnp.sum(signal).astype(int), len(rest) - 1)]
    ratio = jnp.sum(signal * jnp.maximum(shares - noise, 0)) / (noise * dimension + 1e-6)
    max_entropy = jnp.maximum(jnp.log(dimension), 1e-6)
    return [
        shares[0],
        jnp.sum(shares[:2]),
        jnp.where(dimension > 1, entropy_of(shares) / max_entropy, 1),
        1 / jnp.maximum(jnp.sum(jnp.square(shares)), 1e-12) / dimension,
        (1 + jnp.sum((jnp.cumsum(shares) < 0.95) & (place < dimension - 1))) / dimension,
        jnp.sum(signal) / dimension,
        jnp.log1p(ratio),
    ]


def _distances(sketch: Sketch) -> list[Array]:
    """Histogram and moments of all pairwise distances, in units of the largest."""
    apart, pairs = _apart(sketch)
    scaled = apart / jnp.maximum(jnp.max(jnp.where(pairs > 0, apart, 0)), 1e-12)
    shares = pairs / jnp.maximum(jnp.sum(pairs), 1)
    below = [jnp.sum(jnp.where(scaled <= (place + 1) / BINS, shares, 0)) for place in range(BINS - 1)]
    steps = jnp.diff(jnp.stack([jnp.zeros(()), *below, jnp.sum(shares)]))
    return [*steps, *_moments(scaled, shares)]


def _neighbours(sketch: Sketch) -> list[Array]:
    shared, shares = _structure_of(sketch), sketch.weights / jnp.maximum(jnp.sum(sketch.weights), 1)
    logs = jnp.log(jnp.maximum(shared.away, 1e-6))
    others = jnp.maximum(jnp.sum(sketch.weights > 0) - 1, 1)
    two, ten = (jnp.minimum(count, jnp.minimum(others, logs.shape[1])) for count in (2, 10))
    tenth = logs[:, ten - 1]
    _, spread, skewness, kurtosis = _moments(tenth, shares)
    apart, pairs = _apart(sketch)
    mean = jnp.sum(pairs * apart) / jnp.maximum(jnp.sum(pairs), 1)
    inner = jnp.arange(logs.shape[1]) < ten
    to_tenth = jnp.sum(jnp.where(inner, tenth[:, None] - logs, 0), 1) / jnp.maximum(ten - 1, 1)
    edges = jnp.where(shared.real > 0, shared.lengths, -jnp.inf)
    longest = jnp.sort(edges)[::-1]
    last, below = (jnp.clip(sketch.clusters - less, 0, len(edges) - 1) for less in (2, 1))
    real = shared.real / jnp.maximum(jnp.sum(shared.real), 1)
    return [
        spread,
        skewness,
        kurtosis,
        jnp.sum(shares * tenth) - jnp.log(jnp.maximum(mean, 1e-6)),
        _log_dimension(jnp.sum(shares * (logs[:, two - 1] - logs[:, 0]))),
        _log_dimension(jnp.sum(shares * to_tenth)),
        _hopkins(sketch, shared.away[:, 0]),
        _moments(shared.lengths, real)[2],
        longest[0],
        longest[last],
        longest[last] - longest[below],
    ]


def _log_dimension(inverse: Float[Array, ""]) -> Float[Array, ""]:
    return -jnp.log(jnp.maximum(inverse, 1e-6))


def _noise(sketch: Sketch) -> list[Array]:
    """Changes of neighbourhoods under noise of `NOISE` times the root mean square deviation of columns."""
    step = NOISE / jnp.sqrt(sketch.dimension)
    noise = _drawn(jax.random.normal, sketch.key, sketch.x.shape, sketch.width)
    moved = sketch.x + step * sketch.columns * noise
    before, after = _structure_of(sketch), _nearest(sketch._replace(x=moved, apart=distances_of(moved)))
    five = min(5, before.near.shape[1])
    kept = jnp.any(before.near[:, :five, None] == after[1][:, None, :five], 2)
    shares = sketch.weights / jnp.maximum(jnp.sum(sketch.weights), 1)
    growth = jnp.log(after[0][:, 0] + 1e-3) - jnp.log(before.away[:, 0] + 1e-3)
    return [jnp.sum(shares * jnp.mean(kept, 1)), jnp.sum(shares * growth)]


def _landmarks(sketch: Sketch) -> list[Array]:
    shared = _structure_of(sketch)
    by_means = kmeans_labels(sketch.x, sketch.weights, sketch.clusters, sketch.key, SLOTS)
    linked = _linked(shared, sketch)
    descriptors = descriptors_of(shared, sketch.x, sketch.weights, jnp.stack([by_means, linked]))
    return [*descriptors.ravel(), adjusted_rand_index(by_means, linked, sketch.weights, slots=SLOTS)]


GROUPS = {
    "size": _size,
    "marginals": _marginals,
    "spectrum": _spectrum,
    "distances": _distances,
    "neighbours": _neighbours,
    "noise": _noise,
    "landmarks": _landmarks,
}
"""The functions that compute the groups of `FEATURES`, of a `Sketch`."""


def kmeans_labels(
    x: Array, weights: Array, clusters: Array, key: Array, slots: int, *, restarts: int = 1
) -> Int[Array, " N"]:
    """The labels of k-means with `clusters` of `slots` clusters; -1 for padding."""
    clusterer = kmeans(slots, restarts=restarts)
    state = clusterer.fit({}, Batch(x, None, weights, clusters), key)
    labels = jnp.argmax(clusterer.assign({}, state, x).log_probs, -1)
    return jnp.where(weights > 0, labels, -1)


def _linked(shared: Structure, sketch: Sketch) -> Int[Array, " N"]:
    """Labels of single linkage, which removes the longest edges of the spanning tree."""
    count, (first, second) = len(sketch.x), shared.ends
    lengths = jnp.where(shared.real > 0, shared.lengths, -jnp.inf)
    rank = jnp.argsort(jnp.argsort(-lengths))
    kept = (shared.real > 0) & (rank >= sketch.clusters - 1)
    used = jnp.arange(SLOTS) < sketch.clusters
    parts = components(adjacency_of_pairs(first, second, kept, count))
    return largest_components(parts, sketch.weights, SLOTS, used)[2]


def _structure_of(sketch: Sketch) -> Structure:
    return cast(Structure, sketch.shared)


def _apart(sketch: Sketch) -> tuple[Float[Array, "N N"], Float[Array, "N N"]]:
    """Pairwise distances, and the weights of pairs of different points."""
    apart = cast(Array, sketch.apart)
    pairs = sketch.weights[:, None] * sketch.weights * (1 - jnp.eye(len(sketch.x)))
    return apart, pairs


def _nearest(sketch: Sketch) -> tuple[Float[Array, "N n"], Int[Array, "N n"]]:
    apart, pairs = _apart(sketch)
    away, near = lax.top_k(-jnp.where(pairs > 0, apart, jnp.inf), min(5, len(apart) - 1))
    return jnp.where(jnp.isfinite(away), -away, 0), near


def _hopkins(sketch: Sketch, nearest: Float[Array, " N"]) -> Float[Array, ""]:
    """Hopkins' statistic u / (u + w): about one half for uniform points, near one for clustered ones.

    u sums the distances from random places in the points' bounding box to the nearest point, w those from
    random points to their nearest neighbour.
    """
    place_key, point_key = jax.random.split(sketch.key)
    counted = sketch.weights[:, None] > 0
    low = jnp.min(jnp.where(counted, sketch.x, jnp.inf), 0)
    high = jnp.max(jnp.where(counted, sketch.x, -jnp.inf), 0)
    shares = _drawn(jax.random.uniform, place_key, (PROBES, sketch.x.shape[1]), sketch.width)
    places = shares * (high - low) + low
    far = jnp.where(sketch.weights > 0, exact_squared_distances(places, sketch.x), jnp.inf)
    to_places = jnp.sum(square_root(jnp.min(far, 1)))
    drawn = jax.random.categorical(point_key, jnp.log(jnp.maximum(sketch.weights, 1e-30)), shape=(PROBES,))
    return to_places / jnp.maximum(to_places + jnp.sum(nearest[drawn]), 1e-12)


def _drawn(
    draw: Callable[..., Array], key: Key[Array, ""], shape: tuple[int, ...], width: Array | None
) -> Float[Array, "N D"]:
    """The numbers `draw(key, (N, width))` in the first columns of an array [N, D], and zero in the others.

    Number i of a draw depends on the key and on i alone, however many are drawn.
    """
    if width is None:
        return draw(key, shape)
    rows, columns = shape
    numbers = draw(key, (rows * columns,))
    column = jnp.arange(columns)
    place = jnp.arange(rows)[:, None] * width + column
    return jnp.where(column < width, numbers[jnp.minimum(place, rows * columns - 1)], 0)


def _covariance(x: Float[Array, "N D"], weights: Float[Array, " N"]) -> Float[Array, "D D"]:
    return (x * weights[:, None]).T @ x / jnp.maximum(jnp.sum(weights), 1e-12)


def _moments(values: Array, shares: Array) -> tuple[Array, Array, Array, Array]:
    """Mean, deviation, skewness and excess kurtosis, weighted by shares that sum to one or are all zero."""
    mean = jnp.sum(shares * values)
    variance = jnp.sum(shares * jnp.square(values - mean))
    standard = (values - mean) / jnp.sqrt(jnp.where(variance > 1e-12, variance, 1))
    third, fourth = (jnp.sum(shares * standard**power) for power in (3, 4))
    return mean, jnp.sqrt(variance), third, jnp.where(variance > 1e-12, fourth - 3, 0)


def _mean_and_spread(values: Array, weights: Array) -> tuple[Array, Array]:
    return _moments(values, weights / jnp.maximum(jnp.sum(weights), 1))[:2]
