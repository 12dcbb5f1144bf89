"""Computation over batches of tasks, in chunks that fit into the cache and on all devices.

`vmap` alone runs each step of a loop for all tasks before the next step, which streams all tasks through
memory every time and on a CPU leaves most cores idle. Processing small chunks one after another, with one
device per core, gives the same results several times faster.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import JaxprEqn, jaxprs_in_params
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from jaxtyping import PyTree

from .errors import InputError
from .sharding.meshes import TASKS, alike, count_tasks, mesh_of

CHUNK_BYTES = 2**18
"""The target size of the largest array of a chunk on a CPU."""
MIN_CHUNK = 4
"""The smallest number of tasks in a chunk on a CPU, as a product of few small matrices is slow."""
LARGE_TASK_BYTES = 2**21
"""A chunk on a CPU holds a single task if `MIN_CHUNK` tasks would need a larger array than this."""
MIN_PARALLEL_BYTES = 2**25
"""The size of all results from which several CPU devices are used: starting them takes half a millisecond."""


class Elsewhere(NamedTuple):
    """Devices that programs are compiled for in place of the local ones, without running them.

    Attributes:
        mesh: of these.
        memory: bytes of each.
    """

    mesh: Mesh
    memory: float


ELSEWHERE: ContextVar[Elsewhere | None] = ContextVar("elsewhere", default=None)
"""Set while programs are compiled for devices that are not there."""
MEMORY_SHARE = 0.8
"""The share of an accelerator's memory that one chunk of tasks may take."""


def use_all_cores() -> None:
    """Gives jax one CPU device per core, among which `over_tasks` and `meta_step` divide tasks.

    Call it before any array is created; it has no effect later, or if the number of CPU devices is already
    set. The experiments and the benchmarks call it.
    """
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if jax.config.values["jax_num_cpu_devices"] > 0 or chosen:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        jax.config.update("jax_num_cpu_devices", cores)
    except RuntimeError:  # a device has started
        return


def over_tasks(
    function: Callable[..., PyTree],
    *,
    chunk: int | None = None,
    shared: int = 0,
    mesh: Mesh | None = None,
) -> Callable[..., PyTree]:
    """A faster `jax.vmap(function)`: computes chunks of tasks on all local devices; compiled once.

    Take gradients inside: `over_tasks(jax.grad(loss))` stores the residuals of one chunk at a time, the
    gradient of `over_tasks(loss)` those of all tasks. Make it the outermost transform, inside `jit` or not.

    Inside another `jit`, pass arguments that lie on one device, such as `jax.device_get` of trained
    parameters. If they lie on several, each device does all the work, and CPU devices that factorise matrices
    deadlock.

    Args:
        function: function of one task; its arguments are pytrees of arrays.
        chunk: tasks per device at a time; chosen by the size of the computed arrays unless given.
        shared: number of leading arguments that are the same for all tasks.
        mesh: the devices; all local ones, at most one per task, unless given.

    Returns:
        The function of T tasks: all arguments but the shared ones, and all results, have a leading axis T.

    Raises:
        InputError: there is no task, the arguments disagree about the number of tasks, or `chunk` is not a
            positive whole number.

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
    """Sums over tasks, in chunks and across devices; one all-reduce adds the sums of the devices.

    Args:
        function: (shared, chunk of tasks, real) -> (totals, each). `totals` are summed over chunks, `each`
            has the chunk's leading axis. The last chunk is padded by repeating the last task; `real` [chunk]
            is False for the padding.
        chunk: tasks per device at a time; chosen by the size of the computed arrays unless given.
        mesh: the devices; all local ones, at most one per task, unless given.

    Returns:
        The function (shared, tasks) -> (totals, each of all T tasks).

    Raises:
        InputError: there is no task, the arguments disagree about the number of tasks, or `chunk` is not a
            positive whole number.

    >>> double = fold_over_tasks(lambda w, x, real: (jnp.sum(jnp.where(real, w * x, 0)), x), chunk=2)
    >>> double(2.0, jnp.arange(3.0))
    (Array(6., dtype=float32), Array([0., 1., 2.], dtype=float32))
    """
    if chunk is not None and (not isinstance(chunk, int) or chunk < 1):
        raise InputError(f"chunk is {chunk!r}; give a whole number >= 1.")

    @jax.jit
    def folded(shared: PyTree, tasks: PyTree) -> tuple[PyTree, PyTree]:
        count = count_tasks(tasks)
        used, size = _plan(function, shared, tasks, count, chunk, mesh)
        parts = used.shape[TASKS]
        rounds = -(-count // (parts * size))
        real = jnp.arange(parts * rounds * size) < count
        whole = jax.tree.map(lambda leaf: _padded(leaf, len(real)), tasks)

        def one_device(shared: PyTree, tasks: PyTree, real: Any) -> tuple[PyTree, PyTree]:
            if rounds == 1:
                totals, each = function(shared, tasks, real)
            else:
                totals, each = _scan(function, shared, (tasks, real), rounds)
            return (_all_reduce(totals) if parts > 1 else totals), each

        if used.size > 1:
            # check_vma would insert collectives: a gradient taken inside would be summed over devices.
            one_device = jax.shard_map(
                one_device,
                mesh=used,
                in_specs=(PartitionSpec(), PartitionSpec(TASKS), PartitionSpec(TASKS)),
                out_specs=(PartitionSpec(), PartitionSpec(TASKS)),
                axis_names={TASKS},  # what is divided along points is left to the compiler
                check_vma=False,
            )
        totals, each = one_device(shared, whole, real)
        return totals, jax.tree.map(lambda leaf: leaf[:count], each)

    return folded


def placed(program: Any, args: PyTree) -> PyTree:
    """Places the arguments of a traced program on the devices among which it divides tasks, and no others.

    The results of such a program lie on these devices; passing them back in would otherwise compile it again.
    A program that does not divide tasks would do all its work on every device that holds its arguments.

    Args:
        program: a jaxpr.
        args: the arguments of the program.
    """
    meshes = [e.params["mesh"] for e in _equations(program) if e.primitive.name == "shard_map"]
    if meshes:
        everywhere = NamedSharding(meshes[0], PartitionSpec())
        return jax.tree.map(lambda leaf: alike(leaf, everywhere), args)
    arrays = [leaf for leaf in jax.tree.leaves(args) if isinstance(leaf, jax.Array)]
    spread = any(len(array.devices()) > 1 for array in arrays)
    return jax.device_put(args, jax.local_devices()[0]) if spread else args


LAPACK = ("cholesky", "eigh", "eig", "lu", "qr", "schur", "svd", "triangular_solve")
"""Primitives that, given several matrices, wait in a pool thread for other work of the same pool, so that two
devices deadlock."""


def _plan(
    function: Callable, shared: PyTree, tasks: PyTree, count: int, chunk: int | None, mesh: Mesh | None
) -> tuple[Mesh, int]:
    """The mesh of devices to use, and the number of tasks per chunk; an accelerator takes as many as fit."""
    elsewhere = ELSEWHERE.get()
    given = elsewhere.mesh if elsewhere else mesh
    used = given or mesh_of(jax.local_devices()[:count])
    first = used.devices.flat[0]
    cpu = first.platform == "cpu"
    if cpu and (chunk is None or used.size > 1):
        one = jax.tree.map(lambda leaf: leaf[:1], tasks)
        jaxpr = jax.make_jaxpr(function)(shared, one, jnp.ones(1, bool)).jaxpr
        matrices = _max_factorized(jaxpr)
        if given is None and (matrices or count * _bytes_computed(jaxpr) < MIN_PARALLEL_BYTES):
            used = mesh_of([first])
        if matrices and used.size > 1:
            check_factorized(jaxpr)
            return used, 1
    each = -(-count // used.shape[TASKS])
    if chunk is not None:
        return used, min(each, chunk)
    if not cpu:
        memory = elsewhere.memory if elsewhere else (first.memory_stats() or {}).get("bytes_limit")
        most = each if memory is None else fitting(function, shared, tasks, each, first, memory)
        return used, -(-each // -(-each // most))  # rounds of equal size
    made = [variable.aval for equation in _equations(jaxpr) for variable in equation.outvars]
    largest = max((_bytes(aval) for aval in [*map(jax.typeof, jax.tree.leaves(one)), *made]), default=1)
    size = min(each, max(MIN_CHUNK, CHUNK_BYTES // largest) if MIN_CHUNK * largest <= LARGE_TASK_BYTES else 1)
    # A size near it may need less padding.
    return used, min(range(max(1, size // 2), size + 1), key=lambda size: (-each % size, -size))


def fitting(
    function: Callable, shared: PyTree, tasks: PyTree, each: int, device: jax.Device, memory: float
) -> int:
    """The number of tasks, up to `each`, whose computation fits into `MEMORY_SHARE` of a device's memory.

    If the sum of all results would fit, they do. Else the memory is that of the programs for one and two
    tasks, compiled for the device, and grows evenly from there.

    Raises:
        InputError: not even one task fits.
    """
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), tasks)
    real = jax.ShapeDtypeStruct((1,), bool)
    shared = jax.eval_shape(lambda: shared)
    allowed = MEMORY_SHARE * memory
    if each * _bytes_computed(jax.make_jaxpr(function)(shared, one, real).jaxpr) <= allowed:
        return each

    def needed(count: int) -> float:
        args = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype), (one, real)
        )
        place = SingleDeviceSharding(device)
        placed_args = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), (shared, *args)
        )
        return bytes_needed(jax.jit(function).lower(*placed_args).compile())

    first, second = needed(1), needed(2)
    if first > allowed:
        raise InputError(
            f"one task needs {first / 1e9:.3g} GB, and a device may use {allowed / 1e9:.3g} GB of its "
            f"{memory / 1e9:.3g} GB; give smaller tasks, fewer inner steps, or an implicit derivative."
        )
    return min(each, 1 + int((allowed - first) / max(second - first, 1)))


def bytes_needed(program: jax.stages.Compiled) -> int:
    """The bytes that a compiled program needs on each device; what it updates in place counts once."""
    sizes: Any = program.memory_analysis()
    arguments, outputs = sizes.argument_size_in_bytes, sizes.output_size_in_bytes
    return int(arguments + outputs - sizes.alias_size_in_bytes + sizes.temp_size_in_bytes)


def check_factorized(jaxpr: Any) -> None:
    """Raises an InputError if a program would deadlock on several CPU devices."""
    if (matrices := _max_factorized(jaxpr)) > 1:
        raise InputError(
            f"each task factorises {matrices} matrices at once, on which several CPU devices deadlock; give "
            "task_mesh(1), or points of one device."
        )


def _max_factorized(jaxpr: Any) -> int:
    """The largest number of matrices that one LAPACK call receives."""
    operands: list[Any] = [e.invars[0].aval for e in _equations(jaxpr) if e.primitive.name in LAPACK]
    return max((math.prod(matrices.shape[:-2]) for matrices in operands), default=0)


def _equations(jaxpr: Any) -> Iterator[JaxprEqn]:
    """Every equation of a program; those of loops and branches once."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from _equations(inner)


def _bytes_computed(jaxpr: Any) -> int:
    """The size in bytes of all results of a program; those of a loop of known length count once per pass."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [_bytes_computed(part) for part in jaxprs_in_params(equation.params)]
        own = sum(_bytes(variable.aval) for variable in equation.outvars)
        total += equation.params.get("length", 1) * sum(inner) if inner else own
    return total


def _bytes(aval: Any) -> int:
    return math.prod(getattr(aval, "shape", ())) * getattr(getattr(aval, "dtype", None), "itemsize", 0) or 1


def _scan(function: Callable, shared: PyTree, parts: tuple, rounds: int) -> tuple[PyTree, PyTree]:
    """Runs one chunk after another, summing the totals."""
    split = jax.tree.map(lambda leaf: leaf.reshape(rounds, len(leaf) // rounds, *leaf.shape[1:]), parts)
    first = jax.tree.map(lambda leaf: leaf[0], split)
    zeros = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function, shared, *first)[0]
    )

    def add(totals: PyTree, part: tuple) -> tuple[PyTree, PyTree]:
        own, each = function(shared, *part)
        return jax.tree.map(jnp.add, totals, own), each

    totals, each = lax.scan(add, zeros, split)
    return totals, jax.tree.map(lambda leaf: leaf.reshape(rounds * leaf.shape[1], *leaf.shape[2:]), each)


def _all_reduce(totals: PyTree) -> PyTree:
    """The sum over devices, as one all-reduce of all elements."""
    vector, restored = ravel_pytree(totals)
    return restored(lax.psum(vector, TASKS)) if vector.size else totals


def _padded(leaf: Any, count: int) -> Any:
    """The leaf with its last task repeated, up to `count` tasks."""
    missing = count - leaf.shape[0]
    if not missing:
        return leaf
    last = jnp.broadcast_to(leaf[-1:], (missing, *leaf.shape[1:]))
    return jnp.concatenate([leaf, last])
