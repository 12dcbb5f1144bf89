"""Means over tasks, with confidence intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num
from scipy.special import stdtrit

from ..errors import InputError


class Interval(NamedTuple):
    """A mean over n tasks and its 95 % confidence interval, mean +- ci95."""

    mean: float
    ci95: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.4g} +- {self.ci95:.2g} (95 %, {self.n} tasks)"


def interval(values: Num[np.ndarray, " T"]) -> Interval:
    """The mean of independent values and its 95 % confidence interval, t s / sqrt(n).

    t is the 97.5 % quantile of Student's distribution with n - 1 degrees of freedom: 1.96 for many tasks,
    2.78 for five. The interval of a single value is infinite. Values that are not finite are not dropped: the
    mean is then not finite either.

    Args:
        values: [T] one value per task.

    Raises:
        InputError: there is no value.

    >>> print(interval(np.array([1.0, 2.0, 3.0])))
    2 +- 2.5 (95 %, 3 tasks)
    """
    numbers: Float[np.ndarray, " T"] = np.asarray(values, np.float64).ravel()
    if not numbers.size:
        raise InputError("there are no values to average; evaluate at least one task.")
    if numbers.size == 1:
        return Interval(float(numbers[0]), float("inf"), 1)
    deviation = float(numbers.std(ddof=1)) / numbers.size**0.5
    return Interval(float(numbers.mean()), float(stdtrit(numbers.size - 1, 0.975)) * deviation, numbers.size)
