"""Meta-features of a clustering problem, computed before any algorithm is run.

They are invariant to translation of the points, scaling by one factor and reordering, and, except for
marginals and Hopkins' statistic, to rotation, apart from random draws, which follow from the key. They are
computed on-device and vmapped over tasks that are padded to one shape: points of weight zero and constant
columns do not count, so that a narrow task can be part of a wide array.

==============  ==========================================================================================
group           numbers
==============  ==========================================================================================
"size"          logarithms of the numbers of points, columns and clusters, estimated if not given
"marginals"     skewness, kurtosis and correlation of columns, and their differences in scale
"spectrum"      of the covariance: its shape, and its part above noise by the law of Marchenko & Pastur
"distances"     histogram and moments of all pairwise distances
"neighbours"    variation of density, intrinsic dimension, Hopkins' statistic, edges of the spanning tree
"noise"         changes of neighbourhoods under Gaussian noise
"landmarks"     descriptors of two cheap clusterings, k-means and single linkage, and their agreement
==============  ==========================================================================================

References: Ferrari & de Castro 2015, Clustering algorithm selection by meta-learning systems; Facco et al.
2017, Estimating the intrinsic dimension of datasets by a minimal neighborhood information; Levina & Bickel
2004, Maximum likelihood estimation of intrinsic dimension, averaged as by MacKay & Ghahramani 2005; Hopkins &
Skellam 1954, A new method for determining the type of distribution of plant individuals.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from ..agreement import entropy_of
from ..clustering.kmeans import kmeans
from ..compiler import compiled
from ..distances import as_float, exact_squared_distances, square_root
from ..errors import InputError
from ..graphs.components import adjacency_of_pairs, components, largest_components
from ..metrics import adjusted_rand_index, silhouette
from ..records import Batch
from ..weights import weighted_mean, weights_or_ones
from .partitions import NAMES, SLOTS, Structure, descriptors_of, structure

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
        shared: neighbours and spanning tree; None if no group needs them.
    """

    x: Float[Array, "N D"]
    weights: Float[Array, " N"]
    columns: Bool[Array, " D"]
    clusters: Int[Array, ""]
    key: Key[Array, ""]
    shared: Structure | None

    @property
    def dimension(self) -> Float[Array, ""]:
        """The number of columns that vary; at least one."""
        return jnp.maximum(jnp.sum(self.columns), 1).astype(self.x.dtype)


def feature_names(groups: Sequence[str] = tuple(FEATURES)) -> tuple[str, ...]:
    """The names of the values of `meta_features`, in order.

    >>> feature_names(["size"])
    ('log points', 'log columns', 'log points per column', 'log clusters')
    """
    if unknown := [name for name in groups if name not in FEATURES]:
        raise InputError(f"groups has the unknown names {unknown}; choose among {', '.join(FEATURES)}.")
    return tuple(name for group in groups for name in FEATURES[group])


def meta_features(
    points: Float[Array, "N D"],
    weights: Float[Array, " N"] | None,
    key: Key[Array, ""],
    *,
    clusters: Int[Array, ""] | int | None = None,
    groups: Sequence[str] = tuple(FEATURES),
) -> Float[Array, " F"]:
    """The meta-features `feature_names(groups)` of one problem; `vmap` it over several.

    Args:
        points: [N, D]; some groups need N^2 memory, so that a large problem is better represented by a
            thousand of its points.
        weights: [N] zero for padding; all ones unless given.
        key: a typed key for random draws.
        clusters: the number of clusters; `estimated_clusters` unless given.
        groups: names of groups in `FEATURES`.

    Returns:
        [F], all finite.

    Raises:
        InputError: fewer than two points are given, `weights` has another length, or `groups` is empty or
            has an unknown name.

    >>> points = jnp.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [4.0, 5.0]])
    >>> features = meta_features(points, None, jax.random.key(0), clusters=2, groups=["size"])
    >>> jnp.exp(features).round(3)
    Array([4., 2., 2., 2.], dtype=float32)
    """
    return _meta_features(points, weights, key, clusters=clusters, groups=tuple(groups))


@partial(compiled, static=("groups",))
def _meta_features(
    points: Array, weights: Array | None, key: Array, *, clusters: Array | int | None, groups: tuple[str, ...]
) -> Float[Array, " F"]:
    feature_names(groups)
    x = as_float(jnp.asarray(points))
    if x.ndim != 2 or len(x) < 2 or not x.size:
        raise InputError(f"points have shape {x.shape}; give [points, columns], two points or more.")
    if not groups:
        raise InputError(f"groups is empty; choose among {', '.join(FEATURES)}.")
    if weights is not None and jnp.shape(weights) != x.shape[:1]:
        raise InputError(f"{len(x)} points have weights of shape {jnp.shape(weights)}; give one for each.")
    counted = jnp.asarray(weights_or_ones(x, weights), x.dtype)
    x = jnp.where(counted[:, None] > 0, x, 0)
    centered = jnp.where(counted[:, None] > 0, x - weighted_mean(x, counted), 0)
    scale = jnp.maximum(jnp.max(jnp.abs(centered)), jnp.finfo(x.dtype).tiny)
    centered = centered / scale
    variances = weighted_mean(jnp.square(centered), counted)
    rounding = 8 * jnp.finfo(x.dtype).eps * jnp.maximum(1, jnp.max(jnp.abs(x), 0) / scale)
    columns = variances > jnp.square(rounding)
    spread = jnp.sqrt(jnp.sum(jnp.where(columns, variances, 0)))
    centered = jnp.where(columns, centered, 0) / jnp.where(spread > 0, spread, 1)
    key, clusters_key = jax.random.split(key)
    if clusters is None:
        clusters = estimated_clusters(centered, counted, clusters_key)
    needs_structure = {"neighbours", "noise", "landmarks"} & set(groups)
    shared = structure(centered, counted) if needs_structure else None
    sketch = Sketch(
        x=centered, weights=counted, columns=columns, clusters=jnp.asarray(clusters), key=key, shared=shared
    )
    features = jnp.concatenate([jnp.stack(_GROUPS[group](sketch)) for group in groups])
    return jnp.nan_to_num(jnp.clip(features, -1e4, 1e4))


def estimated_clusters(
    points: Float[Array, "N D"], weights: Float[Array, " N"], key: Key[Array, ""], *, max_clusters: int = 10
) -> Int[Array, ""]:
    """The number of clusters, from 2 to `max_clusters`, for which k-means has the best silhouette.

    >>> points = jnp.array([[0.0], [0.1], [5.0], [5.1], [9.0], [9.1]])
    >>> int(estimated_clusters(points, jnp.ones(6), jax.random.key(0), max_clusters=4))
    3
    """

    def quality(count: Int[Array, ""]) -> Float[Array, ""]:
        labels = _kmeans_labels(points, weights, count, key, max_clusters, restarts=4)
        return silhouette(points, labels, weights, slots=max_clusters)

    counts = jnp.arange(2, max_clusters + 1)
    return counts[jnp.argmax(lax.map(quality, counts))]


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
    moved = sketch.x + step * sketch.columns * jax.random.normal(sketch.key, sketch.x.shape)
    before, after = _structure_of(sketch), _nearest(sketch._replace(x=moved))
    five = min(5, before.near.shape[1])
    kept = jnp.any(before.near[:, :five, None] == after[1][:, None, :five], 2)
    shares = sketch.weights / jnp.maximum(jnp.sum(sketch.weights), 1)
    growth = jnp.log(after[0][:, 0] + 1e-3) - jnp.log(before.away[:, 0] + 1e-3)
    return [jnp.sum(shares * jnp.mean(kept, 1)), jnp.sum(shares * growth)]


def _landmarks(sketch: Sketch) -> list[Array]:
    shared = _structure_of(sketch)
    by_means = _kmeans_labels(sketch.x, sketch.weights, sketch.clusters, sketch.key, SLOTS)
    linked = _linked(shared, sketch)
    descriptors = descriptors_of(shared, sketch.x, sketch.weights, jnp.stack([by_means, linked]))
    return [*descriptors.ravel(), adjusted_rand_index(by_means, linked, sketch.weights, slots=SLOTS)]


_GROUPS = {
    "size": _size,
    "marginals": _marginals,
    "spectrum": _spectrum,
    "distances": _distances,
    "neighbours": _neighbours,
    "noise": _noise,
    "landmarks": _landmarks,
}


def _kmeans_labels(
    x: Array, weights: Array, clusters: Array, key: Array, slots: int, *, restarts: int = 1
) -> Int[Array, " N"]:
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
    return structure(sketch.x, sketch.weights) if sketch.shared is None else sketch.shared


def _apart(sketch: Sketch) -> tuple[Float[Array, "N N"], Float[Array, "N N"]]:
    """Pairwise distances, and the weights of pairs of different points."""
    apart = square_root(exact_squared_distances(sketch.x, sketch.x))
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
    places = jax.random.uniform(place_key, (PROBES, sketch.x.shape[1])) * (high - low) + low
    far = jnp.where(sketch.weights > 0, exact_squared_distances(places, sketch.x), jnp.inf)
    to_places = jnp.sum(square_root(jnp.min(far, 1)))
    drawn = jax.random.categorical(point_key, jnp.log(jnp.maximum(sketch.weights, 1e-30)), shape=(PROBES,))
    return to_places / jnp.maximum(to_places + jnp.sum(nearest[drawn]), 1e-12)


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
