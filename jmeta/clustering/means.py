"""What the algorithms of means share: points are shared out among centres, centres become means.

One step of the map is  p = weigh(p, x, c),  r = respond(log p - beta ||x - c||^2),  c_k = sum_n w_n
r_kn x_n / sum_n w_n r_kn.  Algorithms differ in a `Rule` alone: how points respond (softmax for soft
k-means, argmax for Lloyd's), how clusters are weighed (Sinkhorn balances them), how sharp all is.

Inside the map everything is [K, N], so that sums over the few clusters run along many points, and
||x||^2, which no response depends on, is left out of the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from ..compiler import compiled
from ..distances import as_float, squared_distances, unit_length
from ..errors import InputError
from ..iteration import iterate, unroll
from ..records import Assignment, Batch, Clusterer, Diff
from ..trees import largest_change
from ..weights import EMPTY, class_means, log_weights
from .points import Points, Units, prepare_points, units_around
from .seeding import Seeding, attempts, least
from .unrolled import Factors, Nudge, unrolled


class Theta(NamedTuple):
    """Everything the map depends on.

    Attributes:
        points: in the units of the computation.
        beta: the inverse temperature, of the same units.
        log_share: [K] logarithm of the share of the weight that each cluster should have; read by
            rules that balance.
    """

    points: Points
    beta: Float[Array, ""]
    log_share: Float[Array, " K"]


class Means(NamedTuple):
    """What is iterated.

    Attributes:
        centers: [K, D].
        log_prior: [K] logarithm of how much each cluster weighs, `EMPTY` for slots not in use.
    """

    centers: Float[Array, "K D"]
    log_prior: Float[Array, " K"]


class Centers(NamedTuple):
    """A clustering by centres.

    Attributes:
        centers: [K, D].
        log_prior: [K] logarithm of how much each cluster weighs, `EMPTY` for slots not in use.
        beta: the inverse temperature that was used, per squared `scale`.
        scale: the unit of length of the computation, a power of two: no coordinate of a point is farther
            from the mean.
        inertia: sum_n w_n min_k ||x_n - c_k||^2, in squared units of x.
        energy: the free energy  -sum_n w_n log sum_k p_k exp(-beta ||x_n - c_k||^2) / beta, in
            squared units of x; for hard k-means the inertia.
        residual: how far one more step would move a coordinate of a centre, in units of x.
    """

    centers: Float[Array, "K D"]
    log_prior: Float[Array, " K"]
    beta: Float[Array, ""]
    scale: Float[Array, ""]
    inertia: Float[Array, ""]
    energy: Float[Array, ""]
    residual: Float[Array, ""]


def equally(log_prior: Float[Array, " K"], logits: Float[Array, "K N"], theta: Theta) -> Float[Array, " K"]:
    """Weigh all clusters alike, whatever they weighed before.

    A prior that is kept would be an identity in the map, and make the implicit system singular.
    """
    return theta.points.log_slots


class Rule(NamedTuple):
    """How one algorithm of means differs from another.

    Attributes:
        sharpness: (params, seeds, points, units) -> beta.
        hard: whether each point belongs to its nearest centre alone.
        spherical: whether points and centres are directions, all of length one.
        weigh: (log_prior, logits [K, N], theta) -> log_prior, before each step.
        start: the same, once at the seeds.
        cool: (beta, step number) -> beta at that step.
    """

    sharpness: Callable[[PyTree, Float[Array, "K D"], Points, Units], Float[Array, ""]]
    hard: bool = False
    spherical: bool = False
    weigh: Callable[[Array, Array, Theta], Float[Array, " K"]] = equally
    start: Callable[[Array, Array, Theta], Float[Array, " K"]] = equally
    cool: Callable[[Array, Array], Float[Array, ""]] = lambda beta, i: beta


def means_clusterer(
    rule: Rule,
    *,
    clusters: int,
    steps: int,
    diff: Diff | None,
    tol: float | None,
    seeding: Seeding,
    restarts: int,
    centers: Float[Array, "K D"] | None = None,
    init: Callable[..., PyTree] = lambda key: {},
    log_share: Callable[[Points], Float[Array, " K"]] = lambda points: jax.nn.log_softmax(points.log_slots),
) -> Clusterer:
    """The clusterer that iterates `mean_step` from the best of several seedings.

    Args:
        rule: what tells it from others.
        clusters: K.
        steps: how many steps at most.
        diff: differentiation rule; every step, as `unroll` would, unless given.
        tol: stop once no centre moves by more than this, relative to the largest coordinate.
        seeding: where centres start.
        restarts: seedings tried without a derivative; only the one of least energy is kept.
        centers: where they start instead of at seeds; the parameters' "centers" come first.
        init: the clusterer's own `init`.
        log_share: logarithm of the share of the weight that each cluster should have.
    """
    step = partial(mean_step, rule)

    def nudged(means: Means, x: Array, theta: Theta, i: Array, nudge: Nudge) -> tuple[Means, Factors]:
        return shared_step(rule, means, _with_x(theta, x), i, nudge)

    def prepare(params: PyTree, points: Points, units: Units, key: Key[Array, ""]) -> tuple[Means, Theta]:
        given = params.get("centers", centers)
        if given is None:
            seeds = seeding(points.x, points.weights, clusters, key)
        elif given.shape[1] != points.x.shape[1]:
            raise InputError(
                f"centers have {given.shape[1]} features and points {points.x.shape[1]}; give as many."
            )
        else:
            seeds = units.inside(as_float(given))
        seeds = with_class_means(seeds, points)
        seeds = unit_length(seeds) if rule.spherical else seeds
        distances = squared_distances(points.x, seeds)
        beta = rule.sharpness(params, seeds, points, units)
        theta = Theta(points, beta, log_share(points))
        return Means(seeds, rule.start(points.log_slots, -beta * distances.T, theta)), theta

    def run(params: PyTree, points: Points, units: Units, key: Key[Array, ""]) -> tuple[Means, Theta]:
        start, theta = prepare(params, points, units, key)
        if diff is None and tol is None and steps:
            return unrolled(nudged, start, theta.points.x, _with_x(theta, None), steps), theta
        return iterate(step, start, theta, steps=steps, diff=diff or unroll(), tol=tol), theta

    def fit(params: PyTree, batch: Batch, key: Key[Array, ""]) -> Centers:
        points, units = prepare_points(batch, clusters, spherical=rule.spherical)
        fixed = lax.stop_gradient((params, points, units))
        keys = attempts(restarts, key)
        key = keys[least(lambda key: _energy(rule, *run(*fixed, key)), keys)]
        means, theta = run(params, points, units, key)
        nearest = jnp.min(squared_distances(points.x, means.centers) - points.log_slots, 1)
        return Centers(
            units.outside(means.centers),
            means.log_prior,
            theta.beta,
            units.scale,
            points.weights @ nearest * units.scale**2,
            _energy(rule, means, theta) * units.scale**2,
            largest_change(step(means, theta, jnp.asarray(steps)).centers, means.centers) * units.scale,
        )

    def assign(params: PyTree, state: Centers, inputs: Float[Array, "N D"]) -> Assignment:
        x = unit_length(as_float(inputs)) if rule.spherical else as_float(inputs)
        units = units_around(state.centers, state.scale)
        distances = squared_distances(units.inside(state.centers), units.inside(x))
        # Relative to the nearest centre in use: a point far from all would have no finite logit.
        usable = state.log_prior[:, None] > EMPTY / 2
        nearest = lax.stop_gradient(jnp.min(jnp.where(usable, distances, jnp.inf), 0))
        away = distances - jnp.where(jnp.isfinite(nearest), nearest, 0)
        logits = jnp.maximum(state.log_prior[:, None] - state.beta * away, EMPTY)
        log_probs = jnp.where(_nearest(logits), 0, EMPTY) if rule.hard else jax.nn.log_softmax(logits, 0)
        return Assignment(log_probs.T, jnp.zeros(x.shape[0], log_probs.dtype))

    return Clusterer(init, compiled(fit), compiled(assign))


def mean_step(rule: Rule, means: Means, theta: Theta, i: Int[Array, ""]) -> Means:
    """One step of the map; a cluster without points keeps its centre, its gradient stopped."""
    return shared_step(rule, means, theta, i, None)[0]


def shared_step(
    rule: Rule, means: Means, theta: Theta, i: Int[Array, ""], nudge: Nudge | None
) -> tuple[Means, Factors]:
    """One step of the map, and what the points were multiplied by in it; nudges are added to the products."""
    points, centers = theta.points, means.centers
    products = jnp.matmul(centers, points.x.T, precision="highest")
    products = products if nudge is None else products + nudge.products
    logits = rule.cool(theta.beta, i) * (2 * products - jnp.sum(centers * centers, 1, keepdims=True))
    log_prior = rule.weigh(means.log_prior, logits, theta)
    logits = logits + log_prior[:, None]
    responses = _nearest(logits).astype(logits.dtype) if rule.hard else jax.nn.softmax(logits, 0)
    shares = points.weights * pin(responses, points.pinned)
    moved, alive = shared_means(shares, points.x, 0 if nudge is None else nudge.sums)
    moved = unit_length(moved) if rule.spherical else moved
    moved = jnp.where(alive[:, None], moved, lax.stop_gradient(centers))
    return Means(moved, log_prior), Factors(centers, shares)


def shared_means(
    shares: Float[Array, "K N"], x: Float[Array, "N D"], nudge: Float[Array, "K D"] | int = 0
) -> tuple[Float[Array, "K D"], Bool[Array, " K"]]:
    """The mean of each cluster's share of the points, and whether it has any to speak of."""
    mass = jnp.sum(shares, 1)
    alive = mass > jnp.finfo(mass.dtype).eps * jnp.sum(mass)
    sums = jnp.matmul(shares, x, precision="highest") + nudge
    return sums / jnp.where(alive, mass, 1)[:, None], alive


def pin(
    shares: Float[Array, "K N"], pinned: Int[Array, " N"] | None, *, logarithms: bool = False
) -> Float[Array, "K N"]:
    """Responsibilities, or their logarithms, in which labelled points belong to their cluster alone."""
    if pinned is None:
        return shares
    owners = jax.nn.one_hot(pinned, shares.shape[0], dtype=bool, axis=0)
    certain = jnp.where(owners, 0, EMPTY) if logarithms else owners
    return jnp.where(jnp.any(owners, 0), certain.astype(shares.dtype), shares)


def log_mass(log_shares: Float[Array, "K N"], weights: Float[Array, " N"]) -> Float[Array, " K"]:
    """The logarithm of each cluster's part of the whole weight, log sum_n w_n r_kn / sum_n w_n.

    In logarithms throughout: a cluster far from all points has a mass that is tiny, and a gradient.
    """
    logarithms = log_weights(weights)
    return jax.nn.logsumexp(log_shares + logarithms, 1) - jax.nn.logsumexp(logarithms)


def with_class_means(seeds: Float[Array, "K D"], points: Points) -> Float[Array, "K D"]:
    """Seeds, but the mean of the labelled points for clusters that have some."""
    if points.pinned is None:
        return seeds
    means, mass = class_means(points.x, points.pinned, points.weights, len(seeds))
    return jnp.where(mass[:, None] > 0, means, seeds)


def _with_x(theta: Theta, x: Any) -> Theta:
    return theta._replace(points=theta.points._replace(x=x))


def _nearest(logits: Float[Array, "K N"]) -> Bool[Array, "K N"]:
    """Which cluster has the largest logit of each point."""
    rows = jnp.arange(len(logits))[:, None]
    largest = logits == jnp.max(logits, 0)
    return rows == jnp.min(jnp.where(largest, rows, len(logits)), 0)


def _energy(rule: Rule, means: Means, theta: Theta) -> Float[Array, ""]:
    distances = squared_distances(means.centers, theta.points.x)
    logits = means.log_prior[:, None] - theta.beta * distances
    total = jnp.max(logits, 0) if rule.hard else jax.nn.logsumexp(logits, 0)
    return -(theta.points.weights @ total) / theta.beta
