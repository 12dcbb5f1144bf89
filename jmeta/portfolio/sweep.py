"""The partitions of all classical candidates, for many numbers of clusters, with the shared work done once.

This module imports no jax, so that a process that only runs it starts quickly.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist
from sklearn.cluster import HDBSCAN, KMeans
from threadpoolctl import threadpool_limits

from ..clustering.host.algorithms import noise_to_nearest
from ..clustering.host.cuts import cuts, linkage_merges
from ..clustering.host.genie import genie_partitions
from .candidates import Candidate, candidate
from .sweep_methods import Mixtures, spectral_partitions

KMEANS = candidate("kmeans", n_init=5)
LINKAGES = ("ward", "average", "complete")
GINI_THRESHOLDS = (0.1, 0.3, 0.6)
NEIGHBOURS = (10, 20)
MIN_SAMPLES = (4, 8)
MIN_CLUSTER_SIZES = (5, 10, 30)
MANY_COLUMNS = 20
"""With more columns, covariances of mixtures are diagonal, and HDBSCAN compares all pairs of rows.

Neighbour trees do not help there: the comparison takes a third of their time at 2,000 rows and 50 columns.
"""
MANY_COMPONENTS = 20
"""The largest number of components of a mixture with full covariances of more than ten columns."""
REGULARISATION = 1e-5
"""What is added to the variances of a Gaussian mixture, as a share of the mean variance of the columns."""

ALONE = threading.Lock()
"""Held while warnings are ignored or threads are limited, which are settings of the whole process."""
FAILURES = (ValueError, ArithmeticError, RuntimeError, MemoryError)
"""What libraries raise for points that a method cannot cluster; ARPACK's and LAPACK's errors among them."""

Partitions = Iterator[tuple[Candidate, Int[np.ndarray, " N"]]]
Progress = Callable[[int, int, Candidate], None]
"""Takes the number of candidates that were run, the number in total, and the last one."""


def counts_to_try(rows: int) -> tuple[int, ...]:
    """The numbers of clusters to try: 2 to 20, then in larger steps to 50, at most half of the rows.

    >>> counts_to_try(9), counts_to_try(3)
    ((2, 3, 4), (2,))
    """
    counts = (*range(2, 21), 22, 25, 28, 32, 36, 40, 45, 50)
    return tuple(count for count in counts if count <= max(2, rows // 2))


class Swept(NamedTuple):
    """The partitions of a sweep.

    Attributes:
        partitions: candidate -> [N] its labels, numbered from 0, with noise as -1. The order of candidates is
            the same for all points.
        left_out: the number of candidates that there was no time for.
    """

    partitions: dict[Candidate, Int[np.ndarray, " N"]]
    left_out: int


def sweep(
    points: Float[np.ndarray, "N D"],
    counts: Sequence[int],
    *,
    seed: int = 0,
    until: float = math.inf,
    progress: Progress = lambda done, total, last: None,
) -> Swept:
    """The partition of every candidate: linkages, Genie, k-means, mixtures, spectral clustering and HDBSCAN.

    Candidates that fail on these points, or find fewer than two clusters, are left out. Linkages and Genie
    find exactly K clusters; the other methods may find fewer. One thread is used. `run_candidate` runs each
    candidate alone, also on more points; k-means and mixtures then start at random and spectral clustering
    does not connect its graph, so labels may differ.

    Args:
        points: [N, D], finite, centred and scaled; at most a few thousand rows.
        counts: numbers of clusters to try; those below 2 or not below N are left out.
        seed: all randomness follows from it.
        until: time by `time.monotonic` after which no further candidate is run.
        progress: called after each candidate.

    >>> points = np.array([[0.0], [0.1], [0.3], [5.0], [5.1], [5.3]])
    >>> sweep(points, [2, 3]).partitions[candidate("ward")._replace(clusters=2)].tolist()
    [0, 0, 0, 1, 1, 1]
    """
    x = np.ascontiguousarray(points, np.float64)
    counts = sorted({int(count) for count in counts if 2 <= count < len(x)})
    found: dict[Candidate, Int[np.ndarray, " N"]] = {}
    left_out = 0
    with ALONE, warnings.catch_warnings(action="ignore"), threadpool_limits(1):
        methods = list(_methods(x, counts, found, seed))
        total, done = sum(size for size, _ in methods), itertools.count(1)
        for size, partitions in methods:
            watched = _watched(partitions, lambda last: progress(next(done), total, last))
            left_out += _collect(found, size, watched, until)
    return Swept(found, left_out)


def _methods(
    x: Float[np.ndarray, "N D"],
    counts: Sequence[int],
    found: dict[Candidate, Int[np.ndarray, " N"]],
    seed: int,
) -> Iterator[tuple[int, Partitions]]:
    """The methods in order, each with its number of candidates; some start from partitions in `found`."""
    yield len(LINKAGES) * len(counts), _linkages(x, counts)
    yield len(GINI_THRESHOLDS) * len(counts), _genie(x, counts)
    yield len(counts), _kmeans(x, counts, found, seed)
    yield len(counts), _mixtures(x, counts, found)
    for neighbours in NEIGHBOURS:
        yield len(counts), _spectral(x, counts, neighbours)
    for min_samples in MIN_SAMPLES:
        for min_cluster_size in MIN_CLUSTER_SIZES:
            if min_cluster_size < len(x) // 2:
                yield 2, _hdbscan(x, min_samples, min_cluster_size)


def _watched(partitions: Partitions, seen: Callable[[Candidate], None]) -> Partitions:
    """The same partitions; `seen` is called with each candidate."""
    for one, labels in partitions:
        seen(one)
        yield one, labels


def _collect(
    found: dict[Candidate, Int[np.ndarray, " N"]], size: int, partitions: Partitions, until: float
) -> int:
    """Adds partitions of two clusters or more to `found`, until there are no more or the method fails.

    Returns:
        The number of partitions, of `size`, that there was no time for.
    """
    seen = 0
    with contextlib.suppress(*FAILURES):  # other methods go on
        while time.monotonic() < until:
            one, labels = next(partitions, (None, None))
            if one is None or labels is None:
                return 0
            seen += 1
            occurs = np.bincount(labels[labels >= 0]) > 0
            if occurs.sum() > 1:
                found[one] = np.where(labels >= 0, (np.cumsum(occurs) - 1)[labels], -1)
        return max(size - seen, 0)
    return 0


def _at(one: Candidate, count: int) -> Candidate:
    """The candidate with its number of clusters."""
    return one._replace(clusters=count)


def _linkages(x: Float[np.ndarray, "N D"], counts: Sequence[int]) -> Partitions:
    """The partitions of every linkage, from one matrix of distances."""
    distances = pdist(x)
    for method in LINKAGES:
        first, second = linkage_merges(linkage(distances, method))
        for count, labels in zip(counts, cuts(first, second, counts), strict=True):
            yield _at(candidate(method), count), labels


def _genie(x: Float[np.ndarray, "N D"], counts: Sequence[int]) -> Partitions:
    """The partitions of Genie with every threshold, from one spanning tree."""
    for threshold, partitions in genie_partitions(x, counts, GINI_THRESHOLDS).items():
        for count, labels in zip(counts, partitions, strict=True):
            yield _at(candidate("genie", gini_threshold=threshold), count), labels


def _kmeans(
    x: Float[np.ndarray, "N D"],
    counts: Sequence[int],
    found: dict[Candidate, Int[np.ndarray, " N"]],
    seed: int,
) -> Partitions:
    """The better partitions of k-means from two starts: the clusters of Ward's linkage, and k-means++."""
    for count in counts:
        models = [KMeans(count, n_init=1, random_state=seed)]
        start = found.get(_at(candidate("ward"), count))
        if start is not None:
            members = np.eye(count)[:, start]
            centers = members @ x / members.sum(1, keepdims=True)
            models.append(KMeans(count, init=centers, n_init=1))
        best = min((model.fit(x) for model in models), key=lambda model: model.inertia_)
        yield _at(KMEANS, count), best.labels_


def _mixtures(
    x: Float[np.ndarray, "N D"], counts: Sequence[int], found: dict[Candidate, Int[np.ndarray, " N"]]
) -> Partitions:
    """The partitions of Gaussian mixtures that start from those of k-means; diagonal for many columns."""
    full = x.shape[1] <= MANY_COLUMNS
    covariance_type = "full" if full else "diag"
    one = candidate("gaussian_mixture", n_init=1, reg_covar=REGULARISATION, covariance_type=covariance_type)
    mixtures = Mixtures(x, full=full, regularisation=REGULARISATION * float(np.mean(np.var(x, 0))))
    for count in counts:
        start = found.get(_at(KMEANS, count))
        if start is not None and (count <= MANY_COMPONENTS or not full or x.shape[1] <= 10):
            with contextlib.suppress(*FAILURES):  # other numbers of components go on
                yield _at(one, count), mixtures.labels(start)


def _spectral(x: Float[np.ndarray, "N D"], counts: Sequence[int], neighbours: int) -> Partitions:
    """The partitions of spectral clustering with the graph of so many neighbours."""
    one = candidate(
        "spectral", affinity="nearest_neighbors", n_neighbors=neighbours, assign_labels="cluster_qr"
    )
    for count, labels in spectral_partitions(x, counts, neighbours):
        yield _at(one, count), labels


def _hdbscan(x: Float[np.ndarray, "N D"], min_samples: int, min_cluster_size: int) -> Partitions:
    """The partition of HDBSCAN with its noise, and with noise in the cluster of the nearest clustered row."""
    sizes: dict[str, Any] = {"min_samples": min_samples, "min_cluster_size": min_cluster_size}
    algorithm = "auto" if x.shape[1] <= MANY_COLUMNS else "brute"
    labels = HDBSCAN(**sizes, algorithm=algorithm, copy=True).fit(x).labels_
    yield candidate("hdbscan", **sizes), labels
    yield candidate("hdbscan", **sizes, noise="nearest"), noise_to_nearest(x, labels)
