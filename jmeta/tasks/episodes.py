"""Few-shot episodes from arrays of examples by class, sampled on-device from a key."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key, Num

from ..compiler import compiled
from ..errors import InputError
from ..records import Batch, Sampler, Task
from ..trees import partial_of


class ClassImages(NamedTuple):
    """Examples sorted by class.

    Attributes:
        examples: [C, M, ...] examples of each class, padded to M; episodes divide uint8 by 255.
        counts: [C] number of the M examples that are not padding.
        names: the C class names.
        source: description of the source.
    """

    examples: Num[np.ndarray, "C M ..."]
    counts: Int[np.ndarray, " C"]
    names: tuple[str, ...]
    source: str

    def classes(self, chosen: list[int] | np.ndarray) -> ClassImages:
        """The images of the chosen classes."""
        chosen = np.asarray(chosen)
        names = tuple(self.names[i] for i in chosen)
        return ClassImages(self.examples[chosen], self.counts[chosen], names, self.source)


def episodes(
    examples: ClassImages | Num[Array | np.ndarray, "C M ..."],
    *,
    ways: int,
    shots: int,
    queries: int,
    labelled: bool = True,
    rotations: bool = False,
) -> Sampler:
    """W-way S-shot tasks: support and query examples of classes drawn at random.

    Classes and examples are drawn without replacement. The support does not depend on the number of queries.

    Args:
        examples: [C, M, ...] examples of each class, or `ClassImages` if classes differ in size.
        ways: W, classes per task.
        shots: S, support examples per class.
        queries: Q, query examples per class; zero leaves the query empty.
        labelled: whether the support has labels as targets, or only in `truth`.
        rotations: whether rotations of a class by 90, 180 and 270 degrees are further classes.

    Returns:
        A sampler of tasks with W S support and W Q query points; uint8 images become floats in [0, 1].

    Raises:
        InputError: there are too few classes or examples, or images to be rotated are not square.

    >>> sample = episodes(jnp.zeros((10, 20, 28, 28, 1)), ways=5, shots=1, queries=15)
    >>> task = sample(jax.random.key(0))
    >>> task.support.inputs.shape, task.query.targets.shape
    ((5, 28, 28, 1), (75,))
    """
    if not isinstance(examples, ClassImages):
        examples = _equal_classes(np.asarray(examples))
    data = examples.examples
    counts = examples.counts
    turns = 4 if rotations else 1
    _check(data.shape, counts, turns, ways=ways, shots=shots, queries=queries)
    draw = partial_of(_draw, ways=ways, shots=shots, queries=queries, labelled=labelled, turns=turns)
    return jax.tree_util.Partial(compiled(draw), jnp.asarray(data), jnp.asarray(counts))


def _draw(
    data: Num[Array, "C M ..."],
    counts: Int[Array, " C"],
    key: Key[Array, ""],
    *,
    ways: int,
    shots: int,
    queries: int,
    labelled: bool,
    turns: int,
) -> Task:
    class_key, example_key, order_key, task_key = jax.random.split(key, 4)
    # The largest of random scores are taken, as permuting all classes would take longer than a meta-step.
    _, chosen = lax.top_k(jax.random.uniform(class_key, (len(data) * turns,)), ways)

    def draw_class(key: Key[Array, ""], code: Int[Array, ""]) -> Float[Array, "..."]:
        label = code // turns
        turn = code % turns
        score = jax.random.uniform(key, data.shape[1:2])
        score = jnp.where(jnp.arange(data.shape[1]) < counts[label], score, -1)
        _, rows = lax.top_k(score, shots + queries)
        return _rotated(scaled(data[label, rows]), turn, turns)

    drawn = jax.vmap(draw_class)(jax.random.split(example_key, ways), chosen)
    support, support_labels = _flat(drawn[:, :shots])
    query, query_labels = _flat(drawn[:, shots:])
    order = jax.random.permutation(order_key, ways * shots)
    support = support[order]
    support_labels = support_labels[order]
    full = jnp.asarray(ways)
    return Task(
        Batch(support, support_labels if labelled else None, jnp.ones(ways * shots), full),
        Batch(query, query_labels, jnp.ones(ways * queries), full),
        None if labelled else support_labels,
        task_key,
    )


def _equal_classes(examples: Num[np.ndarray, "C M ..."]) -> ClassImages:
    if examples.ndim < 3:
        raise InputError(f"examples have shape {examples.shape}; give [classes, examples, ...].")
    classes, count = examples.shape[:2]
    return ClassImages(examples, np.full(classes, count), tuple(map(str, range(classes))), "an array")


def scaled(images: Array) -> Float[Array, "..."]:
    """uint8 images as floats in [0, 1]; other images unchanged."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def _rotated(images: Float[Array, "M H W C"], turn: Int[Array, ""], turns: int) -> Array:
    """Images rotated by `turn` quarter turns."""
    if turns == 1:
        return images
    rotations = [partial(jnp.rot90, k=k, axes=(1, 2)) for k in range(turns)]
    return lax.switch(turn, rotations, images)


def _flat(drawn: Float[Array, "W S ..."]) -> tuple[Float[Array, "N ..."], Int[Array, " N"]]:
    ways, count = drawn.shape[:2]
    return drawn.reshape(ways * count, *drawn.shape[2:]), jnp.repeat(jnp.arange(ways), count)


def _check(
    shape: tuple[int, ...], counts: np.ndarray, turns: int, *, ways: int, shots: int, queries: int
) -> None:
    if ways < 1 or shots < 1 or queries < 0:
        raise InputError(
            f"ways is {ways}, shots is {shots} and queries is {queries}; "
            "give at least one way and one shot, queries >= 0."
        )
    if ways > len(counts) * turns:
        raise InputError(f"ways is {ways}, but there are {len(counts) * turns} classes; give fewer ways.")
    if shots + queries > int(np.min(counts)):
        raise InputError(
            f"{shots} shots and {queries} queries need {shots + queries} examples per class; "
            f"the smallest class has {int(np.min(counts))}; give fewer."
        )
    if turns > 1 and (len(shape) != 5 or shape[2] != shape[3]):
        raise InputError(f"examples of shape {shape} cannot be rotated; give square images [C, M, H, H, c].")
