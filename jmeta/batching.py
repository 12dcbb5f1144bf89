"""Many tasks at once: in chunks that stay in the cache, on every device there is.

`vmap` alone runs each step of a loop over all tasks before the next one, and streams all of them through
memory every time; on a CPU it also leaves most cores idle. The same tasks in small chunks, one after
another on one device per core, give the same numbers several times sooner.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import PyTree

from .records import InputError

CACHE, LEAST = 2**18, 4
"""Bytes of inputs that a chunk may have on a CPU, where what is computed from them is several times as
much; and how many tasks it has at least, since a product of few small matrices is slow."""


def use_all_cores() -> None:
    """Give jax one CPU device per core, which `over_tasks` shares tasks out to.

    Call it before any array is made: later, and where the number of CPU devices was chosen already, nothing
    changes. The benchmarks do so.
    """
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if jax.config.values["jax_num_cpu_devices"] > 0 or chosen:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        jax.config.update("jax_num_cpu_devices", cores)
    except RuntimeError:  # a device has started
        return


def over_tasks(function: Callable[..., PyTree], *, chunk: int | None = None) -> Callable[..., PyTree]:
    """`jax.vmap(function)`, sooner: chunks of tasks, shared out to all local devices; compiled once.

    Take gradients inside: `over_tasks(jax.grad(loss))` keeps only what one chunk needs, while the gradient
    of `over_tasks(loss)` keeps what all need. Call it outermost, inside `jit` or not.

    Args:
        function: of one task; all its arguments are pytrees of arrays, each with a leading axis T added.
        chunk: how many tasks a device takes at once; by the size of a task unless given.

    Returns:
        The function of T tasks, whose results have a leading axis T.

    Raises:
        InputError: there is no task, arguments disagree about how many there are, or `chunk` is no count.

    >>> over_tasks(lambda x, y: x + jnp.sum(y))(jnp.arange(3.0), jnp.ones((3, 2)))
    Array([2., 3., 4.], dtype=float32)
    """
    if chunk is not None and (not isinstance(chunk, int) or chunk < 1):
        raise InputError(f"chunk is {chunk!r}; give a whole number >= 1.")

    @jax.jit
    def many(*args: PyTree) -> PyTree:
        count = count_tasks(args)
        devices = jax.local_devices()[:count]
        if len(devices) > 1 and devices[0].platform == "cpu" and _uses_lapack(function, args):
            devices = devices[:1]
        each = -(-count // len(devices))
        size = min(each, chunk or _chunk(args, count, devices[0].platform))
        if chunk is None:  # some size near it may leave no task over
            size = min(range(max(1, size // 2), size + 1), key=lambda size: (-each % size, -size))
        rounds = -(-each // size)
        whole = jax.tree.map(lambda leaf: _padded(leaf, len(devices) * rounds * size), args)

        def one_device(*args: PyTree) -> PyTree:
            if rounds == 1:
                return jax.vmap(function)(*args)
            split = jax.tree.map(lambda leaf: leaf.reshape(rounds, size, *leaf.shape[1:]), args)
            found = lax.map(lambda some: jax.vmap(function)(*some), split)
            return jax.tree.map(lambda leaf: leaf.reshape(rounds * size, *leaf.shape[2:]), found)

        if len(devices) > 1:
            mesh = jax.make_mesh((len(devices),), ("tasks",), (AxisType.Auto,), devices=devices)
            # Tasks share nothing, so there is nothing for the check to insert: with it, a gradient inside
            # would be summed over devices.
            spread = PartitionSpec("tasks")
            one_device = jax.shard_map(
                one_device, mesh=mesh, in_specs=spread, out_specs=spread, check_vma=False
            )
        return jax.tree.map(lambda leaf: leaf[:count], one_device(*whole))

    return many


def count_tasks(tasks: PyTree) -> int:
    """How many tasks a batch has: the length of the leading axis of all its arrays."""
    counts = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(tasks)}
    if len(counts) > 1:
        raise InputError(f"arrays hold {sorted(counts)} tasks; give as many of each.")
    if not counts or counts == {0}:
        raise InputError("the batch holds no task; give at least one.")
    return counts.pop()


LAPACK = ("cholesky", "eigh", "eig", "lu", "qr", "schur", "svd", "triangular_solve")
"""Primitives that wait, inside a thread of a pool, for work in the same pool: two devices wait forever."""


def _uses_lapack(function: Callable[..., PyTree], args: PyTree) -> bool:
    """Whether a function of one task has a matrix factorised, as a mixture of Gaussians does."""
    one = jax.tree.map(lambda leaf: leaf[0], args)
    text = str(jax.make_jaxpr(function)(*one))
    return any(re.search(rf"= {name}\[", text) for name in LAPACK)


def _chunk(args: PyTree, count: int, platform: str) -> int:
    """How many tasks at once: on an accelerator all of them."""
    if platform != "cpu":
        return count
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(args) if hasattr(leaf, "size"))
    return max(LEAST, CACHE * count // max(size, 1))


def _padded(leaf: Any, count: int) -> Any:
    """The leaf with its last task repeated, up to `count`."""
    missing = count - leaf.shape[0]
    if not missing:
        return leaf
    last = jnp.broadcast_to(leaf[-1:], (missing, *leaf.shape[1:]))
    return jnp.concatenate([leaf, last])
