"""Networks that compute in reduced precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..compiler import compiled
from ..records import Model
from ..trees import is_inexact
from ..validation import check_model


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
    check_model("in_precision", model)

    def lowered(function: Callable[..., Array]) -> Callable[..., Array]:
        def apply(params: PyTree, inputs: Array, *others: Any) -> Array:
            low = jax.tree.map(lambda leaf: leaf.astype(dtype) if is_inexact(leaf) else leaf, params)
            outputs = function(low, inputs.astype(dtype), *others)
            return outputs.astype(jnp.result_type(*jax.tree.leaves(params)))

        return compiled(apply)

    stochastic = getattr(model, "stochastic", None)
    return Model(model.init, lowered(model.apply), stochastic and lowered(stochastic))
