"""Preparation of columns before clustering: scaling and principal axes."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Num
from sklearn.decomposition import PCA

from ..errors import InputError

Scaling = Literal["auto", "standard", "none"]
UNIT_RATIO = 10.0
"""The ratio of the largest to the smallest standard deviation at which columns have different units."""
AXES = 50
"""The maximum number of columns; more are projected on their principal axes."""
LARGEST = 1e300
"""The largest absolute value in a table; sums of larger ones could overflow."""


class Preparation(NamedTuple):
    """A map of the columns.

    Attributes:
        center: [D] what is subtracted from rows.
        scale: [D] what they are then divided by.
        axes: [D, E] principal axes; None if the columns are kept.
        description: the map in words.
    """

    center: Float[np.ndarray, " D"]
    scale: Float[np.ndarray, " D"]
    axes: Float[np.ndarray, "D E"] | None
    description: str

    def __call__(self, points: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N E"]:
        """Maps points."""
        x = (np.asarray(points, np.float64) - self.center) / self.scale
        return x if self.axes is None else x @ self.axes


def deviations(
    x: Float[np.ndarray, "N D"],
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"], Bool[np.ndarray, " D"]]:
    """Mean and standard deviation of every column, and whether it varies by more than rounding.

    Raises:
        InputError: a number is beyond `LARGEST`.
    """
    unit = largest_value(x) or 1.0  # squares of tiny and of huge numbers are then in range
    center = (x / unit).mean(0)
    spread = (x / unit).std(0)
    varies = spread > 1e-12 * np.maximum(np.abs(center), np.finfo(float).tiny)
    return center * unit, spread * unit, varies


def largest_value(x: Num[np.ndarray, "N D"]) -> float:
    """The largest absolute value of a table.

    Raises:
        InputError: it is beyond `LARGEST`.
    """
    largest = float(max(np.max(x), -np.min(x)))
    if largest > LARGEST:
        raise InputError(f"the table holds numbers beyond {LARGEST:.0e}; give it in larger units.")
    return largest


def count_distinct(points: Num[np.ndarray, "N D"], enough: int) -> int:
    """The number of distinct rows, or of distinct first rows if these are enough.

    >>> count_distinct(np.array([[0.0], [1.0], [0.0]]), 3)
    2
    """
    first = len(np.unique(points[: 10 * enough], axis=0))
    return first if first >= enough else len(np.unique(points, axis=0))


def prepare(points: Float[np.ndarray, "N D"], scaling: Scaling, *, seed: int = 0) -> Preparation:
    """Fits the preparation of columns.

    With "auto" every column is divided by its standard deviation if these differ by a factor of `UNIT_RATIO`
    or more, as in columns of different units; else all columns are divided by one number. More than `AXES`
    columns are projected on their first principal axes.

    Raises:
        InputError: `scaling` is unknown, or a number is beyond `LARGEST`.

    >>> prepare(np.array([[0.0, 0.0], [1.0, 1000.0]]), "auto").description
    'every column is divided by its standard deviation, as these differ by a factor of 1,000'
    """
    if scaling not in get_args(Scaling):
        raise InputError(f"scaling is {scaling!r}; choose one of {', '.join(get_args(Scaling))}.")
    x = np.asarray(points, np.float64)
    center, spread, varies = deviations(x)
    factor = spread[varies].max() / spread[varies].min() if varies.any() else 1.0
    description = f"columns keep their proportions; their deviations differ by a factor of {factor:,.3g}"
    overall = np.sqrt(np.mean(np.square(spread / spread.max()))) * spread.max() if varies.any() else 1.0
    scale = np.full(x.shape[1], overall)
    if scaling == "standard" or (scaling == "auto" and factor >= UNIT_RATIO):
        scale = np.where(varies, spread, 1.0)
        description = (
            f"every column is divided by its standard deviation, as these differ by a factor of {factor:,.0f}"
            if scaling == "auto"
            else "every column is divided by its standard deviation, as requested"
        )
    if x.shape[1] <= AXES or len(x) <= AXES:
        return Preparation(center, scale, None, description)
    pca = PCA(AXES, svd_solver="randomized", random_state=seed).fit((x - center) / scale)
    kept = pca.explained_variance_ratio_.sum()
    description += (
        f"; the first {AXES} principal axes of {x.shape[1]} columns are kept, with {kept:.0%} of the variance"
    )
    return Preparation(center, scale, pca.components_.T, description)
