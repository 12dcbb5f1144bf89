"""What `AutoCluster` prints while it is fitted, if it is verbose."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int

from ..portfolio.candidates import Candidate
from ..portfolio.running import count_clusters


def ignore(*_: Any) -> None:
    """Does nothing."""


def print_progress(done: int, total: int, candidate: Candidate) -> None:
    """Prints how many candidates were run.

    >>> print_progress(2, 9, Candidate("ward"))
    [AutoCluster] 2 of 9 candidates, last ward
    """
    print(f"[AutoCluster] {done} of {total} candidates, last {candidate.name}")


def print_first_answer(labels: Int[np.ndarray, " N"], expected: float) -> None:
    """Prints the number of clusters of the first answer, and its expected agreement.

    >>> print_first_answer(np.array([0, 1, 1]), 0.5)
    [AutoCluster] first answer: 2 clusters, expected adjusted Rand index 0.50
    """
    clusters = count_clusters(labels)
    print(f"[AutoCluster] first answer: {clusters} clusters, expected adjusted Rand index {expected:.2f}")
