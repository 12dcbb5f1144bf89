"""Learned distances as linear embeddings: ||A x - A y||^2 = (x - y)^T M (x - y) with M = A^T A."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from ..compiler import compiled
from ..records import Model


def diagonal(features: int) -> Model:
    """M = diag(exp(2 s)), with a learned log-scale s for each feature; initially the Euclidean distance.

    >>> model = diagonal(2)
    >>> model.apply(model.init(jax.random.key(0)), jnp.ones((1, 2)))
    Array([[1., 1.]], dtype=float32)
    """

    def apply(
        params: PyTree, inputs: Float[Array, "N D"], weights: Array | None = None
    ) -> Float[Array, "N D"]:
        return inputs * jnp.exp(params)

    return Model(lambda key: jnp.zeros(features), compiled(apply))


def low_rank(features: int, rank: int) -> Model:
    """M = I + L L^T, with a learned L [D, rank], initialised with small random numbers.

    >>> model = low_rank(3, 1)
    >>> model.apply(model.init(jax.random.key(0)), jnp.ones((2, 3))).shape
    (2, 4)
    """

    def init(key: Key[Array, ""]) -> PyTree:
        return 0.1 * jax.random.normal(key, (features, rank)) / features**0.5

    def apply(
        params: PyTree, inputs: Float[Array, "N D"], weights: Array | None = None
    ) -> Float[Array, "N E"]:
        return jnp.concatenate([inputs, inputs @ params], -1)

    return Model(compiled(init), compiled(apply))
