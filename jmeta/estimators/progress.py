"""What `AutoCluster` prints while it is fitted, if it is verbose."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int

from ..portfolio.candidates import Candidate

MAX_SHOWN = 5
"""The maximum number of sizes of clusters that are printed."""
INTERVAL = 4.0
"""The least number of seconds between two lines of progress."""


def ignore(*_: Any) -> None:
    """Does nothing."""


def at_intervals(
    show: Callable[[int, int, Candidate], None], seconds: float = INTERVAL
) -> Callable[[int, int, Candidate], None]:
    """Shows the first and the last progress, and at most one in so many seconds between them.

    >>> show = at_intervals(print_progress)
    >>> for done in range(1, 10):
    ...     show(done, 9, Candidate("ward"))
    [AutoCluster] 1 of 9 candidates, last ward
    [AutoCluster] 9 of 9 candidates, last ward
    """
    shown = -seconds

    def limited(done: int, total: int, candidate: Candidate) -> None:
        nonlocal shown
        now = time.monotonic()
        if done == total or now - shown >= seconds:
            shown = now
            show(done, total, candidate)

    return limited


def print_progress(done: int, total: int, candidate: Candidate) -> None:
    """Prints how many candidates were run.

    >>> print_progress(2, 9, Candidate("ward"))
    [AutoCluster] 2 of 9 candidates, last ward
    """
    print(f"[AutoCluster] {done} of {total} candidates, last {candidate.name}")


def print_first_answer(labels: Int[np.ndarray, " N"], expected: float) -> None:
    """Prints the first answer.

    >>> print_first_answer(np.array([0, 1, 1]), 0.5)
    [AutoCluster] first answer: 2 clusters of 2, 1 rows, expected adjusted Rand index 0.50
    """
    print(f"[AutoCluster] first answer: {describe_first(labels, expected)}")


def describe_first(labels: Int[np.ndarray, " N"], expected: float) -> str:
    """The sizes of the clusters of the first answer, and its expected agreement with the true clusters."""
    sizes = sorted(np.unique(labels, return_counts=True)[1].tolist(), reverse=True)
    shown = ", ".join(f"{size:,}" for size in sizes[:MAX_SHOWN]) + (", ..." if len(sizes) > MAX_SHOWN else "")
    clusters = "1 cluster" if len(sizes) == 1 else f"{len(sizes)} clusters"
    return f"{clusters} of {shown} rows, expected adjusted Rand index {expected:.2f}"
