"""Learners that cluster embeddings: class means where points are labelled, k-means where they are not.

References: Huang et al. 2019, Centroid networks for few-shot clustering and unsupervised few-shot
classification; Snell et al. 2017, Prototypical networks for few-shot learning.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Key, PyTree

from ..compiler import compiled
from ..records import Batch, Clusterer, Learner, Model
from ..validation import check_model


class Embedding(NamedTuple):
    """The meta-parameters of a centroid learner.

    Attributes:
        body: the network's weights.
        clusterer: the clusterer's learned parameters; empty if there are none.
    """

    body: PyTree
    clusterer: PyTree


def centroids(model: Model, clusterer: Clusterer) -> Learner:
    """Learns an embedding in which a clusterer finds the classes.

    Adapting embeds the support set and fits the clusterer to it; predicting embeds points and assigns them
    to clusters. The clusterer decides how labels are used: `soft_kmeans` fixes labelled points to their
    cluster, so that a fully labelled support set gives the class means of a prototypical network.

    Args:
        model: the network that embeds points.
        clusterer: the algorithm that clusters the embeddings.

    Returns:
        A learner that predicts [N, K] log-probabilities of clusters.

    >>> import jmeta as jm
    >>> learner = centroids(jm.networks.mlp([2, 8, 4]), jm.soft_kmeans(3))
    >>> meta = learner.init(jax.random.key(0))
    >>> support = jm.Batch(jax.random.normal(jax.random.key(1), (9, 2)))
    >>> fast = learner.adapt(meta, support, jax.random.key(2))
    >>> learner.predict(fast, support.inputs).shape
    (9, 3)
    """
    check_model("centroids", model)

    def init(key: Key[Array, ""]) -> Embedding:
        body_key, clusterer_key = jax.random.split(key)
        return Embedding(model.init(body_key), clusterer.init(clusterer_key))

    def adapt(meta: Embedding, support: Batch, key: Key[Array, ""]) -> tuple[Embedding, PyTree]:
        embedded = model.apply(meta.body, support.inputs, support.weights)
        return meta, clusterer.fit(meta.clusterer, support._replace(inputs=embedded), key)

    def predict(
        fast: tuple[Embedding, PyTree], inputs: Array, weights: Array | None = None
    ) -> Float[Array, "N K"]:
        meta, state = fast
        embedded = model.apply(meta.body, inputs, weights)
        return clusterer.assign(meta.clusterer, state, embedded).log_probs

    return Learner(init, compiled(adapt, clusterer.traceable), compiled(predict, clusterer.traceable))
