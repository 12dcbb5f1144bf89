"""Searches on data sets that no table knows: candidates are run, and what they find is looked at at once.

Algorithms of the device run inside `jit`; others run on the host, by callback, in a process that is killed
when its time is up. What fails there is seen to have failed, as in a table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..agreement import adjusted_rand
from ..records import InputError
from ..selection.choice import Choice, traced_scores
from ..selection.descriptors import SLOTS, by_size, described, landmarks, structure
from ..selection.judge import partition_inputs
from ..selection.portfolio import Candidate, device_labels, padded, room_for, which_kind
from ..selection.quantiles import standardised
from ..selection.selector import problem_inputs
from ..selection.table import Outcome, outcome_within
from .clustering import Attempt, DataSets, drawn_row


class LiveSet(NamedTuple):
    """A data set to be clustered, in arrays that have room for larger ones; or P of them.

    Attributes:
        points: [N, D], padded with zeros.
        weights: [N] one, zero for padding.
        truth: [N] true clusters, for rewards; -1 where there is none.
        features: [M] meta-features, at unit scale.
        marks: [L, D] the points that partitions are looked at by, from `landmarks`.
        counts: [L] their weights.
        rows: [L] their places among the points.
        seed: everything random follows from it.
    """

    points: Float[Array, "N D"]
    weights: Float[Array, " N"]
    truth: Int[Array, " N"]
    features: Float[Array, " M"]
    marks: Float[Array, "L D"]
    counts: Float[Array, " L"]
    rows: Int[Array, " L"]
    seed: Int[Array, ""]


class Sight(NamedTuple):
    """How a search sees: the scale of what it sees, and who judges it.

    Attributes:
        judge: of single partitions, from `learn_judge`; their scale is its own.
        quantiles: [Q, M] of the meta-features of known problems.
        varies: [M] which of them differ.
    """

    judge: Choice
    quantiles: Float[np.ndarray, "Q M"]
    varies: Float[np.ndarray, " M"]


def live_set(
    sight: Sight,
    points: Float[np.ndarray, "N D"],
    truth: Int[np.ndarray, " N"] | None = None,
    *,
    features: Float[np.ndarray, " M"] | None = None,
    room: int | None = None,
    seed: int = 0,
) -> LiveSet:
    """A data set as a live search takes it.

    Args:
        sight: of the search.
        points: [N, D].
        truth: [N] true clusters, where rewards are wanted.
        features: its meta-features; computed unless given.
        room: for how many points there is to be; the next power of two, 128 or more, unless given.
        seed: everything random follows from it.

    Raises:
        InputError: there are more points than room, or they cannot be clustered.
    """
    if room is not None and len(points) > room:
        raise InputError(
            f"there are {len(points)} points, but room for {room}; take some, or make more room."
        )
    features = problem_inputs([points], seed=seed)[0] if features is None else features
    marks = landmarks(points, [], seed=seed)
    x, weights = padded(points, room or room_for(len(points)))
    known = np.full(len(x), -1)
    known[: len(points)] = -1 if truth is None else truth
    rows = np.zeros(len(marks.points), int)
    rows[: len(marks.rows)] = marks.rows
    seen = standardised(sight.quantiles, sight.varies, jnp.asarray(features, jnp.float32))
    every = (x, weights, known, seen, marks.points, marks.weights, rows, seed)
    return LiveSet(*map(jnp.asarray, every))


class HostRuns:
    """Runs candidates of the host, one after the other, and remembers what came of the last data set.

    Args:
        candidates: A.
        seconds: that each may take.

    Attributes:
        until: the time, by `time.monotonic`, after which nothing is run.
        outcomes: by the place of the candidate.
    """

    def __init__(self, candidates: Sequence[Candidate], seconds: float = 60.0) -> None:
        self.candidates, self.seconds, self.until = tuple(candidates), seconds, np.inf
        self.outcomes: dict[int, Outcome] = {}
        self._thread = ThreadPoolExecutor(1)  # its process is its thread's own

    def __call__(
        self, place: Array, points: Float[Array, "N D"], weights: Float[Array, " N"], seed: Array
    ) -> Int[np.ndarray, " N"]:
        """The labels of one candidate; all -1 where it failed, or none is at that place."""
        at, counted = int(place), np.asarray(weights) > 0
        labels = np.full(len(counted), -1, np.int32)
        if at >= len(self.candidates) or self.candidates[at].device:
            return labels
        seconds = min(self.seconds, self.until - time.monotonic())
        asked = (self.candidates[at], np.asarray(points)[counted], None, int(seed))
        outcome = self._thread.submit(outcome_within, seconds, *asked).result()
        self.outcomes[at] = outcome
        if outcome.labels is not None:
            labels[counted] = outcome.labels
        return labels


def live(
    candidates: Sequence[Candidate],
    sight: Sight,
    sets: LiveSet | None = None,
    *,
    run: Callable[..., Int[np.ndarray, " N"]] | None = None,
) -> DataSets:
    """Data sets whose candidates are run when they are tried.

    Under `vmap` host algorithms run one after the other, and all those of the device, so that few of these
    should be among many; a rollout of one trial runs no more than what it tries.

    Args:
        candidates: A; those that must be told a number of clusters say which.
        sight: how what they find is seen.
        sets: P data sets of equal room and as many columns, that are drawn from; none where tasks are given.
        run: what runs those of the host; `HostRuns` unless given.

    Raises:
        InputError: a candidate lacks its number of clusters.
    """
    for one in candidates:
        if one.told and one.clusters is None:
            raise InputError(f"{one.name} must be told a number of clusters; give it one, or several.")
    run = run or HostRuns(candidates)
    kinds = jnp.asarray(which_kind(candidates), jnp.float32)
    own = [at for at, one in enumerate(candidates) if one.device]
    branch = jnp.full(len(candidates) + 1, len(own)).at[jnp.asarray(own, int)].set(jnp.arange(len(own)))

    def hosted(data: LiveSet, place: Array) -> Int[Array, " N"]:
        shape = jax.ShapeDtypeStruct(data.weights.shape, np.int32)
        asked = (place, data.points, data.weights, data.seed)
        return jax.pure_callback(run, shape, *asked, vmap_method="sequential")

    def owned(one: Candidate, data: LiveSet, place: Array) -> Int[Array, " N"]:
        return device_labels(one, data.points, data.weights, data.seed).astype(jnp.int32)

    ways: list[Callable[..., Array]] = [partial(owned, candidates[at]) for at in own]
    if len(own) < len(candidates):
        ways.append(hosted)

    def attempt(data: LiveSet, place: Int[Array, ""]) -> Attempt:
        labels = lax.switch(branch[place], ways, data, place)
        labels = jnp.where(data.weights > 0, labels, -1)
        return seen_live(sight, kinds, data, labels, place)

    sizes = len(candidates), len(sight.varies), len(sight.judge.varies)

    def draw(key: Array) -> LiveSet:
        if sets is None:
            raise InputError("there is no data set to draw from; give some, or give tasks.")
        return drawn_row(sets, key)

    return DataSets(draw, lambda data: data.features, attempt, sizes)


def seen_live(
    sight: Sight, kinds: Float[Array, "A K"], data: LiveSet, labels: Int[Array, " N"], place: Int[Array, ""]
) -> Attempt:
    """What is seen of labels that a candidate found, how they are judged, and what they are worth."""
    marked = by_size(jnp.where(data.counts > 0, labels[data.rows], -1))
    shared = structure(data.marks, data.counts)
    own = described(shared, data.marks, data.counts, marked[None])[0]
    size = jnp.stack([jnp.sum(data.weights), jnp.asarray(float(data.points.shape[1]))])
    inputs = partition_inputs(own, size, kinds[place])
    quality = jnp.mean(traced_scores(sight.judge, inputs[None, None]))
    found = jnp.where(labels >= 0, labels, len(labels))
    usable = jnp.min(found) < jnp.max(labels)
    seen = standardised(sight.judge.scale, sight.judge.varies, inputs)
    worth = adjusted_rand(
        jax.nn.one_hot(found, len(labels) + 1),
        jax.nn.one_hot(data.truth, SLOTS),
        data.weights * (data.truth >= 0),
    )
    known = usable & jnp.any(data.truth >= 0)
    return Attempt(seen, jnp.where(usable, quality, 0), usable, jnp.where(known, worth, 0))
