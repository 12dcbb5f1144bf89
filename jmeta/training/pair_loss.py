"""The loss of a network that predicts which points belong together.

Half of it is the cross-entropy of pairs. The other half is 1 - the adjusted Rand index of a soft clustering
of the rows of P, the matrix of predicted probabilities: its gradient passes through the clustering, and so
rewards whatever makes the clusters right.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from ..losses.clustering import soft_ari
from ..masking import cleared_batch
from ..records import Batch, Clusterer, Metrics, Model, Task, TaskLoss
from ..validation import check_model
from ..weights import cleared, weighted_average, weights_or_ones
from .objectives import support_labels

BALANCED = 0.25
"""Weight of the cross-entropy in which pairs of one cluster and pairs of two count equally."""


def pair_loss(
    model: Model, clusterer: Clusterer, *, pairs: float = 1.0, through: float = 1.0, known: float = 0.5
) -> TaskLoss:
    """The loss of predicting pairs, and of the clustering that follows from the predictions.

    Args:
        model: `apply(params, points, weights, clusters)` returns logits [N, N], as `pair_transformer`.
        clusterer: of the rows of P, such as `soft_kmeans`, with as many slots as a task has clusters.
        pairs: weight of the cross-entropy of pairs.
        through: weight of 1 - the soft adjusted Rand index; tasks of one cluster do not count in it.
        known: share of the tasks whose number of clusters is an input of the network.

    Returns:
        A task loss with the metrics "pair_cross_entropy" and "soft_ari".
    """
    check_model("pair_loss", model)

    def task_loss(meta: PyTree, task: Task) -> tuple[Float[Array, ""], Metrics]:
        known_key, fit_key = jax.random.split(task.key)
        support = cleared_batch(task.support)
        inputs, weights = support.inputs, weights_or_ones(support.inputs, support.weights)
        truth = cleared(support_labels(task), weights)
        clusters = jnp.maximum(jnp.max(truth) + 1, 1)
        given_clusters = jnp.where(jax.random.bernoulli(known_key, known), clusters, 0)
        logits = model.apply(meta, inputs, weights, given_clusters)
        cross_entropy = pair_cross_entropy(logits, truth, weights)

        together = jax.nn.sigmoid(logits)
        together = jnp.where(jnp.eye(len(truth), dtype=bool), 1, together) * (weights > 0)
        rows = together / jnp.sqrt(jnp.maximum(jnp.sum(weights), 1))
        state = clusterer.fit({}, Batch(rows, None, weights, clusters), fit_key)
        loss, metrics = soft_ari(clusterer.assign({}, state, rows).log_probs, truth, weights)
        several = (clusters > 1).astype(loss.dtype)
        value = pairs * cross_entropy + through * several * loss
        return value, {"pair_cross_entropy": cross_entropy, "soft_ari": several * metrics["soft_ari"]}

    return task_loss


def pair_cross_entropy(
    logits: Float[Array, "N N"], targets: Int[Array, " N"], weights: Float[Array, " N"]
) -> Float[Array, ""]:
    """The mean binary cross-entropy over pairs of different points, in nats, plus a balanced one.

    Added to the mean over all pairs is `BALANCED` times the sum of the means over pairs of one cluster and
    over pairs of two clusters, as many small clusters would count for little otherwise.

    Args:
        logits: [N, N] of the probability that two points belong together.
        targets: [N] labels; pairs with a label of -1 do not count.
        weights: [N].

    >>> print(f"{pair_cross_entropy(jnp.zeros((3, 3)), jnp.array([0, 0, 1]), jnp.ones(3)):.4f}")
    1.0397
    """
    counted = weights * (targets >= 0)
    pairs = counted[:, None] * counted * (1 - jnp.eye(len(targets)))
    same = targets[:, None] == targets
    losses = optax.sigmoid_binary_cross_entropy(logits, same.astype(logits.dtype))
    means = [weighted_average(losses, pairs * one) for one in (1, same, ~same)]
    return means[0] + BALANCED * (means[1] + means[2])
