"""Few-shot episodes from class-indexed arrays, sampled on the device from a key."""

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
        counts: [C] how many of the M are real.
        names: the C class names.
        source: where they come from, in words.
    """

    examples: Num[np.ndarray, "C M ..."]
    counts: Int[np.ndarray, " C"]
    names: tuple[str, ...]
    source: str

    def classes(self, chosen: list[int] | np.ndarray) -> ClassImages:
        """Some of the classes."""
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
    """N-way K-shot tasks: some classes, some examples of each to adapt to, others to be asked.

    Classes and examples are drawn without replacement. The support does not depend on how many
    queries follow.

    Args:
        examples: [C, M, ...] examples of each class, or `ClassImages` where classes differ in size.
        ways: W, classes per task.
        shots: S, support examples per class.
        queries: Q, query examples per class; zero leaves the query empty.
        labelled: whether the support shows its labels, or keeps them in `truth` alone.
        rotations: each class also in its three quarter turns, as classes of their own.

    Returns:
        A sampler of tasks with W S support and W Q query points, float in [0, 1] for uint8.

    Raises:
        InputError: there are not that many classes or examples, or images to turn are not square.

    >>> sample = episodes(jnp.zeros((10, 20, 28, 28, 1)), ways=5, shots=1, queries=15)
    >>> task = sample(jax.random.key(0))
    >>> task.support.inputs.shape, task.query.targets.shape
    ((5, 28, 28, 1), (75,))
    """
    if not isinstance(examples, ClassImages):
        examples = _equal_classes(np.asarray(examples))
    data, counts = examples.examples, examples.counts
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
    # The largest of random scores: a permutation of all classes would take longer than the meta-step.
    _, chosen = lax.top_k(jax.random.uniform(class_key, (len(data) * turns,)), ways)

    def draw_class(key: Key[Array, ""], kind: Int[Array, ""]) -> Float[Array, "..."]:
        label, turn = kind // turns, kind % turns
        score = jax.random.uniform(key, data.shape[1:2])
        score = jnp.where(jnp.arange(data.shape[1]) < counts[label], score, -1)
        _, rows = lax.top_k(score, shots + queries)
        return _turned(scaled(data[label, rows]), turn, turns)

    drawn = jax.vmap(draw_class)(jax.random.split(example_key, ways), chosen)
    support, support_labels = _flat(drawn[:, :shots])
    query, query_labels = _flat(drawn[:, shots:])
    order = jax.random.permutation(order_key, ways * shots)
    support, support_labels = support[order], support_labels[order]
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
    """Images as floats: those of uint8 in [0, 1], others as they are."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def _turned(images: Float[Array, "M H W C"], turn: Int[Array, ""], turns: int) -> Array:
    """Images turned by `turn` quarter turns."""
    if turns == 1:
        return images
    turned = [partial(jnp.rot90, k=k, axes=(1, 2)) for k in range(turns)]
    return lax.switch(turn, turned, images)


def _flat(drawn: Float[Array, "W S ..."]) -> tuple[Float[Array, "N ..."], Int[Array, " N"]]:
    ways, count = drawn.shape[:2]
    return drawn.reshape(ways * count, *drawn.shape[2:]), jnp.repeat(jnp.arange(ways), count)


def _check(
    shape: tuple[int, ...], counts: np.ndarray, turns: int, *, ways: int, shots: int, queries: int
) -> None:
    if ways < 1 or shots < 1 or queries < 0:
        raise InputError(
            f"{ways} ways, {shots} shots and {queries} queries make no task; "
            "give at least one way and one shot."
        )
    if ways > len(counts) * turns:
        raise InputError(f"{ways} ways need as many classes; there are {len(counts) * turns}.")
    if shots + queries > int(np.min(counts)):
        raise InputError(
            f"{shots} shots and {queries} queries need {shots + queries} examples per class; "
            f"the smallest class has {int(np.min(counts))}."
        )
    if turns > 1 and (len(shape) != 5 or shape[2] != shape[3]):
        raise InputError(f"examples of shape {shape} cannot be turned; give square images [C, M, H, H, c].")
