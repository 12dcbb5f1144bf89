"""Learners on shared features: the body is trained in the outer loop only, and the head adapts.

Reference: Raghu et al. 2020, Rapid learning or feature reuse? Towards understanding the effectiveness of
MAML.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
from jaxtyping import Array, Key, PyTree

from ..compiler import compiled
from ..records import Batch, Learner, Model
from ..validation import check_model


class Stack(NamedTuple):
    """The meta-parameters: the body's weights, and the meta-parameters of the learner on top."""

    body: PyTree
    head: PyTree


def on_features(body: Model, head: Learner) -> Learner:
    """Applies a learner to the features of a body network, which does not adapt and runs once per batch.

    With `maml` of a linear head this is ANIL; with `ridge` it is R2D2.

    Args:
        body: the network that embeds points; trained in the outer loop only.
        head: a learner of embedded points.

    Returns:
        A learner whose meta-parameters are a `Stack`.

    >>> import jax.numpy as jnp, jmeta as jm
    >>> anil = on_features(jm.networks.mlp([2, 8]), jm.maml(jm.networks.mlp([8, 3]), jm.cross_entropy))
    >>> support = jm.Batch(jnp.ones((6, 2)), jnp.array([0, 0, 1, 1, 2, 2]))
    >>> fast = anil.adapt(anil.init(jax.random.key(0)), support, jax.random.key(1))
    >>> anil.predict(fast, jnp.ones((4, 2))).shape
    (4, 3)
    """
    check_model("on_features", body)

    def init(key: Key[Array, ""]) -> Stack:
        body_key, head_key = jax.random.split(key)
        return Stack(body.init(body_key), head.init(head_key))

    def adapt(meta: Stack, support: Batch, key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        embedded = body.apply(meta.body, support.inputs, support.weights)
        return meta.body, head.adapt(meta.head, support._replace(inputs=embedded), key)

    def predict(fast: tuple[PyTree, PyTree], inputs: Array, weights: Array | None = None) -> Array:
        body_weights, head_fast = fast
        return head.predict(head_fast, body.apply(body_weights, inputs, weights), weights)

    return Learner(init, compiled(adapt), compiled(predict))
