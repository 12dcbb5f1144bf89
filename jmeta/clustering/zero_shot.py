"""Zero-shot clustering: a trained network says which points belong together, and a tree is cut.

The network, `pair_transformer`, sees the distances of the points of one table and returns P, the probability
of each pair to belong together. Points are merged by average linkage with 1 - P as distance. Of all cuts of
the tree the one with the greatest expected adjusted Rand index under P is taken, or that with a known K. With
S the s pairs within clusters of the cut, and m pairs in all, it is

    (sum_S p - s sum p / m) / ((s + sum p) / 2 - s sum p / m).

The index of one cluster is 1 where all points belong together and else 0: its expectation is the probability
that all belong together, for which the mean of P between the two parts of the last merge is taken.

The memberships of a point are the means of P over each cluster, normalised; they are differentiable in the
points and in the parameters of the network, while the partition is not.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key, PyTree

from ..distances import as_float, exact_squared_distances, quotient
from ..graphs.dendrograms import cut, merge_ranks
from ..graphs.linkage import linkage_tree
from ..masking import make_clusterer
from ..records import Assignment, Batch, Clusterer, Model
from ..validation import check_counts, check_model
from ..weights import LOG_ZERO
from .points import Points, Units, prepare_points, units_around

SMALLEST = 1e-6
"""The least mean probability of a point to belong to a cluster."""


class ZeroShot(NamedTuple):
    """A clustering stored as points with their memberships.

    Attributes:
        points: [M, D] the clustered points.
        weights: [M]; points of weight zero are ignored in assignment.
        labels: [M] cluster of each point in the cut; -1 for points of weight zero.
        log_probs: [M, K] log-probability of each cluster; that of `labels` is not always the greatest.
        together: [M, M] probability that two points belong together.
        scores: [K] expected adjusted Rand index of the cut into 1 to K clusters; `LOG_ZERO` for numbers of
            clusters that a batch cannot have.
        clusters: number of clusters of the cut.
        scale: the computation unit of length, a power of two.
    """

    points: Float[Array, "M D"]
    weights: Float[Array, " M"]
    labels: Int[Array, " M"]
    log_probs: Float[Array, "M K"]
    together: Float[Array, "M M"]
    scores: Float[Array, " K"]
    clusters: Int[Array, ""]
    scale: Float[Array, ""]


def zero_shot(clusters: int, *, model: Model, find: bool = False) -> Clusterer:
    """Clusters by the predictions of a trained network, without training on the points.

    Args:
        clusters: K, the number of slots; a batch may use fewer.
        model: predicts logits of pairs, such as `networks.pair_transformer`.
        find: whether the number of clusters is found, from 1 to K, and not given.

    Returns:
        A `Clusterer` whose state is `ZeroShot`. Its parameters are those of the network.

    Raises:
        InputError: `clusters` is below one.
    """
    check_model("zero_shot", model)
    check_counts("zero_shot", clusters=clusters)

    def fit(params: PyTree, batch: Batch, key: Key[Array, ""]) -> ZeroShot:
        points, units = prepare_points(batch, clusters)
        used = jnp.sum(points.log_slots > LOG_ZERO / 2)
        x, weights = _even(points)
        logits = model.apply(params, x, weights, jnp.where(find, 0, used))
        count = len(points.x)
        together = jax.nn.sigmoid(logits[:count, :count])
        together = jnp.where(jnp.eye(count, dtype=bool), 1, together)
        return _cut(points, units, together, used, clusters, find)

    def assign(params: PyTree, state: ZeroShot, inputs: Float[Array, "N D"]) -> Assignment:
        units = units_around(state.points, state.scale)
        squared = exact_squared_distances(units.inside(as_float(inputs)), units.inside(state.points))
        nearest = jnp.argmin(jnp.where(state.weights > 0, squared, jnp.inf), 1)
        log_probs = state.log_probs[nearest]
        return Assignment(log_probs, jnp.zeros(len(log_probs), log_probs.dtype))

    return make_clusterer(model.init, fit, assign)


def _even(points: Points) -> tuple[Float[Array, "M D"], Float[Array, " M"]]:
    """Points and weights, with one more point of weight zero where their number is odd."""
    extra = len(points.x) % 2
    return jnp.pad(points.x, ((0, extra), (0, 0))), jnp.pad(points.weights, (0, extra))


def _cut(
    points: Points, units: Units, together: Float[Array, "N N"], used: Array, clusters: int, find: bool
) -> ZeroShot:
    weights = points.weights
    fixed = lax.stop_gradient(together)
    tree = linkage_tree("average", jnp.square(1 - fixed), weights)
    last_height = jnp.max(jnp.where(jnp.isfinite(tree.heights), tree.heights, 0))
    scores = expected_ari_of_cuts(fixed, merge_ranks(tree), weights, clusters).at[0].set(1 - last_height)
    counts = jnp.arange(1, clusters + 1)
    possible = (counts <= used) & (counts <= jnp.maximum(jnp.sum(weights > 0), 1))
    scores = jnp.where(possible, scores, LOG_ZERO)
    chosen = jnp.where(find, jnp.argmax(scores) + 1, jnp.sum(possible))
    labels = _numbered(cut(tree, chosen), weights)
    owned = jax.nn.one_hot(labels, clusters, dtype=together.dtype) * weights[:, None]
    mass = jnp.sum(owned, 0)
    means = quotient(together @ owned, mass)
    logs = jnp.where(mass > 0, jnp.log(jnp.maximum(means, SMALLEST)), LOG_ZERO)
    log_probs = jnp.maximum(jax.nn.log_softmax(logs, -1), LOG_ZERO)
    outside = units.outside(points.x)
    return ZeroShot(
        points=outside,
        weights=weights,
        labels=labels,
        log_probs=log_probs,
        together=together,
        scores=scores,
        clusters=chosen,
        scale=units.scale,
    )


def _numbered(roots: Int[Array, " N"], weights: Float[Array, " N"]) -> Int[Array, " N"]:
    """Clusters by number, in the order of their first points; -1 for points of weight zero."""
    count = len(roots)
    places = jnp.arange(count)
    first = jnp.full(count, count).at[roots].min(jnp.where(weights > 0, places, count))
    is_first = (first[roots] == places) & (weights > 0)
    number = jnp.cumsum(is_first) - 1
    return jnp.where(weights > 0, number[jnp.minimum(first[roots], count - 1)], -1)


def expected_ari_of_cuts(
    together: Float[Array, "N N"], ranks: Int[Array, "N N"], weights: Float[Array, " N"], clusters: int
) -> Float[Array, " K"]:
    """The expected adjusted Rand index of the cuts of a tree into 1 to K clusters; 0 for one cluster.

    Args:
        together: [N, N] probability that two points belong together.
        ranks: [N, N] rank of the merge that joins two points, from `merge_ranks`.
        weights: [N].
        clusters: K.

    >>> from jmeta.graphs.linkage import linkage_tree
    >>> together = jnp.array([[1, 0.9, 0.1], [0.9, 1, 0.1], [0.1, 0.1, 1]])
    >>> ranks = merge_ranks(linkage_tree("average", jnp.square(1 - together), jnp.ones(3)))
    >>> print(f"{expected_ari_of_cuts(together, ranks, jnp.ones(3), 3)[1]:.2f}")
    0.78
    """
    count = len(weights)
    pairs = jnp.triu(weights[:, None] * weights, 1)
    own = jnp.sum(weights * jnp.maximum(weights - 1, 0)) / 2
    merged = jax.ops.segment_sum(
        jnp.stack([pairs * together, pairs], -1).reshape(-1, 2), ranks.reshape(-1), num_segments=count
    )
    within = jnp.concatenate([jnp.zeros((1, 2)), jnp.cumsum(merged, 0)]) + own
    alive = jnp.sum(weights > 0)
    kept = jnp.clip(alive - jnp.arange(1, clusters + 1), 0, count)
    both, inside = within[kept].T
    likely, total = within[-1]
    chance = likely * inside / jnp.where(total > 0, total, 1)
    span = (likely + inside) / 2 - chance
    return jnp.where(span > 1e-6 * total, (both - chance) / jnp.where(span > 0, span, 1), 0)
