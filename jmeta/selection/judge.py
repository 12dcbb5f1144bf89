"""A judge of single partitions: the adjusted Rand index that is foretold of one seen by itself.

Where partitions come one after the other there is no set to compare them within, as the learned criterion
does. The network and its training are those of `choice`, over sets of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from .advisor import FLOOR, Judgement
from .choice import Cases, Choice, Settings, learn_choice, network_scores
from .criterion import Look
from .portfolio import Candidate, which_kind
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


def look_inputs(
    seen: Look, candidates: Sequence[Candidate], clusters: int | None = None
) -> Float[np.ndarray, "A F"]:
    """The same of every candidate's partition of one problem."""
    size = jnp.asarray(seen.shape if clusters is None else (*seen.shape, clusters), jnp.float32)
    return np.asarray(_look_inputs(seen.own, size, jnp.asarray(which_kind(candidates), jnp.float32)))


_look_inputs = jax.jit(jax.vmap(partition_inputs, (0, None, 0)))


def table_partitions(table: Table, looks: Sequence[Look]) -> Float[np.ndarray, "C A F"]:
    """The same of every candidate of every case; no label is looked at, and what failed is zero.

    Args:
        table: of candidates that were run.
        looks: from `all_looks`.
    """
    told = [clusters for _, clusters in table.sights]
    found = [look_inputs(look, table.candidates, each) for look, each in zip(looks, told, strict=True)]
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

    Raises:
        InputError: as `learn_choice`.
    """
    return learn_choice(_cases(table, inputs), key, settings=settings._replace(absolute=True))


def judged(judge: Choice, inputs: Float[np.ndarray, "C A F"]) -> Float[np.ndarray, "C A"]:
    """What is foretold of every partition, the mean of all networks'.

    Raises:
        InputError: the inputs are those of other candidates, or of another version.
    """
    return _network_scores(judge, inputs).mean(0)


def judged_left_out(
    table: Table, inputs: Float[np.ndarray, "C A F"], key: Key[Array, ""], settings: Settings
) -> Float[np.ndarray, "E C A"]:
    """What the networks of judges foretell of each group who learned from the others alone.

    An agent that learned from what a judge says of its own lessons would trust it too much.

    Args:
        table: of two groups of problems or more.
        inputs: from `table_partitions`.
        key: a typed key.
        settings: of the networks; scores are made absolute.
    """
    found = np.zeros((settings.networks, *table.scores.shape))
    cases = _cases(table, inputs)
    for group in np.unique(table.numbers):
        out = table.numbers == group
        others = cases._replace(weights=np.where(cases.groups == group, 0, cases.weights))
        judge = learn_choice(others, key, settings=settings._replace(absolute=True))
        found[:, out] = _network_scores(judge, inputs[out])
    return found


def judge_alone(
    judge: Choice, spread: float, seen: Look, candidates: Sequence[Candidate], usable: Bool[np.ndarray, " A"]
) -> Judgement:
    """What is foretold of the partitions of one problem, each by itself.

    Args:
        judge: from `learn_judge`.
        spread: half-width of the interval in units of the networks' deviation, from `measured_spread`.
        seen: what is looked at.
        candidates: A.
        usable: [A] which found something.
    """
    scores = _network_scores(judge, look_inputs(seen, candidates)[None])[:, 0]
    return Judgement(np.where(usable, scores.mean(0), -np.inf), spread * (scores.std(0) + FLOOR), seen)


def _network_scores(judge: Choice, inputs: Float[np.ndarray, "C A F"]) -> Float[np.ndarray, "E C A"]:
    scores = network_scores(judge, inputs.reshape(-1, 1, inputs.shape[-1]))
    return scores.reshape(len(scores), *inputs.shape[:2])


def _cases(table: Table, inputs: Float[np.ndarray, "C A F"]) -> Cases:
    count = inputs.shape[1]
    return Cases(
        inputs.reshape(-1, 1, inputs.shape[-1]),
        table.scores.reshape(-1, 1),
        np.repeat(table.weights, count) * table.parted.reshape(-1),
        np.repeat(table.numbers, count),
        np.repeat(table.owners, count),
    )
