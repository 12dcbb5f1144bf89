"""Attention, shared by the recurrent and the set transformer.

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
    """Multi-head attention: the means of values weighted by softmax(key . query / sqrt(W / heads)).

    `log_weights` are added to the logits: a value of weight two counts twice, and one of weight zero, whose
    logarithm is `LOG_ZERO`, does not count.

    >>> values = jnp.array([[1.0, 2], [3, 9]])
    >>> attend(jnp.zeros((1, 2)), jnp.ones((2, 2)), values, jnp.zeros((1, 2)), 1)
    Array([[2. , 5.5]], dtype=float32)
    """
    query, keys, values = (part.reshape(len(part), heads, -1) for part in (query, keys, values))
    logits = jnp.einsum("qhd,lhd->hql", query, keys) / jnp.sqrt(query.shape[-1])
    shares = jax.nn.softmax(logits + log_weights, -1)
    return jnp.einsum("hql,lhd->qhd", shares, values).reshape(len(query), -1)
