"""Quantile normalisation of inputs, which removes units and outliers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Bool, Float

MAX_DEVIATIONS = 2.5
"""The number of standard deviations at which inputs are clipped."""
MAX_QUANTILES = 100
"""The maximum number of quantiles that are kept."""


def known_quantiles(known: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "Q F"]:
    """Evenly spaced quantiles of every input, at most `MAX_QUANTILES`.

    >>> known_quantiles(np.arange(5.0)[:, None])[:, 0].tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    return np.quantile(known, np.linspace(0, 1, min(MAX_QUANTILES, len(known))), axis=0)


@jax.jit
def standardised(
    quantiles: Float[Array, "Q F"], varies: Bool[Array, " F"], inputs: Float[Array, "... F"]
) -> Float[Array, "... F"]:
    """Maps inputs by known quantiles to a standard normal distribution, clipped at `MAX_DEVIATIONS`.

    A value that equals several quantiles is mapped to their middle; inputs that do not vary become zero.

    >>> standardised(jnp.array([[0.0], [1], [2]]), jnp.array([True]), jnp.array([[-9.0], [1], [9]]))[:, 0]
    Array([-2.5,  0. ,  2.5], dtype=float32)
    """
    steps = jnp.linspace(0, 1, len(quantiles))

    def column(x: Float[Array, " N"], known: Float[Array, " Q"]) -> Float[Array, " N"]:
        share = (jnp.interp(x, known, steps) - jnp.interp(-x, -known[::-1], -steps[::-1])) / 2
        share = jnp.where(x >= known[-1], 1, share)
        return jnp.clip(ndtri(jnp.where(x <= known[0], 0, share)), -MAX_DEVIATIONS, MAX_DEVIATIONS)

    flat = inputs.reshape(-1, inputs.shape[-1])
    mapped = jax.vmap(column, 1, 1)(flat, quantiles.astype(flat.dtype))
    return jnp.where(varies, mapped, 0).reshape(inputs.shape)
