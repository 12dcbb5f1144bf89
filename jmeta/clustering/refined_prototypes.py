"""Class means, refined by unlabelled points, some of which may belong to no class at all.

Labelled points stay in their class; unlabelled ones share themselves out, z_jc = softmax_c(-beta d_jc) with
d_jc = ||x_j - p_c||^2, and prototypes become the means of both. Points of other classes, distractors, would
pull them away. Two remedies:

    cluster   one more prototype, at the origin, takes them in: z_jc over classes and this one, whose
              exponent is -beta d_j0 / r^2 - log r, for a radius r that can be learned
    mask      z_jc is multiplied by m_jc = sigmoid(-g_c (d_jc / mean_j d_jc - t_c)); a small network sees
              the minimum, maximum, variance, skewness and kurtosis of class c's relative distances, and
              answers with the threshold t_c and the slope g_c

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

from ..compiler import compiled
from ..distances import as_float, squared_distances
from ..errors import InputError
from ..iteration import iterate, unroll
from ..records import Assignment, Batch, Clusterer, Diff
from ..validation import check_counts, check_positive, learned_numbers
from ..weights import EMPTY, class_means
from .means import pin, shared_means
from .points import Points, prepare_points, units_around
from .quantity import checked_quantity
from .temperature import RANGE

Distractors = Literal["none", "cluster", "mask"]
HIDDEN = 20
RADII = (1e-3, 1e3)
"""How wide the distractors' cluster may be, in units of a class."""
SMALLEST_MEAN = 1e-12
"""Squared distances that are zero, in the units of the computation, where coordinates have seven digits."""
FARTHEST = 1e6
"""Distances relative to the mean that are as good as infinite: their fourth power is still a float32."""


class Theta(NamedTuple):
    """Everything the map depends on.

    Attributes:
        points: whose labels are shown where they are.
        beta: inverse temperature, in the units of the computation.
        radius: of the distractors' cluster; no unit.
        origin: [D] its prototype.
        mask: weights of the network that masks, or empty.
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
        origin: [D] prototype of distractors, in units of x.
        log_slots: [K] zero for classes in use, `EMPTY` for the others.
        beta: inverse temperature, per squared `scale`.
        radius: of the distractors' cluster; no unit.
        scale: the unit of length of the computation, a power of two.
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
    """Prototypes of partly labelled points, differentiable to points, weights and all numbers.

    Args:
        clusters: K, the number of classes; a batch may use fewer.
        distractors: what is done about points of no class: "none", "cluster" or "mask".
        steps: how many refinements; the paper takes one.
        inverse_temperature: beta, in inverse squared units of the points.
        radius: r, how much wider than classes the distractors' cluster is.
        diff: differentiation rule; `unroll()` unless given.
        learn: "radius" becomes a parameter, stored as its logarithm. The network of "mask" always is one.

    Returns:
        A `Clusterer` of batches whose targets are labels from 0 to K - 1, or -1; its state is `Prototypes`.
        Noise is the part of the distractors' cluster, and zero without one.

    Raises:
        InputError: a number is out of its range; and, when it is run, a batch without labels.

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
        raise InputError("only the distractors' cluster has a radius to learn; set distractors='cluster'.")
    width = checked_quantity("refined_prototypes", "radius", radius)
    step = partial(refine_step, distractors)
    init_radius = learned_numbers("refined_prototypes", learn, radius=width.init)

    def init(key: Key[Array, ""]) -> PyTree:
        return init_radius(key) | ({"mask": _network(key)} if distractors == "mask" else {})

    def fit(params: PyTree, batch: Batch, key: Key[Array, ""]) -> Prototypes:
        points, units = prepare_points(batch, clusters)
        if points.pinned is None:
            raise InputError("no point is labelled; give targets, -1 where a label is hidden.")
        one = jnp.ones((), points.x.dtype)
        origin = units.inside(jnp.zeros_like(units.shift))
        beta = jnp.clip(inverse_temperature * units.scale**2, *RANGE)
        spread = width.value(params, one, lambda: one, RADII)
        theta = Theta(points, beta, spread, origin, params.get("mask", ()))
        start, _ = class_means(points.x, points.pinned, points.weights, clusters)
        centers = iterate(step, start, theta, steps=steps, diff=diff or unroll())
        outside = units.outside(centers), units.outside(origin)
        return Prototypes(*outside, points.log_slots, theta.beta, theta.radius, units.scale)

    def assign(params: PyTree, state: Prototypes, inputs: Float[Array, "N D"]) -> Assignment:
        units = units_around(state.centers, state.scale)
        x, origin = units.inside(as_float(inputs)), units.inside(state.origin)
        distances = squared_distances(units.inside(state.centers), x)
        logits = state.log_slots[:, None] - state.beta * distances
        noise = jnp.zeros(len(x), logits.dtype)
        if distractors == "cluster":
            elsewhere = _elsewhere(x, origin, state.beta, state.radius)
            noise = jax.nn.sigmoid(elsewhere - jax.nn.logsumexp(logits, 0))
        return Assignment(jax.nn.log_softmax(logits, 0).T, noise)

    return Clusterer(init, compiled(fit), compiled(assign))


def refine_step(
    distractors: Distractors, x: Float[Array, "K D"], theta: Theta, i: Int[Array, ""]
) -> Float[Array, "K D"]:
    """One refinement: unlabelled points share themselves out, and prototypes become means."""
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
    moved, alive = shared_means(points.weights * pin(shares, points.pinned), points.x)
    return jnp.where(alive[:, None], moved, lax.stop_gradient(x))


def _elsewhere(x: Array, origin: Array, beta: Array, radius: Array) -> Float[Array, " N"]:
    """The logit of the distractors' cluster."""
    logits = -beta * squared_distances(x, origin[None])[:, 0] / radius**2 - jnp.log(radius)
    return jnp.maximum(logits, EMPTY)


def _mask(network: PyTree, weights: Float[Array, " N"], distances: Float[Array, " N"]) -> Float[Array, " N"]:
    """How much of each point a class admits, from its distances to all unlabelled points."""
    total = jnp.sum(weights)
    share = weights / jnp.where(total > 0, total, 1)
    mean = share @ distances
    relative = distances / jnp.where(mean > SMALLEST_MEAN, mean, 1)
    counted = weights > 0
    away = jnp.where(counted, jnp.minimum(relative, FARTHEST) - 1, 0)
    variance = share @ away**2
    deviation = jnp.sqrt(variance + 1e-6)
    least = jnp.min(jnp.where(counted, relative, jnp.inf), where=counted, initial=FARTHEST)
    most = jnp.max(jnp.where(counted, relative, -jnp.inf), where=counted, initial=0.0)
    least = jnp.where(total > 0, least, 0)
    skewness, kurtosis = share @ away**3 / deviation**3, share @ away**4 / deviation**4
    seen = jnp.stack([least, most, variance, skewness, kurtosis])
    hidden = jnp.tanh(seen @ network["in"] + network["bias"])
    threshold, log_slope = hidden @ network["out"]
    return jax.nn.sigmoid(-jnp.exp(jnp.clip(log_slope, -30, 30)) * (away - threshold))


def _network(key: Key[Array, ""]) -> PyTree:
    """The network that masks: at first it admits what is nearer than the mean by a slope of one."""
    return {
        "in": jax.random.normal(key, (5, HIDDEN)) / 5**0.5,
        "bias": jnp.zeros(HIDDEN),
        "out": jnp.zeros((HIDDEN, 2)),
    }
