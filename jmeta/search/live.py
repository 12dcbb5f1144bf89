"""Searches on data sets that no table holds: candidates run when they are tried.

On-device candidates run inside `jit`; others run on the host, by callback, in a process that is killed after
a time limit. A candidate that fails there is seen to have failed, as in a table.
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
from ..errors import InputError
from ..metafeatures.partitions import SLOTS, by_size, descriptors_of, landmarks, structure
from ..metafeatures.problems import problem_features
from ..metafeatures.quantiles import standardised
from ..padding import pad_points, padded_size
from ..portfolio.candidates import Candidate, method_indicators
from ..portfolio.on_device import clusterer_of, traced_labels
from ..portfolio.running import NOT_RUN, Outcome, Worker
from ..selection.scoring import traced_scores
from ..selection.single_quality import SingleQuality, partition_inputs
from .game import Attempt, DataSets, draw_row


class LiveSet(NamedTuple):
    """A data set to be clustered, padded so that one program serves several sizes; or P of them.

    Attributes:
        points: [N, D], padded with zeros.
        weights: [N] one, and zero for padding.
        truth: [N] true clusters from 0, for rewards; -1 where there is none.
        features: [M] standardised meta-features.
        landmarks: [L, D] the points by which partitions are described.
        counts: [L] their weights.
        rows: [L] their places among the points.
        seed: all randomness follows from it.
    """

    points: Float[Array, "N D"]
    weights: Float[Array, " N"]
    truth: Int[Array, " N"]
    features: Float[Array, " M"]
    landmarks: Float[Array, "L D"]
    counts: Float[Array, " L"]
    rows: Int[Array, " L"]
    seed: Int[Array, ""]


class View(NamedTuple):
    """How a search sees data sets and partitions.

    Attributes:
        quality: predicts the quality of single partitions, and standardises their features.
        quantiles: [Q, M] of the meta-features of known problems.
        varies: [M] which of these differ.
    """

    quality: SingleQuality
    quantiles: Float[np.ndarray, "Q M"]
    varies: Float[np.ndarray, " M"]


def live_set(
    view: View,
    points: Float[np.ndarray, "N D"],
    truth: Int[np.ndarray, " N"] | None = None,
    *,
    features: Float[np.ndarray, " M"] | None = None,
    size: int | None = None,
    seed: int = 0,
) -> LiveSet:
    """A data set for a live search.

    Args:
        view: of the search.
        points: [N, D].
        truth: [N] true clusters, where rewards are wanted.
        features: its meta-features; computed unless given.
        size: number of points to pad to; `padded_size` unless given.
        seed: all randomness follows from it.

    Raises:
        InputError: there are more points than `size`, they cannot be clustered, or there are more than
            `SLOTS` true clusters.
    """
    if size is not None and len(points) > size:
        raise InputError(f"{len(points)} points cannot be padded to {size}; give a larger size.")
    features = problem_features([points], seed=seed)[0] if features is None else features
    drawn = landmarks(points, [], seed=seed)
    x, weights = pad_points(points - np.mean(points, 0), size or padded_size(len(points)))
    known = np.full(len(x), -1)
    if truth is not None:
        values, places = np.unique(truth, return_inverse=True)
        known[: len(points)] = np.where(truth >= 0, places - np.sum(values < 0), -1)
        if known.max() >= SLOTS:
            raise InputError(f"there are {known.max() + 1} true clusters; give at most {SLOTS}.")
    rows = np.zeros(len(drawn.points), int)
    rows[: len(drawn.rows)] = drawn.rows
    seen = standardised(view.quantiles, view.varies, jnp.asarray(features, jnp.float32))
    arrays = (x, weights, known, seen, drawn.points, drawn.weights, rows, seed)
    return LiveSet(*map(jnp.asarray, arrays))


class HostRunner:
    """Runs candidates on the host, one after the other, and keeps their outcomes.

    One search uses it at a time, from `begin` to `end`.

    Args:
        candidates: A.
        seconds: time limit of each.
    """

    def __init__(self, candidates: Sequence[Candidate], seconds: float = 60.0) -> None:
        self.candidates, self.seconds = tuple(candidates), seconds
        self._worker = Worker()
        self._until = np.inf
        self._error: BaseException | None = None
        self._progress: Callable[[int, Candidate], None] = _ignore
        self.outcomes: dict[int, Outcome] = {}

    def begin(self, seconds: float, progress: Callable[[int, Candidate], None]) -> None:
        """Drops earlier outcomes and starts the clock.

        Args:
            seconds: after which no candidate is run.
            progress: called after every run with the number of runs and the candidate.
        """
        self._worker.start()
        self.outcomes, self._error, self._progress = {}, None, progress
        self._until = time.monotonic() + seconds

    def end(self) -> dict[int, Outcome]:
        """The outcomes of the candidates that were run, by place; raises what interrupted them."""
        if self._error is not None:
            raise self._error
        return self.outcomes

    def __call__(
        self, place: Array, points: Float[Array, "N D"], weights: Float[Array, " N"], seed: Array
    ) -> Int[np.ndarray, " N"]:
        """The labels of one candidate; all -1 where it failed, is an on-device one, or there is none."""
        at, counted = int(place), np.asarray(weights) > 0
        labels = np.full(len(counted), -1, np.int32)
        if at >= len(self.candidates) or self.candidates[at].device or self._error is not None:
            return labels
        seconds = min(self.seconds, self._until - time.monotonic())
        try:
            candidate = self.candidates[at]
            outcome = self._worker.run(seconds, candidate, np.asarray(points)[counted], None, int(seed))
            if outcome is not NOT_RUN:
                self.outcomes[at] = outcome
                self._progress(len(self.outcomes), candidate)
        except BaseException as error:  # raised here it would end the callback as another error
            self._error = error
            return labels
        if outcome.labels is not None:
            labels[counted] = outcome.labels
        return labels


def _ignore(done: int, candidate: Candidate) -> None:
    """Progress that is not shown."""


def live(
    candidates: Sequence[Candidate],
    view: View,
    sets: LiveSet | None = None,
    *,
    run: Callable[..., Int[np.ndarray, " N"]] | None = None,
) -> DataSets:
    """Data sets whose candidates are run when they are tried.

    Under `vmap` host algorithms run one after the other, and all on-device ones run for every trial, so that
    a portfolio should hold few of these. A rollout of one trial runs only what it tries.

    Args:
        candidates: A; those that take a number of clusters have one.
        view: how their partitions are seen.
        sets: P data sets, padded to one size and with as many columns, that are drawn from; none where tasks
            are given.
        run: runs candidates on the host; `HostRunner` unless given.

    Raises:
        InputError: a candidate lacks its number of clusters, or cannot be made.
    """
    for candidate in candidates:
        if candidate.needs_clusters and candidate.clusters is None:
            raise InputError(f"{candidate.name} has no number of clusters; give it one, or several.")
        clusterer_of(candidate)
    run = run or HostRunner(candidates)
    methods = jnp.asarray(method_indicators(candidates), jnp.float32)
    on_device = [place for place, candidate in enumerate(candidates) if candidate.device]
    branch = jnp.full(len(candidates) + 1, len(on_device))
    branch = branch.at[jnp.asarray(on_device, int)].set(jnp.arange(len(on_device)))

    def run_on_host(data: LiveSet, place: Array) -> Int[Array, " N"]:
        shape = jax.ShapeDtypeStruct(data.weights.shape, np.int32)
        arguments = (place, data.points, data.weights, data.seed)
        return jax.pure_callback(run, shape, *arguments, vmap_method="sequential")

    def run_on_device(candidate: Candidate, data: LiveSet, place: Array) -> Int[Array, " N"]:
        return traced_labels(candidate, data.points, data.weights, data.seed).astype(jnp.int32)

    runners: list[Callable[..., Array]] = [partial(run_on_device, candidates[place]) for place in on_device]
    if len(on_device) < len(candidates):
        runners.append(run_on_host)

    def attempt(data: LiveSet, place: Int[Array, ""]) -> Attempt:
        labels = lax.switch(branch[place], runners, data, place)
        labels = jnp.where(data.weights > 0, labels, -1)
        return attempt_of(view, methods, data, labels, place)

    sizes = len(candidates), len(view.varies), len(view.quality.model.varies)

    def draw(key: Array) -> LiveSet:
        if sets is None:
            raise InputError("there is no data set to draw from; give some, or give tasks.")
        return draw_row(sets, key)

    return DataSets(draw, lambda data: data.features, attempt, sizes)


def attempt_of(
    view: View,
    methods: Float[Array, "A K"],
    data: LiveSet,
    labels: Int[Array, " N"],
    place: Int[Array, ""],
) -> Attempt:
    """The attempt of the candidate at a place, which returned these labels."""
    model = view.quality.model
    marked = by_size(jnp.where(data.counts > 0, labels[data.rows], -1))
    shared = structure(data.landmarks, data.counts)
    descriptors = descriptors_of(shared, data.landmarks, data.counts, marked[None])[0]
    size = jnp.stack([jnp.sum(data.weights), jnp.asarray(float(data.points.shape[1]))])
    inputs = partition_inputs(descriptors, size, methods[place])
    quality = jnp.mean(traced_scores(model, inputs[None, None]))
    ordered = jnp.sort(labels)
    clusters = jnp.sum(jnp.diff(ordered, prepend=-1) > 0)  # noise, -1, is none
    usable = (clusters > 1) & (clusters <= jnp.maximum(2, jnp.sum(data.weights > 0) // 2))
    score = adjusted_rand_of_labels(labels, data.truth, SLOTS)
    scored = usable & jnp.any(data.truth >= 0)
    return Attempt(
        features=standardised(model.quantiles, model.varies, inputs),
        quality=jnp.where(usable, quality, 0),
        usable=usable,
        score=jnp.where(scored, score, 0),
    )


def adjusted_rand_of_labels(
    found: Int[Array, " N"], truth: Int[Array, " N"], classes: int
) -> Float[Array, ""]:
    """The adjusted Rand index over points with a true class; noise that was found, -1, is one cluster.

    Pairs are counted after sorting, so that memory is linear in the number of points, however many labels.

    >>> float(adjusted_rand_of_labels(jnp.array([5, 5, -1, 9]), jnp.array([0, 0, 1, -1]), 2))
    1.0
    """
    counted, count = truth >= 0, jnp.sum(truth >= 0)

    def pairs(codes: Int[Array, " N"]) -> Float[Array, ""]:
        codes = jnp.where(counted, codes, -1)
        values, sizes = jnp.unique(codes, return_counts=True, size=len(codes), fill_value=-1)
        sizes = jnp.where(values >= 0, sizes, 0).astype(jnp.float32)
        return sizes @ (sizes - 1) / 2

    both = pairs((found + 1) * classes + truth)
    return adjusted_for_chance(both, pairs(found + 1), pairs(truth), count * (count - 1.0) / 2, count)
