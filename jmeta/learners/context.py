"""CAVIA: adapts a context vector that the network takes as additional input.

Reference: Zintgraf et al. 2019, Fast context adaptation via meta-learning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from ..errors import InputError
from ..masking import make_learner
from ..records import Batch, Learner, Loss, Model
from ..validation import check_model
from .gradient import Descent, maml


def cavia(model: Model, loss: Loss, *, size: int, **options: Any) -> Learner:
    """Learns a network with a context vector as additional input; only the context adapts to a task.

    The network is applied to [x, c] for every point x; for images every element of the context c is a
    constant channel. The inner loop descends the support loss in c from zero, the outer loop trains the
    network.

    Args:
        model: the network; its inputs have `size` more features than the points.
        loss: the loss of its outputs on the support set.
        size: length of the context vector.
        options: arguments of `maml`, except `adapts`.

    Returns:
        A learner whose meta-parameters are a `Descent`; "context" in its start is always zero.

    Raises:
        InputError: `size` is less than one.

    >>> import jax, jmeta as jm
    >>> network = jm.networks.mlp([1 + 4, 8, 1])
    >>> learner = cavia(network, jm.squared_error, size=4, numbers={"learning_rate": 1.0})
    >>> support = jm.Batch(jnp.ones((3, 1)), jnp.ones((3, 1)))
    >>> fast = learner.adapt(learner.init(jax.random.key(0)), support, jax.random.key(1))
    >>> fast["context"].shape, learner.predict(fast, support.inputs).shape
    ((4,), (3, 1))
    """
    check_model("cavia", model)
    if size < 1:
        raise InputError(f"size is {size}; give a whole number >= 1.")

    def init(key: Key[Array, ""]) -> dict[str, PyTree]:
        return {"context": jnp.zeros(size), "network": model.init(key)}

    def in_context(function: Callable[..., Array]) -> Callable[..., Array]:
        def apply(params: dict[str, PyTree], inputs: Array, *others: Any) -> Array:
            context = jnp.broadcast_to(params["context"], (*inputs.shape[:-1], size))
            return function(params["network"], jnp.concatenate([inputs, context], -1), *others)

        return apply

    stochastic = getattr(model, "stochastic", None)
    extended = Model(init, in_context(model.apply), stochastic and in_context(stochastic))
    learner = maml(extended, loss, adapts=lambda path: path.startswith("context"), **options)

    def adapt(meta: Descent, support: Batch, key: Key[Array, ""]) -> PyTree:
        zero = jnp.zeros_like(meta.start["context"])
        return learner.adapt(meta._replace(start=meta.start | {"context": zero}), support, key)

    return make_learner(learner.init, adapt, learner.predict)
