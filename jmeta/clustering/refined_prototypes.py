"""Class means, refined by unlabelled points, some of which may belong to no class.

Labelled points stay in their class; unlabelled ones are softly assigned, z_jc = softmax_c(-beta d_jc) with
d_jc = ||x_j - p_c||^2, and prototypes become the means of both. Points of other classes, called distractors,
would bias them. There are two remedies:

    cluster   a further prototype at the origin absorbs them: z_jc is over the classes and this prototype,
              whose logit is -beta d_j0 / r^2 - log r, for a radius r that can be learned
    mask      z_jc is multiplied by m_jc = sigmoid(-g_c (d_jc / mean_j d_jc - t_c)); a small network computes
              the threshold t_c and the slope g_c from the minimum, maximum, variance, skewness and kurtosis
              of the relative distances to class c

Reference: Ren et al. 2018, Meta-learning for semi-supervised few-shot classification.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key, PyTree

from ..distances import as_float, quotient, squared_distances
from ..errors import InputError
from ..iteration import iterate, unroll
from ..masking import make_clusterer
from ..records import Assignment, Batch, Clusterer, Diff
from ..validation import check_counts, check_positive, learned_numbers
from ..weights import LOG_ZERO, class_means
from .means import means_of_sums, pin, sums_of_points
from .points import Points, prepare_points, units_around
from .quantity import checked_quantity
from .temperature import RANGE

Distractors = Literal["none", "cluster", "mask"]
HIDDEN = 20
"""Hidden units of the mask network."""
RADII = (1e-3, 1e3)
"""Bounds of the radius of the distractors' cluster, relative to a class."""
SMALLEST_MEAN = 1e-12
"""Mean squared distances up to this count as zero, in computation units and with seven-digit coordinates."""
FARTHEST = 1e6
"""Upper bound of distances relative to the mean, so that their fourth power is in float32's range."""


class Theta(NamedTuple):
    """All that the map depends on.

    Attributes:
        points: prepared points; labelled ones are pinned.
        beta: inverse temperature, in computation units.
        radius: radius of the distractors' cluster; dimensionless.
        origin: [D] prototype of the distractors' cluster.
        mask: parameters of the mask network, or empty.
    """

    points: Points
    beta: Float[Array, ""]
    radius: Float[Array, ""]
    origin: Float[Array, " D"]
    mask: PyTree


class Prototypes(NamedTuple):
    """Refined class means.

    Attributes:
        centers: [K, D] in units of x.
        origin: [D] prototype of the distractors' cluster, in units of x.
        log_slots: [K] zero for classes in use, `LOG_ZERO` for the others.
        beta: inverse temperature, per squared `scale`.
        radius: radius of the distractors' cluster; dimensionless.
        scale: the computation unit of length, a power of two.
    """

    centers: Float[Array, "K D"]
    origin: Float[Array, " D"]
    log_slots: Float[Array, " K"]
    beta: Float[Array, ""]
    radius: Float[Array, ""]
    scale: Float[Array, ""]


def refined_prototypes(
    clusters: int,
    *,
    distractors: Distractors = "none",
    steps: int = 1,
    inverse_temperature: float = 1.0,
    radius: float = 1.0,
    diff: Diff | None = None,
    learn: Sequence[str] = (),
) -> Clusterer:
    """Prototypes of partly labelled points, differentiable in the points, their weights and all parameters.

    Args:
        clusters: K, the number of classes; a batch may use fewer.
        distractors: treatment of points of no class: "none", "cluster" or "mask".
        steps: number of refinements; the paper uses one.
        inverse_temperature: beta, in inverse squared units of the points.
        radius: r, the width of the distractors' cluster relative to the classes.
        diff: differentiation rule; `unroll()` unless given.
        learn: ("radius",) makes the radius a learned parameter, stored as its logarithm. The network of
            "mask" is always learned.

    Returns:
        A `Clusterer` of batches whose targets are labels from 0 to K - 1, or -1; its state is `Prototypes`.
        Noise is the probability of the distractors' cluster, and zero without one.

    Raises:
        InputError: an argument is out of range; when fitted, the batch has no labels.

    >>> points = jnp.array([[0.0], [4.0], [0.5], [4.5], [1.0]])
    >>> labels = jnp.array([0, 1, -1, -1, -1])
    >>> state = refined_prototypes(2).fit({}, Batch(points, labels), jax.random.key(0))
    >>> [f"{center:.2f}" for center in state.centers.ravel()]
    ['0.50', '4.25']
    """
    check_counts("refined_prototypes", clusters=clusters, steps=steps)
    check_positive("refined_prototypes", inverse_temperature=inverse_temperature)
    if distractors not in get_args(Distractors):
        raise InputError(f"distractors is {distractors!r}; choose one of {get_args(Distractors)}.")
    if learn and distractors != "cluster":
        raise InputError(
            f"distractors is {distractors!r}, but only the distractors' cluster has a radius to learn; "
            "set distractors='cluster'."
        )
    width = checked_quantity("refined_prototypes", "radius", radius)
    step = partial(refine_step, distractors)
    init_radius = learned_numbers("refined_prototypes", learn, radius=width.init)

    def init(key: Key[Array, ""]) -> PyTree:
        return init_radius(key) | ({"mask": _network(key)} if distractors == "mask" else {})

    def fit(params: PyTree, batch: Batch, key: Key[Array, ""]) -> Prototypes:
        points, units = prepare_points(batch, clusters)
        if points.pinned is None:
            raise InputError("no point is labelled; give targets, with -1 for hidden labels.")
        one = jnp.ones((), points.x.dtype)
        origin = units.inside(jnp.zeros_like(units.shift))
        beta = jnp.clip(inverse_temperature * units.scale**2, *RANGE)
        spread = width.value(params, one, lambda: one, RADII)
        theta = Theta(points=points, beta=beta, radius=spread, origin=origin, mask=params.get("mask", ()))
        start, _ = class_means(points.x, points.pinned, points.weights, clusters)
        centers = iterate(step, start, theta, steps=steps, diff=diff or unroll())
        return Prototypes(
            centers=units.outside(centers),
            origin=units.outside(origin),
            log_slots=points.log_slots,
            beta=theta.beta,
            radius=theta.radius,
            scale=units.scale,
        )

    def assign(params: PyTree, state: Prototypes, inputs: Float[Array, "N D"]) -> Assignment:
        units = units_around(state.centers, state.scale)
        x = units.inside(as_float(inputs))
        origin = units.inside(state.origin)
        distances = squared_distances(units.inside(state.centers), x)
        logits = state.log_slots[:, None] - state.beta * distances
        noise = jnp.zeros(len(x), logits.dtype)
        if distractors == "cluster":
            elsewhere = _elsewhere(x, origin, state.beta, state.radius)
            noise = jax.nn.sigmoid(elsewhere - jax.nn.logsumexp(logits, 0))
        return Assignment(jax.nn.log_softmax(logits, 0).T, noise)

    return make_clusterer(init, fit, assign)


def refine_step(
    distractors: Distractors, x: Float[Array, "K D"], theta: Theta, i: Int[Array, ""]
) -> Float[Array, "K D"]:
    """One refinement: assigns unlabelled points softly, then recomputes the prototypes as means."""
    points = theta.points
    distances = squared_distances(x, points.x)
    logits = points.log_slots[:, None] - theta.beta * distances
    if distractors == "cluster":
        elsewhere = _elsewhere(points.x, theta.origin, theta.beta, theta.radius)
        shares = jax.nn.softmax(jnp.concatenate([logits, elsewhere[None]]), 0)[:-1]
    else:
        shares = jax.nn.softmax(logits, 0)
    if distractors == "mask":
        owners = jax.nn.one_hot(points.pinned, len(x), axis=0, dtype=bool)
        unlabelled = points.weights * ~jnp.any(owners, 0)
        shares = shares * jax.vmap(partial(_mask, theta.mask, unlabelled))(distances)
    moved, alive = means_of_sums(*sums_of_points(points.weights * pin(shares, points.pinned), points.x))
    return jnp.where(alive[:, None], moved, lax.stop_gradient(x))


def _elsewhere(x: Array, origin: Array, beta: Array, radius: Array) -> Float[Array, " N"]:
    """The logit of the distractors' cluster."""
    logits = -beta * squared_distances(x, origin[None])[:, 0] / radius**2 - jnp.log(radius)
    return jnp.maximum(logits, LOG_ZERO)


def _mask(network: PyTree, weights: Float[Array, " N"], distances: Float[Array, " N"]) -> Float[Array, " N"]:
    """The mask of one class: the share of each point that counts, from the distances to unlabelled points."""
    total = jnp.sum(weights)
    share = quotient(weights, total)
    mean = share @ distances
    relative = distances / jnp.where(mean > SMALLEST_MEAN, mean, 1)
    counted = weights > 0
    away = jnp.where(counted, jnp.minimum(relative, FARTHEST) - 1, 0)
    variance = share @ away**2
    deviation = jnp.sqrt(variance + 1e-6)
    minimum = jnp.min(jnp.where(counted, relative, jnp.inf), where=counted, initial=FARTHEST)
    maximum = jnp.max(jnp.where(counted, relative, -jnp.inf), where=counted, initial=0.0)
    minimum = jnp.where(total > 0, minimum, 0)
    skewness = share @ away**3 / deviation**3
    kurtosis = share @ away**4 / deviation**4
    features = jnp.stack([minimum, maximum, variance, skewness, kurtosis])
    hidden = jnp.tanh(features @ network["in"] + network["bias"])
    threshold, log_slope = hidden @ network["out"]
    return jax.nn.sigmoid(-jnp.exp(jnp.clip(log_slope, -30, 30)) * (away - threshold))


def _network(key: Key[Array, ""]) -> PyTree:
    """Initial parameters of the mask network, with its threshold at the mean distance and a slope of one."""
    return {
        "in": jax.random.normal(key, (5, HIDDEN)) / 5**0.5,
        "bias": jnp.zeros(HIDDEN),
        "out": jnp.zeros((HIDDEN, 2)),
    }
