"""What every candidate makes of every problem: run once, in parallel, kept by content, never fatal.

A `Case` is one reference labelling of a problem, with its number of clusters. Every candidate runs in a
process of its own that is killed when its time is up; what it found is a file under the hash of points,
candidate, number of clusters and versions, so that a table that was interrupted goes on, and a larger one
reuses it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import threading
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import TimeoutError as OutOfTime
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import BrokenProcessPool
from sklearn.metrics import adjusted_rand_score

from ..records import InputError
from ..tasks.datasets import read_npz, write_npz
from ..tasks.problems import Problem
from .portfolio import Candidate, apply_candidate, spelled

FORMAT = 1
"""Of the files; it goes up when they change, and into their hash."""


class Case(NamedTuple):
    """One reference labelling.

    Attributes:
        problem: its place in the list of problems.
        truth: [N] the labelling; -1 does not count.
        clusters: how many there are.
    """

    problem: int
    truth: Int[np.ndarray, " N"]
    clusters: int


class Outcome(NamedTuple):
    """What one candidate found.

    Attributes:
        labels: [N], -1 noise; None where it failed.
        seconds: how long it took.
        failure: why there are no labels; empty if there are.
    """

    labels: Int[np.ndarray, " N"] | None
    seconds: float
    failure: str


NOT_RUN = Outcome(None, 0.0, "not run")


class Table(NamedTuple):
    """Every candidate on every case.

    Attributes:
        problems: P of them.
        cases: C, one for each labelling.
        candidates: A.
        outcomes: C lists of A.
        scores: [C, A] adjusted Rand index on the points that the labelling counts; 0 where it failed.
    """

    problems: list[Problem]
    cases: list[Case]
    candidates: tuple[Candidate, ...]
    outcomes: list[list[Outcome]]
    scores: Float[np.ndarray, "C A"]

    @property
    def groups(self) -> list[str]:
        """The group of every case."""
        return [self.problems[case.problem].group for case in self.cases]

    @property
    def usable(self) -> Bool[np.ndarray, "C A"]:
        """Where a candidate found something."""
        return np.array([[not outcome.failure for outcome in row] for row in self.outcomes])

    @property
    def parted(self) -> Bool[np.ndarray, "C A"]:
        """Where a candidate found two clusters or more, without which a search takes it for failed."""
        return np.array([[is_parted(outcome.labels) for outcome in row] for row in self.outcomes])

    @property
    def weights(self) -> Float[np.ndarray, " C"]:
        """Of every case, so that those of one problem add up to one."""
        return 1 / np.bincount(self.owners)[self.owners]

    @property
    def owners(self) -> Int[np.ndarray, " C"]:
        """The place of every case's problem."""
        return np.array([case.problem for case in self.cases])

    @property
    def numbers(self) -> Int[np.ndarray, " C"]:
        """The group of every case, by number."""
        return np.unique(self.groups, return_inverse=True)[1]

    @property
    def sights(self) -> list[tuple[int, int | None]]:
        """What tells cases apart while answers are hidden: the problem and, where given, its clusters."""
        return [(case.problem, case.clusters if self.told else None) for case in self.cases]

    @property
    def told(self) -> bool:
        """Whether the number of clusters is given with a case, not part of the candidates."""
        return all(one.clusters is None for one in self.candidates)


def is_parted(labels: Int[np.ndarray, " N"] | None) -> bool:
    """Whether there are two clusters or more; noise is none.

    >>> is_parted(np.array([0, 1, -1])), is_parted(np.array([0, 0, -1])), is_parted(None)
    (True, False, False)
    """
    return labels is not None and len(np.unique(labels[labels >= 0])) > 1


def parted_or_failed(outcome: Outcome, clusters: int | None = None) -> Outcome:
    """What was found, as a search takes it.

    Fewer than two clusters are a failure. So are, where their number was not asked for, more than half as
    many as rows, since many would hold one row; of this the agent that searches is not told.
    """
    labels = outcome.labels
    if labels is None:
        return outcome
    if not is_parted(labels):
        return outcome._replace(labels=None, failure="found fewer than two clusters")
    if clusters is None and len(np.unique(labels[labels >= 0])) > max(2, len(labels) // 2):
        return outcome._replace(labels=None, failure="found more than half as many clusters as rows")
    return outcome


def check_portfolio(candidates: tuple[Candidate, ...], table: Table) -> None:
    """Refuse a table of other candidates than those that were learned from."""
    if candidates != table.candidates:
        raise InputError("this was learned with another portfolio than the table's; use the same.")


def cases_of(problems: Sequence[Problem]) -> list[Case]:
    """One case for every labelling of every problem."""
    return [
        Case(place, labels, len(np.unique(labels[labels >= 0])))
        for place, problem in enumerate(problems)
        for labels in problem.labellings
    ]


def performance_table(
    problems: Sequence[Problem],
    candidates: Sequence[Candidate],
    *,
    folder: str | os.PathLike,
    seconds: float = 120.0,
    jobs: int = -1,
    backend: str = "loky",
    seed: int = 0,
) -> Table:
    """Run every candidate on every case that is not in the folder yet.

    Args:
        problems: what is clustered.
        candidates: with what.
        folder: where outcomes are kept.
        seconds: that a candidate may take; then it counts as failed.
        jobs: how many run at once; all cores unless given.
        backend: of joblib; "loky" on this machine, and whatever is registered with it, such as "dask" or
            "ray", on many.
        seed: everything random follows from it.

    Raises:
        InputError: there is no problem or no candidate, the time limit is not positive, or joblib has no
            such backend.
    """
    if not problems or not candidates:
        raise InputError(f"{len(problems)} problems and {len(candidates)} candidates make no table.")
    if not seconds > 0:
        raise InputError(f"{seconds} seconds are not enough for any candidate; give a positive number.")
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    cases = cases_of(problems)
    paths = [
        [root / _address(problems[case.problem], one, case, seed) for one in candidates] for case in cases
    ]
    runs = {
        path: (case, one)
        for case, row in zip(cases, paths, strict=True)
        for one, path in zip(candidates, row, strict=True)
    }
    found = {path: read_outcome(path) for path in runs}
    try:
        with parallel_config(backend, n_jobs=jobs):
            Parallel(batch_size=1)(
                delayed(_keep)(path, seconds, problems[case.problem].points, one, case.clusters, seed)
                for path, (case, one) in runs.items()
                if found[path] is None
            )
    except ValueError as error:
        raise InputError(f"joblib cannot run the table: {error}.") from error
    found = {path: outcome or read_outcome(path) for path, outcome in found.items()}
    outcomes = [[found[path] or _UNREAD for path in row] for row in paths]
    scores = [
        [score(case.truth, outcome.labels) for outcome in row]
        for case, row in zip(cases, outcomes, strict=True)
    ]
    return Table(list(problems), cases, tuple(candidates), outcomes, np.array(scores))


def score(truth: Int[np.ndarray, " N"], labels: Int[np.ndarray, " N"] | None) -> float:
    """The adjusted Rand index over points that have a true cluster; found noise is one cluster of its own."""
    if labels is None:
        return 0.0
    known = truth >= 0
    return float(adjusted_rand_score(truth[known], labels[known]))


def read_outcome(path: Path) -> Outcome | None:
    """What a file holds; None where there is none, or it is damaged and must be made again."""
    if not path.exists():
        return None
    try:
        arrays = read_npz(path)
        labels, failure = arrays["labels"], str(arrays["failure"])
        return Outcome(None if failure else labels.astype(int), float(arrays["seconds"]), failure)
    except (InputError, KeyError, ValueError):
        return None


def _address(problem: Problem, one: Candidate, case: Case, seed: int) -> str:
    """The name of the file: a hash of everything that an outcome depends on."""
    told = one.sought(case.clusters)
    package = "jmeta" if one.device or one.algorithm == "genie" else "scikit-learn"
    points = np.ascontiguousarray(problem.points)
    words = (FORMAT, points.shape, points.dtype.str, spelled(one), told, seed, package, _version(package))
    return hashlib.sha256(repr(words).encode() + points.tobytes()).hexdigest()[:32] + ".npz"


@cache
def _version(package: str) -> str:
    """Of an installed package, looked up once, not for every outcome."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _keep(path: Path, limit: float, points: np.ndarray, one: Candidate, clusters: int, seed: int) -> None:
    """Run one candidate, and write what it found, whole or not at all."""
    found = _own_process().run(limit, one, points, clusters, seed)
    labels = np.zeros(0) if found.labels is None else found.labels
    write_npz(
        path, labels=labels.astype(np.int32), seconds=np.array(found.seconds), failure=np.array(found.failure)
    )


class OneProcess:
    """A process that candidates run in, one after the other; it is killed where one takes too long."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def start(self) -> ProcessPoolExecutor:
        """Wait until candidates can run, so that no clock counts it."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1)
            self._pool.submit(ready).result()
        return self._pool

    def kill(self) -> None:
        """End what is under way; the next run starts anew."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
            self._pool = None

    def run(
        self,
        seconds: float,
        one: Candidate,
        points: Float[np.ndarray, "N D"],
        clusters: int | None,
        seed: int,
    ) -> Outcome:
        """What a candidate finds in so many seconds; a failure is put into words."""
        if seconds <= 0:
            return NOT_RUN
        pool, began = self.start(), time.perf_counter()
        labels, failure = None, ""
        try:
            labels = pool.submit(_quietly, one, points, clusters, seed).result(seconds)
        except OutOfTime:
            failure = f"{one.name} took more than {seconds:g} seconds"
            self.kill()
        except (BrokenProcessPool, MemoryError):
            failure = f"{one.name} ended its process, as for want of memory"
            self.kill()
        except InputError as error:
            failure = str(error)
        except Exception as error:  # a library's own; whatever it is, the table goes on
            failure = f"{one.name} failed ({type(error).__name__}: {error})"
        except BaseException:  # an interrupt
            self.kill()
            raise
        return Outcome(labels, time.perf_counter() - began, failure)


_UNREAD = Outcome(None, 0.0, "what was found could not be read back")
_OWN = threading.local()
"""The process of this thread."""


def _own_process() -> OneProcess:
    if getattr(_OWN, "process", None) is None:
        _OWN.process = OneProcess()
    return _OWN.process


def _quietly(one: Candidate, points: np.ndarray, clusters: int | None, seed: int) -> Int[np.ndarray, " N"]:
    """What a candidate finds; its warnings are left out, as what it found is scored."""
    with warnings.catch_warnings(action="ignore"):
        return apply_candidate(one, points, clusters, seed)


def ready() -> None:
    """Import what candidates need, before any clock runs."""
    import sklearn.cluster
    import sklearn.mixture  # noqa: F401
