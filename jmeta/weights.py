"""Weights of points: defaults, logarithms, means and averages. A weight of zero removes a point."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .distances import quotient
from .records import AnyArray
from .trees import is_inexact

LOG_ZERO = -1e30
"""A finite logarithm of zero: exp(LOG_ZERO) = 0, and 0 * LOG_ZERO is not NaN."""


def weights_or_ones(inputs: Array | np.ndarray, weights: Array | np.ndarray | None) -> Float[Array, " N"]:
    """The weights of N points; all ones if `weights` is None.

    >>> weights_or_ones(jnp.zeros((2, 5)), None)
    Array([1., 1.], dtype=float32)
    """
    if weights is not None:
        return jnp.asarray(weights)
    dtype = jnp.result_type(inputs) if is_inexact(inputs) else jnp.float32
    return jnp.ones(inputs.shape[0], dtype)


def cleared(x: Any, weights: Float[AnyArray, " N"] | None) -> Any:
    """Rows of an array with zeros in place of those of weight zero, which may hold anything, NaN too.

    Clearing before a computation keeps what such rows hold out of its derivatives as well, as zero times NaN
    is NaN. Without weights, or where `x` is None, `x` is returned unchanged.

    >>> cleared(jnp.array([[1.0], [jnp.nan]]), jnp.array([0.5, 0.0]))
    Array([[1.],
           [0.]], dtype=float32)
    """
    if x is None or weights is None:
        return x
    on_host = isinstance(x, np.ndarray) and isinstance(weights, np.ndarray)
    counted = (weights != 0).reshape(-1, *[1] * (x.ndim - 1))
    return (np if on_host else jnp).where(counted, x, np.zeros((), x.dtype))


def log_weights(weights: Float[Array, "..."]) -> Float[Array, "..."]:
    """The logarithms of weights; `LOG_ZERO` where a weight is zero.

    >>> log_weights(jnp.array([1.0, 0.0]))
    Array([ 0.e+00, -1.e+30], dtype=float32)
    """
    none = weights <= 0  # not if it is NaN
    return jnp.where(none, LOG_ZERO, jnp.log(jnp.where(none, 1, weights)))


def weighted_mean(x: Float[Array, "N D"], weights: Float[Array, " N"]) -> Float[Array, " D"]:
    """The weighted mean of points; the origin if all weights are zero.

    >>> weighted_mean(jnp.array([[1.0], [5.0]]), jnp.array([3.0, 1.0]))
    Array([2.], dtype=float32)
    """
    return quotient(weights @ x, jnp.sum(weights))


def class_means(
    x: Float[Array, "N D"], labels: Int[Array, " N"], weights: Float[Array, " N"], classes: int
) -> tuple[Float[Array, "C D"], Float[Array, " C"]]:
    """The weighted mean and the total weight of each class; the mean is the origin if the weight is zero.

    Labels outside 0 to `classes` - 1, such as -1, do not count.

    >>> means, mass = class_means(jnp.array([[1.0], [3.0], [9.0]]), jnp.array([0, 0, -1]), jnp.ones(3), 2)
    >>> means.ravel(), mass
    (Array([2., 0.], dtype=float32), Array([2., 0.], dtype=float32))
    """
    owners = weights[:, None] * jax.nn.one_hot(labels, classes, dtype=x.dtype)
    mass = jnp.sum(owners, 0)
    return quotient(owners.T @ x, mass[:, None]), mass


def first_alike(labels: Int[Array, " N"]) -> Int[Array, " N"]:
    """Labels renumbered below N: each becomes the place of the first point with the same label.

    >>> first_alike(jnp.array([70, 9, 70]))
    Array([0, 1, 0], dtype=int32)
    """
    return jnp.argmax(labels[:, None] == labels[None, :], 1)


def weighted_average(values: Array, weights: Float[Array, " N"]) -> Float[Array, ""]:
    """sum_n w_n v_n / sum_n w_n; 0 if all weights are zero. Values of weight zero may be NaN.

    >>> float(weighted_average(jnp.array([1.0, 3.0]), jnp.array([1.0, 0.0])))
    1.0
    """
    return quotient(jnp.sum(jnp.where(weights != 0, weights * values, 0)), jnp.sum(weights))
