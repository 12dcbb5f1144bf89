"""Preparation of columns before clustering: scaling, classes of words, and principal axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Num
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.utils.sparsefuncs import mean_variance_axis

from ..errors import InputError
from .words import WordClasses, fit_words

Scaling = Literal["auto", "standard", "none"]
UNIT_RATIO = 10.0
"""The ratio of the largest to the smallest standard deviation at which columns have different units."""
AXES = 50
"""The maximum number of columns; more are projected on their principal axes."""
BESIDE_WORDS = "numbers and dates are divided by their standard deviations, words are not"
"""Describes the preparation of a table of numbers and words."""
FEW_ROWS = 20
"""The number of rows below which columns are not projected."""
LARGEST = 1e300
"""The largest absolute value in a table; sums of larger ones could overflow."""


class Preparation(NamedTuple):
    """A map of the columns.

    Attributes:
        center: [D] what is subtracted from rows.
        scale: [D] what they are then divided by.
        axes: [D, E] principal axes; None if the columns are kept.
        description: the map in words.
        words: the classes in place of words; None if words are kept as they are.
    """

    center: Float[np.ndarray, " D"]
    scale: Float[np.ndarray, " D"]
    axes: Float[np.ndarray, "D E"] | None
    description: str
    words: WordClasses | None = None

    @property
    def equal(self) -> str:
        """Why all rows are equal, if they are."""
        return "all rows are equal" if self.words is None else "the columns are not related to each other"

    def __call__(self, points: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N E"]:
        """Maps points, which may be sparse if there are principal axes."""
        if sparse.issparse(points):
            axes = self.axes / self.scale[:, None]
            return points @ axes - self.center @ axes
        x = (np.asarray(points, np.float64) - self.center) / self.scale
        x = x if self.words is None else self.words(x)
        return x if self.axes is None else x @ self.axes


def deviations(
    x: Float[np.ndarray, "N D"],
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"], Bool[np.ndarray, " D"]]:
    """Mean and standard deviation of every column, and whether it varies by more than rounding.

    Raises:
        InputError: a number is beyond `LARGEST`.
    """
    unit = largest_value(x) or 1.0  # squares of tiny and of huge numbers are then in range
    if sparse.issparse(x):
        center, variance = mean_variance_axis(x / unit, axis=0)
        spread = np.sqrt(variance)
    else:
        center, spread = (x / unit).mean(0), (x / unit).std(0)
    varies = spread > 1e-12 * np.maximum(np.abs(center), np.finfo(float).tiny)
    return center * unit, spread * unit, varies


def largest_value(x: Num[np.ndarray, "N D"]) -> float:
    """The largest absolute value of a table.

    Raises:
        InputError: it is beyond `LARGEST`.
    """
    largest = float(max(x.max(), -x.min()))
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


def prepare(
    points: Float[np.ndarray, "N D"],
    scaling: Scaling,
    *,
    numeric: Bool[np.ndarray, " D"] | None = None,
    categories: Mapping[str, slice] = {},
    seed: int = 0,
) -> Preparation:
    """Fits the preparation of columns.

    With "auto" every column is divided by its standard deviation if these differ by a factor of `UNIT_RATIO`
    or more, as in columns of different units; else all columns are divided by one number. In a table of
    numbers and words all numbers are divided by their standard deviations unless `scaling` is "none", and
    words are not. Unless it is "none" or there is only one column, `fit_words` puts the classes that words
    form with all columns in place of `categories`. More than `AXES` columns are projected on
    their first principal axes, at most `AXES`; of a table with words, or with more columns than rows, only
    on those that exceed chance, see `count_axes`.

    Args:
        points: [N, D], a sparse matrix if D is greater than `AXES`.
        scaling: "auto", "standard" or "none".
        numeric: [D] whether a column is one of numbers, rather than a part of words; all unless given.
        categories: name -> the columns of its words, one each.
        seed: of the projection.

    Raises:
        InputError: `scaling` is unknown, or a number is beyond `LARGEST`.

    >>> prepare(np.array([[0.0, 0.0], [1.0, 1000.0]]), "auto").description
    'every column is divided by its standard deviation, as these differ by a factor of 1,000'
    """
    if scaling not in get_args(Scaling):
        raise InputError(f"scaling is {scaling!r}; choose one of {', '.join(get_args(Scaling))}.")
    x = points.astype(np.float64) if sparse.issparse(points) else np.asarray(points, np.float64)
    center, spread, varies = deviations(x)
    numeric = np.ones(x.shape[1], bool) if numeric is None else numeric
    words = not numeric.all()
    factor = spread[varies].max() / spread[varies].min() if varies.any() else 1.0
    description = f"columns keep their proportions; their deviations differ by a factor of {factor:,.3g}"
    overall = np.sqrt(np.mean(np.square(spread / spread.max()))) * spread.max() if varies.any() else 1.0
    scale = np.full(x.shape[1], overall)
    if words and numeric.any() and scaling != "none":
        scale, description = np.where(varies & numeric, spread, 1.0), BESIDE_WORDS
    elif words:
        scale, description = np.ones(x.shape[1]), "words keep their proportions"
    elif scaling == "standard" or (scaling == "auto" and factor >= UNIT_RATIO):
        scale = np.where(varies, spread, 1.0)
        description = (
            f"every column is divided by its standard deviation, as these differ by a factor of {factor:,.0f}"
            if scaling == "auto"
            else "every column is divided by its standard deviation, as requested"
        )
    made = Preparation(center, scale, None, description)
    several = any(part.stop - part.start < x.shape[1] for part in categories.values())
    if several and scaling != "none":
        classes, found = fit_words(made(x), categories, seed)
        made = made._replace(words=classes, description=f"{description}; {found}")
    return _projected(made, x, seed, beyond_chance=words or x.shape[1] > x.shape[0])


def _projected(
    made: Preparation, x: Float[np.ndarray, "N D"], seed: int, *, beyond_chance: bool
) -> Preparation:
    """The preparation with principal axes if there are more than `AXES` columns."""
    scaled = x if sparse.issparse(x) else made(x)
    if scaled.shape[1] <= AXES or scaled.shape[0] < FEW_ROWS:
        return made
    axes, kept = _principal_axes(scaled, made.scale, seed, beyond_chance=beyond_chance)
    return made._replace(
        axes=axes.T,
        description=f"{made.description}; the first {len(axes)} principal axes of {scaled.shape[1]:,} "
        f"columns are kept, with {kept:.0%} of the variance",
    )


def _principal_axes(
    x: Float[np.ndarray, "N D"], scale: Float[np.ndarray, " D"], seed: int, *, beyond_chance: bool
) -> tuple[Float[np.ndarray, "E D"], float]:
    """The first principal axes of scaled columns, and their share of the variance.

    Of a dense table, which is scaled and centred, only the axes with more variance than chance gives are kept
    if `beyond_chance`; a sparse one is yet to be divided by `scale`.
    """
    count = min(AXES, x.shape[0] - 1)
    if sparse.issparse(x):
        pca = PCA(count, svd_solver="arpack", random_state=seed).fit(x @ sparse.diags(1 / scale))
        return pca.components_, pca.explained_variance_ratio_.sum()
    pca = PCA(count, svd_solver="randomized", random_state=seed).fit(x)
    if beyond_chance:
        count = count_axes(x, pca.explained_variance_, seed)
    return pca.components_[:count], pca.explained_variance_ratio_[:count].sum()


def count_axes(x: Float[np.ndarray, "N D"], variances: Float[np.ndarray, " E"], seed: int) -> int:
    """The number of principal axes with more variance than those of independent columns, at least two.

    Columns are made independent by permuting each: parallel analysis (Horn, 1965, "A rationale and test for
    the number of factors in factor analysis", Psychometrika 30).

    Args:
        x: [N, D] points.
        variances: [E] of the first principal axes of `x`.
        seed: of the permutations.

    >>> x = np.random.default_rng(0).normal(size=(30, 90)) + 3 * (np.arange(30) % 3 == 0)[:, None]
    >>> count_axes(x, PCA(9).fit(x).explained_variance_, 0)
    2
    """
    independent = np.random.default_rng(seed).permuted(x, axis=0)
    chance = PCA(len(variances), svd_solver="randomized", random_state=seed).fit(independent)
    below = np.flatnonzero(variances <= chance.explained_variance_)
    return max(2, int(below[0]) if len(below) else len(variances))
