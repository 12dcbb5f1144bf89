"""Points with their clusters, as the internal indices take them: checked, counted and centred."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PyTree

from ..compiler import Function, compiled
from ..distances import as_float, length_unit, quotient, square_root
from ..errors import InputError
from ..precision import in_double, is_traced
from ..records import AnyArray
from ..validation import as_array
from ..weights import cleared, weighted_mean, weights_or_ones
from .partitions import Labels, check_weights, numbered

FEW = 64
"""The largest number of clusters whose sums are computed by one matrix product."""

BLOCK = 2**22
"""The largest number of distances that are computed at once."""

Value = TypeVar("Value", bound=PyTree)


class Clusters(NamedTuple):
    """Points with their clusters.

    Attributes:
        x: [N, D] centred points, in units of `unit`; zero for those that do not count.
        labels: [N] cluster of each point; those that do not count may have any.
        weights: [N]; zero for noise.
        mass: [K] weight of each cluster.
        unit: a power of two, which no ratio of distances depends on.
        apart: [N, N] distances of all points, where they have been computed; else None.
    """

    x: Float[Array, "N D"]
    labels: Int[Array, " N"]
    weights: Float[Array, " N"]
    mass: Float[Array, " K"]
    unit: Float[Array, ""]
    apart: Float[Array, "N N"] | None = None

    @property
    def rows(self) -> Float[Array, "N ..."]:
        """For each point what `to_points` takes."""
        return self.x if self.apart is None else self.apart

    def to_points(self, row: Float[Array, "..."]) -> Float[Array, " N"]:
        """The distances of one of `rows` to all points."""
        return row_distances(row, self.x) if self.apart is None else row

    def member(self) -> Float[Array, "N K"]:
        """One where a point that counts belongs to a cluster, else zero."""
        counted = (self.weights > 0)[:, None]
        return jax.nn.one_hot(self.labels, len(self.mass), dtype=self.x.dtype) * counted

    def means(self) -> Float[Array, "K D"]:
        """The mean of each cluster; exact if all its points are equal, as they are taken from one of them."""
        places = jnp.where(self.weights > 0, jnp.arange(len(self.x)), len(self.x))
        first = jax.ops.segment_min(places, self.labels, len(self.mass))
        anchors = self.x[jnp.minimum(first, len(self.x) - 1)]
        away = self.weights[:, None] * (self.x - anchors[self.labels])
        return anchors + quotient(sums_by_cluster(away, self), self.mass[:, None])

    def to_means(self) -> Float[Array, " N"]:
        """The distance of each point to the mean of its cluster."""
        return square_root(jnp.sum(jnp.square(self.x - self.means()[self.labels]), 1))


def clusters_of(
    points: AnyArray,
    labels: Labels,
    weights: AnyArray | None,
    slots: int | None,
    apart: Float[Array, "N N"] | None = None,
) -> Clusters:
    """Points and labels, numbered by `index_of_clusters`, as `Clusters`.

    Args:
        points: [N, D].
        labels: [N].
        weights: [N]; all ones unless given.
        slots: K.
        apart: distances of the points, which are then not scaled.
    """
    x = as_float(jnp.asarray(points))
    count = slots or 1
    numbers = jnp.asarray(labels)
    known = jnp.where(numbers >= 0, weights_or_ones(x, weights), 0).astype(x.dtype)
    x = cleared(x, known)
    x = cleared(x - weighted_mean(x, known), known)
    unit = length_unit(x) if apart is None else jnp.ones((), x.dtype)
    numbers = jnp.clip(numbers, 0, count - 1)
    blank = Clusters(x / unit, numbers, known, jnp.zeros(count, x.dtype), unit, apart)
    return blank._replace(mass=sums_by_cluster(known, blank))


def sums_by_cluster(values: Float[Array, "N ..."], clusters: Clusters) -> Float[Array, "K ..."]:
    """The sum of values over the points of each cluster."""
    count = len(clusters.mass)
    if count > FEW:
        return jax.ops.segment_sum(values, clusters.labels, count)
    owners = jax.nn.one_hot(clusters.labels, count, dtype=values.dtype)
    return jnp.tensordot(owners, values, (0, 0), precision="highest")


def over_rows(function: Callable[[Any], Value], rows: PyTree, width: int) -> Value:
    """The outputs of a function for each row, of arrays as long as `width`, a block of rows at a time."""
    count = len(jax.tree.leaves(rows)[0])
    size = max(1, BLOCK // max(width, 1))
    if count <= size:
        return jax.vmap(function)(rows)
    return lax.map(function, rows, batch_size=size)


def row_distances(x: Float[Array, " D"], points: Float[Array, "M D"]) -> Float[Array, " M"]:
    """Euclidean distances of one point to others, from differences, which are accurate for close points.

    Squares are summed column by column, in a sixth of the time that one operation would take.
    """

    def add(total: Array, column: tuple[Array, Array]) -> tuple[Array, None]:
        return total + jnp.square(column[0] - column[1]), None

    start = jnp.zeros(len(points), points.dtype)
    return square_root(lax.scan(add, start, (x, points.T))[0])


def index_of_clusters(
    index: Function, *, prepare: Callable[..., dict[str, Any]] = lambda **given: {}
) -> Function:
    """Returns an index of points and labels, checked and compiled; in double precision unless traced.

    A point that counts and is not finite makes the index NaN, also where a comparison would hide it.

    Args:
        index: a function of (points, labels, weights); its keyword-only arguments are static.
        prepare: unless traced, called on-host with the arguments; returns further arguments.
    """
    signature = inspect.signature(index)
    fixed = [name for name, one in signature.parameters.items() if one.kind is one.KEYWORD_ONLY]
    program = compiled(_seeing_nan(index), static=fixed)

    @wraps(index)
    def call(*args: Any, **options: Any) -> Float[Array, ""]:
        given = signature.bind(*args, **options).arguments
        points = as_array("points", given["points"])
        labels = as_array("labels", given["labels"])
        weights = given.get("weights")
        if np.ndim(points) != 2 or np.shape(labels) != np.shape(points)[:1]:
            raise InputError(
                f"points have shape {np.shape(points)} and labels {np.shape(labels)}; "
                "give a table [points, features] and one label for each."
            )
        check_weights(weights, len(labels), "points")
        labels, slots = numbered("cluster", labels, given.get("slots"))
        given |= {"points": points, "labels": labels, "slots": slots}
        if is_traced(points, labels, weights):
            return program(**given)
        given["points"] = np.asarray(points, np.float64)
        given["weights"] = None if weights is None else np.asarray(weights, np.float64)
        given |= prepare(**given)
        return jax.device_put(in_double(program, **given))

    return cast(Function, call)


def _seeing_nan(index: Function) -> Function:
    @wraps(index)
    def call(points: Array, labels: Array, weights: Array | None = None, **options: Any) -> Float[Array, ""]:
        x = as_float(jnp.asarray(points))
        known = jnp.where(jnp.asarray(labels) >= 0, weights_or_ones(x, weights), 0)
        finite = jnp.all(jnp.isfinite(cleared(x, known))) & jnp.all(jnp.isfinite(known))
        return jnp.where(finite, 0, jnp.nan) + index(points, labels, weights, **options)

    return cast(Function, call)
