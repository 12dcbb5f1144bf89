"""Internal indices: the separation of clusters, computed without true labels.

All indices take points and labels; points labelled -1 are noise and do not count. If fewer than two clusters
have points, each index takes its worst value. Inside `jit` and `vmap` the number of clusters must be given as
`slots`. Values are equal to scikit-learn's where it has the index, except for the Davies-Bouldin index of two
clusters with equal means, which is infinite here and zero there.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from ..distances import as_float, square_root
from ..records import AnyArray
from ..weights import weighted_mean
from .partitions import compiled_metric, members


@compiled_metric
def silhouette(
    points: Num[AnyArray, "N D"],
    labels: Int[AnyArray, " N"],
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
    x, owners, mass = counted_clusters(points, labels, weights, slots)
    own_weight = jnp.sum(owners, 1)
    to_clusters = distances(x, x) @ owners
    others = jnp.maximum(mass - owners, 0)
    mean = to_clusters / jnp.where(others > 0, others, 1)
    inside = owners > 0
    own = jnp.sum(jnp.where(inside, mean, 0), 1)
    other = jnp.min(jnp.where(inside | (mass <= 0), jnp.inf, mean), 1)
    alone = jnp.sum(jnp.where(inside, others, 0), 1) <= 8 * jnp.finfo(x.dtype).eps * own_weight
    return _mean_width(own, other, alone, own_weight, mass)


@compiled_metric
def simplified_silhouette(
    points: Num[AnyArray, "N D"],
    labels: Int[AnyArray, " N"],
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
    x, owners, mass = counted_clusters(points, labels, weights, slots)
    means = _means(x, owners, mass)
    inside = owners > 0
    own = _to_own_mean(x, owners, means)
    to_means = distances(x, means)
    other = jnp.min(jnp.where(inside | (mass <= 0), jnp.inf, to_means), 1)
    return _mean_width(own, other, jnp.zeros(len(x), bool), jnp.sum(owners, 1), mass)


@compiled_metric
def calinski_harabasz(
    points: Num[AnyArray, "N D"],
    labels: Int[AnyArray, " N"],
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """The ratio of the variances between and within clusters, (B / (k - 1)) / (W / (n - k)).

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
    x, owners, mass = counted_clusters(points, labels, weights, slots)
    means = _means(x, owners, mass)
    count = jnp.sum(mass > 0)
    total = jnp.sum(mass)
    between = mass @ jnp.sum(jnp.square(means), 1)
    within = jnp.sum(owners, 1) @ jnp.square(_to_own_mean(x, owners, means))
    ratio = between * (total - count) / jnp.where(within > 0, within * (count - 1), 1)
    return jnp.where(count < 2, 0, jnp.where(within > 0, ratio, 1))


@compiled_metric
def davies_bouldin(
    points: Num[AnyArray, "N D"],
    labels: Int[AnyArray, " N"],
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
    x, owners, mass = counted_clusters(points, labels, weights, slots)
    means = _means(x, owners, mass)
    scatter = _to_own_mean(x, owners, means) @ owners / jnp.where(mass > 0, mass, 1)
    apart = distances(means, means)
    pairs = _pairs(mass)
    ratio = (scatter[:, None] + scatter[None, :]) / jnp.where(apart > 0, apart, 1)
    ratio = jnp.where(apart > 0, ratio, jnp.where(scatter[:, None] + scatter[None, :] > 0, jnp.inf, 0))
    worst = jnp.max(jnp.where(pairs, ratio, 0), 1)
    count = jnp.sum(mass > 0)
    return jnp.where(count < 2, jnp.inf, jnp.sum(worst) / jnp.maximum(count, 1))


@compiled_metric
def dunn(
    points: Num[AnyArray, "N D"],
    labels: Int[AnyArray, " N"],
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
    x, owners, mass = counted_clusters(points, labels, weights, slots)
    apart = distances(x, x)
    inside = (owners > 0).astype(x.dtype)
    counted = jnp.sum(inside, 1) > 0
    same = inside @ inside.T > 0
    both = counted[:, None] & counted[None, :]
    diameter = jnp.max(jnp.where(same, apart, 0))
    gap = jnp.min(jnp.where(both & ~same, apart, jnp.inf))
    ratio = jnp.where(diameter > 0, gap / jnp.where(diameter > 0, diameter, 1), jnp.inf)
    return jnp.where(jnp.sum(mass > 0) < 2, 0, ratio)


def counted_clusters(
    points: AnyArray, labels: AnyArray, weights: AnyArray | None, slots: int | None
) -> tuple[Float[Array, "N D"], Float[Array, "N K"], Float[Array, " K"]]:
    """The centred points, the weight of each point in its cluster, and the weight of each cluster."""
    x = as_float(jnp.asarray(points))
    owners = members(x, labels, weights, slots)
    counted = jnp.sum(owners, 1)
    x = jnp.where(counted[:, None] > 0, x, 0)
    x = jnp.where(counted[:, None] > 0, x - weighted_mean(x, counted), 0)
    return x, owners, jnp.sum(owners, 0)


def _means(x: Float[Array, "N D"], owners: Float[Array, "N K"], mass: Float[Array, " K"]) -> Array:
    return owners.T @ x / jnp.where(mass > 0, mass, 1)[:, None]


def _to_own_mean(x: Float[Array, "N D"], owners: Array, means: Float[Array, "K D"]) -> Float[Array, " N"]:
    """The distance of each point to its cluster mean, from differences: exactly zero for single points."""
    squared = jnp.sum(jnp.square(x - (owners > 0).astype(x.dtype) @ means), 1)
    return square_root(squared)


def distances(x: Float[Array, "N D"], y: Float[Array, "M D"]) -> Float[Array, "N M"]:
    """Euclidean distances, computed from differences, which are accurate for close points.

    Squares are summed column by column, in a sixth of the time that one operation would take.
    """

    def add(total: Array, column: tuple[Array, Array]) -> tuple[Array, None]:
        return total + jnp.square(column[0][:, None] - column[1]), None

    start = jnp.zeros((len(x), len(y)), jnp.result_type(x, y))
    return square_root(lax.scan(add, start, (x.T, y.T))[0])


def _pairs(mass: Float[Array, " K"]) -> Bool[Array, "K K"]:
    """Pairs of different clusters that have points."""
    alive = mass > 0
    return alive[:, None] & alive[None, :] & ~jnp.eye(len(mass), dtype=bool)


def _mean_width(
    own: Float[Array, " N"],
    other: Float[Array, " N"],
    alone: Bool[Array, " N"],
    weights: Float[Array, " N"],
    mass: Float[Array, " K"],
) -> Float[Array, ""]:
    """The weighted mean of (b - a) / max(a, b), which is 0 for a point alone or if both are 0."""
    enough = jnp.sum(mass > 0) > 1
    other = jnp.where(enough & (weights > 0), other, 1)
    largest = jnp.maximum(own, other)
    width = jnp.where(alone | (largest <= 0), 0, (other - own) / jnp.where(largest > 0, largest, 1))
    total = jnp.sum(weights)
    return jnp.where(enough, weights @ width / jnp.where(total > 0, total, 1), -1)
