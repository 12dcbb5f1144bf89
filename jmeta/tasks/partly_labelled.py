"""Semi-supervised few-shot episodes, with unlabelled points and points of other classes.

Reference: Ren et al. 2018, Meta-learning for semi-supervised few-shot classification.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, Shaped

from ..compiler import compiled
from ..errors import InputError
from ..records import Batch, Sampler, Task
from ..trees import partial_of
from .episodes import ClassImages, episodes


def partly_labelled_episodes(
    labelled: ClassImages,
    others: ClassImages,
    *,
    ways: int,
    shots: int,
    queries: int,
    unlabelled: int,
    distractors: int = 0,
    rotations: bool = False,
) -> Sampler:
    """W-way S-shot tasks whose support has U additional unlabelled points of each class.

    The support also has U points of each of H further classes, the distractors; the query has none of these.

    Args:
        labelled: labelled examples, for support and query.
        others: examples of the same classes, used without their labels.
        ways: W, classes per task.
        shots: S, labelled examples per class.
        queries: Q, query examples per class.
        unlabelled: U, unlabelled examples per class.
        distractors: H, classes without labelled examples.
        rotations: whether rotations of a class by 90, 180 and 270 degrees are further classes.

    Returns:
        A sampler of tasks with W S + (W + H) U support points, whose targets are -1 where the label is
        hidden, and W Q query points. `truth` holds all labels of the support, -1 for distractors.

    Raises:
        InputError: the two sets have different classes, or there are too few classes or examples.

    >>> import numpy as np
    >>> names = tuple("abcdefghi")
    >>> shown, hidden = (ClassImages(np.zeros((9, m, 2)), np.full(9, m), names, "") for m in (2, 6))
    >>> counts = dict(ways=3, shots=1, queries=1, unlabelled=2, distractors=2)
    >>> sample = partly_labelled_episodes(shown, hidden, **counts)
    >>> task = sample(jax.random.key(0))
    >>> task.support.inputs.shape, task.query.inputs.shape
    ((13, 2), (3, 2))
    >>> task.support.targets.tolist()[:5], sorted(task.truth.tolist()[3:])
    ([0, 1, 2, -1, -1], [-1, -1, -1, -1, 0, 0, 1, 1, 2, 2])
    """
    if labelled.names != others.names:
        raise InputError("labelled and others have different classes; split one data set in two.")
    if distractors < 0:
        raise InputError(f"distractors is {distractors}; give a whole number >= 0.")
    every = partial(episodes, ways=ways + distractors, rotations=rotations)
    shown = every(labelled, shots=shots, queries=queries)
    hidden = every(others, shots=unlabelled, queries=0)
    return jax.tree_util.Partial(compiled(partial_of(_joined, ways, shots, queries)), shown, hidden)


def _joined(
    ways: int, shots: int, queries: int, shown: Sampler, hidden: Sampler, key: Key[Array, ""]
) -> Task:
    """Joins two tasks, which have the same classes in the same order, as they are drawn with the same key."""
    task = shown(key)
    more = hidden(key)
    inputs, labels = _of_first_classes(task.support, ways * shots)
    others = more.support.inputs
    further = jnp.asarray(more.support.targets)
    used = jnp.asarray(ways)
    support = Batch(
        jnp.concatenate([inputs, others]),
        jnp.concatenate([labels, jnp.full_like(further, -1)]),
        jnp.ones(len(labels) + len(further)),
        used,
    )
    query = Batch(*_of_first_classes(task.query, ways * queries), jnp.ones(ways * queries), used)
    truth = jnp.concatenate([labels, jnp.where(further < ways, further, -1)])
    return Task(support, query, truth, task.key)


def _of_first_classes(batch: Batch, count: int) -> tuple[Shaped[Array, "n ..."], Int[Array, " n"]]:
    """The first `count` points in the order of their classes, and their labels."""
    labels = jnp.asarray(batch.targets)
    rows = jnp.argsort(labels, stable=True)[:count]
    return batch.inputs[rows], labels[rows]
