"""Distances between points, squared, so that derivatives are finite at duplicates."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


def squared_distances(x: Float[Array, "N D"], y: Float[Array, "K D"]) -> Float[Array, "N K"]:
    """Squared Euclidean distances, ||x_n||^2 + ||y_k||^2 - 2 x_n . y_k, never below zero.

    They take one matrix product, whose rounding error grows with the norms: centre points that lie far from
    the origin first. Derivatives of every order are exact, also where a point coincides with a centre.

    Args:
        x: [N, D] points.
        y: [K, D] points.

    Returns:
        [N, K] squared distances.

    >>> squared_distances(jnp.array([[0.0, 0.0], [3.0, 4.0]]), jnp.array([[0.0, 0.0]])).ravel()
    Array([ 0., 25.], dtype=float32)
    """
    if x.shape[-1] == 1:  # XLA recomputes a one-term product at each use, and rounds differently
        return exact_squared_distances(x, y)
    norms = jnp.sum(x * x, -1)[:, None] + jnp.sum(y * y, -1)[None, :]
    rounded = norms - 2 * jnp.matmul(x, y.T, precision="highest")
    return rounded + lax.stop_gradient(jnp.maximum(-rounded, 0))


def exact_squared_distances(x: Float[Array, "N D"], y: Float[Array, "M D"]) -> Float[Array, "N M"]:
    """Squared Euclidean distances, sum_d (x_nd - y_md)^2: slower than `squared_distances`, but exact.

    Methods based on neighbours need them: with `squared_distances`, the rounding error of a single outlier
    would exceed the short distances.

    >>> exact_squared_distances(jnp.array([[1e5], [1e5 + 0.25]]), jnp.array([[1e5]])).ravel()
    Array([0.    , 0.0625], dtype=float32)
    """
    return jnp.sum(jnp.square(x[:, None, :] - y[None, :, :]), -1)


def unit_length(x: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """Each row divided by its Euclidean norm; rows of zeros are unchanged.

    >>> unit_length(jnp.array([[3.0, 4.0], [0.0, 0.0]]))
    Array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32)
    """
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), -1, keepdims=True))
    x = x / jnp.where(largest > 0, largest, 1)
    squares = jnp.sum(x * x, -1, keepdims=True)
    return x * lax.rsqrt(jnp.where(squares > 0, squares, 1))


def square_root(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The square root; for x <= 0 both the value and the derivative are zero.

    >>> import jax
    >>> square_root(jnp.array([4.0, 0.0])), jax.grad(square_root)(0.0)
    (Array([2., 0.], dtype=float32), Array(0., dtype=float32, weak_type=True))
    """
    none = x <= 0  # not if it is NaN, which stays NaN
    return jnp.where(none, 0, jnp.sqrt(jnp.where(none, 1, x)))


def quotient(x: Float[Array, "..."], total: Float[Array, "..."]) -> Float[Array, "..."]:
    """X / total; x where the total is not positive.

    The derivative in the total holds no square of it, which would underflow for totals of 1e-19.

    >>> import jax
    >>> mean = lambda weight: quotient(weight * 3.0, weight)
    >>> float(mean(1e-25)), float(jax.grad(mean)(1e-25)), float(quotient(jnp.zeros(()), jnp.zeros(())))
    (3.0, 0.0, 0.0)
    """
    return _quotient(x, jnp.where(total <= 0, 1, total))  # NaN stays NaN


@jax.custom_jvp
def _quotient(x: Array, total: Array) -> Array:
    return x / total


@_quotient.defjvp
def _quotient_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, total), (x_dot, total_dot) = primals, tangents
    found = x / total
    return found, (x_dot - found * total_dot) / total


def length_unit(x: Float[Array, "..."]) -> Float[Array, ""]:
    """The power of two just above the largest absolute value, not differentiated; 2 if that is negligible.

    Dividing by it is exact, and keeps squares of tiny and huge numbers in the range of floats. Numbers up to
    2e-24 in float32, 1e-192 in float64, are negligible, as derivatives in them would overflow.

    >>> length_unit(jnp.array([3.0, -5.0])), length_unit(jnp.array([1e-30]))
    (Array(8., dtype=float32), Array(2., dtype=float32))
    """
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), initial=0))
    _, exponent = jnp.frexp(jnp.where(largest > smallest_length(x.dtype), largest, 1))
    return jnp.ldexp(jnp.ones((), x.dtype), exponent)


def smallest_length(dtype: Any) -> float:
    """The length up to which distances count as zero in a type of floats."""
    return float(jnp.finfo(dtype).tiny) ** 0.625


def as_float(x: Array | np.ndarray) -> Float[Array, "..."]:
    """`x` as an array of float32 or wider, as half-precision distances would overflow at 256."""
    return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))
