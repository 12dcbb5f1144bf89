"""Meta-features: what can be said of a clustering problem before anything is run on it.

Numbers of a table of points, each the same if all points are moved, scaled by one factor or put in another
order, and, but for marginals and Hopkins' statistic, if they are turned; save for what is drawn at random,
which the key decides. They are computed on the device, vmapped over tasks that are padded to one shape:
points of weight zero do not count, nor do columns that are constant, so that a narrow task may stand in a
wide array.

==============  ==========================================================================================
group           numbers
==============  ==========================================================================================
"size"          points, columns and clusters, in logarithms; clusters are counted if they are not given
"marginals"     skewness, kurtosis, correlation, and how columns differ in scale
"spectrum"      of the covariance: its shape, and what stands out of noise by the law of Marchenko & Pastur
"distances"     histogram and moments of all distances
"neighbours"    how uneven density is, intrinsic dimension, Hopkins' statistic, edges of the spanning tree
"noise"         what becomes of neighbourhoods when Gaussian noise is added
"landmarks"     descriptors of two cheap clusterings, k-means and single linkage, and how they agree
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
from ..distances import as_float, square_root, squared_differences
from ..errors import InputError
from ..graphs import components, joined_pairs, largest
from ..metrics import adjusted_rand_index, silhouette
from ..records import Batch
from ..weights import weighted_mean, weights_or_ones
from .partitions import NAMES, SLOTS, Structure, described, structure

BINS, PROBES, AMOUNT, MOST = 10, 64, 0.1, 10
"""Of a histogram; points for Hopkins' statistic; noise, in deviations; clusters that are looked for."""
CHEAP = ("k-means", "single linkage")
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
"""The names of all numbers, by group."""


class Sketch(NamedTuple):
    """What the groups share.

    Attributes:
        x: [N, D] points around their mean, at a mean squared norm of one; padding at zero.
        weights: [N].
        columns: [D] which are not constant.
        clusters: how many.
        key: a typed key.
        shared: neighbours and spanning tree; None where no group looks at them.
    """

    x: Float[Array, "N D"]
    weights: Float[Array, " N"]
    columns: Bool[Array, " D"]
    clusters: Int[Array, ""]
    key: Key[Array, ""]
    shared: Structure | None

    @property
    def dimension(self) -> Float[Array, ""]:
        """How many columns are not constant; one at least."""
        return jnp.maximum(jnp.sum(self.columns), 1).astype(self.x.dtype)


def feature_names(groups: Sequence[str] = tuple(FEATURES)) -> tuple[str, ...]:
    """Of the numbers of `meta_features`, in their order.

    >>> feature_names(["size"])
    ('log points', 'log columns', 'log points per column', 'log clusters')
    """
    if unknown := [name for name in groups if name not in FEATURES]:
        raise InputError(f"there are no meta-features {unknown}; choose among {', '.join(FEATURES)}.")
    return tuple(name for group in groups for name in FEATURES[group])


def meta_features(
    points: Float[Array, "N D"],
    weights: Float[Array, " N"] | None,
    key: Key[Array, ""],
    *,
    clusters: Int[Array, ""] | int | None = None,
    groups: Sequence[str] = tuple(FEATURES),
) -> Float[Array, " F"]:
    """The numbers `feature_names(groups)` of one problem; `vmap` it over many.

    Args:
        points: [N, D]; some groups take N^2 numbers, so that large problems are better given by a thousand
            of their points.
        weights: [N] zero for padding; all ones unless given.
        key: a typed key, for what is drawn at random.
        clusters: how many there are; `estimated_clusters` unless given.
        groups: which of `FEATURES`.

    Returns:
        [F], all finite.

    Raises:
        InputError: there are fewer than two points, weights of another number, or no group of that
            name.

    >>> points = jnp.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [4.0, 5.0]])
    >>> found = meta_features(points, None, jax.random.key(0), clusters=2, groups=["size"])
    >>> jnp.exp(found).round(3)
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
        raise InputError(f"no group of meta-features is asked for; name some of {', '.join(FEATURES)}.")
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
    draw, look = jax.random.split(key)
    if clusters is None:
        clusters = estimated_clusters(centered, counted, look)
    looked_at = {"neighbours", "noise", "landmarks"} & set(groups)
    shared = structure(centered, counted) if looked_at else None
    sketch = Sketch(centered, counted, columns, jnp.asarray(clusters), draw, shared)
    found = jnp.concatenate([jnp.stack(_GROUPS[group](sketch)) for group in groups])
    return jnp.nan_to_num(jnp.clip(found, -1e4, 1e4))


def estimated_clusters(
    points: Float[Array, "N D"], weights: Float[Array, " N"], key: Key[Array, ""], *, most: int = MOST
) -> Int[Array, ""]:
    """The number of clusters, from 2 to `most`, whose k-means has the best silhouette.

    >>> points = jnp.array([[0.0], [0.1], [5.0], [5.1], [9.0], [9.1]])
    >>> int(estimated_clusters(points, jnp.ones(6), jax.random.key(0), most=4))
    3
    """

    def quality(count: Int[Array, ""]) -> Float[Array, ""]:
        labels = _kmeans_labels(points, weights, count, key, most, restarts=4)
        return silhouette(points, labels, weights, slots=most)

    counts = jnp.arange(2, most + 1)
    return counts[jnp.argmax(lax.map(quality, counts))]


def _size(sketch: Sketch) -> list[Array]:
    points = jnp.log(jnp.maximum(jnp.sum(sketch.weights), 1))
    columns = jnp.log(sketch.dimension)
    return [points, columns, points - columns, jnp.log(jnp.maximum(sketch.clusters, 1).astype(points.dtype))]


def _marginals(sketch: Sketch) -> list[Array]:
    """Moments of columns; correlations in absolute value."""
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
    """Shares of the total variance, which is one, that principal axes have.

    Of noise of variance s in d columns and n points the largest eigenvalue is about s (1 + sqrt(d / n))^2.
    Axes are taken for signal from the first on while they stand above that, s the mean of the rest.
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
    many = jnp.maximum(jnp.log(dimension), 1e-6)
    return [
        shares[0],
        jnp.sum(shares[:2]),
        jnp.where(dimension > 1, entropy_of(shares) / many, 1),
        1 / jnp.maximum(jnp.sum(jnp.square(shares)), 1e-12) / dimension,
        (1 + jnp.sum((jnp.cumsum(shares) < 0.95) & (place < dimension - 1))) / dimension,
        jnp.sum(signal) / dimension,
        jnp.log1p(ratio),
    ]


def _distances(sketch: Sketch) -> list[Array]:
    """Of all pairs, in units of the largest distance: shares of tenths, then moments."""
    apart, pairs = _apart(sketch)
    scaled = apart / jnp.maximum(jnp.max(jnp.where(pairs > 0, apart, 0)), 1e-12)
    shares = pairs / jnp.maximum(jnp.sum(pairs), 1)
    below = [jnp.sum(jnp.where(scaled <= (place + 1) / BINS, shares, 0)) for place in range(BINS - 1)]
    steps = jnp.diff(jnp.stack([jnp.zeros(()), *below, jnp.sum(shares)]))
    return [*steps, *_moments(scaled, shares)]


def _neighbours(sketch: Sketch) -> list[Array]:
    shared, shares = _seen(sketch), sketch.weights / jnp.maximum(jnp.sum(sketch.weights), 1)
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
    """Neighbourhoods of points that were moved by a tenth of the root mean square deviation of columns."""
    step = AMOUNT / jnp.sqrt(sketch.dimension)
    moved = sketch.x + step * sketch.columns * jax.random.normal(sketch.key, sketch.x.shape)
    before, after = _seen(sketch), _nearest(sketch._replace(x=moved))
    five = min(5, before.near.shape[1])
    kept = jnp.any(before.near[:, :five, None] == after[1][:, None, :five], 2)
    shares = sketch.weights / jnp.maximum(jnp.sum(sketch.weights), 1)
    growth = jnp.log(after[0][:, 0] + 1e-3) - jnp.log(before.away[:, 0] + 1e-3)
    return [jnp.sum(shares * jnp.mean(kept, 1)), jnp.sum(shares * growth)]


def _landmarks(sketch: Sketch) -> list[Array]:
    shared = _seen(sketch)
    by_means = _kmeans_labels(sketch.x, sketch.weights, sketch.clusters, sketch.key, SLOTS)
    linked = _linked(shared, sketch)
    own = described(shared, sketch.x, sketch.weights, jnp.stack([by_means, linked]))
    return [*own.ravel(), adjusted_rand_index(by_means, linked, sketch.weights, slots=SLOTS)]


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
    """Single linkage: the spanning tree without its longest edges."""
    count, (first, second) = len(sketch.x), shared.ends
    lengths = jnp.where(shared.real > 0, shared.lengths, -jnp.inf)
    rank = jnp.argsort(jnp.argsort(-lengths))
    kept = (shared.real > 0) & (rank >= sketch.clusters - 1)
    used = jnp.arange(SLOTS) < sketch.clusters
    return largest(components(joined_pairs(first, second, kept, count)), sketch.weights, SLOTS, used)[2]


def _seen(sketch: Sketch) -> Structure:
    return structure(sketch.x, sketch.weights) if sketch.shared is None else sketch.shared


def _apart(sketch: Sketch) -> tuple[Float[Array, "N N"], Float[Array, "N N"]]:
    """Distances, and the weights of pairs of different points."""
    apart = square_root(squared_differences(sketch.x, sketch.x))
    pairs = sketch.weights[:, None] * sketch.weights * (1 - jnp.eye(len(sketch.x)))
    return apart, pairs


def _nearest(sketch: Sketch) -> tuple[Float[Array, "N n"], Int[Array, "N n"]]:
    apart, pairs = _apart(sketch)
    away, near = lax.top_k(-jnp.where(pairs > 0, apart, jnp.inf), min(5, len(apart) - 1))
    return jnp.where(jnp.isfinite(away), -away, 0), near


def _hopkins(sketch: Sketch, nearest: Float[Array, " N"]) -> Float[Array, ""]:
    """How far random places in the box of the points are from them, over that and how far points are.

    One half where points are uniform, near one where they cluster.
    """
    place_key, point_key = jax.random.split(sketch.key)
    counted = sketch.weights[:, None] > 0
    low = jnp.min(jnp.where(counted, sketch.x, jnp.inf), 0)
    high = jnp.max(jnp.where(counted, sketch.x, -jnp.inf), 0)
    places = jax.random.uniform(place_key, (PROBES, sketch.x.shape[1])) * (high - low) + low
    far = jnp.where(sketch.weights > 0, squared_differences(places, sketch.x), jnp.inf)
    to_places = jnp.sum(square_root(jnp.min(far, 1)))
    drawn = jax.random.categorical(point_key, jnp.log(jnp.maximum(sketch.weights, 1e-30)), shape=(PROBES,))
    return to_places / jnp.maximum(to_places + jnp.sum(nearest[drawn]), 1e-12)


def _covariance(x: Float[Array, "N D"], weights: Float[Array, " N"]) -> Float[Array, "D D"]:
    return (x * weights[:, None]).T @ x / jnp.maximum(jnp.sum(weights), 1e-12)


def _moments(values: Array, shares: Array) -> tuple[Array, Array, Array, Array]:
    """Mean, deviation, skewness and excess kurtosis, of shares that add up to one or are all zero."""
    mean = jnp.sum(shares * values)
    variance = jnp.sum(shares * jnp.square(values - mean))
    standard = (values - mean) / jnp.sqrt(jnp.where(variance > 1e-12, variance, 1))
    third, fourth = (jnp.sum(shares * standard**power) for power in (3, 4))
    return mean, jnp.sqrt(variance), third, jnp.where(variance > 1e-12, fourth - 3, 0)


def _mean_and_spread(values: Array, weights: Array) -> tuple[Array, Array]:
    return _moments(values, weights / jnp.maximum(jnp.sum(weights), 1))[:2]
