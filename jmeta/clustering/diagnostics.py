"""Warnings about tables that cannot be clustered as asked, to the caller of the function that gives them."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float, Int, Num

from ..distances import smallest_length
from ..validation import is_single

LOST = 1e-3
"""The largest rounding error of distances that passes without a warning, as a part of the points' spread."""


def warn_of_rounding(points: Num[np.ndarray, "N D"]) -> None:
    """Warns if the distances between most points are smaller than can be computed from these numbers.

    All of them are if they would count as zero in the type of the points.

    The spread is the median absolute deviation of the columns, m their medians. Coordinates are rounded by
    eps |m|, which is too much for numbers with a large offset. Squared distances are rounded by eps times the
    squared distance of most points from the mean, which is too much if a few points pull the mean away.
    """
    dtype = np.float32 if is_single(points.dtype) else np.float64
    eps = np.finfo(dtype).eps
    x = np.asarray(points, np.float64)
    if 0 < (largest := np.abs(x - x.mean(0)).max()) <= smallest_length(dtype):
        warnings.warn(
            f"points differ by {largest:.1e} at most, which counts as nothing in {np.dtype(dtype)}; multiply "
            "them by a power of ten.",
            stacklevel=3,
        )
    middle = np.median(x, 0)
    spread = np.linalg.norm(np.median(np.abs(x - middle), 0))
    pulled = np.linalg.norm(x.mean(0) - middle)
    if eps * np.linalg.norm(middle) > LOST * spread > 0:
        warnings.warn(
            f"points are around {np.abs(middle).max():.1e} and most differ by {spread:.1e}, less than their "
            "type resolves; subtract an offset from float64 numbers.",
            stacklevel=3,
        )
    elif eps * pulled**2 > LOST * spread**2 > 0:
        warnings.warn(
            f"a few points are so far from the others, up to {np.abs(x - middle).max():.1e}, that distances "
            f"between those, around {spread:.1e}, are rounded; remove or clip the outliers.",
            stacklevel=3,
        )


def warn_of_fewer(
    labels: Int[np.ndarray, " N"],
    clusters: int,
    x: Float[np.ndarray, "N D"],
    *,
    at_most: bool = False,
    category: type[Warning] = UserWarning,
) -> None:
    """Warns if fewer clusters have points than were asked for.

    Args:
        labels: [N] cluster of each point.
        clusters: the number that was asked for.
        x: [N, D] the points.
        at_most: whether fewer are as good, unless there are fewer distinct points.
        category: class of the warning.
    """
    used = len(np.unique(labels))
    if used == clusters:
        return
    distinct = len(np.unique(x, axis=0))
    if distinct < clusters or not at_most:
        warnings.warn(
            f"{used} of {clusters} clusters have points, of which {distinct} are distinct; ask for fewer.",
            category,
            stacklevel=4,
        )
