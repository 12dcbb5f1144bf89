"""The mean over tasks, and how sure we are of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from ..errors import InputError


class Interval(NamedTuple):
    """A mean with its 95 % interval, mean +- ci95, over n tasks."""

    mean: float
    ci95: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.4g} +- {self.ci95:.2g} (95 %, {self.n} tasks)"


def interval(values: Num[np.ndarray, " T"]) -> Interval:
    """The mean of independent values and its normal 95 % interval, 1.96 s / sqrt(n).

    One value alone has an infinite interval. A value that is not finite makes the mean so: nothing
    is left out unsaid.

    Args:
        values: [T] one number per task.

    Raises:
        InputError: there is no value.

    >>> print(interval(np.array([1.0, 2.0, 3.0])))
    2 +- 1.1 (95 %, 3 tasks)
    """
    numbers: Float[np.ndarray, " T"] = np.asarray(values, np.float64).ravel()
    if not numbers.size:
        raise InputError("there are no values to average; evaluate at least one task.")
    spread = float(numbers.std(ddof=1)) if numbers.size > 1 else float("inf")
    return Interval(float(numbers.mean()), 1.96 * spread / numbers.size**0.5, numbers.size)
