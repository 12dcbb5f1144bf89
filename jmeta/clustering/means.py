"""What the algorithms of means share: points are shared out among centres, centres become means.

One step of the map is  r = respond(log p - beta ||x - c||^2),  c_k = sum_n w_n r_nk x_n / sum_n
w_n r_nk.  Algorithms differ in `respond` alone: softmax for soft k-means, argmax for Lloyd's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from ..distances import class_means, squared_distances, weighted_mean
from ..iteration import iterate, residual
from ..records import Assignment, Batch, Clusterer, Diff
from ..trees import weights_or_ones
from .seeding import Seeding

EMPTY = -1e30
"""Log-probability of a cluster slot that is not used: exp of it is 0, and 0 times it is no NaN."""

SMALLEST = 1e-18
"""Points closer to their mean than this are one point: the squares leave float32's range."""

LogRespond = Callable[[Float[Array, "N K"]], Float[Array, "N K"]]
Sharpness = Callable[[PyTree, Float[Array, "N K"], Float[Array, "N D"], Float[Array, " N"], Array], Array]


class Points(NamedTuple):
    """Everything the map depends on: its theta.

    Attributes:
        x: [N, D] points, moved to their mean and scaled to [-1, 1].
        weights: [N].
        pinned: [N] cluster of a labelled point, none of the K for the others; None where no point is.
        log_prior: [K] zero for slots in use, `EMPTY` for the others.
        beta: the inverse temperature, of the scaled points.
    """

    x: Float[Array, "N D"]
    weights: Float[Array, " N"]
    pinned: Int[Array, " N"] | None
    log_prior: Float[Array, " K"]
    beta: Float[Array, ""]


class Centers(NamedTuple):
    """A clustering by centres.

    Attributes:
        centers: [K, D].
        log_prior: [K] zero for slots in use, `EMPTY` for the others.
        beta: the inverse temperature that was used, per squared `scale`.
        scale: the unit of length of the computation, a power of two: no coordinate of a point is farther
            from the mean.
        inertia: sum_n w_n min_k ||x_n - c_k||^2, in squared units of x.
        residual: how far one more step would move a coordinate of a centre, in units of x.
    """

    centers: Float[Array, "K D"]
    log_prior: Float[Array, " K"]
    beta: Float[Array, ""]
    scale: Float[Array, ""]
    inertia: Float[Array, ""]
    residual: Float[Array, ""]


def means_clusterer(
    init: Callable[..., PyTree],
    log_respond: LogRespond,
    sharpness: Sharpness,
    *,
    clusters: int,
    steps: int,
    diff: Diff,
    tol: float | None,
    seeding: Seeding,
    restarts: int,
) -> Clusterer:
    """The clusterer that iterates `mean_step` from the best of several seedings.

    Args:
        init: the clusterer's own `init`.
        log_respond: [N, K] logits -> [N, K] log-responsibilities.
        sharpness: (params, squared distances to the seeds, points, weights, scale) -> beta, all in
            units of `scale`.
        clusters: K.
        steps: how many steps at most.
        diff: differentiation rule.
        tol: stop once no centre moves by more than this, relative to the largest coordinate.
        seeding: where centres start.
        restarts: seedings tried without a derivative; only the one of least inertia is kept.
    """
    step = partial(mean_step, log_respond)

    def prepare(params: PyTree, data: Points, scale: Array, key: Key[Array, ""]) -> tuple[Array, Points]:
        seeds = _with_class_means(seeding(data.x, data.weights, clusters, key), data)
        to_seeds = _used(squared_distances(data.x, seeds), data)
        return seeds, data._replace(beta=sharpness(params, to_seeds, data.x, data.weights, scale))

    def best_key(params: PyTree, data: Points, scale: Array, key: Key[Array, ""]) -> Key[Array, ""]:
        def inertia_of(key: Key[Array, ""]) -> Array:
            seeds, theta = prepare(params, data, scale, key)
            run = partial(iterate, step, steps=steps, diff=diff, tol=tol)
            return _inertia(run(seeds, theta), theta)

        keys = jax.random.split(key, restarts)
        params, data = lax.stop_gradient((params, data))
        return keys[jnp.argmin(jax.vmap(inertia_of)(keys))]

    def fit(params: PyTree, batch: Batch, key: Key[Array, ""]) -> Centers:
        data, shift, scale = _prepare_points(batch, clusters)
        key = best_key(params, data, scale, key) if restarts > 1 else key
        seeds, theta = prepare(params, data, scale, key)
        centers = iterate(step, seeds, theta, steps=steps, diff=diff, tol=tol)
        return Centers(
            centers * scale + shift,
            theta.log_prior,
            theta.beta,
            scale,
            _inertia(centers, theta) * scale**2,
            residual(step, centers, theta) * scale,
        )

    def assign(params: PyTree, state: Centers, inputs: Float[Array, "N D"]) -> Assignment:
        x = as_float(inputs)
        shift = lax.stop_gradient(jnp.mean(state.centers, 0))
        distances = squared_distances((x - shift) / state.scale, (state.centers - shift) / state.scale)
        log_probs = log_respond(state.log_prior - state.beta * distances)
        return Assignment(log_probs, jnp.zeros(x.shape[0], log_probs.dtype))

    return Clusterer(init, fit, assign)


def mean_step(
    log_respond: LogRespond, centers: Float[Array, "K D"], theta: Points, i: Int[Array, ""]
) -> Float[Array, "K D"]:
    """One step of the map; a cluster without points keeps its centre, its gradient stopped."""
    logits = theta.log_prior - theta.beta * squared_distances(theta.x, centers)
    shares = jnp.exp(log_respond(logits))
    if theta.pinned is not None:
        owners = jax.nn.one_hot(theta.pinned, centers.shape[0], dtype=shares.dtype)
        shares = jnp.where(jnp.any(owners > 0, 1, keepdims=True), owners, shares)
    shares = theta.weights[:, None] * shares
    mass = jnp.sum(shares, 0)
    alive = mass > jnp.finfo(mass.dtype).eps * jnp.sum(mass)
    means = jnp.matmul(shares.T, theta.x, precision="highest") / jnp.where(alive, mass, 1)[:, None]
    return jnp.where(alive[:, None], means, lax.stop_gradient(centers))


def as_float(x: Array) -> Float[Array, "..."]:
    """At least float32: distances in half precision would overflow at 256."""
    return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))


def slots_in_use(clusters: int, used: Int[Array, ""] | None) -> Bool[Array, " K"]:
    """Which of the K slots a task uses."""
    return jnp.arange(clusters) < (clusters if used is None else used)


def _prepare_points(batch: Batch, clusters: int) -> tuple[Points, Float[Array, " D"], Float[Array, ""]]:
    """The points as the map's theta, moved by their mean and scaled; the mean and the scale.

    Moving saves float32 digits, and scaling keeps squares and their derivatives in its range; a
    power of two costs no digit. The result moves and scales along with the points, so that its
    derivative to either is exactly zero and need not be traced.
    """
    x = as_float(batch.inputs)
    weights = jnp.asarray(weights_or_ones(x, batch.weights), x.dtype)
    x = jnp.where(weights[:, None] > 0, x, 0)
    shift = lax.stop_gradient(weighted_mean(x, weights))
    used = slots_in_use(clusters, batch.clusters)
    log_prior = jnp.where(used, 0, jnp.asarray(EMPTY, x.dtype))
    centered = jnp.where(weights[:, None] > 0, x - shift, 0)
    largest = lax.stop_gradient(jnp.max(jnp.abs(centered)))
    _, exponent = jnp.frexp(jnp.where(largest > SMALLEST, largest, 1))
    scale = jnp.ldexp(jnp.ones((), x.dtype), exponent)
    data = Points(centered / scale, weights, batch.targets, log_prior, jnp.ones((), x.dtype))
    return data, shift, scale


def _with_class_means(seeds: Float[Array, "K D"], data: Points) -> Float[Array, "K D"]:
    """Seeds, but the mean of the labelled points for clusters that have some."""
    if data.pinned is None:
        return seeds
    means, mass = class_means(data.x, data.pinned, data.weights, len(seeds))
    return jnp.where(mass[:, None] > 0, means, seeds)


def _used(distances: Float[Array, "N K"], data: Points) -> Float[Array, "N K"]:
    """Distances, but huge to slots that are not used."""
    return distances - data.log_prior


def _inertia(centers: Float[Array, "K D"], data: Points) -> Float[Array, ""]:
    nearest = jnp.min(_used(squared_distances(data.x, centers), data), 1)
    return data.weights @ nearest
