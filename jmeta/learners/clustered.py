"""Learners made from others: one that clusters its outputs, and one that ignores unlabelled points."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from ..masking import make_learner
from ..records import Batch, Clusterer, Learner
from ..weights import weights_or_ones


def clustered(learner: Learner, clusterer: Clusterer) -> Learner:
    """A learner that adapts, then clusters its outputs on the support.

    It predicts log-probabilities of clusters. The clustering takes part in the meta-gradient, under any
    differentiation rule. With a loss such as `losses.clustering_energy` in the inner loop, both levels learn
    through a clustering.

    Args:
        learner: whose outputs are embeddings.
        clusterer: of these, without parameters.

    >>> import jax, jmeta as jm
    >>> inner = jm.maml(jm.networks.mlp([2, 4]), jm.losses.clustering_energy(jm.soft_kmeans(3)))
    >>> learner = clustered(inner, jm.soft_kmeans(3))
    >>> support = jm.Batch(jax.random.normal(jax.random.key(0), (9, 2)))
    >>> fast = learner.adapt(learner.init(jax.random.key(1)), support, jax.random.key(2))
    >>> learner.predict(fast, support.inputs).shape
    (9, 3)
    """

    def adapt(meta: PyTree, support: Batch, key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        fast = learner.adapt(meta, support, key)
        embedded = learner.predict(fast, support.inputs, support.weights)
        return fast, clusterer.fit({}, support._replace(inputs=embedded), key)

    def predict(
        fast: tuple[PyTree, PyTree], inputs: Array, weights: Array | None = None
    ) -> Float[Array, "N K"]:
        adapted, state = fast
        return clusterer.assign({}, state, learner.predict(adapted, inputs, weights)).log_probs

    return make_learner(learner.init, adapt, predict, traceable=clusterer.traceable)


def labelled_only(learner: Learner) -> Learner:
    """The learner, with weight zero for support points whose label is hidden (-1).

    >>> import jax, jmeta as jm
    >>> learner = labelled_only(jm.prototypes(jm.networks.flatten(), ways=2))
    >>> support = jm.Batch(jnp.array([[0.0], [1.0], [9.0]]), jnp.array([0, 1, -1]))
    >>> learner.predict(learner.adapt({}, support, jax.random.key(0)), jnp.array([[9.0]])).argmax().item()
    1
    """

    def adapt(meta: PyTree, support: Batch, key: Key[Array, ""]) -> PyTree:
        weights = weights_or_ones(support.inputs, support.weights) * (jnp.asarray(support.targets) >= 0)
        return learner.adapt(meta, support._replace(weights=weights), key)

    return learner._replace(adapt=adapt)
