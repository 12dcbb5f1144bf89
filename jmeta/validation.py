"""Checks of the arguments of the public clustering functions; internal functions do not check."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Literal, get_args

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from .distances import as_float
from .errors import InputError
from .precision import is_traced
from .records import AnyArray

Metric = Literal["euclidean", "cosine"]
"""Distances between points and centres."""

LARGEST = 1e16
"""The largest allowed coordinate; sums of squares of larger ones may overflow float32."""


def check_counts(algorithm: str, **counts: Any) -> None:
    """Raises an InputError if a count is not a positive whole number; `steps` may be zero."""
    for name, value in counts.items():
        least = 0 if name == "steps" else 1
        if not isinstance(value, int | np.integer) or value < least:
            raise InputError(f"{name} of {algorithm} is {value!r}; give a whole number >= {least}.")


def check_positive(algorithm: str, **numbers: Any) -> None:
    """Raises an InputError if a number is not positive and finite."""
    for name, value in numbers.items():
        if not isinstance(value, Real) or not 0 < float(value) < math.inf:
            words = name.replace("_", " ")
            raise InputError(f"the {words} of {algorithm} is {value!r}; give a positive number.")


def check_choice(algorithm: str, *, metric: str) -> None:
    """Raises an InputError if the metric is unknown."""
    if metric not in get_args(Metric):
        raise InputError(f"metric of {algorithm} is {metric!r}; choose one of {get_args(Metric)}.")


def checked_centers(algorithm: str, centers: Any, clusters: int) -> Float[AnyArray, "K D"] | None:
    """The initial centres as an array; raises an InputError if their shape or values are invalid."""
    if centers is None:
        return None
    centers = as_array("centers", centers)
    if centers.ndim != 2 or len(centers) != clusters or not is_real(centers.dtype):
        raise InputError(
            f"centers of {algorithm} have shape {centers.shape} and type {centers.dtype}; "
            f"give real numbers [clusters, features] for {clusters} clusters."
        )
    if not is_traced(centers) and not np.all(np.isfinite(np.asarray(centers, float))):
        raise InputError(f"centers of {algorithm} hold NaN or infinity; give finite numbers.")
    return centers


def learned_numbers(algorithm: str, learn: Sequence[str], **numbers: Any) -> Callable[..., PyTree]:
    """The `init` of an algorithm with learned parameters, given as arrays or as functions that make them.

    Arrays become those of jax, in float32 or wider.
    """
    if unknown := set(learn) - set(numbers):
        raise InputError(f"{algorithm} cannot learn {sorted(unknown)}; it can learn {sorted(numbers)}.")
    if missing := [name for name in learn if numbers[name] is None]:
        raise InputError(f"{algorithm} has no {missing[0]} to learn; give their initial values.")

    def init(key: Key[Array, ""]) -> PyTree:
        return {
            name: numbers[name]() if callable(numbers[name]) else as_float(numbers[name]) for name in learn
        }

    return init


def as_array(name: str, values: Any) -> Any:
    """`values` as an array, with their own dtype."""
    try:
        return values if hasattr(values, "dtype") else np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} are rows of unequal length; give a table.") from error


def checked_labels(name: str, labels: Any) -> Int[np.ndarray, " N"] | Shaped[np.ndarray, " N"]:
    """Labels as an array of whole numbers or of words, from any array, list or column of a table.

    Raises:
        InputError: labels are missing, or neither whole numbers nor words.

    >>> checked_labels("labels", [1.0, 2.0, -1.0]), checked_labels("labels", ["b", "a"])
    (array([ 1,  2, -1]), array(['b', 'a'], dtype='<U1'))
    """
    values = np.asarray(as_array(name, labels))
    if values.dtype.kind == "O" and all(isinstance(one, str) for one in values.ravel()):
        return values.astype(str)
    if values.dtype.kind in "iubU":
        return values if values.dtype.kind == "U" else values.astype(np.int64)
    for one in values.ravel():
        whole = isinstance(one, Real | np.bool_) and float(one).is_integer()
        if not whole:
            raise InputError(
                f"{name} hold {one}; give whole numbers or words, and remove rows without a label."
            )
    return values.astype(np.int64)


def is_real(dtype: Any) -> bool:
    """Whether a dtype holds real numbers, including half precision and booleans."""
    return np.dtype(dtype).kind in "fiub" or jax.numpy.issubdtype(dtype, np.floating)


def is_single(dtype: Any) -> bool:
    """Whether a dtype holds floats of single precision or less."""
    return jax.numpy.issubdtype(dtype, np.floating) and np.dtype(dtype).itemsize <= 4


def check_model(caller: str, model: Any) -> None:
    """Raises an InputError unless a model has the functions of a `Model`; it names the way to make one."""
    classes = (model if isinstance(model, type) else type(model)).__mro__
    for library, function in _FOREIGN.items():
        if any(cls.__module__.startswith(library) for cls in classes):
            raise InputError(
                f"the model of {caller} is a {classes[0].__name__} of {library}; give a Model, as made by "
                f"jm.{function}."
            )
    if not all(callable(getattr(model, name, None)) for name in ("init", "apply")):
        raise InputError(
            f"the model of {caller} is a {classes[0].__name__}; give a Model(init, apply), where init(key) "
            "returns parameters and apply(params, inputs, weights=None) outputs."
        )


_FOREIGN = {"flax.linen": "from_linen", "flax.nnx": "from_nnx", "equinox": "from_equinox"}
"""Libraries of networks, and the function that makes a `Model` of their modules."""


def check_key(key: Any) -> None:
    """Raises an InputError if `key` is not a typed key."""
    if not hasattr(key, "dtype") or not jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise InputError(f"key is {key!r}; give a typed key, such as jax.random.key(0).")


def check_points(points: Any, weights: Any) -> None:
    """Raises an InputError if points and weights cannot be clustered; under tracing checks only shapes."""
    if np.ndim(points) != 2:
        raise InputError(f"points have shape {np.shape(points)}; give a table [points, features].")
    if 0 in np.shape(points):
        raise InputError(f"points have shape {np.shape(points)}; give at least one point and one feature.")
    for name, values in (("points", points), ("weights", weights)):
        if values is not None and not is_real(values.dtype):
            raise InputError(f"{name} are of type {values.dtype}; give real numbers.")
    if weights is not None and np.shape(weights) != np.shape(points)[:1]:
        raise InputError(
            f"weights have shape {np.shape(weights)} for {len(points)} points; give one per point."
        )
    if not is_traced(points):
        values = np.asarray(points, np.float64)
        if bad := int(np.sum(~np.isfinite(values).all(1))):
            raise InputError(f"{bad} of {len(points)} points hold NaN or infinity; remove or impute them.")
        if np.abs(values).max() > LARGEST:
            raise InputError(
                f"points hold a coordinate of {np.abs(values).max():.1e}, which is too large; rescale them."
            )
    if weights is not None and not is_traced(weights):
        check_not_negative(weights)
        if not np.asarray(weights, np.float32).any():
            raise InputError("all weights are zero; give at least one positive weight.")


def check_not_negative(weights: Any) -> None:
    """Raises an InputError if a weight is negative, NaN or infinite."""
    values = np.asarray(weights, np.float32)
    if not np.all(np.isfinite(values) & (values >= 0)):
        raise InputError("weights are negative, NaN or infinite; give finite numbers >= 0.")


def check_enough(points: Any, weights: Any, clusters: int) -> None:
    """Raises an InputError if there are fewer points than clusters; points of weight zero do not count."""
    counted = len(points)
    if weights is not None and not is_traced(weights):
        counted = int(np.sum(np.asarray(weights, np.float32) > 0))
    if counted < clusters:
        raise InputError(f"{counted} points cannot form {clusters} clusters; ask for {counted} or fewer.")
