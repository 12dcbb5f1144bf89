"""A judge of single partitions: the adjusted Rand index that is foretold of one seen by itself.

Where partitions come one after the other there is no set to compare them within, as the learned criterion
does. The network and its training are those of `choice`, over sets of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .choice import Cases, Choice, Settings, choice_scores, learn_choice
from .criterion import Look
from .portfolio import which_kind
from .table import Table


def partition_inputs(
    own: Float[Array, " F"], size: Float[Array, " S"], kind: Float[Array, " K"]
) -> Float[Array, " G"]:
    """What is seen of a partition by itself: descriptors, logarithms of the problem's size, and who made it.

    Args:
        own: [F] descriptors.
        size: [2] points and columns, or [3] and the number of clusters, where that is given.
        kind: [K] a row of `which_kind`.
    """
    return jnp.concatenate([own, jnp.log(size), kind])


def table_partitions(table: Table, looks: Sequence[Look]) -> Float[np.ndarray, "C A F"]:
    """The same of every candidate of every case; no label is looked at, and what failed is zero.

    Args:
        table: of candidates that were run.
        looks: from `all_looks`.
    """
    kinds = jnp.asarray(which_kind(table.candidates), jnp.float32)
    sizes = [
        jnp.asarray(look.shape if told is None else (*look.shape, told), jnp.float32)
        for look, (_, told) in zip(looks, table.sights, strict=True)
    ]
    inputs = jax.jit(jax.vmap(partition_inputs, (0, None, 0)))
    found = [np.asarray(inputs(look.own, size, kinds)) for look, size in zip(looks, sizes, strict=True)]
    return np.where(table.parted[..., None], np.stack(found), 0)


def learn_judge(
    table: Table, inputs: Float[np.ndarray, "C A F"], key: Key[Array, ""], settings: Settings
) -> Choice:
    """A judge of what a table's candidates found.

    Args:
        table: of problems with known answers.
        inputs: from `table_partitions`.
        key: a typed key.
        settings: of the networks; scores are made absolute.
    """
    return learn_choice(_cases(table, inputs), key, settings=settings._replace(absolute=True))


def judged(judge: Choice, inputs: Float[np.ndarray, "C A F"]) -> Float[np.ndarray, "C A"]:
    """What is foretold of every partition."""
    return choice_scores(judge, inputs.reshape(-1, 1, inputs.shape[-1])).reshape(inputs.shape[:2])


def judged_left_out(
    table: Table, inputs: Float[np.ndarray, "C A F"], key: Key[Array, ""], settings: Settings
) -> Float[np.ndarray, "C A"]:
    """What judges foretell of each group who learned from the others alone.

    An agent that learned from what a judge says of its own lessons would trust it too much.
    """
    found = np.zeros(table.scores.shape)
    cases = _cases(table, inputs)
    for group in np.unique(table.numbers):
        out = table.numbers == group
        others = cases._replace(weights=np.where(cases.groups == group, 0, cases.weights))
        judge = learn_choice(others, key, settings=settings._replace(absolute=True))
        found[out] = judged(judge, inputs[out])
    return found


def _cases(table: Table, inputs: Float[np.ndarray, "C A F"]) -> Cases:
    count = inputs.shape[1]
    return Cases(
        inputs.reshape(-1, 1, inputs.shape[-1]),
        table.scores.reshape(-1, 1),
        np.repeat(table.weights, count) * table.parted.reshape(-1),
        np.repeat(table.numbers, count),
        np.repeat(table.owners, count),
    )
