"""Mixtures of Gaussians whose initial components a network predicts from all points.

The network receives the points, standardised to mean zero and variance one, each with the share k / K of
slots in use as a further feature; it returns a share, a mean and variances for every component. EM continues
from there, as in `gaussian_mixture`: with no steps this is amortised inference, with some it is EM from a
learned start. Trained on the final likelihood, through the steps of EM, it needs no labels.

Reference: Lee et al. 2019, Set transformer: a framework for attention-based permutation-invariant neural
networks.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from ...distances import unit_length
from ...errors import InputError
from ...reach import check_start_is_learned
from ...records import Clusterer, Diff, Model
from ...validation import check_counts, check_model
from ...weights import LOG_ZERO, weighted_mean
from ..means import with_class_means
from ..points import Points
from .gaussian import Components, Rule, Shape, check_mixture, mixture_clusterer

LOG_VARIANCES = (-14.0, 4.0)
"""Bounds of the logarithms of variances of components, in units of the variance of the points."""


def outputs_per_component(features: int) -> int:
    """The number of network outputs per component: a share, a mean, and variances.

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
    """A mixture of Gaussians by EM from predicted components, differentiable in the network's parameters.

    Args:
        model: from points [N, D + 1] to outputs [R K, 1 + 2 D], such as
            `networks.set_transformer(D + 1, 1 + 2 * D, seeds=R * K)`.
        clusters: K, the number of slots; a batch may use fewer.
        proposals: R, number of starts that the network predicts; the result with the largest likelihood is
            kept.
        views: number of times that the network is applied: to the points as they are, then to random
            reflections of them. Each view adds R starts; train the network with one.
        stride: the network receives every `stride`-th point, while EM uses all; the order of the points
            should be random.
        covariance: see `gaussian_mixture`, also for the following arguments; all start as diagonals.
        steps: maximum number of EM steps; with zero the prediction is the result.
        trial_steps: number of steps after which the start with the largest likelihood continues alone;
            `steps` unless given.
        pseudo_points: weight of the prior in each component.
        ridge: added to every variance.
        diff: differentiation rule; only `unroll` and `straight_through` have a derivative in the start.
        tol: stops once no element of the components changes by more than this.

    Returns:
        A `Clusterer` with the parameters of the network and with state `Mixture`.

    Raises:
        InputError: an argument is out of range, the covariance is unknown, or `diff` passes no derivative to
            the start; when fitted, the outputs of the
            network have another shape.

    >>> import jmeta as jm
    >>> model = jm.networks.set_transformer(3, 5, seeds=2 * 4, width=8)
    >>> clusterer = amortized_mixture(model, 4, proposals=2)
    >>> points = jax.random.normal(jax.random.key(0), (30, 2))
    >>> state = clusterer.fit(clusterer.init(jax.random.key(1)), jm.Batch(points), jax.random.key(2))
    >>> state.means.shape, bool(jnp.isfinite(state.log_likelihood))
    ((4, 2), True)
    """
    check_model("amortized_mixture", model)
    rule = Rule(
        covariance=covariance,
        pseudo_points=pseudo_points,
        ridge=ridge,
        steps=steps,
        trial_steps=trial_steps,
        diff=diff,
        tol=tol,
    )
    check_mixture("amortized_mixture", clusters, rule)
    check_counts("amortized_mixture", proposals=proposals, views=views, stride=stride)
    check_start_is_learned(diff, "components that the network predicts")
    if not isinstance(steps, int) or steps < 0:
        raise InputError(f"steps of amortized_mixture is {steps!r}; give a whole number >= 0.")

    def start(params: PyTree, points: Points, mirror: Float[Array, " D"]) -> Components:
        features = points.x.shape[1]
        middle, width = _standard(points)
        used = jnp.full((len(points.x), 1), jnp.mean(points.log_slots > LOG_ZERO / 2, dtype=points.x.dtype))
        inputs = jnp.concatenate([_reflected((points.x - middle) / width, mirror), used], 1)
        outputs = model.apply(params, inputs[::stride], points.weights[::stride])
        expected = (proposals * clusters, outputs_per_component(features))
        if outputs.shape != expected:
            raise InputError(
                f"the network of amortized_mixture returns shape {outputs.shape}; for {proposals} proposals "
                f"of {clusters} components make it {expected}."
            )
        each = outputs.reshape(proposals, clusters, -1)
        share = each[..., 0]
        means = each[..., 1 : 1 + features]
        logs = each[..., 1 + features :]
        log_share = jnp.maximum(jax.nn.log_softmax(points.log_slots + share), LOG_ZERO)
        means = middle + width * _reflected(means, mirror)
        means = jax.vmap(lambda means: with_class_means(means, points))(means)
        variances = jnp.exp(jnp.clip(logs, *LOG_VARIANCES))
        even = jnp.broadcast_to(variances.mean(-1, keepdims=True), variances.shape)
        return Components(log_share, means, width**2 * jnp.where(jnp.any(mirror), even, variances))

    def starts(params: PyTree, points: Points, key: Key[Array, ""]) -> Components:
        drawn = jax.random.normal(key, (views, points.x.shape[1]), points.x.dtype).at[0].set(0)
        per_view = jax.vmap(lambda mirror: start(params, points, mirror))(unit_length(drawn))
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), per_view)

    return mixture_clusterer(rule, clusters, model.init, starts)


def _reflected(x: Float[Array, "... D"], mirror: Float[Array, " D"]) -> Float[Array, "... D"]:
    """Points reflected in the hyperplane with unit normal `mirror`; unchanged if it is zero."""
    return x - 2 * (x @ mirror)[..., None] * mirror


def _standard(points: Points) -> tuple[Float[Array, " D"], Float[Array, ""]]:
    """The mean of the points, and the square root of their mean variance per feature."""
    middle = weighted_mean(points.x, points.weights)
    away = weighted_mean(jnp.mean(jnp.square(points.x - middle), 1), points.weights)
    return middle, jnp.where(away > 0, jnp.sqrt(jnp.where(away > 0, away, 1)), 1)
