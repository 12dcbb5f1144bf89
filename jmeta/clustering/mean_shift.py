"""Mean shift: every point climbs to a mode of the density, and points at the same mode form a cluster.

A step sets x_i <- sum_j w_j k(x_i, y_j) y_j / sum_j w_j k(x_i, y_j) with k(x, y) = exp(-||x - y||^2 /
(2 h^2)), where y_j are the original points. Modes closer than h / 2 are merged. The number of clusters need
not be known.

References: Fukunaga & Hostetler 1975, The estimation of the gradient of a density function, with
applications in pattern recognition; Kong & Fowlkes 2018, Recurrent pixel embedding for instance grouping.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key, PyTree

from ..distances import as_float, exact_squared_distances
from ..errors import InputError
from ..graphs.components import components, largest_components
from ..graphs.neighbours import mean_neighbour_distance
from ..iteration import iterate, unroll
from ..masking import make_clusterer
from ..records import Assignment, Batch, Clusterer, Diff
from ..trees import largest_change
from ..validation import check_counts, check_positive, learned_numbers
from ..weights import LOG_ZERO, log_weights
from .points import Points, prepare_points, units_around
from .quantity import checked_quantity
from .temperature import RANGE

SHARPNESS = 8.0
"""A point that ends at distance d from a mode has affinity exp(-8 d^2 / h^2) to it: e^-2 at d = h / 2."""


class Theta(NamedTuple):
    """All that the map depends on: the points, their weights and beta = 1 / (2 h^2)."""

    x: Float[Array, "N D"]
    weights: Float[Array, " N"]
    beta: Float[Array, ""]


class Modes(NamedTuple):
    """A clustering by modes of a density.

    Attributes:
        points: [N, D] the points that define the density, in units of x.
        weights: [N] weights of these points.
        modes: [K, D], those of largest weight first, in units of x.
        log_slots: [K] zero for slots that hold a mode, `LOG_ZERO` for the others.
        bandwidth: h, in units of `scale`.
        scale: the computation unit of length, a power of two.
        residual: the largest change of a coordinate of a point in one more step, in units of x.
    """

    points: Float[Array, "N D"]
    weights: Float[Array, " N"]
    modes: Float[Array, "K D"]
    log_slots: Float[Array, " K"]
    bandwidth: Float[Array, ""]
    scale: Float[Array, ""]
    residual: Float[Array, ""]


def mean_shift(
    clusters: int,
    *,
    steps: int = 30,
    bandwidth: float | Literal["auto"] = "auto",
    part: float = 0.3,
    diff: Diff | None = None,
    tol: float | None = None,
    learn: Sequence[str] = (),
) -> Clusterer:
    """Mean shift, differentiable in the points, their weights and the bandwidth.

    Args:
        clusters: K, the largest number of clusters; the modes of largest weight are kept, and points of the
            others go to the nearest of them. A batch may use fewer.
        steps: maximum number of steps.
        bandwidth: h, in units of the points; "auto" is the mean radius around a point that holds the fraction
            `part` of the total weight.
        part: fraction of the total weight, for the automatic bandwidth.
        diff: differentiation rule; `unroll()` unless given.
        tol: stops once no point moves by more than this, relative to the largest coordinate of the centred
            points.
        learn: ("bandwidth",) makes the bandwidth, or the factor of the automatic bandwidth, a learned
            parameter, stored as its logarithm.

    Returns:
        A `Clusterer` whose state is `Modes`. New points climb the same density for the same number of steps.

    Raises:
        InputError: an argument is out of range, or `learn` holds an unknown name.

    >>> import jmeta as jm
    >>> points = jnp.array([[0.0], [0.2], [0.4], [5.0], [5.2], [5.4]])
    >>> found = jm.cluster(mean_shift(4), points, key=jax.random.key(0))
    >>> found.log_probs.argmax(-1)
    Array([0, 0, 0, 1, 1, 1], dtype=int32)
    """
    check_counts("mean_shift", clusters=clusters, steps=steps)
    check_positive("mean_shift", part=part)
    if part > 1:
        raise InputError(f"part of mean_shift is {part}; give at most 1, the total weight.")
    width = checked_quantity("mean_shift", "bandwidth", bandwidth)

    def automatic(points: Points) -> Float[Array, ""]:
        squared = exact_squared_distances(points.x, points.x)
        return mean_neighbour_distance(squared, points.weights, part * jnp.sum(points.weights))

    def climb(x: Float[Array, "M D"], theta: Theta) -> Float[Array, "M D"]:
        return iterate(shift_step, x, theta, steps=steps, diff=diff or unroll(), tol=tol)

    def fit(params: PyTree, batch: Batch, key: Key[Array, ""]) -> Modes:
        points, units = prepare_points(batch, clusters)
        h = width.value(params, 1 / units.scale, lambda: automatic(points))
        theta = Theta(points.x, points.weights, _beta(h))
        tops = climb(points.x, theta)
        counted = points.weights > 0
        near = exact_squared_distances(*[lax.stop_gradient(tops)] * 2) <= lax.stop_gradient(h * h / 4)
        roots = components(near & counted & counted[:, None])
        chosen, filled, _ = largest_components(
            roots, points.weights, clusters, points.log_slots > LOG_ZERO / 2
        )
        filled = filled | (jnp.arange(clusters) == 0)
        return Modes(
            points=units.outside(points.x),
            weights=points.weights,
            modes=units.outside(jnp.where(filled[:, None], tops[chosen], 0)),
            log_slots=jnp.where(filled, 0, jnp.asarray(LOG_ZERO, h.dtype)),
            bandwidth=h,
            scale=units.scale,
            residual=_residual(tops, theta) * units.scale,
        )

    def assign(params: PyTree, state: Modes, inputs: Float[Array, "N D"]) -> Assignment:
        units = units_around(state.points, state.scale)
        theta = Theta(units.inside(state.points), state.weights, _beta(state.bandwidth))
        tops = climb(units.inside(as_float(inputs)), theta)
        squared = exact_squared_distances(tops, units.inside(state.modes))
        log_probs = jax.nn.log_softmax(state.log_slots - 2 * SHARPNESS * theta.beta * squared)
        return Assignment(log_probs, jnp.zeros(len(tops), log_probs.dtype))

    return make_clusterer(learned_numbers("mean_shift", learn, bandwidth=width.init), fit, assign)


def shift_step(x: Float[Array, "M D"], theta: Theta, i: Int[Array, ""]) -> Float[Array, "M D"]:
    """One step of the map: each point moves to the kernel-weighted mean of the data around it."""
    shares = jax.nn.softmax(log_weights(theta.weights) - theta.beta * exact_squared_distances(x, theta.x))
    return jnp.matmul(shares, theta.x, precision="highest")


def _beta(h: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.clip(0.5 / (h * h), *RANGE)


def _residual(x: Float[Array, "N D"], theta: Theta) -> Float[Array, ""]:
    moved = shift_step(x, theta, jnp.asarray(0))
    counted = theta.weights[:, None] > 0
    return largest_change(jnp.where(counted, moved, 0), jnp.where(counted, x, 0))
