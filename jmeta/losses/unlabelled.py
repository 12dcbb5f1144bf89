"""Unsupervised losses of clustering, which a learner can minimise on an unlabelled support."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..agreement import entropy_of
from ..compiler import compiled
from ..distances import quotient
from ..records import Batch, Clusterer, Loss, Metrics
from ..weights import weighted_average, weighted_mean, weights_or_ones
from .counted import of_counted_rows


def clustering_energy(
    clusterer: Clusterer, energy: Callable[[PyTree], Float[Array, ""]] = lambda state: state.energy
) -> Loss:
    """The objective of a clusterer on embeddings, divided by the total weight.

    A learner that minimises it pulls the embedding towards clusters; second derivatives follow the
    clusterer's differentiation rule. The loss is zero if all embeddings are equal, so take few steps, or
    combine it with a loss that spreads the embeddings.

    Args:
        clusterer: a clusterer without learned parameters, such as `soft_kmeans(5)`; it uses a fixed key.
        energy: state of the clusterer -> objective.

    Returns:
        A loss of embeddings [N, D]; targets are not used.

    >>> import jmeta as jm
    >>> points = jnp.array([[0.0], [2.0], [9.0], [11.0]])
    >>> loss, _ = clustering_energy(jm.kmeans(2, seeding=jm.farthest_first))(points, None)
    >>> print(loss)
    1.0
    """

    @of_counted_rows
    def loss(
        outputs: Float[Array, "N D"], targets: Array | None = None, weights: Float[Array, " N"] | None = None
    ) -> tuple[Float[Array, ""], Metrics]:
        key = jax.random.key(0)
        state = clusterer.fit({}, Batch(outputs, weights=weights), key)
        value = quotient(energy(state), jnp.sum(weights_or_ones(outputs, weights)))
        return value, {"energy": value}

    return loss


@compiled
@of_counted_rows
def information_maximization(
    outputs: Float[Array, "N K"], targets: Array | None = None, weights: Float[Array, " N"] | None = None
) -> tuple[Float[Array, ""], Metrics]:
    """The negative mutual information of points and clusters, mean_n H(p_n) - H(mean_n p_n), in nats.

    The minimum, -log K, is reached if all assignments are certain and all clusters have equal weight.

    Args:
        outputs: [N, K] logits.
        targets: not used.
        weights: [N]; all ones unless given.

    Returns:
        The loss, and {"sureness", "balance"}: the mean entropy of the assignments, and the entropy of their
        mean.

    Reference: Krause et al. 2010, Discriminative clustering by regularized information maximization.

    >>> loss, _ = information_maximization(jnp.array([[99.0, 0.0], [0.0, 99.0]]))
    >>> print(f"{loss:.4f}")
    -0.6931
    """
    weights = weights_or_ones(outputs, weights)
    log_probs = jax.nn.log_softmax(outputs)
    probs = jnp.exp(log_probs)
    sureness = weighted_average(-jnp.sum(probs * log_probs, 1), weights)
    balance = entropy_of(weighted_mean(probs, weights))
    return sureness - balance, {"sureness": sureness, "balance": balance}
