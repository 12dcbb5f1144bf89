"""Learners that compare embeddings with those of the labelled support.

Reference: Snell et al. 2017, Prototypical networks for few-shot learning.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from ..clustering.points import EMPTY
from ..distances import class_means, squared_distances
from ..records import Batch, InputError, Learner, Model
from ..trees import weights_or_ones


def prototypes(model: Model, *, ways: int) -> Learner:
    """Learn an embedding in which the nearest class mean is the class.

    Logits are -||f(x) - c_w||^2, with c_w the weighted mean of the embedded support of class w. A
    class without support is never predicted; labels of W or more count as hidden.

    Args:
        model: the network that embeds points.
        ways: W, the number of classes.

    Returns:
        A learner that predicts [N, W] logits.

    >>> import jax, jmeta as jm
    >>> learner = prototypes(jm.networks.mlp([2, 8, 4]), ways=3)
    >>> support = jm.Batch(jnp.ones((6, 2)), jnp.array([0, 0, 1, 1, 2, 2]))
    >>> fast = learner.adapt(learner.init(jax.random.key(0)), support, jax.random.key(1))
    >>> learner.predict(fast, jnp.ones((4, 2))).shape
    (4, 3)
    """

    def adapt(body: PyTree, support: Batch, key: Key[Array, ""]) -> tuple[PyTree, Array, Array]:
        if support.targets is None:
            raise InputError("prototypes need labels, but the support has none; use labelled tasks.")
        embedded = model.apply(body, support.inputs, support.weights)
        weights = weights_or_ones(embedded, support.weights)
        return body, *class_means(embedded, support.targets, weights, ways)

    def predict(
        fast: tuple[PyTree, Array, Array], inputs: Array, weights: Array | None = None
    ) -> Float[Array, "N W"]:
        body, centers, mass = fast
        distances = squared_distances(model.apply(body, inputs, weights), centers)
        return jnp.where(mass > 0, -distances, EMPTY)

    return Learner(model.init, adapt, predict)
