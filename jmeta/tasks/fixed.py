"""A single task as a sampler, and a warning for samplers that draw a single task by mistake."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Array, Key, PyTree

from ..errors import InputWarning
from ..records import Sampler, Task

ONE_TASK = (
    "the sampler draws the same task for every key; draw by jax.random with its key, or give "
    "jm.tasks.fixed(task) if one task is meant."
)


def fixed(task: Task) -> Sampler:
    """A sampler that draws the same data for every key, and with them the key that it gets.

    To train on several data sets use `from_arrays`, which draws among them and divides each at random.

    Args:
        task: its key is not used.

    >>> import jax.numpy as jnp
    >>> from jmeta.records import Batch
    >>> batch = Batch(jnp.ones((3, 1)), jnp.ones((3, 1)))
    >>> fixed(Task(batch, batch, None, jax.random.key(0)))(jax.random.key(1)).support.inputs.shape
    (3, 1)
    """
    return jax.tree_util.Partial(_with_key, task)


def _with_key(task: Task, key: Key[Array, ""]) -> Task:
    return task._replace(key=key)


def warn_of_one_task(sampler: Sampler, key: Key[Array, ""], *, stacklevel: int = 3) -> None:
    """Warns if the data of a task depend neither on the key nor on arrays that the sampler was given.

    It is traced once, and not compiled.

    Args:
        sampler: a pytree.
        key: a typed key.
        stacklevel: of the warning.
    """
    traced = _data.trace(sampler, key).jaxpr.jaxpr
    used = dce_jaxpr(traced, [True] * len(traced.outvars))[1]
    if not any(used):
        warnings.warn(ONE_TASK, InputWarning, stacklevel=stacklevel)


def warn_of_equal_tasks(tasks: Task, *, stacklevel: int = 3) -> None:
    """Warns if the data of several tasks that the host has made are all the same."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(_data_of(tasks))]
    if len(leaves[0]) > 1 and all(
        np.array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape)) for leaf in leaves
    ):
        warnings.warn(ONE_TASK, InputWarning, stacklevel=stacklevel)


def _data_of(task: Any) -> PyTree:
    """The support, the query and the truth of a task, or the whole of another tree."""
    return task[:3] if isinstance(task, Task) else task


@jax.jit
def _data(sampler: Sampler, key: Key[Array, ""]) -> PyTree:
    return _data_of(sampler(key))
