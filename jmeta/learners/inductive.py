"""Prediction that does not look at the other queries.

A network with batch statistics is transductive: what it says of one query depends on all that are asked
with it. Kept to the statistics of the support, it is not.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from ..compiler import compiled
from ..records import Batch, Learner
from ..weights import weights_or_ones


def inductive(learner: Learner) -> Learner:
    """The same learner, whose predictions use the support's batch statistics alone.

    Each query passes through the network beside the support, with weight zero, so that it counts in no
    statistic: predictions of one query are the same whatever else is asked.

    Args:
        learner: one whose network takes weights into its statistics, as `conv4` does.

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
        adapted, points, counted = fast
        together = jnp.concatenate([points, inputs])
        silent = jnp.zeros(len(inputs), counted.dtype)
        return learner.predict(adapted, together, jnp.concatenate([counted, silent]))[len(points) :]

    return Learner(learner.init, compiled(adapt), compiled(predict))
