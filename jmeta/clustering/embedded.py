"""A clusterer of embedded points; a linear embedding amounts to a learned distance."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from ..compiler import compiled
from ..records import Assignment, Batch, Clusterer, Model
from ..validation import check_model


def embedded(model: Model, clusterer: Clusterer) -> Clusterer:
    """Clusters the outputs of a model, whose parameters are learned together with those of the clusterer.

    With `networks.diagonal` and `networks.low_rank` this is a learned distance,
    d(x, y) = (x - y)^T M (x - y).

    Args:
        model: maps points to points.
        clusterer: clusters the outputs of the model.

    Returns:
        A `Clusterer` with parameters {"model", "clusterer"} and the state of `clusterer`.

    >>> import jax.numpy as jnp, jmeta as jm
    >>> points = jnp.array([[0.0, 0.0], [9.0, 1.0], [0.0, 1.1], [9.0, 0.1]])
    >>> second = embedded(jm.networks.diagonal(2), jm.kmeans(2))
    >>> params = {"model": jnp.array([-9.0, 0.0]), "clusterer": {}}
    >>> state = second.fit(params, Batch(points), jax.random.key(0))
    >>> labels = second.assign(params, state, points).log_probs.argmax(-1)
    >>> bool(labels[0] == labels[3] != labels[1] == labels[2])
    True
    """
    check_model("embedded", model)

    def init(key: Key[Array, ""]) -> PyTree:
        model_key, clusterer_key = jax.random.split(key)
        return {"model": model.init(model_key), "clusterer": clusterer.init(clusterer_key)}

    def fit(params: PyTree, batch: Batch, key: Key[Array, ""]) -> PyTree:
        inputs = batch.inputs
        if batch.weights is not None:  # points of weight zero may hold anything
            counted = batch.weights.reshape(-1, *[1] * (inputs.ndim - 1)) > 0
            inputs = jnp.where(counted, inputs, 0)
        inputs = model.apply(params["model"], inputs, batch.weights)
        return clusterer.fit(params["clusterer"], batch._replace(inputs=inputs), key)

    def assign(params: PyTree, state: PyTree, inputs: Float[Array, "N D"]) -> Assignment:
        return clusterer.assign(params["clusterer"], state, model.apply(params["model"], inputs))

    on_device = clusterer.traceable
    return Clusterer(init, compiled(fit, on_device), compiled(assign, on_device), on_device)
