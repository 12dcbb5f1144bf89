"""Internal indices: the separation of clusters, computed without true labels.

All indices take points and labels; points labelled -1 are noise and do not count. Weights are relative:
multiplying all of them by a number changes no index, and points that count alike need none. If fewer than two
clusters have points, each index takes its worst value. Outside `jit` and `vmap` indices are computed in
double precision; inside, in the precision of the points, and the number of clusters must be given as `slots`.
Distances between all points are computed for a block of rows at a time, which bounds the memory. Values are
equal to scikit-learn's where it has the index, except for the Davies-Bouldin index of two clusters with equal
means, which is infinite here and zero there.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from ..distances import quotient
from ..records import AnyArray
from .clusters import Clusters, clusters_of, index_of_clusters, over_rows, row_distances, sums_by_cluster
from .partitions import Labels


@index_of_clusters
def silhouette(
    points: Num[AnyArray, "N D"],
    labels: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The mean silhouette, (b - a) / max(a, b), from all N^2 distances.

    a is the mean distance to the other points of the same cluster, b the smallest mean distance to another
    cluster; the silhouette of a point alone in its cluster is 0. See also `simplified_silhouette`.

    Args:
        points: [N, D].
        labels: [N] cluster of each point; noise, -1, does not count.
        weights: [N]; all ones unless given.
        slots: upper bound of the number of clusters; the largest label + 1 unless given.

    Returns:
        The mean, in [-1, 1], larger is better; -1 if fewer than two clusters have points.

    Reference: Rousseeuw 1987, Silhouettes.

    >>> print(silhouette(jnp.array([[0.0], [1.0], [8.0], [9.0]]), jnp.array([0, 0, 1, 1])).round(4))
    0.8745
    """
    return mean_silhouette(clusters_of(points, labels, weights, slots))


def mean_silhouette(clusters: Clusters) -> Float[Array, ""]:
    """The index `silhouette` of clusters."""

    def widths(row: tuple) -> tuple[Array, Array, Array]:
        place, label, weight = row
        away = clusters.weights * clusters.to_points(place)
        inside = jnp.arange(len(clusters.mass)) == label
        others = jnp.maximum(clusters.mass - jnp.where(inside, weight, 0), 0)
        mean = quotient(sums_by_cluster(away, clusters), others)
        own = jnp.sum(jnp.where(inside, mean, 0))
        alone = jnp.sum(jnp.where(inside, others, 0)) <= 8 * jnp.finfo(away.dtype).eps * weight
        return own, jnp.min(jnp.where(inside | (clusters.mass <= 0), jnp.inf, mean)), alone

    rows = (clusters.rows, clusters.labels, clusters.weights)
    return _mean_width(*over_rows(widths, rows, len(clusters.x)), clusters)


@index_of_clusters
def simplified_silhouette(
    points: Num[AnyArray, "N D"],
    labels: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The silhouette with distances to cluster means, N K of them instead of N^2.

    Args:
        points: [N, D].
        labels: [N] cluster of each point; noise, -1, does not count.
        weights: [N]; all ones unless given.
        slots: upper bound of the number of clusters; the largest label + 1 unless given.

    Returns:
        The mean, in [-1, 1], larger is better; -1 if fewer than two clusters have points.

    Reference: Hruschka et al. 2004, Evolutionary algorithms for clustering gene-expression data.

    >>> points = jnp.array([[0.0], [1.0], [8.0], [9.0]])
    >>> print(f"{simplified_silhouette(points, jnp.array([0, 0, 1, 1])):.4f}")
    0.9373
    """
    return mean_simplified_silhouette(clusters_of(points, labels, weights, slots))


def mean_simplified_silhouette(clusters: Clusters) -> Float[Array, ""]:
    """The index `simplified_silhouette` of clusters."""
    means = clusters.means()

    def nearest_other(row: tuple) -> Array:
        x, label = row
        inside = jnp.arange(len(means)) == label
        return jnp.min(jnp.where(inside | (clusters.mass <= 0), jnp.inf, row_distances(x, means)))

    other = over_rows(nearest_other, (clusters.x, clusters.labels), len(means))
    return _mean_width(clusters.to_means(), other, jnp.zeros(len(other), bool), clusters)


@index_of_clusters
def calinski_harabasz(
    points: Num[AnyArray, "N D"],
    labels: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The ratio of the variances between and within clusters, (B / (k - 1)) / (W / (n - k)).

    B and W are weighted sums; n is the number of points of positive weight, so that the ratio does not depend
    on the scale of the weights and is never negative.

    Args:
        points: [N, D].
        labels: [N] cluster of each point; noise, -1, does not count.
        weights: [N]; all ones unless given.
        slots: upper bound of the number of clusters; the largest label + 1 unless given.

    Returns:
        The ratio, larger is better; 0 if fewer than two clusters have points, and 1 if all points of each
        cluster are equal.

    Reference: Calinski & Harabasz 1974, A dendrite method for cluster analysis.

    >>> float(calinski_harabasz(jnp.array([[0.0], [1.0], [8.0], [9.0]]), jnp.array([0, 0, 1, 1])))
    128.0
    """
    return ratio_of_variances(clusters_of(points, labels, weights, slots))


def ratio_of_variances(clusters: Clusters) -> Float[Array, ""]:
    """The index `calinski_harabasz` of clusters."""
    count = jnp.sum(clusters.mass > 0)
    points_count = jnp.sum(clusters.weights > 0)
    between = clusters.mass @ jnp.sum(jnp.square(clusters.means()), 1)
    within = clusters.weights @ jnp.square(clusters.to_means())
    ratio = between * (points_count - count) / jnp.where(within > 0, within * (count - 1), 1)
    return jnp.where(count < 2, 0, jnp.where(within > 0, ratio, 1))


@index_of_clusters
def davies_bouldin(
    points: Num[AnyArray, "N D"],
    labels: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The mean over clusters of max_j (s_i + s_j) / d_ij, with s the mean distance to the cluster mean.

    Args:
        points: [N, D].
        labels: [N] cluster of each point; noise, -1, does not count.
        weights: [N]; all ones unless given.
        slots: upper bound of the number of clusters; the largest label + 1 unless given.

    Returns:
        The mean, 0 or more, smaller is better; infinite if fewer than two clusters have points, or two have
        equal means.

    Reference: Davies & Bouldin 1979, A cluster separation measure.

    >>> float(davies_bouldin(jnp.array([[0.0], [1.0], [8.0], [9.0]]), jnp.array([0, 0, 1, 1])))
    0.125
    """
    return mean_worst_ratio(clusters_of(points, labels, weights, slots))


def mean_worst_ratio(clusters: Clusters) -> Float[Array, ""]:
    """The index `davies_bouldin` of clusters."""
    mass = clusters.mass
    means = clusters.means()
    scatter = quotient(sums_by_cluster(clusters.weights * clusters.to_means(), clusters), mass)

    def worst(row: tuple) -> Array:
        mean, own_scatter, place = row
        apart = row_distances(mean, means)
        both = own_scatter + scatter
        ratio = jnp.where(apart > 0, both / jnp.where(apart > 0, apart, 1), jnp.where(both > 0, jnp.inf, 0))
        return jnp.max(jnp.where((mass > 0) & (jnp.arange(len(mass)) != place), ratio, 0))

    each = over_rows(worst, (means, scatter, jnp.arange(len(mass))), len(mass))
    count = jnp.sum(mass > 0)
    return jnp.where(count < 2, jnp.inf, jnp.sum(jnp.where(mass > 0, each, 0)) / jnp.maximum(count, 1))


@index_of_clusters
def dunn(
    points: Num[AnyArray, "N D"],
    labels: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The smallest distance between clusters divided by the largest distance within a cluster.

    Args:
        points: [N, D].
        labels: [N] cluster of each point; noise, -1, does not count.
        weights: [N]; all ones unless given.
        slots: upper bound of the number of clusters; the largest label + 1 unless given.

    Returns:
        The ratio, 0 or more, larger is better; 0 if fewer than two clusters have points, and infinite if all
        points of each cluster are equal. Weights matter only by being zero or not.

    Reference: Dunn 1973, A fuzzy relative of the ISODATA process.

    >>> float(dunn(jnp.array([[0.0], [1.0], [8.0], [9.0]]), jnp.array([0, 0, 1, 1])))
    7.0
    """
    return gap_over_diameter(clusters_of(points, labels, weights, slots))


def gap_over_diameter(clusters: Clusters) -> Float[Array, ""]:
    """The index `dunn` of clusters."""
    counted = clusters.weights > 0

    def extremes(row: tuple) -> tuple[Array, Array]:
        place, label = row
        same = clusters.labels == label
        apart = clusters.to_points(place)
        farthest = jnp.max(jnp.where(counted & same, apart, 0))
        return farthest, jnp.min(jnp.where(counted & ~same, apart, jnp.inf))

    farthest, nearest = over_rows(extremes, (clusters.rows, clusters.labels), len(clusters.x))
    diameter = jnp.max(jnp.where(counted, farthest, 0))
    gap = jnp.min(jnp.where(counted, nearest, jnp.inf))
    ratio = jnp.where(diameter > 0, gap / jnp.where(diameter > 0, diameter, 1), jnp.inf)
    return jnp.where(jnp.sum(clusters.mass > 0) < 2, 0, ratio)


def _mean_width(
    own: Float[Array, " N"], other: Float[Array, " N"], alone: Bool[Array, " N"], clusters: Clusters
) -> Float[Array, ""]:
    """The weighted mean of (b - a) / max(a, b), which is 0 for a point alone or if both are 0."""
    weights = clusters.weights
    enough = jnp.sum(clusters.mass > 0) > 1
    other = jnp.where(enough & (weights > 0), other, 1)
    largest = jnp.maximum(own, other)
    width = jnp.where(alone | (largest <= 0), 0, (other - own) / jnp.where(largest > 0, largest, 1))
    return jnp.where(enough, quotient(weights @ width, jnp.sum(weights)), -1)
