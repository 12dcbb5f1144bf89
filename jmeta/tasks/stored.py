"""Few-shot episodes of images on disk, which grain reads while the devices compute.

The sampler of `episodes` draws the numbers of examples instead of the examples, from the same keys, so that a
task read from disk is bitwise equal to the one sampled on-device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int, Key, PyTree, Shaped, UInt8

from ..errors import InputError
from ..records import AnyArray, HostSampler, Task
from ..validation import checked_labels
from .episodes import ClassImages, episodes

AHEAD = 8
"""The number of batches that are read ahead, each in its own thread."""


class StoredImages(NamedTuple):
    """Images by class that are read on demand.

    Attributes:
        read: numbers [n] -> the images of these numbers [n, H, W, c], as a new array; must be thread-safe.
        rows: [C, M] the numbers of the images of each class, padded to M.
        counts: [C] number of the M images that are not padding.
        names: the C class names.
        source: description of the source.
    """

    read: Callable[[Int[np.ndarray, " n"]], UInt8[np.ndarray, "n H W c"]]
    rows: Int[np.ndarray, "C M"]
    counts: Int[np.ndarray, " C"]
    names: tuple[str, ...]
    source: str

    def classes(self, chosen: list[int] | np.ndarray) -> StoredImages:
        """The images of the chosen classes."""
        chosen = np.asarray(chosen)
        names = tuple(self.names[i] for i in chosen)
        return self._replace(rows=self.rows[chosen], counts=self.counts[chosen], names=names)

    def in_memory(self) -> ClassImages:
        """Reads all images into memory."""
        real = np.arange(self.rows.shape[1]) < self.counts[:, None]
        images = self.read(self.rows[real])
        examples = np.zeros((*self.rows.shape, *images.shape[1:]), images.dtype)
        examples[real] = images
        return ClassImages(examples, self.counts, self.names, self.source)


def by_class(
    read: Callable[[Int[np.ndarray, " n"]], UInt8[np.ndarray, "n H W c"]],
    labels: Shaped[AnyArray, " N"] | Sequence[Any],
    names: tuple[str, ...],
    source: str,
) -> StoredImages:
    """Groups images that can be read by number by their labels.

    Args:
        read: numbers [n] -> images [n, H, W, c], as a new array; must be thread-safe.
        labels: [N] the class of each image, as its name or as the place of its name, from 0; images with
            label -1 are left out.
        names: names of the classes.
        source: description of the source.

    Raises:
        InputError: a label is neither a name nor the place of one.

    >>> images = np.arange(4, dtype=np.uint8)[:, None, None, None]
    >>> by_class(images.__getitem__, np.array([1, 0, 1, 1]), ("a", "b"), "an array").rows
    array([[1, 0, 0],
           [0, 2, 3]], dtype=int32)
    """
    places = _places(labels, names)
    counts = np.bincount(places[places >= 0], minlength=len(names))
    rows = np.zeros((len(names), counts.max(initial=0)), np.int32)
    for place, count in enumerate(counts):
        rows[place, :count] = np.flatnonzero(places == place)
    return StoredImages(read=read, rows=rows, counts=counts, names=names, source=source)


def _places(labels: Any, names: tuple[str, ...]) -> Int[np.ndarray, " N"]:
    """The place of the name of each label; negative where there is none."""
    values = checked_labels("labels", labels)
    if values.dtype.kind != "U":
        if (largest := int(values.max(initial=-1))) >= len(names):
            raise InputError(
                f"labels go up to {largest} for {len(names)} names; count from 0, or give the names."
            )
        return values
    place_of = {name: place for place, name in enumerate(names)}
    if unknown := set(values.tolist()) - set(place_of):
        raise InputError(f"the label {min(unknown)!r} is not among the names; add it to names.")
    return np.array([place_of[value] for value in values.tolist()], np.int64)


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
        images: images by class, such as from `load_stored`.
        ways: W, classes per task.
        shots: S, support examples per class.
        queries: Q, query examples per class.
        labelled: whether the support has labels as targets, or only in `truth`.
        rotations: whether rotations of a class by 90, 180 and 270 degrees are further classes.

    Returns:
        A sampler on the host, for `loop`, which reads tasks ahead, and `evaluate`.

    Raises:
        InputError: there are too few classes or examples, or images to be rotated are not square.

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
        raise InputError("the images are not square and cannot be rotated; leave out rotations.")

    def inputs(codes: np.ndarray) -> np.ndarray:
        numbers, turn = np.divmod(codes.ravel(), turns)
        pixels = images.read(numbers)
        for quarter in range(1, turns):
            pixels[turn == quarter] = np.rot90(pixels[turn == quarter], quarter, axes=(1, 2))
        return pixels.reshape(*codes.shape, *pixels.shape[1:])

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
    max_ahead: int = AHEAD,
) -> Iterator[Task]:
    """Yields batches of tasks, read ahead by threads of grain.

    Args:
        sampler: draws the batches.
        keys: number of a batch -> keys of its tasks on this host.
        first: number of the first batch.
        stop: number after that of the last batch.
        max_ahead: number of batches that are read ahead.

    Raises:
        InputError: grain is not installed.
    """
    try:
        import grain  # imported here, as it takes a second and only images on disk need it
    except ImportError as error:
        raise InputError("grain, which reads images from disk, is missing; install 'jmeta[data]'.") from error
    options = grain.ReadOptions(num_threads=max_ahead, prefetch_buffer_size=max_ahead)
    batches = grain.MapDataset.range(first, stop).map(lambda number: sampler.draw(keys(int(number))))
    return iter(batches.to_iter_dataset(options))


def beside_the_host(tree: PyTree) -> PyTree:
    """Arrays on a CPU device if there is one, so that drawing with them does not wait for an accelerator."""
    try:
        return jax.device_put(tree, jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # jax is configured without a CPU backend
        return tree


@jax.jit
def _numbered(sample: Callable[[Key[Array, ""]], Task], keys: Key[Array, " T"]) -> Task:
    """Tasks with example numbers as inputs, and with raw keys."""
    task = jax.vmap(sample)(keys)
    return task._replace(key=jax.random.key_data(task.key))
