"""The common implementation of the k-means variants.

One step of the map is  p = weigh(p, x, c),  r = respond(log p - beta ||x - c||^2),  c_k = sum_n w_n
r_kn x_n / sum_n w_n r_kn.  The algorithms differ only in their `Rule`: the response (softmax for soft
k-means, argmax for Lloyd's algorithm), the weights of clusters (Sinkhorn balances them), and the inverse
temperature.

Arrays inside the map are [K, N], so that the long axis of the points is contiguous, and ||x||^2, on which no
response depends, is left out of the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from ..distances import as_float, quotient, squared_distances, unit_length
from ..errors import InputError
from ..iteration import iterate, unroll
from ..masking import make_clusterer
from ..records import AnyArray, Assignment, Batch, Clusterer, Diff
from ..sharding.points import fold_over_points, row_of_each
from ..trees import largest_change
from ..weights import LOG_ZERO, class_means, log_weights
from .points import Points, Units, prepare_points, units_around
from .seeding import Seeding, attempts, least
from .unrolled import Factors, Nudge, unrolled


class Theta(NamedTuple):
    """All that the map depends on.

    Attributes:
        points: prepared points, in computation units.
        beta: inverse temperature, in computation units.
        log_share: [K] logarithm of each cluster's target share of the weight; used by rules that balance.
        seeds: [K, D] directions in which rules that `split` keep centres apart, or None; not differentiated.
    """

    points: Points
    beta: Float[Array, ""]
    log_share: Float[Array, " K"]
    seeds: Float[Array, "K D"] | None = None


class Means(NamedTuple):
    """The iterate of the map.

    Attributes:
        centers: [K, D].
        log_prior: [K] logarithm of each cluster's weight; `LOG_ZERO` for unused slots.
    """

    centers: Float[Array, "K D"]
    log_prior: Float[Array, " K"]


class Centers(NamedTuple):
    """A clustering by centres.

    Attributes:
        centers: [K, D].
        log_prior: [K] logarithm of each cluster's weight; `LOG_ZERO` for unused slots.
        beta: the inverse temperature, per squared `scale`.
        scale: the computation unit of length, a power of two that bounds the distance of every coordinate
            from the mean.
        inertia: sum_n w_n min_k ||x_n - c_k||^2, in squared units of x.
        energy: the free energy  -sum_n w_n log sum_k p_k exp(-beta ||x_n - c_k||^2) / beta, in
            squared units of x; for hard k-means the inertia, and for balanced clusters the transport cost
            sum_nk w_n r_nk (||x_n - c_k||^2 + log r_nk / beta).
        residual: the largest change of a coordinate of a centre in one more step, in units of x.
    """

    centers: Float[Array, "K D"]
    log_prior: Float[Array, " K"]
    beta: Float[Array, ""]
    scale: Float[Array, ""]
    inertia: Float[Array, ""]
    energy: Float[Array, ""]
    residual: Float[Array, ""]


def equally(log_prior: Float[Array, " K"], logits: Float[Array, "K N"], theta: Theta) -> Float[Array, " K"]:
    """Equal weights for all clusters, whatever their previous weights.

    Passing the previous prior through would be an identity in the map and make the implicit system singular.
    """
    return theta.points.log_slots


class Rule(NamedTuple):
    """The differences between the k-means variants.

    Attributes:
        sharpness: (params, seeds, points, units) -> beta.
        hard: whether each point belongs only to its nearest centre.
        spherical: whether points and centres are normalised to length one.
        weigh: (log_prior, logits [K, N], theta) -> log_prior, before each step.
        start: the same, once at the seeds.
        cool: (beta, step number) -> beta at that step.
        split: step number -> the part of its seed that is added to each centre; None if there is never one.
        balanced: whether `weigh` solves for weights that give each cluster a certain share of points. They
            are then solved for at the last centres too, and the energy is that of the transport problem.
    """

    sharpness: Callable[[PyTree, Float[Array, "K D"], Points, Units], Float[Array, ""]]
    hard: bool = False
    spherical: bool = False
    weigh: Callable[[Array, Array, Theta], Float[Array, " K"]] = equally
    start: Callable[[Array, Array, Theta], Float[Array, " K"]] = equally
    cool: Callable[[Array, Array], Float[Array, ""]] = lambda beta, i: beta
    split: Callable[[Array], Float[Array, ""]] | None = None
    balanced: bool = False


def means_clusterer(
    rule: Rule,
    *,
    clusters: int,
    steps: int,
    diff: Diff | None,
    tol: float | None,
    seeding: Seeding,
    restarts: int,
    centers: Float[AnyArray, "K D"] | None = None,
    init: Callable[..., PyTree] = lambda key: {},
    log_share: Callable[[Points], Float[Array, " K"]] = lambda points: jax.nn.log_softmax(points.log_slots),
) -> Clusterer:
    """A clusterer that iterates `mean_step` from the best of several seedings.

    Args:
        rule: the variant of k-means.
        clusters: K.
        steps: maximum number of steps.
        diff: differentiation rule; unless given, the same derivative as with `unroll()`, computed faster.
        tol: stops once no centre moves by more than this, relative to the largest coordinate.
        seeding: chooses the initial centres.
        restarts: number of seedings, tried without a derivative; the one with the least energy is kept.
        centers: initial centres, which replace seeding; learned "centers" take precedence.
        init: the `init` of the clusterer.
        log_share: points -> logarithm of each cluster's target share of the weight.
    """
    step = partial(mean_step, rule)

    def nudged(means: Means, x: Array, theta: Theta, i: Array, nudge: Nudge) -> tuple[Means, Factors]:
        return shared_step(rule, means, _with_x(theta, x), i, nudge)

    def prepare(params: PyTree, points: Points, units: Units, key: Key[Array, ""]) -> tuple[Means, Theta]:
        initial = params.get("centers", centers)
        if initial is None:
            seeds = seeding(points.x, points.weights, clusters, key)
        elif initial.shape[1] != points.x.shape[1]:
            raise InputError(
                f"centers have {initial.shape[1]} features and points {points.x.shape[1]}; make them equal."
            )
        else:
            seeds = units.inside(as_float(initial))
        seeds = with_class_means(seeds, points)
        seeds = unit_length(seeds) if rule.spherical else seeds
        distances = squared_distances(points.x, seeds)
        beta = rule.sharpness(params, seeds, points, units)
        theta = Theta(points, beta, log_share(points), lax.stop_gradient(seeds))
        return Means(seeds, rule.start(points.log_slots, -beta * distances.T, theta)), theta

    def run(params: PyTree, points: Points, units: Units, key: Key[Array, ""]) -> tuple[Means, Theta]:
        start, theta = prepare(params, points, units, key)
        if diff is None and tol is None and steps:
            means = unrolled(nudged, start, theta.points.x, _with_x(theta, None), steps)
        else:
            means = iterate(step, start, theta, steps=steps, diff=diff or unroll(), tol=tol)
        return _rebalanced(rule, means, theta), theta

    def fit(params: PyTree, batch: Batch, key: Key[Array, ""]) -> Centers:
        points, units = prepare_points(batch, clusters, spherical=rule.spherical)
        fixed = lax.stop_gradient((params, points, units))
        keys = attempts(restarts, key)
        key = keys[least(lambda key: _energy(rule, *run(*fixed, key)), keys)]
        means, theta = run(params, points, units, key)
        following = step(means, theta, jnp.asarray(steps))
        return Centers(
            centers=units.outside(means.centers),
            log_prior=means.log_prior,
            beta=theta.beta,
            scale=units.scale,
            inertia=_inertia(means.centers, points) * units.scale**2,
            energy=_energy(rule, means, theta) * units.scale**2,
            residual=largest_change(following.centers, means.centers) * units.scale,
        )

    def assign(params: PyTree, state: Centers, inputs: Float[Array, "N D"]) -> Assignment:
        x = unit_length(as_float(inputs)) if rule.spherical else as_float(inputs)
        units = units_around(state.centers, state.scale)
        distances = squared_distances(units.inside(state.centers), units.inside(x))
        # Distances are relative to the nearest used centre, so that the logits of distant points stay finite.
        usable = state.log_prior[:, None] > LOG_ZERO / 2
        nearest = lax.stop_gradient(jnp.min(jnp.where(usable, distances, jnp.inf), 0))
        away = distances - jnp.where(jnp.isfinite(nearest), nearest, 0)
        logits = jnp.maximum(state.log_prior[:, None] - state.beta * away, LOG_ZERO)
        log_probs = jnp.where(_nearest(logits), 0, LOG_ZERO) if rule.hard else jax.nn.log_softmax(logits, 0)
        return Assignment(log_probs.T, jnp.zeros(x.shape[0], log_probs.dtype))

    return make_clusterer(init, fit, assign)


def mean_step(rule: Rule, means: Means, theta: Theta, i: Int[Array, ""]) -> Means:
    """One step of the map; a cluster without points keeps its centre, with its gradient stopped."""
    return shared_step(rule, means, theta, i, None)[0]


def shared_step(
    rule: Rule, means: Means, theta: Theta, i: Int[Array, ""], nudge: Nudge | None
) -> tuple[Means, Factors]:
    """One step of the map and the factors of the points in it; `nudge` is added to the products."""
    points = theta.points
    centers = means.centers

    def score(shared: tuple[Array, Array], x: Array, nudge: Array | None) -> tuple[tuple, Array]:
        centers, beta = shared
        products = jnp.matmul(centers, x.T, precision="highest")
        products = products if nudge is None else products + nudge
        return (), beta * (2 * products - jnp.sum(centers * centers, 1, keepdims=True))

    def share(log_prior: Array, logits: Array, x: Array, *known: Array) -> tuple[tuple[Array, Array], Array]:
        logits = logits + log_prior[:, None]
        responses = _nearest(logits).astype(logits.dtype) if rule.hard else jax.nn.softmax(logits, 0)
        weights, pinned = known
        shares = weights * pin(responses, pinned)
        return sums_of_points(shares, x), shares

    shared, others = (centers, rule.cool(theta.beta, i)), None if nudge is None else nudge.products
    _, logits = fold_over_points(score, shared, (points.x, others), (0, 1))
    log_prior = rule.weigh(means.log_prior, logits, theta)
    given = (logits, points.x, points.weights, points.pinned)
    (mass, sums), shares = fold_over_points(share, log_prior, given, (1, 0, 0, 0))
    moved, alive = means_of_sums(mass, sums if nudge is None else sums + nudge.sums)
    if rule.split is not None and theta.seeds is not None:
        moved = moved + rule.split(i).astype(moved.dtype) * theta.seeds
    moved = unit_length(moved) if rule.spherical else moved
    moved = jnp.where(alive[:, None], moved, lax.stop_gradient(centers))
    return Means(moved, log_prior), Factors(centers, shares)


def sums_of_points(
    shares: Float[Array, "K N"], x: Float[Array, "N D"]
) -> tuple[Float[Array, " K"], Float[Array, "K D"]]:
    """The weight of each cluster, and the weighted sum of its points."""
    return jnp.sum(shares, 1), jnp.matmul(shares, x, precision="highest")


def means_of_sums(
    mass: Float[Array, " K"], sums: Float[Array, "K D"]
) -> tuple[Float[Array, "K D"], Bool[Array, " K"]]:
    """The weighted mean of the points of each cluster, and whether the cluster's weight is not negligible."""
    alive = mass > jnp.finfo(mass.dtype).eps * jnp.sum(mass)
    return quotient(sums, jnp.where(alive, mass, 1)[:, None]), alive


def pin(
    shares: Float[Array, "K N"], pinned: Int[Array, " N"] | None, *, logarithms: bool = False
) -> Float[Array, "K N"]:
    """Responsibilities, or their logarithms, with labelled points pinned to their clusters."""
    if pinned is None:
        return shares
    owners = jax.nn.one_hot(pinned, shares.shape[0], dtype=bool, axis=0)
    certain = jnp.where(owners, 0, LOG_ZERO) if logarithms else owners
    return jnp.where(jnp.any(owners, 0), certain.astype(shares.dtype), shares)


def log_mass(log_shares: Float[Array, "K N"], weights: Float[Array, " N"]) -> Float[Array, " K"]:
    """The logarithm of each cluster's share of the total weight, log sum_n w_n r_kn / sum_n w_n.

    It is computed from logarithms throughout, so that the tiny mass of a distant cluster has a gradient.
    """
    logarithms = log_weights(weights)
    return jax.nn.logsumexp(log_shares + logarithms, 1) - jax.nn.logsumexp(logarithms)


def with_class_means(seeds: Float[Array, "K D"], points: Points) -> Float[Array, "K D"]:
    """The seeds, replaced by the mean of the labelled points for clusters that have some."""
    if points.pinned is None:
        return seeds
    means, mass = class_means(points.x, points.pinned, points.weights, len(seeds))
    return jnp.where(mass[:, None] > 0, means, seeds)


def _with_x(theta: Theta, x: Any) -> Theta:
    return theta._replace(points=theta.points._replace(x=x))


def _nearest(logits: Float[Array, "K N"]) -> Bool[Array, "K N"]:
    """Marks the cluster with the largest logit of each point."""
    rows = jnp.arange(len(logits))[:, None]
    largest = logits == jnp.max(logits, 0)
    return rows == jnp.min(jnp.where(largest, rows, len(logits)), 0)


def _rebalanced(rule: Rule, means: Means, theta: Theta) -> Means:
    """The weights of balanced clusters, solved for at the last centres."""
    if not rule.balanced:
        return means
    logits = -theta.beta * squared_distances(means.centers, theta.points.x)
    return means._replace(log_prior=rule.weigh(means.log_prior, logits, theta))


def _inertia(centers: Float[Array, "K D"], points: Points) -> Float[Array, ""]:
    """The weighted sum of squared distances to the nearest centre, from differences."""
    owners = jnp.argmin(squared_distances(points.x, centers) - points.log_slots, 1)
    return points.weights @ jnp.sum(jnp.square(points.x - row_of_each(centers, owners)), 1)


def _energy(rule: Rule, means: Means, theta: Theta) -> Float[Array, ""]:
    distances = squared_distances(means.centers, theta.points.x)
    logits = means.log_prior[:, None] - theta.beta * distances
    weights = theta.points.weights
    energy = -(weights @ (jnp.max(logits, 0) if rule.hard else jax.nn.logsumexp(logits, 0))) / theta.beta
    if rule.balanced:
        energy += (jax.nn.softmax(logits, 0) @ weights) @ means.log_prior / theta.beta
    return energy
