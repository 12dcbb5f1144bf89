"""Performance tables: the score of every candidate on every problem.

An `Instance` is one reference labelling of a problem, with its number of clusters. Every candidate runs in a
process that is killed after a time limit; its outcome is a file under the hash of points, candidate, number
of clusters and versions, so that a table that was interrupted continues, and a larger one reuses it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from joblib import Parallel, delayed, parallel_config
from sklearn.metrics import adjusted_rand_score

from ..errors import InputError
from ..files import read_npz, write_npz
from ..tasks.problems import Problem
from .candidates import Candidate, canonical_name
from .running import Outcome, thread_worker, usable_or_failed

FORMAT = 1
"""Of the files; it goes up when they change, and is part of their hash."""


class Instance(NamedTuple):
    """One reference labelling of a problem.

    Attributes:
        problem: its place in the list of problems.
        truth: [N] the labelling; points of -1 are not scored.
        clusters: their number.
    """

    problem: int
    truth: Int[np.ndarray, " N"]
    clusters: int


class Table(NamedTuple):
    """The outcome and the score of every candidate on every instance.

    Attributes:
        problems: P of them.
        instances: C, one for each labelling.
        candidates: A.
        outcomes: C lists of A.
        scores: [C, A] adjusted Rand index on the points that the labelling covers; 0 where a candidate
            failed.
    """

    problems: list[Problem]
    instances: list[Instance]
    candidates: tuple[Candidate, ...]
    outcomes: list[list[Outcome]]
    scores: Float[np.ndarray, "C A"]

    @property
    def groups(self) -> list[str]:
        """[C] the group of every instance."""
        return [self.problems[instance.problem].group for instance in self.instances]

    @property
    def group_numbers(self) -> Int[np.ndarray, " C"]:
        """[C] the group of every instance, by number."""
        return np.unique(self.groups, return_inverse=True)[1]

    @property
    def problem_numbers(self) -> Int[np.ndarray, " C"]:
        """[C] the place of the problem of every instance."""
        return np.array([instance.problem for instance in self.instances])

    @property
    def weights(self) -> Float[np.ndarray, " C"]:
        """[C] weights of instances; those of one problem add up to one."""
        return 1 / np.bincount(self.problem_numbers)[self.problem_numbers]

    @property
    def usable(self) -> Bool[np.ndarray, "C A"]:
        """[C, A] where a candidate returned labels."""
        return np.array([[not outcome.failure for outcome in row] for row in self.outcomes])

    @property
    def partitioned(self) -> Bool[np.ndarray, "C A"]:
        """[C, A] where a search would not count the outcome as failed."""
        return np.array(
            [
                [usable_or_failed(outcome, clusters).labels is not None for outcome in row]
                for row, (_, clusters) in zip(self.outcomes, self.visible, strict=True)
            ]
        )

    @property
    def visible(self) -> list[tuple[int, int | None]]:
        """[C] what a model may see of an instance: the problem and, if known, the number of clusters."""
        return [
            (instance.problem, instance.clusters if self.known_k else None) for instance in self.instances
        ]

    @property
    def known_k(self) -> bool:
        """Whether the number of clusters is given with an instance, not part of the candidates."""
        return all(one.clusters is None for one in self.candidates)


def check_portfolio(candidates: tuple[Candidate, ...], table: Table) -> None:
    """Raises an `InputError` if a table is of other candidates than those of a model."""
    if candidates != table.candidates:
        raise InputError("the model was trained with another portfolio than the table's; use the same.")


def instances_of(problems: Sequence[Problem]) -> list[Instance]:
    """One instance for every labelling of every problem."""
    return [
        Instance(place, labels, len(np.unique(labels[labels >= 0])))
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
    """The table of problems and candidates; runs whatever the folder does not hold yet.

    Args:
        problems: with reference labellings.
        candidates: A, each run on every problem with every number of clusters of its labellings.
        folder: where outcomes are kept.
        seconds: time limit of a candidate, after which it counts as failed.
        jobs: how many run at once; as many as there are cores unless given.
        backend: of joblib; "loky" on this machine, and whatever is registered with joblib, such as "dask" or
            "ray", on many.
        seed: all randomness follows from it.

    Raises:
        InputError: there is no problem or no candidate, the time limit is not positive, or joblib has no
            such backend.
    """
    if not problems or not candidates:
        raise InputError(f"{len(problems)} problems and {len(candidates)} candidates make no table.")
    if not seconds > 0:
        raise InputError(f"seconds is {seconds}; give a positive time limit.")
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    instances = instances_of(problems)
    paths = [
        [root / _file_name(problems[instance.problem], one, instance, seed) for one in candidates]
        for instance in instances
    ]
    runs = {
        path: (instance, one)
        for instance, row in zip(instances, paths, strict=True)
        for one, path in zip(candidates, row, strict=True)
    }
    found = {path: read_outcome(path) for path in runs}
    try:
        with parallel_config(backend, n_jobs=jobs):
            Parallel(batch_size=1)(
                delayed(_run_and_write)(
                    path, seconds, problems[instance.problem].points, one, instance.clusters, seed
                )
                for path, (instance, one) in runs.items()
                if found[path] is None
            )
    except ValueError as error:
        raise InputError(f"joblib cannot run the table: {error}.") from error
    found = {path: outcome or read_outcome(path) for path, outcome in found.items()}
    outcomes = [[found[path] or _UNREAD for path in row] for row in paths]
    scores = [
        [score(instance.truth, outcome.labels) for outcome in row]
        for instance, row in zip(instances, outcomes, strict=True)
    ]
    return Table(list(problems), instances, tuple(candidates), outcomes, np.array(scores))


def score(truth: Int[np.ndarray, " N"], labels: Int[np.ndarray, " N"] | None) -> float:
    """The adjusted Rand index over points that have a true cluster; noise that was found is one cluster."""
    if labels is None:
        return 0.0
    known = truth >= 0
    return float(adjusted_rand_score(truth[known], labels[known]))


def read_outcome(path: Path) -> Outcome | None:
    """The outcome in a file; None if there is no file, or it is damaged."""
    if not path.exists():
        return None
    try:
        arrays = read_npz(path)
        labels, failure = arrays["labels"], str(arrays["failure"])
        return Outcome(None if failure else labels.astype(int), float(arrays["seconds"]), failure)
    except (InputError, KeyError, ValueError):
        return None


def _file_name(problem: Problem, one: Candidate, instance: Instance, seed: int) -> str:
    """A hash of everything that an outcome depends on."""
    clusters = one.clusters_for(instance.clusters)
    package = "jmeta" if one.device or one.algorithm == "genie" else "scikit-learn"
    points = np.ascontiguousarray(problem.points)
    content = (
        *(FORMAT, points.shape, points.dtype.str, canonical_name(one), clusters, seed),
        *(package, _version(package)),
    )
    return hashlib.sha256(repr(content).encode() + points.tobytes()).hexdigest()[:32] + ".npz"


@cache
def _version(package: str) -> str:
    """The version of an installed package, looked up once."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _run_and_write(
    path: Path, limit: float, points: np.ndarray, one: Candidate, clusters: int, seed: int
) -> None:
    """Runs one candidate and writes its outcome."""
    outcome = thread_worker().run(limit, one, points, clusters, seed)
    labels = np.zeros(0) if outcome.labels is None else outcome.labels
    write_npz(
        path,
        labels=labels.astype(np.int32),
        seconds=np.array(outcome.seconds),
        failure=np.array(outcome.failure),
    )


_UNREAD = Outcome(None, 0.0, "the outcome could not be read back")
