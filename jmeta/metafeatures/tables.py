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
from typing import cast

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from ..compiler import compiled
from ..distances import as_float
from ..errors import InputError
from ..metrics.clusters import clusters_of
from ..metrics.internal import mean_silhouette
from ..weights import weighted_mean, weights_or_ones
from .groups import FEATURES, GROUPS, Sketch, kmeans_labels
from .partitions import distances_of, structure


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
    return features_of(points, weights, key, clusters=clusters, groups=tuple(groups))


@partial(compiled, static=("groups",))
def features_of(
    points: Array,
    weights: Array | None,
    key: Array,
    *,
    clusters: Array | int | None,
    groups: tuple[str, ...],
    width: Array | None = None,
) -> Float[Array, " F"]:
    """`meta_features`; those of a table of `width` columns, where the others are padding."""
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
    needs_structure = {"neighbours", "noise", "landmarks"} & set(groups)
    apart = distances_of(centered) if needs_structure or clusters is None or "distances" in groups else None
    if clusters is None:
        clusters = _estimated_clusters(centered, counted, clusters_key, 10, cast(Array, apart))
    sketch = Sketch(
        x=centered,
        weights=counted,
        columns=columns,
        clusters=jnp.asarray(clusters),
        key=key,
        width=width,
        apart=apart,
        shared=structure(centered, counted, apart) if needs_structure else None,
    )
    features = jnp.concatenate([jnp.stack(GROUPS[group](sketch)) for group in groups])
    return jnp.nan_to_num(jnp.clip(features, -1e4, 1e4))


def estimated_clusters(
    points: Float[Array, "N D"], weights: Float[Array, " N"], key: Key[Array, ""], *, max_clusters: int = 10
) -> Int[Array, ""]:
    """The number of clusters, from 2 to `max_clusters`, for which k-means has the best silhouette.

    >>> points = jnp.array([[0.0], [0.1], [5.0], [5.1], [9.0], [9.1]])
    >>> int(estimated_clusters(points, jnp.ones(6), jax.random.key(0), max_clusters=4))
    3
    """
    return _estimated_clusters(points, weights, key, max_clusters, distances_of(points))


def _estimated_clusters(
    points: Array, weights: Array, key: Array, max_clusters: int, apart: Float[Array, "N N"]
) -> Int[Array, ""]:
    def quality(count: Int[Array, ""]) -> Float[Array, ""]:
        labels = kmeans_labels(points, weights, count, key, max_clusters, restarts=4)
        return mean_silhouette(clusters_of(points, labels, weights, max_clusters, apart))

    counts = jnp.arange(2, max_clusters + 1)
    return counts[jnp.argmax(lax.map(quality, counts))]
