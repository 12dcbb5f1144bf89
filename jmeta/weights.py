"""Weighted points: defaults, logarithms, means and averages. A weight of zero removes a point."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .trees import is_inexact

EMPTY = -1e30
"""Log-probability of what is not there: exp of it is 0, and 0 times it is no NaN."""


def weights_or_ones(inputs: Array | np.ndarray, weights: Array | np.ndarray | None) -> Float[Array, " N"]:
    """The weights of N points, which are all ones where none were given.

    >>> weights_or_ones(jnp.zeros((2, 5)), None)
    Array([1., 1.], dtype=float32)
    """
    if weights is not None:
        return jnp.asarray(weights)
    dtype = jnp.result_type(inputs) if is_inexact(inputs) else jnp.float32
    return jnp.ones(inputs.shape[0], dtype)


def log_weights(weights: Float[Array, "..."]) -> Float[Array, "..."]:
    """Logarithms of weights, `EMPTY` where they are zero.

    >>> log_weights(jnp.array([1.0, 0.0]))
    Array([ 0.e+00, -1.e+30], dtype=float32)
    """
    return jnp.where(weights > 0, jnp.log(jnp.where(weights > 0, weights, 1)), EMPTY)


def weighted_mean(x: Float[Array, "N D"], weights: Float[Array, " N"]) -> Float[Array, " D"]:
    """The mean of weighted points; the origin where all weights are zero.

    >>> weighted_mean(jnp.array([[1.0], [5.0]]), jnp.array([3.0, 1.0]))
    Array([2.], dtype=float32)
    """
    total = jnp.sum(weights)
    return weights @ x / jnp.where(total > 0, total, 1)


def class_means(
    x: Float[Array, "N D"], labels: Int[Array, " N"], weights: Float[Array, " N"], classes: int
) -> tuple[Float[Array, "C D"], Float[Array, " C"]]:
    """The weighted mean of the points of each class, and its weight; the origin where that is zero.

    Labels that name none of the classes, such as -1, do not count.

    >>> means, mass = class_means(jnp.array([[1.0], [3.0], [9.0]]), jnp.array([0, 0, -1]), jnp.ones(3), 2)
    >>> means.ravel(), mass
    (Array([2., 0.], dtype=float32), Array([2., 0.], dtype=float32))
    """
    owners = weights[:, None] * jax.nn.one_hot(labels, classes, dtype=x.dtype)
    mass = jnp.sum(owners, 0)
    return owners.T @ x / jnp.where(mass > 0, mass, 1)[:, None], mass


def weighted_average(values: Array, weights: Float[Array, " N"]) -> Float[Array, ""]:
    """sum_n w_n v_n / sum_n w_n, and 0 where all weights are zero; what has none may be anything.

    >>> float(weighted_average(jnp.array([1.0, 3.0]), jnp.array([1.0, 0.0])))
    1.0
    """
    total = jnp.sum(weights)
    return jnp.sum(jnp.where(weights != 0, weights * values, 0)) / jnp.where(total > 0, total, 1)
