"""Distances to the neighbours of points, with fixed shapes.

All functions can be vmapped over tasks. Points of weight zero are not neighbours.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..distances import quotient, square_root


def neighbour_distance(
    squared: Float[Array, "N N"], weights: Float[Array, " N"], amount: Float[Array, ""]
) -> Float[Array, " N"]:
    """The radius around each point that holds `amount` of weight, including its own.

    >>> line = jnp.array([[0.0], [1.0], [3.0]])
    >>> neighbour_distance(jnp.square(line - line.T), jnp.ones(3), 2)
    Array([1., 1., 2.], dtype=float32)
    """
    far = jnp.where(weights > 0, squared, jnp.inf)
    order = jnp.argsort(far, 1)
    gathered = jnp.cumsum(weights[order], 1)
    counted = jnp.sum(weights > 0)
    place = jnp.minimum(jnp.sum(gathered < amount * (1 - 1e-5), 1), jnp.maximum(counted - 1, 0))
    chosen = jnp.take_along_axis(order, place[:, None], 1)
    return square_root(jnp.take_along_axis(squared, chosen, 1)[:, 0])


def mean_neighbour_distance(
    squared: Float[Array, "N N"], weights: Float[Array, " N"], amount: Float[Array, ""]
) -> Float[Array, ""]:
    """The weighted mean of `neighbour_distance`; 1 if it is zero."""
    mean = quotient(weights @ neighbour_distance(squared, weights, amount), jnp.sum(weights))
    return jnp.where(mean > 0, mean, 1)
