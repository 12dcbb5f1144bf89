"""Many tasks at once: in chunks that stay in the cache, on every device there is.

`vmap` alone runs each step of a loop over all tasks before the next one, and streams all of them through
memory every time; on a CPU it also leaves most cores idle. The same tasks in small chunks, one after
another on one device per core, give the same numbers several times sooner.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import JaxprEqn, jaxprs_in_params
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding
from jaxtyping import Array, PyTree

from .errors import InputError

AXIS = "tasks"
CACHE, LEAST, LARGE, LITTLE = 2**18, 4, 2**21, 2**25
"""On a CPU: bytes that the largest array of a chunk may have; how many tasks it has at least, since a
product of few small matrices is slow; the bytes beyond which a task is better alone; and the bytes that all
tasks together must compute to be worth a second device, which takes half a millisecond to begin and end."""


def use_all_cores() -> None:
    """Give jax one CPU device per core, which `over_tasks` and `meta_step` share tasks out to.

    Call it before any array is made: later, and where the number of CPU devices was chosen already, nothing
    changes. The experiments and the benchmarks do so.
    """
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if jax.config.values["jax_num_cpu_devices"] > 0 or chosen:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        jax.config.update("jax_num_cpu_devices", cores)
    except RuntimeError:  # a device has started
        return


def task_mesh(devices: int | None = None) -> Mesh:
    """A mesh of devices, of all hosts together, that tasks are shared out to.

    Args:
        devices: how many, the first ones; all unless given.

    Raises:
        InputError: there are not so many.

    >>> task_mesh(1).shape["tasks"]
    1
    """
    found = jax.devices()
    count = len(found) if devices is None else devices
    if not 1 <= count <= len(found):
        raise InputError(f"a mesh of {count} devices was asked for, but there are {len(found)}.")
    return _mesh(found[:count])


def of_all_hosts(mesh: Mesh | None) -> Mesh | None:
    """The mesh itself; without one that of all devices where there are several hosts, which train as one."""
    return task_mesh() if mesh is None and jax.process_count() > 1 else mesh


def shard_tasks(tasks: PyTree, mesh: Mesh) -> PyTree:
    """Put a batch of tasks on the devices of a mesh, each its own part.

    Raises:
        InputError: the devices do not divide the tasks.

    >>> shard_tasks(jnp.arange(4.0), task_mesh(1)).sharding.spec
    P('tasks',)
    """
    count = count_tasks(tasks)
    if count % mesh.size:
        raise InputError(f"{mesh.size} devices do not divide {count} tasks; choose a multiple.")
    return jax.device_put(tasks, NamedSharding(mesh, PartitionSpec(AXIS)))


def over_tasks(
    function: Callable[..., PyTree],
    *,
    chunk: int | None = None,
    shared: int = 0,
    mesh: Mesh | None = None,
) -> Callable[..., PyTree]:
    """`jax.vmap(function)`, sooner: chunks of tasks, shared out to all local devices; compiled once.

    Take gradients inside: `over_tasks(jax.grad(loss))` keeps only what one chunk needs, while the gradient
    of `over_tasks(loss)` keeps what all need. Call it outermost, inside `jit` or not.

    Under a `jit` of your own give it arguments on one device, such as `jax.device_get` of trained parameters.
    Where they lie on two, each does all the work, and CPUs that factorise matrices wait for each other.

    Args:
        function: of one task; its arguments are pytrees of arrays.
        chunk: how many tasks a device takes at once; by the size of what it computes unless given.
        shared: how many of the first arguments are the same for all tasks.
        mesh: the devices; all local ones, at most one per task, unless given.

    Returns:
        The function of T tasks: all its arguments but the shared ones have a leading axis T, and so have its
        results.

    Raises:
        InputError: there is no task, arguments disagree about how many there are, or `chunk` is no count.

    >>> over_tasks(lambda x, y: x + jnp.sum(y))(jnp.arange(3.0), jnp.ones((3, 2)))
    Array([2., 3., 4.], dtype=float32)
    """

    def each(same: tuple, args: tuple, real: Any) -> tuple[tuple, PyTree]:
        return (), jax.vmap(lambda *args: function(*same, *args))(*args)

    folded = fold_over_tasks(each, chunk=chunk, mesh=mesh)
    return lambda *args: folded(args[:shared], args[shared:])[1]


def fold_over_tasks(
    function: Callable[[PyTree, PyTree, Any], tuple[PyTree, PyTree]],
    *,
    chunk: int | None = None,
    mesh: Mesh | None = None,
) -> Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]:
    """Sum over tasks, in chunks and over devices; one all-reduce adds the devices' sums up.

    Args:
        function: (shared, chunk of tasks, real) -> (totals, each). `totals` are added over chunks, `each` has
            the chunk's leading axis. Where the tasks do not fill the last chunk, its last task is repeated,
            and `real` [chunk] is False.
        chunk: how many tasks a device takes at once; by the size of what it computes unless given.
        mesh: the devices; all local ones, at most one per task, unless given.

    Returns:
        The function (shared, tasks) -> (totals, each of all T tasks).

    Raises:
        InputError: there is no task, arguments disagree about how many there are, or `chunk` is no count.

    >>> double = fold_over_tasks(lambda w, x, real: (jnp.sum(jnp.where(real, w * x, 0)), x), chunk=2)
    >>> double(2.0, jnp.arange(3.0))
    (Array(6., dtype=float32), Array([0., 1., 2.], dtype=float32))
    """
    if chunk is not None and (not isinstance(chunk, int) or chunk < 1):
        raise InputError(f"chunk is {chunk!r}; give a whole number >= 1.")

    @jax.jit
    def folded(shared: PyTree, tasks: PyTree) -> tuple[PyTree, PyTree]:
        count = count_tasks(tasks)
        devices, size = _plan(function, shared, tasks, count, chunk, mesh)
        rounds = -(-count // (len(devices) * size))
        real = jnp.arange(len(devices) * rounds * size) < count
        whole = jax.tree.map(lambda leaf: _padded(leaf, len(real)), tasks)

        def one_device(shared: PyTree, tasks: PyTree, real: Any) -> tuple[PyTree, PyTree]:
            if rounds == 1:
                totals, each = function(shared, tasks, real)
            else:
                totals, each = _scan(function, shared, (tasks, real), rounds)
            return (_all_reduce(totals) if len(devices) > 1 else totals), each

        if len(devices) > 1:
            # Nothing is for the check to insert: with it, a gradient inside would be summed over devices.
            one_device = jax.shard_map(
                one_device,
                mesh=mesh or _mesh(devices),
                in_specs=(PartitionSpec(), PartitionSpec(AXIS), PartitionSpec(AXIS)),
                out_specs=(PartitionSpec(), PartitionSpec(AXIS)),
                check_vma=False,
            )
        totals, each = one_device(shared, whole, real)
        return totals, jax.tree.map(lambda leaf: leaf[:count], each)

    return folded


def placed(program: Any, args: PyTree) -> PyTree:
    """The arguments of a traced program, on the devices that it shares tasks out to, and on no others.

    What such a program returns lies there too: fed back to it, it would otherwise be compiled again. And one
    that shares nothing out would do all its work on every device that holds its arguments.

    Args:
        program: a jaxpr.
        args: its arguments.
    """
    meshes = [e.params["mesh"] for e in _equations(program) if e.primitive.name == "shard_map"]
    if meshes:
        everywhere = NamedSharding(meshes[0], PartitionSpec())
        return jax.tree.map(lambda leaf: alike(leaf, everywhere), args)
    arrays = [leaf for leaf in jax.tree.leaves(args) if isinstance(leaf, jax.Array)]
    spread = any(len(array.devices()) > 1 for array in arrays)
    return jax.device_put(args, jax.local_devices()[0]) if spread else args


def alike(leaf: Any, everywhere: Sharding) -> Array:
    """A value that all hosts hold alike, as one array on the devices of all of them."""
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
    """How many tasks a batch has: the length of the leading axis of all its arrays."""
    counts = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(tasks)}
    if len(counts) > 1:
        raise InputError(f"arrays hold {sorted(counts)} tasks; give as many of each.")
    if not counts or counts == {0}:
        raise InputError("the batch holds no task; give at least one.")
    return counts.pop()


LAPACK = ("cholesky", "eigh", "eig", "lu", "qr", "schur", "svd", "triangular_solve")
"""Primitives that wait, inside a thread of a pool, for work in the same pool where they are given several
matrices: two devices wait forever."""


def _plan(
    function: Callable, shared: PyTree, tasks: PyTree, count: int, chunk: int | None, mesh: Mesh | None
) -> tuple[list[jax.Device], int]:
    """Which devices, and how many tasks each takes at once; an accelerator takes all its tasks."""
    devices = list(mesh.devices.flat) if mesh else jax.local_devices()[:count]
    cpu = devices[0].platform == "cpu"
    if cpu and (chunk is None or len(devices) > 1):
        one = jax.tree.map(lambda leaf: leaf[:1], tasks)
        jaxpr = jax.make_jaxpr(function)(shared, one, jnp.ones(1, bool)).jaxpr
        equations = list(_equations(jaxpr))
        matrices = _most_factorized(equations)
        if mesh is None and (matrices or count * _bytes_computed(jaxpr) < LITTLE):
            devices = devices[:1]
        if matrices and len(devices) > 1:
            if matrices > 1:
                raise InputError(
                    f"each task factorises {matrices} matrices at once, which CPU devices together never "
                    "end; give task_mesh(1)."
                )
            return devices, 1
    each = -(-count // len(devices))
    if chunk is not None or not cpu:
        return devices, min(each, chunk or each)
    made = [variable.aval for equation in equations for variable in equation.outvars]
    largest = max((_bytes(aval) for aval in [*map(jax.typeof, jax.tree.leaves(one)), *made]), default=1)
    size = min(each, max(LEAST, CACHE // largest) if LEAST * largest <= LARGE else 1)
    # Some size near it may leave no task over.
    return devices, min(range(max(1, size // 2), size + 1), key=lambda size: (-each % size, -size))


def _most_factorized(equations: list[JaxprEqn]) -> int:
    """How many matrices LAPACK is given at once, at most."""
    given: list[Any] = [e.invars[0].aval for e in equations if e.primitive.name in LAPACK]
    return max((math.prod(matrices.shape[:-2]) for matrices in given), default=0)


def _equations(jaxpr: Any) -> Iterator[JaxprEqn]:
    """Every equation of a program, those of its loops and branches once."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from _equations(inner)


def _bytes_computed(jaxpr: Any) -> int:
    """Bytes of all results of a program, those of a loop of known length as often as it runs."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [_bytes_computed(part) for part in jaxprs_in_params(equation.params)]
        own = sum(_bytes(variable.aval) for variable in equation.outvars)
        total += equation.params.get("length", 1) * sum(inner) if inner else own
    return total


def _bytes(aval: Any) -> int:
    return math.prod(getattr(aval, "shape", ())) * getattr(getattr(aval, "dtype", None), "itemsize", 0) or 1


def _scan(function: Callable, shared: PyTree, parts: tuple, rounds: int) -> tuple[PyTree, PyTree]:
    """One chunk after another; totals are added up as they come."""
    split = jax.tree.map(lambda leaf: leaf.reshape(rounds, len(leaf) // rounds, *leaf.shape[1:]), parts)
    first = jax.tree.map(lambda leaf: leaf[0], split)
    zeros = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function, shared, *first)[0]
    )

    def add(totals: PyTree, part: tuple) -> tuple[PyTree, PyTree]:
        found, each = function(shared, *part)
        return jax.tree.map(jnp.add, totals, found), each

    totals, each = lax.scan(add, zeros, split)
    return totals, jax.tree.map(lambda leaf: leaf.reshape(rounds * leaf.shape[1], *leaf.shape[2:]), each)


def _all_reduce(totals: PyTree) -> PyTree:
    """The sum over devices, of all numbers at once."""
    vector, restored = ravel_pytree(totals)
    return restored(lax.psum(vector, AXIS)) if vector.size else totals


def _mesh(devices: list[jax.Device]) -> Mesh:
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def _padded(leaf: Any, count: int) -> Any:
    """The leaf with its last task repeated, up to `count`."""
    missing = count - leaf.shape[0]
    if not missing:
        return leaf
    last = jnp.broadcast_to(leaf[-1:], (missing, *leaf.shape[1:]))
    return jnp.concatenate([leaf, last])
