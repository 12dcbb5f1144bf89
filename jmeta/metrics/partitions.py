"""Labels as one-hot arrays and contingency tables, with the checks that all metrics of labels share."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..agreement import contingency
from ..compiler import Function, compiled
from ..errors import InputError
from ..records import AnyArray
from ..weights import weights_or_ones


def table(
    found: AnyArray, truth: AnyArray, weights: AnyArray | None, slots: int | None
) -> tuple[Float[Array, "K K"], Float[Array, ""]]:
    """The contingency table of predicted clusters (rows) and true classes (columns), and its total."""
    parts = one_hots(found, truth, weights, slots)
    return contingency(*parts), jnp.sum(parts[2])


def one_hots(
    found: AnyArray, truth: AnyArray, weights: AnyArray | None, slots: int | None
) -> tuple[Array, Array, Array]:
    """Both partitions in one-hot form, with `slots` columns and one for noise, and the weights."""
    if np.shape(found) != np.shape(truth) or np.ndim(found) != 1:
        raise InputError(
            f"found labels have shape {np.shape(found)} and true labels {np.shape(truth)}; "
            "give two lists of equal length."
        )
    if weights is not None and np.shape(weights) != np.shape(truth):
        raise InputError(
            f"weights have shape {np.shape(weights)} for {len(truth)} labels; give one for each."
        )
    found, truth, slots = counted(found, truth, slots)
    found = jnp.asarray(found)
    truth = jnp.asarray(truth)
    dtype = jnp.result_type(float)
    known = jnp.asarray(weights_or_ones(truth.astype(dtype), weights), dtype) * (truth >= 0)
    found = jnp.where(found < 0, slots, found)
    width = slots + 1
    return jax.nn.one_hot(found, width, dtype=dtype), jax.nn.one_hot(truth, width, dtype=dtype), known


def counted(found: AnyArray, truth: AnyArray, slots: int | None) -> tuple[AnyArray, AnyArray, int]:
    """Both lists of labels as arrays, and an upper bound of the number of their values.

    Unless `slots` is given, labels are first renumbered from 0 without gaps.

    Raises:
        InputError: labels are not whole numbers, or `slots` is not given inside `jit`.
    """
    found, truth = (x if hasattr(x, "dtype") else np.asarray(x) for x in (found, truth))
    for labels in (found, truth):
        if np.dtype(labels.dtype).kind not in "iub":
            raise InputError("labels are not whole numbers; number them, for instance with np.unique.")
    if slots is None:
        if isinstance(found, jax.core.Tracer) or isinstance(truth, jax.core.Tracer):
            raise InputError("inside jit or vmap the number of labels is unknown; pass slots=.")
        found = _numbered(found)
        truth = _numbered(truth)
        slots = 1 + max(int(np.max(found, initial=0)), int(np.max(truth, initial=0)))
    return found, truth, slots


def _numbered(labels: AnyArray) -> Int[np.ndarray, " N"]:
    """Labels renumbered from 0 without gaps; negative ones become -1."""
    values, places = np.unique(np.asarray(labels), return_inverse=True)
    return np.maximum(places - int(np.sum(values < 0)), -1)


def compiled_metric(metric: Function) -> Function:
    """Returns a metric of labels, compiled as one program; labels are counted unless `slots` is given.

    Args:
        metric: a function of arrays that include `found` and `truth`, or `labels`; its keyword-only
            arguments, such as `slots`, are static.
    """
    signature = inspect.signature(metric)
    fixed = [name for name, one in signature.parameters.items() if one.kind is one.KEYWORD_ONLY]
    program = compiled(metric, static=fixed)
    first, second = ("found", "truth") if "found" in signature.parameters else ("labels", "labels")

    @wraps(metric)
    def call(*args: Any, **options: Any) -> Any:
        bound = signature.bind(*args, **options).arguments
        found, truth, slots = counted(bound[first], bound[second], bound.get("slots"))
        return program(**bound | {first: found, second: truth, "slots": slots})

    return cast(Function, call)


def members(
    points: AnyArray, labels: AnyArray, weights: AnyArray | None, slots: int | None
) -> Float[Array, "N K"]:
    """The weight of each point in its cluster and zero in the others; rows of noise points are zero."""
    if np.ndim(points) != 2 or np.shape(labels) != np.shape(points)[:1]:
        raise InputError(
            f"points have shape {np.shape(points)} and labels {np.shape(labels)}; "
            "give a table [points, features] and one label for each."
        )
    found, _, _ = one_hots(labels, labels, None, slots)
    return weights_or_ones(points, weights)[:, None] * found[:, :-1].astype(points.dtype)
