"""Mixtures of Gaussians whose start a network foretells from all points at once.

A network sees the points, of mean zero and variance one, and beside each the share k / K of slots in use; it
answers with a share, a mean and variances of every component. From there EM goes on, as in
`gaussian_mixture`: with no step at all this is amortised inference, with some it is EM from a learned start.
Trained for the likelihood that is reached, through the steps of EM, it needs no label.

Reference: Lee et al. 2019, Set transformer: a framework for attention-based permutation-invariant neural
networks.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from ..distances import unit_length
from ..errors import InputError
from ..records import Clusterer, Diff, Model
from ..validation import check_counts
from ..weights import EMPTY, weighted_mean
from .gaussian_mixture import Components, Rule, Shape, check_mixture, mixture_clusterer
from .means import with_class_means
from .points import Points

LOG_VARIANCES = (-14.0, 4.0)
"""Of components, in units of the points' own variance."""


def outputs_per_component(features: int) -> int:
    """How many numbers the network answers with for each component: a share, a mean, and variances.

    >>> outputs_per_component(2)
    5
    """
    return 1 + 2 * features


def amortized_mixture(
    model: Model,
    clusters: int,
    *,
    proposals: int = 1,
    views: int = 1,
    stride: int = 1,
    covariance: Shape = "full",
    steps: int = 5,
    trial_steps: int | None = None,
    pseudo_points: float = 0.0,
    ridge: float = 1e-5,
    diff: Diff | None = None,
    tol: float | None = None,
) -> Clusterer:
    """A mixture of Gaussians by EM from where a network says, differentiable to the network.

    Args:
        model: from points [N, D + 1] to [R K, 1 + 2 D] numbers, such as
            `networks.set_transformer(D + 1, 1 + 2 * D, seeds=R * K)`.
        clusters: K, the number of slots; a batch may use fewer.
        proposals: R, how many starts it foretells; the one that ends with the greatest likelihood is kept.
        views: how many times it is asked: about the points as they are, then as random mirrors show them. The
            more, the more starts; a network is best trained with one.
        stride: it is shown one point in so many, which should lie in no order, while EM takes all.
        covariance: see `gaussian_mixture`, as are the arguments that follow; all start as diagonals.
        steps: of EM at most; zero takes the network's word.
        trial_steps: after how many of them the likeliest start goes on alone; all unless given.
        pseudo_points: weight of the prior in each component.
        ridge: added to every variance.
        diff: differentiation rule; only `unroll` and `straight_through` have a derivative to the start.
        tol: stop once no number moves by more than this.

    Returns:
        A `Clusterer` whose parameters are the network's, and whose state is `Mixture`.

    Raises:
        InputError: a number is out of its range, or the covariance has no such name; and, when it is run,
            a network that answers with another shape.

    >>> import jmeta as jm
    >>> model = jm.networks.set_transformer(3, 5, seeds=2 * 4, width=8)
    >>> clusterer = amortized_mixture(model, 4, proposals=2)
    >>> points = jax.random.normal(jax.random.key(0), (30, 2))
    >>> state = clusterer.fit(clusterer.init(jax.random.key(1)), jm.Batch(points), jax.random.key(2))
    >>> state.means.shape, bool(jnp.isfinite(state.log_likelihood))
    ((4, 2), True)
    """
    rule = Rule(covariance, pseudo_points, ridge, steps, trial_steps, diff, tol)
    check_mixture("amortized_mixture", clusters, rule)
    check_counts("amortized_mixture", proposals=proposals, views=views, stride=stride)
    if not isinstance(steps, int) or steps < 0:
        raise InputError(f"steps of amortized_mixture is {steps!r}; give a whole number >= 0.")

    def start(params: PyTree, points: Points, mirror: Float[Array, " D"]) -> Components:
        features = points.x.shape[1]
        middle, width = _standard(points)
        used = jnp.full((len(points.x), 1), jnp.mean(points.log_slots > EMPTY / 2, dtype=points.x.dtype))
        seen = jnp.concatenate([_mirrored((points.x - middle) / width, mirror), used], 1)
        answer = model.apply(params, seen[::stride], points.weights[::stride])
        if answer.shape != (proposals * clusters, outputs_per_component(features)):
            raise InputError(
                f"the network of amortized_mixture answers with {answer.shape}; for {proposals} proposals of "
                f"{clusters} components it takes {(proposals * clusters, outputs_per_component(features))}."
            )
        each = answer.reshape(proposals, clusters, -1)
        share, means, logs = each[..., 0], each[..., 1 : 1 + features], each[..., 1 + features :]
        log_share = jnp.maximum(jax.nn.log_softmax(points.log_slots + share), EMPTY)
        means = middle + width * _mirrored(means, mirror)
        means = jax.vmap(lambda means: with_class_means(means, points))(means)
        variances = jnp.exp(jnp.clip(logs, *LOG_VARIANCES))
        even = jnp.broadcast_to(variances.mean(-1, keepdims=True), variances.shape)
        return Components(log_share, means, width**2 * jnp.where(jnp.any(mirror), even, variances))

    def starts(params: PyTree, points: Points, key: Key[Array, ""]) -> Components:
        drawn = jax.random.normal(key, (views, points.x.shape[1]), points.x.dtype).at[0].set(0)
        found = jax.vmap(lambda mirror: start(params, points, mirror))(unit_length(drawn))
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)

    return mixture_clusterer(rule, clusters, model.init, starts)


def _mirrored(x: Float[Array, "... D"], mirror: Float[Array, " D"]) -> Float[Array, "... D"]:
    """Points reflected in the hyperplane that a unit vector is normal to; as they are where it is zero."""
    return x - 2 * (x @ mirror)[..., None] * mirror


def _standard(points: Points) -> tuple[Float[Array, " D"], Float[Array, ""]]:
    """The points' mean, and the root of their variance per feature."""
    middle = weighted_mean(points.x, points.weights)
    total = jnp.sum(points.weights)
    away = points.weights @ jnp.mean(jnp.square(points.x - middle), 1) / jnp.where(total > 0, total, 1)
    return middle, jnp.where(away > 0, jnp.sqrt(jnp.where(away > 0, away, 1)), 1)
