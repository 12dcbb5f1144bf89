"""Sums over the points of one task, which may be divided among devices, with one all-reduce.

A step of k-means or EM sums several things over points: weights, weighted sums, second moments. Each sum
over an axis that is divided among devices would be an all-reduce of its own, and so would be the derivative
with respect to each thing that all points share. Here each device sums all of them for its points, as one
vector, and one all-reduce adds these vectors; in the backward pass the same happens to what is shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec, get_abstract_mesh
from jaxtyping import Array, Float, Int, PyTree

from .meshes import POINTS


def fold_over_points(
    function: Callable[..., tuple[PyTree, PyTree]],
    shared: PyTree,
    points: Sequence[PyTree],
    axes: Sequence[int],
) -> tuple[PyTree, PyTree]:
    """Sums over points; one all-reduce adds the sums of the devices of the current mesh.

    Without a mesh that divides points, or if its devices do not divide their number, this is a call of
    `function`.

    Args:
        function: (shared, some of the points) -> (totals, each). `totals` are summed over points, arrays of
            `each` end with the axis of points.
        shared: arrays of one type that all points share; only in them and in the points is the result
            differentiated with one all-reduce.
        points: arrays, or None, with an axis of length N.
        axes: which axis of each that is.

    Returns:
        (totals, each of all N points).

    >>> def scaled(factor, x):
    ...     return jnp.sum(factor * x), factor * x
    >>> fold_over_points(scaled, 2.0, (jnp.arange(3.0),), (0,))
    (Array(6., dtype=float32), Array([0., 2., 4.], dtype=float32))
    """
    counts = [leaf.shape[axis] for leaf, axis in zip(points, axes, strict=True) if leaf is not None]
    devices = _devices_of(counts[0])
    if devices == 1:
        return function(shared, *points)

    parts = [
        jax.tree.map(lambda leaf, axis=axis: _split(leaf, axis, devices), one)
        for one, axis in zip(points, axes, strict=True)
    ]
    vector, shared_of = ravel_pytree(shared)
    copies = _placed(jnp.broadcast_to(vector, (devices, *vector.shape)), 0)
    shapes = jax.eval_shape(function, shared, *points)[0]
    totals_of = ravel_pytree(jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), shapes))[1]

    def of_device(vector: Array, *parts: PyTree) -> tuple[Array, PyTree]:
        totals, each = function(shared_of(vector), *parts)
        return ravel_pytree(totals)[0], each

    sums, each = jax.vmap(of_device, (0, *axes), (0, -2))(copies, *parts)
    whole = jax.tree.map(lambda leaf: leaf.reshape(*leaf.shape[:-2], -1), each)
    return totals_of(jnp.sum(sums, 0)), whole


def points_at(x: Float[Array, "N D"], places: Int[Array, " M"]) -> Float[Array, "M D"]:
    """Some of the points, `x[places]`; no device receives others where they are divided.

    >>> points_at(jnp.array([[1.0], [2.0], [3.0]]), jnp.array([2, 0])).ravel()
    Array([3., 1.], dtype=float32)
    """
    if _devices_of(len(x)) == 1:
        return x[places]

    def some(places: Array, x: Array, numbers: Array) -> tuple[Array, tuple]:
        chosen = (places[:, None] == numbers).astype(x.dtype)
        return jnp.matmul(chosen, x, precision="highest"), ()

    return fold_over_points(some, places, (x, jnp.arange(len(x))), (0, 0))[0]


def row_of_each(rows: Float[Array, "K D"], places: Int[Array, " N"]) -> Float[Array, "N D"]:
    """The row of each point, `rows[places]`; where points are divided, so is the derivative.

    >>> row_of_each(jnp.array([[1.0], [2.0]]), jnp.array([1, 1, 0])).ravel()
    Array([2., 2., 1.], dtype=float32)
    """
    if _devices_of(len(places)) == 1:
        return rows[places]
    return jnp.matmul(jax.nn.one_hot(places, len(rows), dtype=rows.dtype), rows, precision="highest")


def _devices_of(count: int) -> int:
    """The number of devices among which so many points are divided; 1 if they are not."""
    devices = dict(get_abstract_mesh().shape).get(POINTS, 1)
    return 1 if count % devices else devices


def _split(leaf: Array, axis: int, devices: int) -> Array:
    """An array whose axis of points is split in two, of devices and of the points of each."""
    return _placed(leaf.reshape(*leaf.shape[:axis], devices, -1, *leaf.shape[axis + 1 :]), axis)


def _placed(leaf: Array, axis: int) -> Array:
    """An array of which each device holds its part along an axis."""
    return lax.with_sharding_constraint(leaf, PartitionSpec(*[None] * axis, POINTS))
