"""Ranked search: run the candidates of an advisor in the order of their ranking while there is time."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import count, islice

import numpy as np
from jaxtyping import Float
from joblib.externals.loky.process_executor import BrokenProcessPool

from ..portfolio.candidates import Candidate
from ..portfolio.running import (
    NOT_RUN,
    SHARED_POOL,
    Outcome,
    import_algorithms,
    run_usable,
    worker_count,
)
from ..selection.advisor import Advisor, rank_candidates
from .result import SearchResult, search_result

RUN_SHARE = 0.7
"""Share of the time limit for ranking and running candidates; the rest is for predicting their quality."""
LEAST_SHARE = 0.3
"""The least share for running them, however long it took to rank them."""
QUEUED = 2
"""Runs that are submitted for each process; an executor that is killed with more queued does not end."""


def ranked_search(
    advisor: Advisor,
    points: Float[np.ndarray, "N D"],
    clusters: int | None = None,
    *,
    seconds: float = 60.0,
    max_candidates: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int, Candidate], None] = lambda done, total, candidate: None,
) -> SearchResult:
    """The result of running candidates in the order of the selector.

    They run in other processes, one for each core, which are killed when time is up. Where all have failed by
    then, k-means runs in this process.

    Args:
        advisor: trained with the number of clusters where it is known, and without where it is not.
        points: [N, D].
        clusters: the number of clusters, where it is known.
        seconds: for everything, but for compilation; candidates are run for `LEAST_SHARE` of it, however long
            compilation takes.
        max_candidates: the largest number of candidates that are run; all unless given.
        seed: all randomness follows from it.
        progress: called after each run with the number done, the number in total, and the candidate.

    Raises:
        InputError: from the advisor, as if it is of another version.
    """
    began, outcomes = time.monotonic(), [NOT_RUN] * len(advisor.candidates)
    with SHARED_POOL as pool:
        started = [pool.submit(import_algorithms) for _ in range(worker_count())]
        ranking = rank_candidates(advisor, points, clusters, seed=seed)
        wait(started)
        until = max(began + RUN_SHARE * seconds, time.monotonic() + LEAST_SHARE * seconds)
        places = ranking.candidates[:max_candidates].tolist()
        waiting, runs, done = iter(places), dict[Future[Outcome], int](), count(1)
        try:
            while time.monotonic() < until:
                for place in islice(waiting, QUEUED * worker_count() - len(runs)):
                    runs[pool.submit(run_usable, advisor.candidates[place], points, clusters, seed)] = place
                if not runs:
                    break
                for future in wait(runs, until - time.monotonic(), FIRST_COMPLETED).done:
                    place = runs.pop(future)
                    outcomes[place] = future.result()
                    progress(next(done), len(places), advisor.candidates[place])
        except BrokenProcessPool:
            pass
        finally:
            if any(outcomes[place] is NOT_RUN for place in places):
                SHARED_POOL.kill()
    return search_result(advisor, advisor.quality, points, outcomes, ranking, clusters, seed=seed)
