"""Pad points to a few sizes, so that few compiled programs serve tables of any size."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

MIN_SIZE = 128
"""The smallest padded size."""


def pad_points(
    points: Float[np.ndarray, "N D"], size: int, dtype: type[np.floating] = np.float32
) -> tuple[Float[np.ndarray, "M D"], Float[np.ndarray, " M"]]:
    """Points padded with rows of zeros to `size` rows, and their weights: 1, and 0 for padding.

    >>> pad_points(np.ones((2, 1)), 3)[1]
    array([1., 1., 0.], dtype=float32)
    """
    x = np.zeros((size, points.shape[1]), dtype)
    x[: len(points)] = points
    return x, (np.arange(size) < len(points)).astype(dtype)


def padded_size(count: int) -> int:
    """The next power of two that is at least `count` and at least `MIN_SIZE`.

    >>> padded_size(3), padded_size(1024), padded_size(1025)
    (128, 1024, 2048)
    """
    return max(MIN_SIZE, 1 << (count - 1).bit_length())
