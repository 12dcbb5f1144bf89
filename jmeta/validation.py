"""Checks at the public doors of clustering; the kernels behind them are unchecked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Literal, get_args

import jax
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from .distances import as_float
from .errors import InputError

Metric = Literal["euclidean", "cosine"]
"""How far a point is from a centre."""

LARGEST = 1e16
"""Sums of squares of larger points may leave the range of float32."""


def check_counts(algorithm: str, **counts: Any) -> None:
    """Refuse counts that mean nothing; only `steps` may be zero."""
    for name, value in counts.items():
        least = 0 if name == "steps" else 1
        if not isinstance(value, int | np.integer) or value < least:
            raise InputError(f"{name} of {algorithm} is {value!r}; give a whole number >= {least}.")


def check_positive(algorithm: str, **numbers: Any) -> None:
    """Refuse numbers that are not positive and finite."""
    for name, value in numbers.items():
        if not isinstance(value, Real) or not 0 < float(value) < math.inf:
            words = name.replace("_", " ")
            raise InputError(f"the {words} of {algorithm} is {value!r}; give a positive number.")


def check_choice(algorithm: str, *, metric: str) -> None:
    """Refuse metrics that do not exist."""
    if metric not in get_args(Metric):
        raise InputError(f"metric of {algorithm} is {metric!r}; choose one of {get_args(Metric)}.")


def checked_centers(algorithm: str, centers: Any, clusters: int) -> Float[Array, "K D"] | None:
    """Centres to start at, after a look at their shape."""
    if centers is None:
        return None
    centers = as_array("centers", centers)
    if centers.ndim != 2 or len(centers) != clusters or not is_real(centers.dtype):
        raise InputError(f"centers of {algorithm} must be real numbers [clusters, features].")
    if not isinstance(centers, jax.core.Tracer) and not np.all(np.isfinite(np.asarray(centers, float))):
        raise InputError(f"centers of {algorithm} hold NaN or infinity; start at finite points.")
    return as_float(centers)


def learned_numbers(algorithm: str, learn: Sequence[str], **numbers: Any) -> Callable[..., PyTree]:
    """The `init` of an algorithm some of whose numbers are learned: each an array, or made by a function."""
    if unknown := set(learn) - set(numbers):
        raise InputError(f"{algorithm} cannot learn {sorted(unknown)}; it can learn {sorted(numbers)}.")
    if missing := [name for name in learn if numbers[name] is None]:
        raise InputError(f"{algorithm} has no {missing[0]} to learn; give some to start from.")

    def init(key: Key[Array, ""]) -> PyTree:
        return {name: numbers[name]() if callable(numbers[name]) else numbers[name] for name in learn}

    return init


def as_array(name: str, values: Any) -> Any:
    """Values as an array of whatever type they have."""
    try:
        return values if hasattr(values, "dtype") else np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} are rows of unequal length; give a table.") from error


def is_real(dtype: Any) -> bool:
    """Whether values of a type are real numbers, half precision and booleans included."""
    return np.dtype(dtype).kind in "fiub" or jax.numpy.issubdtype(dtype, np.floating)


def check_key(key: Any) -> None:
    """Refuse seeds and raw keys."""
    if not hasattr(key, "dtype") or not jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise InputError(f"key is {key!r}; give a typed key, such as jax.random.key(0).")


def check_points(points: Any, weights: Any) -> None:
    """Refuse points and weights that cannot be clustered; under tracing, look at shapes alone."""
    if np.ndim(points) != 2:
        raise InputError(f"points have shape {np.shape(points)}; give a table [points, features].")
    if 0 in np.shape(points):
        raise InputError(f"points have shape {np.shape(points)}; there is nothing to cluster.")
    for name, values in (("points", points), ("weights", weights)):
        if values is not None and not is_real(values.dtype):
            raise InputError(f"{name} are of type {values.dtype}; give real numbers.")
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
        values = np.asarray(weights, np.float32)
        if not np.all(np.isfinite(values) & (values >= 0)):
            raise InputError("weights must be finite and not negative.")
        if not values.any():
            raise InputError("all weights are zero; at least one point must count.")


def check_enough(points: Any, weights: Any, clusters: int) -> None:
    """Refuse fewer points than clusters; points of weight zero do not count."""
    counted = len(points)
    if weights is not None and not isinstance(weights, jax.core.Tracer):
        counted = int(np.sum(np.asarray(weights, np.float32) > 0))
    if counted < clusters:
        raise InputError(f"{counted} points cannot form {clusters} clusters; ask for {counted} or fewer.")
