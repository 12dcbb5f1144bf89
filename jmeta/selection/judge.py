"""A judge of single partitions: the adjusted Rand index that is foretold of one seen by itself.

Where partitions come one after the other there is no set to compare them within, as the learned criterion
does. The network and its training are those of `choice`, over sets of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from .choice import Cases, Choice, Settings, choice_scores, learn_choice
from .criterion import Look, all_looks
from .portfolio import Candidate
from .table import Table


def partition_inputs(
    seen: Look, candidates: Sequence[Candidate], clusters: int | None
) -> Float[np.ndarray, "A F"]:
    """What is seen of every partition by itself: descriptors, the problem's size, and the candidate."""
    known = np.log(seen.shape if clusters is None else (*seen.shape, clusters))
    kinds = [one._replace(clusters=None) for one in candidates]
    which = np.array([[kind == other for other in dict.fromkeys(kinds)] for kind in kinds], float)
    return np.concatenate([seen.own, np.tile(known, (len(kinds), 1)), which], 1).astype(np.float32)


def table_partitions(table: Table, *, seed: int = 0) -> Float[np.ndarray, "C A F"]:
    """The same of every case; no label is looked at, and what failed is zero."""
    told = [clusters for _, clusters in table.sights]
    looks = all_looks(table, seed=seed)
    found = [partition_inputs(look, table.candidates, each) for look, each in zip(looks, told, strict=True)]
    return np.where(table.usable[..., None], np.stack(found), 0)


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
        jax.clear_caches()
    return found


def _cases(table: Table, inputs: Float[np.ndarray, "C A F"]) -> Cases:
    count = inputs.shape[1]
    return Cases(
        inputs.reshape(-1, 1, inputs.shape[-1]),
        table.scores.reshape(-1, 1),
        np.repeat(table.weights, count) * table.usable.reshape(-1),
        np.repeat(table.numbers, count),
        np.repeat(table.owners, count),
    )
