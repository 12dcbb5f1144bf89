"""Predictions that do not depend on other queries.

A network with batch statistics is transductive: its prediction for a query depends on all queries of the
batch. With the statistics of the support set alone it is inductive.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from ..masking import make_learner
from ..records import Batch, Learner
from ..weights import weights_or_ones


def inductive(learner: Learner) -> Learner:
    """The same learner, with batch statistics of the support set only.

    Queries pass through the network together with the support set, at weight zero, so that they do not
    contribute to the statistics, and the prediction for a query does not depend on the others.

    Args:
        learner: its network weights the points in its statistics, as `conv4` does.

    >>> import jax, jmeta as jm
    >>> learner = inductive(jm.prototypes(jm.networks.conv4(2, shape=(8, 8, 1)), ways=2))
    >>> support = jm.Batch(jnp.arange(256.0).reshape(4, 8, 8, 1), jnp.array([0, 0, 1, 1]))
    >>> fast = learner.adapt(learner.init(jax.random.key(0)), support, jax.random.key(1))
    >>> alone, both = (learner.predict(fast, support.inputs[:n] + 1) for n in (1, 2))
    >>> bool(jnp.allclose(alone[0], both[0]))
    True
    """

    def adapt(meta: PyTree, support: Batch, key: Key[Array, ""]) -> tuple[PyTree, Array, Array]:
        weights = weights_or_ones(support.inputs, support.weights)
        return learner.adapt(meta, support, key), support.inputs, weights

    def predict(fast: tuple[PyTree, Array, Array], inputs: Array, weights: Array | None = None) -> Array:
        adapted, points, support_weights = fast
        together = jnp.concatenate([points, inputs])
        zeros = jnp.zeros(len(inputs), support_weights.dtype)
        return learner.predict(adapted, together, jnp.concatenate([support_weights, zeros]))[len(points) :]

    return make_learner(learner.init, adapt, predict)
