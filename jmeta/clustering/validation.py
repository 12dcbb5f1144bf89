"""Checks at the public doors of clustering; the kernels behind them are unchecked."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..records import InputError

LARGEST = 1e18


def check_counts(algorithm: str, *, clusters: int, steps: int, restarts: int) -> None:
    """Refuse counts that mean nothing."""
    for name, value, least in (("clusters", clusters, 1), ("steps", steps, 0), ("restarts", restarts, 1)):
        if not isinstance(value, int | np.integer) or value < least:
            raise InputError(f"{name} of {algorithm} is {value!r}; give a whole number >= {least}.")


def check_points(points: Any, weights: Any) -> None:
    """Refuse points and weights that cannot be clustered; under tracing, look at shapes alone."""
    if np.ndim(points) != 2:
        raise InputError(f"points have shape {np.shape(points)}; give a table [points, features].")
    if 0 in np.shape(points):
        raise InputError(f"points have shape {np.shape(points)}; there is nothing to cluster.")
    if np.dtype(points.dtype).kind not in "fiub" and not jax.numpy.issubdtype(points.dtype, np.floating):
        raise InputError(f"points are of type {points.dtype}; give real numbers.")
    if weights is not None and np.shape(weights) != np.shape(points)[:1]:
        raise InputError(
            f"weights have shape {np.shape(weights)} for {len(points)} points; give one per point."
        )
    if not isinstance(points, jax.core.Tracer):
        values = np.asarray(points, np.float64)
        if bad := int(np.sum(~np.isfinite(values).all(1))):
            raise InputError(f"{bad} of {len(points)} points hold NaN or infinity; remove or impute them.")
        if np.abs(values).max() > LARGEST:
            raise InputError(
                f"points reach {np.abs(values).max():.1e}, whose square overflows; rescale them."
            )
    if weights is not None and not isinstance(weights, jax.core.Tracer):
        values = np.asarray(weights, np.float64)
        if not np.all(np.isfinite(values) & (values >= 0)):
            raise InputError("weights must be finite and not negative.")
        if not values.any():
            raise InputError("all weights are zero; at least one point must count.")


def check_enough(points: Any, weights: Any, clusters: int) -> None:
    """Refuse fewer points than clusters; points of weight zero do not count."""
    counted = len(points)
    if weights is not None and not isinstance(weights, jax.core.Tracer):
        counted = int(np.sum(np.asarray(weights) > 0))
    if counted < clusters:
        raise InputError(f"{counted} points cannot form {clusters} clusters; ask for {counted} or fewer.")
