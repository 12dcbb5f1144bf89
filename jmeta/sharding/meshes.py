"""Meshes of devices, among which tasks are divided, and if asked for the points of each task."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding
from jaxtyping import Array, PyTree

from ..errors import InputError

TASKS = "tasks"
"""The axis of a mesh among whose devices tasks are divided."""
POINTS = "points"
"""The axis of a mesh among whose devices the points of a task are divided, where it has one."""


def task_mesh(devices: int | None = None, *, points: int = 1) -> Mesh:
    """A mesh of devices, across all hosts, among which tasks are divided, and the points of each task.

    Args:
        devices: number of devices, taken in order; all unless given.
        points: number of devices that share the points of a task; it divides the number of devices. With
            `points=devices` all devices share each task.

    Raises:
        InputError: there are fewer devices, or `points` does not divide their number.

    >>> task_mesh(1).shape["tasks"]
    1
    """
    available = jax.devices()
    count = len(available) if devices is None else devices
    if not 1 <= count <= len(available):
        raise InputError(f"devices is {count}; give a whole number from 1 to {len(available)}.")
    if points < 1 or count % points:
        raise InputError(f"points is {points}; give a whole number that divides {count} devices.")
    return mesh_of(available[:count], points)


def mesh_of(devices: list[jax.Device], points: int = 1) -> Mesh:
    """The mesh of devices; its second axis, that of points, is there only if it is longer than one."""
    shape, names = ((-1, points), (TASKS, POINTS)) if points > 1 else ((-1,), (TASKS,))
    return Mesh(np.asarray(devices).reshape(shape), names, axis_types=(AxisType.Auto,) * len(names))


def of_all_hosts(mesh: Mesh | None) -> Mesh | None:
    """`mesh`, or if it is None and there are several hosts, which train together, the mesh of all devices."""
    return task_mesh() if mesh is None and jax.process_count() > 1 else mesh


def shard_tasks(tasks: PyTree, mesh: Mesh) -> PyTree:
    """Places a batch of tasks on the devices of a mesh, one part on each.

    On a mesh that divides points too, the second axis of arrays is that of points; arrays of one axis hold a
    number for each task.

    Raises:
        InputError: the number of tasks, or of points, is not a multiple of the number of devices.

    >>> shard_tasks(jnp.arange(4.0), task_mesh(1)).sharding.spec
    P('tasks',)
    """
    count = count_tasks(tasks)
    if count % mesh.shape[TASKS]:
        raise InputError(
            f"{mesh.shape[TASKS]} devices do not divide {count} tasks; give a multiple of "
            f"{mesh.shape[TASKS]} tasks."
        )
    both = PartitionSpec(TASKS, POINTS) if POINTS in mesh.shape else PartitionSpec(TASKS)

    def place(leaf: Any) -> Array:
        if jnp.ndim(leaf) < 2:
            return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(TASKS)))
        _check_points(jnp.shape(leaf)[1], mesh)
        return jax.device_put(leaf, NamedSharding(mesh, both))

    return jax.tree.map(place, tasks)


def shard_points(points: PyTree, mesh: Mesh) -> PyTree:
    """Places a table of points on the devices of a mesh that divides points, one part on each.

    `cluster` then takes one all-reduce in a step of k-means or EM, and no device holds all points.

    Args:
        points: [N, D], or arrays whose leading axis has length N, such as (points, weights).
        mesh: from `task_mesh(points=...)`.

    Raises:
        InputError: the mesh does not divide points, or its devices do not divide N.

    >>> shard_points(jnp.ones((4, 2)), task_mesh(1))
    Traceback (most recent call last):
    jmeta.errors.InputError: the mesh does not divide points; make it by task_mesh(points=...).
    """
    if POINTS not in mesh.shape:
        raise InputError("the mesh does not divide points; make it by task_mesh(points=...).")
    for leaf in jax.tree.leaves(points):
        _check_points(jnp.shape(leaf)[0], mesh)
    return jax.device_put(points, NamedSharding(mesh, PartitionSpec(POINTS)))


def points_mesh(array: Any) -> Mesh | None:
    """The mesh whose devices share the points of an array, its leading axis; None if they do not."""
    sharding = getattr(array, "sharding", None)
    if not isinstance(sharding, NamedSharding) or tuple(sharding.spec[:1]) != (POINTS,):
        return None
    return sharding.mesh if isinstance(sharding.mesh, Mesh) else None


def alike(leaf: Any, everywhere: Sharding) -> Array:
    """A value that is equal on all hosts, as one array on the devices of all hosts."""
    if everywhere.is_fully_addressable:
        return jax.device_put(leaf, everywhere)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return leaf
    if jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key):
        data = alike(jax.random.key_data(leaf), everywhere)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    value = np.asarray(leaf)
    return jax.make_array_from_callback(value.shape, everywhere, lambda place: value[place])


def count_tasks(tasks: PyTree) -> int:
    """The number of tasks in a batch: the length of the leading axis of its arrays."""
    counts = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(tasks)}
    if len(counts) > 1:
        raise InputError(f"the arrays hold {sorted(counts)} tasks; give arrays of equal length.")
    if not counts or counts == {0}:
        raise InputError("the batch holds no task; give at least one.")
    return counts.pop()


def _check_points(count: int, mesh: Mesh) -> None:
    devices = mesh.shape.get(POINTS, 1)
    if count % devices:
        raise InputError(
            f"{devices} devices do not divide {count} points; add {-count % devices} of weight zero."
        )
