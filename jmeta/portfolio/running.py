"""Run candidates: in this process, in one that is killed after a time limit, or in several at once.

This is the only place that executes a candidate. It imports no jax before a candidate needs it, so that the
processes start quickly. Each of them has one thread for linear algebra: as many processes as cores run at
once, and sums do not depend on the number of cores. A daemonic process, such as a worker of
`multiprocessing.Pool` or of a task queue, may not start others, and runs candidates itself; a time limit then
ends the search after the candidate that exceeds it.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfTime
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int
from joblib.externals.loky import ProcessPoolExecutor, cpu_count
from joblib.externals.loky.process_executor import BrokenProcessPool

from ..clustering.host.algorithms import host_labels
from ..errors import InputError
from .candidates import Candidate
from .own import own_labels

IDLE_SECONDS = 60.0
"""Time without a search after which the processes of a pool end."""


class Outcome(NamedTuple):
    """The result of running one candidate.

    Attributes:
        labels: [N] clusters, -1 for noise; None where the candidate failed.
        seconds: run time.
        failure: why there are no labels; empty if there are.
    """

    labels: Int[np.ndarray, " N"] | None
    seconds: float
    failure: str


NOT_RUN = Outcome(None, 0.0, "not run")


def candidate_labels(
    candidate: Candidate, points: Float[np.ndarray, "N D"], clusters: int | None, seed: int
) -> Int[np.ndarray, " N"]:
    """The labels that a candidate assigns, from 0; -1 is noise.

    Args:
        candidate: which algorithm, with which parameters.
        points: [N, D].
        clusters: the number of clusters K, where it is known and not part of the candidate.
        seed: all randomness follows from it.

    Raises:
        InputError: the candidate cannot cluster these points.
    """
    x = np.asarray(points, np.float64)
    if candidate.device:
        from .on_device import on_device_labels  # jax takes a second to import

        return on_device_labels(candidate, x, clusters, seed)
    if candidate.scaled:
        spread = x.std(0)
        x = (x - x.mean(0)) / np.where(spread > 0, spread, 1)
    count, options = candidate.clusters_for(clusters), dict(candidate.options)
    if candidate.make is not None:
        return own_labels(candidate.name, candidate.make, options, x, count, seed)
    return host_labels(candidate.algorithm, x, count, seed=seed, **options)


def run_candidate(
    candidate: Candidate, points: Float[np.ndarray, "N D"], clusters: int | None, seed: int
) -> Outcome:
    """Runs a candidate in this process; an error becomes the outcome's `failure`, warnings are dropped."""
    began = time.perf_counter()
    labels, failure = None, ""
    try:
        with warnings.catch_warnings(action="ignore"):
            labels = candidate_labels(candidate, points, clusters, seed)
    except InputError as error:
        failure = str(error)
    except MemoryError:
        failure = f"{candidate.name} ran out of memory"
    except Exception as error:  # any error of the library behind the candidate; other candidates go on
        failure = f"{candidate.name} failed ({type(error).__name__}: {error})"
    return Outcome(labels, time.perf_counter() - began, failure)


def run_usable(
    candidate: Candidate, points: Float[np.ndarray, "N D"], clusters: int | None, seed: int
) -> Outcome:
    """Runs a candidate in this process, as `run_candidate`, and checks the labels with `usable_or_failed`."""
    return usable_or_failed(run_candidate(candidate, points, clusters, seed), clusters)


def count_clusters(labels: Int[np.ndarray, " N"]) -> int:
    """The number of clusters; noise is none.

    >>> count_clusters(np.array([0, 1, -1]))
    2
    """
    return len(np.unique(labels[labels >= 0]))


def is_partition(labels: Int[np.ndarray, " N"] | None) -> bool:
    """Whether there are two clusters or more.

    >>> is_partition(np.array([0, 1, -1])), is_partition(np.array([0, 0, -1])), is_partition(None)
    (True, False, False)
    """
    return labels is not None and count_clusters(labels) > 1


def usable_or_failed(outcome: Outcome, clusters: int | None = None) -> Outcome:
    """The outcome as a search uses it: failed unless its number of clusters is acceptable.

    Fewer than two clusters are a failure. Where K is known, so is any other number. Where it is not, so are
    more than half as many clusters as rows, since many of them would hold a single row.

    >>> usable_or_failed(Outcome(np.array([0, 1, 2]), 0.0, ""), 2).failure
    'found 3 clusters where 2 were asked for'
    """
    if outcome.labels is None:
        return outcome
    found = count_clusters(outcome.labels)
    if found < 2:
        failure = "found fewer than two clusters"
    elif clusters is not None and found != clusters:
        failure = f"found {found} clusters where {clusters} were asked for"
    elif clusters is None and found > max(2, len(outcome.labels) // 2):
        failure = "found more than half as many clusters as rows"
    else:
        return outcome
    return outcome._replace(labels=None, failure=failure)


class Executor(Protocol):
    """Where candidates run: processes, by `ProcessPoolExecutor`, or this process, by `InProcess`."""

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """The future of a call."""

    def shutdown(self, wait: bool = True, kill_workers: bool = False) -> None:
        """Ends the processes."""


class InProcess:
    """An executor that runs every call in this process, before it returns the future."""

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """The future of a call, done."""
        future = Future[Any]()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, kill_workers: bool = False) -> None:
        """Does nothing, as no call is running."""


ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "BLIS")}
_EXECUTORS: weakref.WeakSet[Executor] = weakref.WeakSet()


def worker_count() -> int:
    """The number of processes for candidates: one for each core; only this one if it is daemonic."""
    return 1 if multiprocessing.current_process().daemon else cpu_count()


def new_executor(workers: int) -> Executor:
    """An executor of so many processes with one thread each, or of this process where it is daemonic."""
    if multiprocessing.current_process().daemon:
        return InProcess()
    executor: Executor = ProcessPoolExecutor(workers, env=ONE_THREAD)
    _EXECUTORS.add(executor)
    executor.submit(import_algorithms)  # the first call starts the processes
    _kill_at_exit()
    return executor


@cache
def _kill_at_exit() -> None:
    """Has processes that are left killed when this one ends, before their executors wait for them.

    Executors wait in a function that they register when the first one starts; the last one that was
    registered is called first.
    """

    def kill() -> None:
        for executor in list(_EXECUTORS):
            executor.shutdown(wait=False, kill_workers=True)

    threading._register_atexit(kill)  # type: ignore[attr-defined]


class Worker:
    """A process that runs candidates one after the other, and is killed where one exceeds its time limit."""

    def __init__(self) -> None:
        self._pool: Executor | None = None

    def start(self) -> Executor:
        """Starts the process where there is none, and waits until it can run candidates."""
        if self._pool is None:
            self._pool = new_executor(1)
            self._pool.submit(import_algorithms).result()
        return self._pool

    def kill(self) -> None:
        """Kills the process with whatever it runs; the next run starts another."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
            self._pool = None

    def run(
        self,
        seconds: float,
        candidate: Candidate,
        points: Float[np.ndarray, "N D"],
        clusters: int | None,
        seed: int,
    ) -> Outcome:
        """The outcome of a candidate that may take so many seconds; `NOT_RUN` where these are none."""
        if seconds <= 0:
            return NOT_RUN
        pool, began = self.start(), time.perf_counter()
        try:
            return pool.submit(run_candidate, candidate, points, clusters, seed).result(seconds)
        except OutOfTime:
            failure = f"{candidate.name} took more than {seconds:g} seconds"
            self.kill()
        except (BrokenProcessPool, MemoryError):
            reason = "memory ran out" + " or its code cannot be imported there" * (candidate.make is not None)
            failure = f"{candidate.name} ended its process, perhaps because {reason}"
            self.kill()
        except BaseException:  # an interrupt
            self.kill()
            raise
        return Outcome(None, time.perf_counter() - began, failure)


_LOCAL = threading.local()


def thread_worker() -> Worker:
    """The worker of the calling thread; the same one at every call."""
    if getattr(_LOCAL, "worker", None) is None:
        _LOCAL.worker = Worker()
    return _LOCAL.worker


def import_algorithms() -> None:
    """Imports the libraries of the candidates, so that no time limit includes it."""
    import sklearn.cluster
    import sklearn.mixture  # noqa: F401


class WorkerPool:
    """Processes that outlive a search, so that the next one starts at once.

    They end `IDLE_SECONDS` after the last search. They are not joblib's own, which other code may use or
    end; and an executor's own timeout can leave a process that never answers.
    """

    def __init__(self) -> None:
        self._lock, self._users = threading.RLock(), 0
        self._pool: Executor | None = None
        self._end: threading.Timer | None = None

    def __enter__(self) -> Executor:
        with self._lock:
            if self._end is not None:
                self._end.cancel()
            self._users += 1
            if self._pool is None:
                self._pool = new_executor(worker_count())
            return self._pool

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._end = threading.Timer(IDLE_SECONDS, self.close)
                self._end.daemon = True
                self._end.start()

    def close(self) -> None:
        """Ends the processes if no search uses them; the next search starts others."""
        with self._lock:
            if not self._users:
                self.kill()

    def kill(self) -> None:
        """Kills the processes with whatever they run; the next search starts others."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False, kill_workers=True)
                self._pool = None


SHARED_POOL = WorkerPool()
"""The processes of every search."""


def _forget_processes() -> None:
    """Forgets, in a process made by `fork`, the processes of its parent, which would never answer it."""
    _LOCAL.worker = None
    _EXECUTORS.clear()
    _kill_at_exit.cache_clear()
    SHARED_POOL.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_processes)
