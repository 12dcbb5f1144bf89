"""What is done to columns before they are clustered: a rule that is stated with the result."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float
from sklearn.decomposition import PCA

from ..errors import InputError

Scaling = Literal["auto", "standard", "none"]
UNLIKE = 10.0
"""Ratio of the largest deviation of a column to the smallest from which on units are taken to differ."""
AXES = 50
"""Columns beyond which points are put on their principal axes."""


class Preparation(NamedTuple):
    """A map of columns.

    Attributes:
        center: [D] that is taken away.
        scale: [D] that is divided by.
        axes: [D, E] principal axes; None where columns are kept.
        said: in words.
    """

    center: Float[np.ndarray, " D"]
    scale: Float[np.ndarray, " D"]
    axes: Float[np.ndarray, "D E"] | None
    said: str

    def __call__(self, points: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N E"]:
        """The points as they are clustered."""
        x = (np.asarray(points, np.float64) - self.center) / self.scale
        return x if self.axes is None else x @ self.axes


def deviations(
    x: Float[np.ndarray, "N D"],
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"], Bool[np.ndarray, " D"]]:
    """Mean and standard deviation of every column, and whether that is more than rounding.

    Raises:
        InputError: squares of the numbers overflow.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        center, spread = x.mean(0), x.std(0)
    if not np.all(np.isfinite(spread)):
        raise InputError("the table holds numbers whose squares overflow; give it in larger units.")
    return center, spread, spread > 1e-12 * np.maximum(np.abs(center), np.finfo(float).tiny)


def prepare(points: Float[np.ndarray, "N D"], scaling: Scaling, *, seed: int = 0) -> Preparation:
    """Learn how columns are to be scaled.

    With "auto" every column is divided by its deviation where these differ by a factor of `UNLIKE` or more,
    as those of columns in different units do; else all are divided by one number. Of more than `AXES` columns
    the first principal axes are taken.

    Raises:
        InputError: there is no such scaling.

    >>> prepare(np.array([[0.0, 0.0], [1.0, 1000.0]]), "auto").said
    'every column is divided by its standard deviation, as these differ by a factor of 1,000'
    """
    if scaling not in get_args(Scaling):
        raise InputError(f"scaling is {scaling!r}; choose one of {', '.join(get_args(Scaling))}.")
    x = np.asarray(points, np.float64)
    center, spread, varies = deviations(x)
    factor = spread[varies].max() / spread[varies].min() if varies.any() else 1.0
    said = f"columns keep their proportions; their deviations differ by a factor of {factor:,.3g}"
    whole = np.sqrt(np.mean(np.square(spread / spread.max()))) * spread.max() if varies.any() else 1.0
    scale = np.full(x.shape[1], whole)
    if scaling == "standard" or (scaling == "auto" and factor >= UNLIKE):
        scale = np.where(varies, spread, 1.0)
        said = (
            f"every column is divided by its standard deviation, as these differ by a factor of {factor:,.0f}"
            if scaling == "auto"
            else "every column is divided by its standard deviation, as was asked"
        )
    if x.shape[1] <= AXES or len(x) <= AXES:
        return Preparation(center, scale, None, said)
    found = PCA(AXES, svd_solver="randomized", random_state=seed).fit((x - center) / scale)
    kept = found.explained_variance_ratio_.sum()
    said += f"; of {x.shape[1]} columns the first {AXES} principal axes are kept, {kept:.0%} of the variance"
    return Preparation(center, scale, found.components_.T, said)
