"""Search: run an advisor's candidates one after the other while there is time, and judge what they found."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from itertools import count, islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from joblib.externals.loky import ProcessPoolExecutor, cpu_count
from joblib.externals.loky.process_executor import BrokenProcessPool

from .advisor import Advisor, Judgement, Promise, judge, order
from .choice import Choice
from .features import feature_names
from .portfolio import Candidate, apply_candidate, last_resort
from .selector import CRITERIA
from .table import NOT_RUN, Outcome, parted_or_failed, ready

SHARE = 0.7
"""Of the time, that candidates may take; the rest is for judging them."""
QUEUED = 2
"""Runs a process that are handed over at once; killed with more, the executor stumbles on them."""
IDLE = 60
"""Seconds without a search after which its processes end."""


class Found(NamedTuple):
    """What a search found.

    Attributes:
        outcomes: A, one of every candidate; those that were not run say so.
        judgement: what is foretold of them.
        features: [F] the meta-features of the problem.
        criterion: the one of `CRITERIA` that the selector trusts most here.
        judge: of single partitions, who foretold; the advisor's criterion where there is none.
    """

    outcomes: list[Outcome]
    judgement: Judgement
    features: Float[np.ndarray, " F"]
    criterion: str
    judge: Choice | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the meta-features."""
        return feature_names()

    @property
    def ranking(self) -> Int[np.ndarray, " A"]:
        """Places of the candidates that found something, the best first."""
        places = np.argsort(-self.judgement.quality, kind="stable")
        return places[np.isfinite(self.judgement.quality[places])]


def search(
    advisor: Advisor,
    points: Float[np.ndarray, "N D"],
    clusters: int | None = None,
    *,
    seconds: float = 60.0,
    most: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int, Candidate], None] = lambda done, count, one: None,
) -> Found:
    """Run candidates in the order of the selector, and judge them by the criterion.

    They run in processes of their own, one a core, which are killed when time is up. Where nothing has been
    found by then, k-means of the fewest clusters is run here.

    Args:
        advisor: learned with the number of clusters given, or without, as here.
        points: [N, D].
        clusters: how many, where that is known.
        seconds: for everything but the compilation of what describes points and partitions.
        most: candidates that are run at most.
        seed: everything random follows from it.
        progress: is told after each run: how many are done, how many there are, and which it was.

    Raises:
        InputError: from the advisor, as of another version.
    """
    with POOL as pool:
        started = [pool.submit(ready) for _ in range(cpu_count())]
        promise = order(advisor, points, clusters, seed=seed)
        wait(started)
        until = time.monotonic() + SHARE * seconds
        outcomes = [NOT_RUN] * len(advisor.candidates)
        places = promise.candidates[:most].tolist()
        waiting, runs, done = iter(places), dict[Future[Outcome], int](), count(1)
        try:
            while time.monotonic() < until:
                for at in islice(waiting, QUEUED * cpu_count() - len(runs)):
                    runs[pool.submit(run, advisor.candidates[at], points, clusters, seed)] = at
                for future in wait(runs, until - time.monotonic(), FIRST_COMPLETED).done:
                    at = runs.pop(future)
                    outcomes[at] = future.result()
                    progress(next(done), len(places), advisor.candidates[at])
                if not runs:
                    break
        except BrokenProcessPool:
            pass
        finally:
            if any(outcomes[at] is NOT_RUN for at in places):
                POOL.kill()
    judging = partial(judge, advisor, points, clusters=clusters, seed=seed)
    return judged_search(advisor, points, outcomes, promise, judging, clusters, seed=seed)


def judged_search(
    advisor: Advisor,
    points: Float[np.ndarray, "N D"],
    outcomes: list[Outcome],
    promise: Promise,
    judging: Callable[[list[Int[np.ndarray, " N"] | None]], Judgement],
    clusters: int | None = None,
    *,
    judge: Choice | None = None,
    seed: int = 0,
) -> Found:
    """What a search found, judged; k-means of the fewest clusters is run where all else failed.

    Args:
        advisor: who knows the candidates.
        points: [N, D].
        outcomes: A, of every candidate.
        promise: what was expected of them.
        judging: partitions, None where there is none -> what is foretold of them.
        clusters: how many, where that is known.
        judge: the judge of single partitions, if it was one.
        seed: everything random follows from it.
    """
    if all(outcome.labels is None for outcome in outcomes):
        last = last_resort(advisor.candidates)
        outcomes = list(outcomes)
        fewest = advisor.candidates[last]
        outcomes[last] = run(fewest, points, clusters or fewest.clusters, seed)
    judgement = judging([outcome.labels for outcome in outcomes])
    return Found(outcomes, judgement, promise.features, tuple(CRITERIA)[promise.criterion], judge)


def run(one: Candidate, points: Float[np.ndarray, "N D"], clusters: int | None, seed: int) -> Outcome:
    """What one candidate finds; a failure, and too few or too many clusters, are put into words."""
    began = time.perf_counter()
    labels, failure = None, ""
    try:
        with warnings.catch_warnings(action="ignore"):
            labels = apply_candidate(one, points, clusters, seed)
    except Exception as error:  # a library's own; whatever it is, the search goes on
        failure = f"{error or type(error).__name__}"
    return parted_or_failed(Outcome(labels, time.perf_counter() - began, failure), clusters)


class Pool:
    """Processes that outlive a search, so that the next one starts at once; not those that joblib keeps.

    They end some seconds after the last search; an executor's own timeout can leave one that never answers.
    """

    def __init__(self) -> None:
        self._lock, self._users = threading.RLock(), 0
        self._pool: ProcessPoolExecutor | None = None
        self._end: threading.Timer | None = None

    def __enter__(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._end is not None:
                self._end.cancel()
            self._users += 1
            if self._pool is None:
                self._pool = ProcessPoolExecutor(cpu_count())
            return self._pool

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._end = threading.Timer(IDLE, self.close)
                self._end.daemon = True
                self._end.start()

    def close(self) -> None:
        """End the processes, where no search is using them; the next one starts others."""
        with self._lock:
            if not self._users:
                self.kill()

    def kill(self) -> None:
        """End the processes, whatever they do; the next search starts others."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False, kill_workers=True)
                self._pool = None


POOL = Pool()
