"""Episodes whose images stay on disk: drawn as `episodes` draws them, read by grain while the devices work.

The same sampler draws, from the same keys, the numbers of examples instead of examples; so a task that is
read from disk equals, bit for bit, the one that is sampled on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int, Key, PyTree, UInt8

from ..errors import InputError
from ..records import HostSampler, Task
from .episodes import ClassImages, episodes

AHEAD = 8
"""Batches that are read before they are asked for, each by a thread of its own."""


class StoredImages(NamedTuple):
    """Images that are read when they are asked for, known by class.

    Attributes:
        read: numbers [n] -> the images of these numbers [n, H, W, c], a new array; it is called by several
            threads at once.
        rows: [C, M] the numbers of each class's images, padded to M.
        counts: [C] how many of the M are real.
        names: the C class names.
        source: where they come from, in words.
    """

    read: Callable[[Int[np.ndarray, " n"]], UInt8[np.ndarray, "n H W c"]]
    rows: Int[np.ndarray, "C M"]
    counts: Int[np.ndarray, " C"]
    names: tuple[str, ...]
    source: str

    def classes(self, chosen: list[int] | np.ndarray) -> StoredImages:
        """Some of the classes."""
        chosen = np.asarray(chosen)
        names = tuple(self.names[i] for i in chosen)
        return self._replace(rows=self.rows[chosen], counts=self.counts[chosen], names=names)

    def in_memory(self) -> ClassImages:
        """All images at once."""
        real = np.arange(self.rows.shape[1]) < self.counts[:, None]
        found = self.read(self.rows[real])
        examples = np.zeros((*self.rows.shape, *found.shape[1:]), found.dtype)
        examples[real] = found
        return ClassImages(examples, self.counts, self.names, self.source)


def by_class(
    read: Callable[[Int[np.ndarray, " n"]], UInt8[np.ndarray, "n H W c"]],
    labels: Int[np.ndarray, " N"],
    names: tuple[str, ...],
    source: str,
) -> StoredImages:
    """Any images that can be read by number, and their labels, known by class.

    Args:
        read: numbers [n] -> images [n, H, W, c], a new array; it is called by several threads at once.
        labels: [N] the class of each number; images of -1 have none, and are left out.
        names: of the classes.
        source: where they come from, in words.

    >>> images = np.arange(4, dtype=np.uint8)[:, None, None, None]
    >>> by_class(images.__getitem__, np.array([1, 0, 1, 1]), ("a", "b"), "an array").rows
    array([[1, 0, 0],
           [0, 2, 3]], dtype=int32)
    """
    counts = np.bincount(labels[labels >= 0], minlength=len(names))
    rows = np.zeros((len(names), counts.max(initial=0)), np.int32)
    for label, count in enumerate(counts):
        rows[label, :count] = np.flatnonzero(labels == label)
    return StoredImages(read, rows, counts, names, source)


def stored_episodes(
    images: StoredImages,
    *,
    ways: int,
    shots: int,
    queries: int,
    labelled: bool = True,
    rotations: bool = False,
) -> HostSampler:
    """`episodes` of images that stay on disk.

    Args:
        images: such as from `load_stored`.
        ways: W, classes per task.
        shots: S, support examples per class.
        queries: Q, query examples per class.
        labelled: whether the support shows its labels, or keeps them in `truth` alone.
        rotations: each class also in its three quarter turns, as classes of their own.

    Returns:
        What makes the tasks of given keys; `loop` reads them ahead, `evaluate` takes them too.

    Raises:
        InputError: there are not that many classes or examples, or images to turn are not square.

    >>> pixels = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    >>> images = by_class(pixels.__getitem__, np.arange(40) // 20, ("a", "b"), "an array")
    >>> sampler = stored_episodes(images, ways=2, shots=3, queries=5)
    >>> tasks = sampler.draw(jax.random.split(jax.random.key(0), 7))
    >>> tasks.support.inputs.shape, tasks.query.inputs.dtype
    ((7, 6, 1, 1, 1), dtype('uint8'))
    """
    turns = 4 if rotations else 1
    codes = images.rows[:, None] * turns + np.arange(turns, dtype=np.int32)[:, None]
    codes = codes.reshape(-1, images.rows.shape[1])
    names = tuple(name for name in images.names for _ in range(turns))
    numbered = ClassImages(codes, np.repeat(images.counts, turns), names, images.source)
    sample = beside_the_host(episodes(numbered, ways=ways, shots=shots, queries=queries, labelled=labelled))
    if rotations and len(set(images.read(images.rows[:1, 0]).shape[1:3])) > 1:
        raise InputError("images that are not square cannot be turned; leave out rotations.")

    def inputs(codes: np.ndarray) -> np.ndarray:
        numbers, turn = np.divmod(codes.ravel(), turns)
        found = images.read(numbers)
        for quarter in range(1, turns):
            found[turn == quarter] = np.rot90(found[turn == quarter], quarter, axes=(1, 2))
        return found.reshape(*codes.shape, *found.shape[1:])

    def draw(keys: Key[Array, " T"]) -> Task:
        task = jax.tree.map(np.asarray, _numbered(sample, keys))
        both = inputs(np.concatenate([task.support.inputs, task.query.inputs], 1))
        support, query = np.split(both, [ways * shots], 1)
        return task._replace(
            support=task.support._replace(inputs=support), query=task.query._replace(inputs=query)
        )

    return HostSampler(draw)


def ahead(
    sampler: HostSampler,
    keys: Callable[[int], Key[Array, " T"]],
    first: int,
    stop: int = np.iinfo(np.int32).max,
    *,
    most: int = AHEAD,
) -> Iterator[Task]:
    """Batch after batch, read by threads of grain before it is asked for.

    Args:
        sampler: makes them.
        keys: of a batch's tasks, by its number; this host's alone.
        first: number of a batch.
        stop: the number after the last.
        most: batches that are read ahead.

    Raises:
        InputError: grain is not installed.
    """
    try:
        import grain  # takes a second to import, and only those whose images stay on disk need it
    except ImportError as error:
        raise InputError("images that stay on disk are read by grain; pip install 'jmeta[data]'.") from error
    options = grain.ReadOptions(num_threads=most, prefetch_buffer_size=most)
    batches = grain.MapDataset.range(first, stop).map(lambda number: sampler.draw(keys(int(number))))
    return iter(batches.to_iter_dataset(options))


def beside_the_host(tree: PyTree) -> PyTree:
    """Arrays on a CPU device where there is one: what is drawn with them waits for no accelerator."""
    try:
        return jax.device_put(tree, jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # JAX was told to use no CPU
        return tree


@jax.jit
def _numbered(sample: Callable[[Key[Array, ""]], Task], keys: Key[Array, " T"]) -> Task:
    """Tasks of numbers; their own keys as plain numbers too."""
    task = jax.vmap(sample)(keys)
    return task._replace(key=jax.random.key_data(task.key))
