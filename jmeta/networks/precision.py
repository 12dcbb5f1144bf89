"""Networks that compute in reduced precision."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..compiler import compiled
from ..records import Model
from ..trees import is_inexact


def in_precision(model: Model, dtype: Any = jnp.bfloat16) -> Model:
    """The same network, computed in another dtype; parameters and outputs keep their own.

    Convolutions and dense layers then run in bfloat16, while inner updates, losses, distances and batch
    statistics stay in float32.

    >>> import jmeta as jm
    >>> model = in_precision(jm.networks.mlp([2, 3]))
    >>> params = model.init(jax.random.key(0))
    >>> params["layers"][0]["kernel"].dtype, model.apply(params, jnp.ones((1, 2))).dtype
    (dtype('float32'), dtype('float32'))
    """

    def apply(params: PyTree, inputs: Array, weights: Array | None = None) -> Array:
        lowered = jax.tree.map(lambda leaf: leaf.astype(dtype) if is_inexact(leaf) else leaf, params)
        outputs = model.apply(lowered, inputs.astype(dtype), weights)
        return outputs.astype(jnp.result_type(*jax.tree.leaves(params)))

    return Model(model.init, compiled(apply))
