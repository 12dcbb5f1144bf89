"""Searches on data sets that no table knows: candidates are run, and what they find is looked at at once.

Algorithms of the device run inside `jit`; others run on the host, by callback, in a process that is killed
when its time is up. What fails there is seen to have failed, as in a table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..agreement import adjusted_for_chance
from ..records import InputError
from ..selection.choice import Choice, traced_scores
from ..selection.descriptors import SLOTS, by_size, described, landmarks, structure
from ..selection.judge import partition_inputs
from ..selection.portfolio import Candidate, clusterer_of, device_labels, padded, room_for, which_kind
from ..selection.quantiles import standardised
from ..selection.selector import problem_inputs
from ..selection.table import NOT_RUN, OneProcess, Outcome
from .clustering import Attempt, DataSets, drawn_row


class LiveSet(NamedTuple):
    """A data set to be clustered, in arrays that have room for larger ones; or P of them.

    Attributes:
        points: [N, D], padded with zeros.
        weights: [N] one, zero for padding.
        truth: [N] true clusters from 0, for rewards; -1 where there is none.
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
        InputError: there are more points than room, they cannot be clustered, or there are more than `SLOTS`
            true clusters.
    """
    if room is not None and len(points) > room:
        raise InputError(
            f"there are {len(points)} points, but room for {room}; take some, or make more room."
        )
    features = problem_inputs([points], seed=seed)[0] if features is None else features
    marks = landmarks(points, [], seed=seed)
    x, weights = padded(points - np.mean(points, 0), room or room_for(len(points)))
    known = np.full(len(x), -1)
    if truth is not None:
        values, places = np.unique(truth, return_inverse=True)
        known[: len(points)] = np.where(truth >= 0, places - np.sum(values < 0), -1)
        if known.max() >= SLOTS:
            raise InputError(f"there are {known.max() + 1} true clusters; at most {SLOTS} are counted.")
    rows = np.zeros(len(marks.points), int)
    rows[: len(marks.rows)] = marks.rows
    seen = standardised(sight.quantiles, sight.varies, jnp.asarray(features, jnp.float32))
    every = (x, weights, known, seen, marks.points, marks.weights, rows, seed)
    return LiveSet(*map(jnp.asarray, every))


class HostRuns:
    """Runs candidates of the host, one after the other, and remembers what came of them.

    One search uses it at a time: from `begin` to `ended`.

    Args:
        candidates: A.
        seconds: that each may take.
    """

    def __init__(self, candidates: Sequence[Candidate], seconds: float = 60.0) -> None:
        self.candidates, self.seconds = tuple(candidates), seconds
        self._process = OneProcess()
        self._until = np.inf
        self._error: BaseException | None = None
        self._progress: Callable[[int, Candidate], None] = _silent
        self.outcomes: dict[int, Outcome] = {}

    def begin(self, seconds: float, progress: Callable[[int, Candidate], None]) -> None:
        """Forget what was, and start the clock.

        Args:
            seconds: after which nothing more is run.
            progress: told after every run how many there were, and which it was.
        """
        self._process.start()
        self.outcomes, self._error, self._progress = {}, None, progress
        self._until = time.monotonic() + seconds

    def ended(self) -> dict[int, Outcome]:
        """What came of every candidate that was run, by its place; what interrupted them is raised."""
        if self._error is not None:
            raise self._error
        return self.outcomes

    def __call__(
        self, place: Array, points: Float[Array, "N D"], weights: Float[Array, " N"], seed: Array
    ) -> Int[np.ndarray, " N"]:
        """The labels of one candidate; all -1 where it failed, is of the device, or there is none."""
        at, counted = int(place), np.asarray(weights) > 0
        labels = np.full(len(counted), -1, np.int32)
        if at >= len(self.candidates) or self.candidates[at].device or self._error is not None:
            return labels
        seconds = min(self.seconds, self._until - time.monotonic())
        try:
            one = self.candidates[at]
            outcome = self._process.run(seconds, one, np.asarray(points)[counted], None, int(seed))
            if outcome is not NOT_RUN:
                self.outcomes[at] = outcome
                self._progress(len(self.outcomes), one)
        except BaseException as error:  # an error here would end a callback, and come out as another
            self._error = error
            return labels
        if outcome.labels is not None:
            labels[counted] = outcome.labels
        return labels


def _silent(done: int, one: Candidate) -> None:
    """Progress that nobody is told."""


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
        InputError: a candidate lacks its number of clusters, or cannot be made.
    """
    for one in candidates:
        if one.told and one.clusters is None:
            raise InputError(f"{one.name} must be told a number of clusters; give it one, or several.")
        clusterer_of(one)
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
    usable = jnp.any(labels >= 0) & (jnp.max(labels) > jnp.min(jnp.where(labels >= 0, labels, len(labels))))
    seen = standardised(sight.judge.scale, sight.judge.varies, inputs)
    worth = labels_alike(labels, data.truth, SLOTS)
    known = usable & jnp.any(data.truth >= 0)
    return Attempt(seen, jnp.where(usable, quality, 0), usable, jnp.where(known, worth, 0))


def labels_alike(found: Int[Array, " N"], truth: Int[Array, " N"], classes: int) -> Float[Array, ""]:
    """The adjusted Rand index over points with a true class; found noise, -1, is one cluster of its own.

    Equal labels are counted after sorting, so that memory is that of the labels, however many there are.

    >>> float(labels_alike(jnp.array([5, 5, -1, 9]), jnp.array([0, 0, 1, -1]), 2))
    1.0
    """
    counted, count = truth >= 0, jnp.sum(truth >= 0)

    def together(codes: Int[Array, " N"]) -> Float[Array, ""]:
        codes = jnp.where(counted, codes, -1)
        values, sizes = jnp.unique(codes, return_counts=True, size=len(codes), fill_value=-1)
        sizes = jnp.where(values >= 0, sizes, 0).astype(jnp.float32)
        return sizes @ (sizes - 1) / 2

    both, ours, theirs = together((found + 1) * classes + truth), together(found + 1), together(truth)
    return adjusted_for_chance(both, ours, theirs, count * (count - 1.0) / 2, count)
