"""Learners that compare embeddings with those of the labelled support set.

References: Snell et al. 2017, Prototypical networks for few-shot learning; Vinyals et al. 2016, Matching
networks for one shot learning.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from ..distances import squared_distances, unit_length
from ..errors import InputError
from ..masking import make_learner
from ..records import Batch, Learner, Model
from ..validation import check_model
from ..weights import LOG_ZERO, class_means, log_weights, weights_or_ones


def prototypes(model: Model, *, ways: int) -> Learner:
    """Learns an embedding in which the nearest class mean gives the class: prototypical networks.

    Logits are -||f(x) - c_w||^2, with c_w the weighted mean of the embedded support points of class w. A
    class without support points is never predicted.

    Args:
        model: the network that embeds points.
        ways: W, the number of classes.

    Returns:
        A learner that predicts [N, W] logits.

    Raises:
        InputError: from `adapt`, if the support set has no labels, or labels of W or more; inside `jit` these
            make the outputs NaN.

    >>> import jax, jmeta as jm
    >>> learner = prototypes(jm.networks.mlp([2, 8, 4]), ways=3)
    >>> support = jm.Batch(jnp.ones((6, 2)), jnp.array([0, 0, 1, 1, 2, 2]))
    >>> fast = learner.adapt(learner.init(jax.random.key(0)), support, jax.random.key(1))
    >>> learner.predict(fast, jnp.ones((4, 2))).shape
    (4, 3)
    """
    check_model("prototypes", model)

    def adapt(body: PyTree, support: Batch, key: Key[Array, ""]) -> tuple[PyTree, Array, Array]:
        embedded, weights, labels = _embedded(model, body, support)
        return body, *class_means(embedded, labels, weights, ways)

    def predict(
        fast: tuple[PyTree, Array, Array], inputs: Array, weights: Array | None = None
    ) -> Float[Array, "N W"]:
        body, centers, mass = fast
        distances = squared_distances(model.apply(body, inputs, weights), centers)
        return jnp.where(mass <= 0, LOG_ZERO, -distances)

    return make_learner(model.init, adapt, predict, ways=ways)


def matching(model: Model, *, ways: int, inverse_temperature: float = 1.0) -> Learner:
    """Learns an embedding in which attention to the support set gives the labels: matching networks.

    p(y = w | x) = sum_{n: y_n = w} a_n with a = softmax_n(beta cos(f(x), f(x_n))). Points of
    weight zero get no attention.

    Args:
        model: the network that embeds points.
        ways: W, the number of classes.
        inverse_temperature: beta; 1 in the paper.

    Returns:
        A learner that predicts [N, W] log-probabilities.

    Raises:
        InputError: beta is not positive; from `adapt`, as in `prototypes`.

    >>> import jax, jmeta as jm
    >>> learner = matching(jm.networks.mlp([2, 8, 4]), ways=3)
    >>> support = jm.Batch(jnp.ones((6, 2)), jnp.array([0, 0, 1, 1, 2, 2]))
    >>> fast = learner.adapt(learner.init(jax.random.key(0)), support, jax.random.key(1))
    >>> learner.predict(fast, jnp.ones((1, 2))).round(4)
    Array([[-1.0986, -1.0986, -1.0986]], dtype=float32)
    """
    check_model("matching", model)
    if not inverse_temperature > 0:
        raise InputError(f"inverse_temperature is {inverse_temperature}; give a positive number.")

    def adapt(body: PyTree, support: Batch, key: Key[Array, ""]) -> tuple[PyTree, Array, Array]:
        embedded, weights, labels = _embedded(model, body, support)
        owners = jax.nn.one_hot(labels, ways, dtype=embedded.dtype) * weights[:, None]
        return body, unit_length(embedded), log_weights(owners)

    def predict(
        fast: tuple[PyTree, Array, Array], inputs: Array, weights: Array | None = None
    ) -> Float[Array, "N W"]:
        body, points, log_owners = fast
        cosine = unit_length(model.apply(body, inputs, weights)) @ points.T
        scores = jax.nn.logsumexp(inverse_temperature * cosine[:, :, None] + log_owners, 1)
        return jax.nn.log_softmax(scores)

    return make_learner(model.init, adapt, predict, ways=ways)


def _embedded(model: Model, body: PyTree, support: Batch) -> tuple[Array, Array, Array]:
    """Embeddings, weights and labels of the support set."""
    embedded = model.apply(body, support.inputs, support.weights)
    return embedded, weights_or_ones(embedded, support.weights), jnp.asarray(support.targets)
