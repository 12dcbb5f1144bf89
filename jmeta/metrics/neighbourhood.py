"""Internal indices based on nearest neighbours, for clusters of any shape.

All indices take points and labels, as in `internal`; weights matter only by being zero or not. Unless traced,
scikit-learn finds the neighbours on-host; then memory and time do not grow with the square of the number of
points, if there are few columns.

Reference: Gagolewski et al. 2021, Are cluster validity measures (in)valid?
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from ..errors import InputError
from ..records import AnyArray
from .clusters import clusters_of, index_of_clusters, over_rows, row_distances
from .partitions import Labels

DEFAULT_NEIGHBOURS = 25
Average = Literal["min", "max", "mean", "smooth min", "smooth max", "one"]
"""Ordered weighted averages of distances."""


def nearest_on_host(
    *,
    points: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    weights: Float[np.ndarray, " N"] | None = None,
    neighbours: int = DEFAULT_NEIGHBOURS,
    **others: Any,
) -> dict[str, Int[np.ndarray, "N M"]]:
    """The places of the nearest neighbours among the points that count; -1 where there are fewer.

    >>> nearest_on_host(points=np.array([[0.0], [5.0], [1.0]]), labels=np.array([0, -1, 0]), neighbours=2)
    {'near': array([[ 2, -1],
           [-1, -1],
           [ 0, -1]])}
    """
    from sklearn.neighbors import NearestNeighbors

    counted = np.flatnonzero((labels >= 0) & (weights is None or weights > 0))
    near = np.full((len(points), max(neighbours, 1)), -1)
    count = min(near.shape[1], len(counted) - 1)
    if count > 0:
        x = np.nan_to_num(points[counted])
        x = x / (np.abs(x).max() or 1)
        found = NearestNeighbors(n_neighbors=count).fit(x - x.mean(0)).kneighbors(return_distance=False)
        near[counted, :count] = counted[found]
    return {"near": near}


near_index = partial(index_of_clusters, prepare=nearest_on_host)
"""`index_of_clusters` for indices that take the neighbours of points."""


@near_index
def near_neighbours(
    points: Num[AnyArray, "N D"],
    labels: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    near: Int[AnyArray, "N M"] | None = None,
    *,
    slots: int | None = None,
    neighbours: int = DEFAULT_NEIGHBOURS,
) -> Float[Array, ""]:
    """The share of the M nearest neighbours of all points that lie in the point's cluster, known as WCNN.

    Args:
        points: [N, D].
        labels: [N] cluster of each point; points labelled -1 are noise and are not neighbours.
        weights: [N]; all ones unless given.
        near: [N, M] places of the nearest neighbours of each point, -1 for none; found unless given.
        slots: upper bound of the number of clusters; the largest label + 1 unless given.
        neighbours: M.

    Returns:
        The share, in [0, 1], larger is better; 0 if fewer than two clusters have points, or if a cluster has
        M points or fewer, which have fewer than M neighbours in it.

    >>> line = jnp.array([[0.0], [1.0], [2.0], [5.0], [6.0], [7.0]])
    >>> print(near_neighbours(line, jnp.array([0, 0, 0, 1, 1, 1]), neighbours=1))
    1.0
    """
    _, same, usable, enough = _neighbours(points, labels, weights, near, slots, neighbours)
    share = jnp.sum(same & usable) / jnp.maximum(jnp.sum(usable), 1)
    return jnp.where(enough, share, 0)


@near_index
def near_dunn(
    points: Num[AnyArray, "N D"],
    labels: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    near: Int[AnyArray, "N M"] | None = None,
    *,
    slots: int | None = None,
    neighbours: int = DEFAULT_NEIGHBOURS,
    separation: Average = "smooth min",
    compactness: Average = "one",
    width: int = 5,
) -> Float[Array, ""]:
    """The near-neighbour Dunn index (DuNN): distances to neighbours in other clusters over those in the same.

    It is an ordered weighted average of the distances from points to those of their M nearest neighbours that
    lie in another cluster, divided by one of the distances to those in the same cluster. A smooth minimum
    weights the j-th smallest distance by exp(-j^2 / (2 width^2)) for j < 3 width.

    Args:
        points: [N, D].
        labels: [N] cluster of each point; points labelled -1 are noise and are not neighbours.
        weights: [N]; all ones unless given.
        near: [N, M] places of the nearest neighbours of each point, -1 for none; found unless given.
        slots: upper bound of the number of clusters; the largest label + 1 unless given.
        neighbours: M.
        separation: average of the distances to other clusters: "min", "max", "mean", "smooth min",
            "smooth max", or "one" for the constant 1.
        compactness: average of the distances within clusters.
        width: width of smooth averages.

    Returns:
        The ratio, 0 or more, larger is better; 0 if fewer than two clusters have points or one has M points
        or fewer, and infinite if no near neighbour lies in another cluster.

    Raises:
        InputError: an average is unknown, or `neighbours` or `width` is less than one.

    >>> line = jnp.array([[0.0], [1.0], [2.0], [5.0], [6.0], [7.0]])
    >>> labels = jnp.array([0, 0, 0, 1, 1, 1])
    >>> print(near_dunn(line, labels, neighbours=2, separation="min", compactness="max"))
    inf
    """
    if width < 1:
        raise InputError(f"width is {width}; give a whole number >= 1.")
    for name in (separation, compactness):
        if name not in get_args(Average):
            raise InputError(f"there is no average {name!r}; choose one of {get_args(Average)}.")
    away, same, usable, enough = _neighbours(points, labels, weights, near, slots, neighbours)
    apart = _average(separation, away, usable & ~same, jnp.inf, width)
    inside = _average(compactness, away, usable & same, 0.0, width)
    ratio = jnp.where(inside > 0, apart / jnp.where(inside > 0, inside, 1), jnp.inf)
    return jnp.where(enough, ratio, 0)


def _neighbours(
    points: AnyArray,
    labels: Labels,
    weights: AnyArray | None,
    near: AnyArray | None,
    slots: int | None,
    neighbours: int,
) -> tuple[Float[Array, "N M"], Bool[Array, "N M"], Bool[Array, "N M"], Bool[Array, ""]]:
    """The distances to near neighbours, whether they share the cluster and exist, and whether enough do."""
    if neighbours < 1:
        raise InputError(f"neighbours is {neighbours}; give a whole number >= 1.")
    clusters = clusters_of(points, labels, weights, slots)
    counted = clusters.weights > 0
    places = jnp.arange(len(clusters.x))
    count = min(neighbours, max(len(places) - 1, 1))

    def of_row(row: tuple) -> tuple[Array, Array]:
        x, label, exists, place = row
        possible = exists & counted & (places != place)
        reached = jnp.where(possible, clusters.unit * row_distances(x, clusters.x), jnp.inf)
        nearest, which = lax.top_k(-reached, count)
        return -nearest, clusters.labels[which] == label

    def of_known(row: tuple) -> tuple[Array, Array]:
        x, label, _, which = row
        reached = jnp.where(which >= 0, clusters.unit * row_distances(x, clusters.x[which]), jnp.inf)
        return reached, clusters.labels[which] == label

    rows = (clusters.x, clusters.labels, counted, places if near is None else near)
    away, same = over_rows(*((of_row, rows, len(places)) if near is None else (of_known, rows, count)))
    sizes = jnp.sum(clusters.member(), 0)
    least = jnp.min(jnp.where(sizes > 0, sizes, jnp.inf))
    usable = jnp.isfinite(away)
    return away, same & usable, usable, (jnp.sum(sizes > 0) > 1) & (least > neighbours)


def _average(
    average: Average, values: Array, counted: Bool[Array, "N M"], empty: float, width: int
) -> Float[Array, ""]:
    """An ordered weighted average of the counted values; `empty` if there are none."""
    if average == "one":
        return jnp.ones((), values.dtype)
    any_counted = jnp.any(counted)
    if average == "mean":
        result = jnp.sum(jnp.where(counted, values, 0)) / jnp.maximum(jnp.sum(counted), 1)
    elif average in ("min", "max"):
        values = jnp.where(counted, values, jnp.inf if average == "min" else -jnp.inf)
        result = jnp.min(values) if average == "min" else jnp.max(values)
    else:
        sign = 1 if average == "smooth min" else -1
        flat = jnp.where(counted, -sign * values, -jnp.inf).ravel()
        first, _ = lax.top_k(flat, min(3 * width, flat.size))
        present = jnp.isfinite(first)
        shares = jnp.where(present, jnp.exp(-0.5 * (jnp.arange(first.size) / width) ** 2), 0)
        result = -sign * shares @ jnp.where(present, first, 0) / jnp.maximum(jnp.sum(shares), 1e-30)
    return jnp.where(any_counted, result, empty)
