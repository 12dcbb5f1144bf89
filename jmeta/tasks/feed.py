"""Batches of tasks that the host makes, in place of a sampler on the device."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Key

from ..errors import InputError
from ..records import HostSampler, Task
from ..sharding.meshes import TASKS
from .episodes import scaled
from .fixed import warn_of_equal_tasks
from .stored import ahead, beside_the_host


class Given(NamedTuple):
    """A batch of tasks that has been made.

    Attributes:
        tasks: as a `HostSampler` draws them.
    """

    tasks: Task

    def ready(self) -> Task:
        """The batch as a sampler on the device gives it, with inputs as floats and typed keys."""
        tasks = self.tasks
        return tasks._replace(
            support=tasks.support._replace(inputs=scaled(tasks.support.inputs)),
            query=tasks.query._replace(inputs=scaled(tasks.query.inputs)),
            key=jax.random.wrap_key_data(tasks.key),
        )


class Feed:
    """The batches of a run, of which each host makes its own part.

    Args:
        sampler: of tasks on the host.
        key: of the run.
        tasks: T, per step.
        mesh: the devices that tasks are divided among; None for a single host.

    Raises:
        InputError: the number of tasks is no multiple of the number of devices on several hosts.
    """

    def __init__(self, sampler: HostSampler, key: Key[Array, ""], tasks: int, mesh: Mesh | None) -> None:
        self._sampler, self._tasks, self._sharding = sampler, tasks, None
        self._places = np.arange(tasks)
        if mesh is not None and jax.process_count() > 1:
            if tasks % mesh.shape[TASKS]:
                raise InputError(
                    f"{tasks} tasks that are made on {jax.process_count()} hosts cannot be divided among "
                    f"{mesh.shape[TASKS]} devices; choose a multiple."
                )
            self._sharding = NamedSharding(mesh, PartitionSpec(TASKS))
            own = self._sharding.addressable_devices_indices_map((tasks,)).values()
            self._places = np.unique(np.concatenate([self._places[span] for span in own]))
        self._key = beside_the_host(key)

    def at(self, step: int) -> Given:
        """The batch of one meta-step; a warning says if all its tasks are the same."""
        drawn = self._sampler.draw(self._keys(step))
        warn_of_equal_tasks(drawn, stacklevel=5)
        return self._given(drawn)

    def onwards(self, step: int) -> Iterator[Given]:
        """The batches from a meta-step on, which are read ahead."""
        return map(self._given, ahead(self._sampler, self._keys, step))

    def _keys(self, step: int) -> Key[Array, " t"]:
        return _keys(self._key, step, self._places)

    def _given(self, tasks: Task) -> Given:
        if self._sharding is None:
            return Given(tasks)
        whole = partial(jax.make_array_from_process_local_data, self._sharding)
        return Given(jax.tree.map(lambda leaf: whole(leaf, (self._tasks, *leaf.shape[1:])), tasks))


def task_keys(key: Key[Array, ""], step: Int[Array, ""] | int, places: Int[Array, " t"]) -> Key[Array, " t"]:
    """The keys fold_in(fold_in(key, s), t) of tasks t of meta-step s."""
    return jax.vmap(partial(jax.random.fold_in, jax.random.fold_in(key, step)))(places)


_keys = jax.jit(task_keys)
