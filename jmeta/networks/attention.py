"""Attention: what recurrent networks and those over sets share.

Reference: Vaswani et al. 2017, Attention is all you need.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def attend(
    query: Float[Array, "Q W"],
    keys: Float[Array, "L W"],
    values: Float[Array, "L W"],
    log_weights: Float[Array, "#Q L"],
    heads: int,
) -> Float[Array, "Q W"]:
    """For every query the mean of values, weighed by softmax of key . query / sqrt(W / heads), head by head.

    Logarithms of weights are added to what the softmax is of: a value of weight two counts as two, one of
    weight zero, `LOG_ZERO`, not at all.

    >>> values = jnp.array([[1.0, 2], [3, 9]])
    >>> attend(jnp.zeros((1, 2)), jnp.ones((2, 2)), values, jnp.zeros((1, 2)), 1)
    Array([[2. , 5.5]], dtype=float32)
    """
    query, keys, values = (part.reshape(len(part), heads, -1) for part in (query, keys, values))
    logits = jnp.einsum("qhd,lhd->hql", query, keys) / jnp.sqrt(query.shape[-1])
    shares = jax.nn.softmax(logits + log_weights, -1)
    return jnp.einsum("hql,lhd->qhd", shares, values).reshape(len(query), -1)
