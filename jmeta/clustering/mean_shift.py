"""Mean shift: every point climbs to a mode of the density, and clusters are what meets at one.

x_i <- sum_j w_j k(x_i, x_j) x_j / sum_j w_j k(x_i, x_j) with k = exp(-||x - y||^2 / (2 h^2)), over the points
where they were. Modes closer than h / 2 are one. Nobody has to say how many clusters there are.

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

from ..compiler import compiled
from ..distances import as_float, squared_differences
from ..errors import InputError
from ..graphs import components, largest, typical_reach
from ..iteration import iterate, unroll
from ..records import Assignment, Batch, Clusterer, Diff
from ..trees import largest_change
from ..validation import check_counts, check_positive, learned_numbers
from ..weights import EMPTY, log_weights
from .points import Points, prepare_points, units_around
from .quantity import checked_quantity
from .temperature import RANGE

SHARPNESS = 8.0
"""A climb that ends at distance d of a mode belongs to it by exp(-8 d^2 / h^2): by e^-2 where modes merge."""


class Theta(NamedTuple):
    """Everything the map depends on: the points, their weights and beta = 1 / (2 h^2)."""

    x: Float[Array, "N D"]
    weights: Float[Array, " N"]
    beta: Float[Array, ""]


class Modes(NamedTuple):
    """A clustering by modes of a density.

    Attributes:
        points: [N, D] that make the density, in units of x.
        weights: [N] of them.
        modes: [K, D], the heaviest first, in units of x.
        log_slots: [K] zero for slots that hold a mode, `EMPTY` for the others.
        bandwidth: h, in units of `scale`.
        scale: the unit of length of the computation, a power of two.
        residual: how far one more step would move a coordinate of a point, in units of x.
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
    """Mean shift, differentiable to the points, their weights and the bandwidth.

    Args:
        clusters: K, the most clusters there may be; the heaviest modes are kept, and points of others go
            to the nearest of them. A batch may use fewer.
        steps: how many steps at most.
        bandwidth: h, in units of the points; "auto" is the mean distance at which a point has `part` of
            all weight around it.
        part: of the whole weight, for the automatic bandwidth.
        diff: differentiation rule; `unroll()` unless given.
        tol: stop once no point moves by more than this, relative to the largest coordinate of the points,
            from their mean; not under `unroll`.
        learn: ("bandwidth",) makes the bandwidth a parameter, or what the automatic one is multiplied by;
            stored as its logarithm.

    Returns:
        A `Clusterer` whose state is `Modes`. Other points climb the same density for as many steps.

    Raises:
        InputError: a number is out of its range, or `learn` names something unknown.

    >>> import jmeta as jm
    >>> points = jnp.array([[0.0], [0.2], [0.4], [5.0], [5.2], [5.4]])
    >>> found = jm.cluster(mean_shift(4), points, key=jax.random.key(0))
    >>> found.log_probs.argmax(-1)
    Array([0, 0, 0, 1, 1, 1], dtype=int32)
    """
    check_counts("mean_shift", clusters=clusters, steps=steps)
    check_positive("mean_shift", part=part)
    if part > 1:
        raise InputError(f"part of mean_shift is {part}; give at most 1, the whole weight.")
    width = checked_quantity("mean_shift", "bandwidth", bandwidth)

    def automatic(points: Points) -> Float[Array, ""]:
        squared = squared_differences(points.x, points.x)
        return typical_reach(squared, points.weights, part * jnp.sum(points.weights))

    def climb(x: Float[Array, "M D"], theta: Theta) -> Float[Array, "M D"]:
        return iterate(shift_step, x, theta, steps=steps, diff=diff or unroll(), tol=tol)

    def fit(params: PyTree, batch: Batch, key: Key[Array, ""]) -> Modes:
        points, units = prepare_points(batch, clusters)
        h = width.value(params, 1 / units.scale, lambda: automatic(points))
        theta = Theta(points.x, points.weights, _beta(h))
        tops = climb(points.x, theta)
        counted = points.weights > 0
        near = squared_differences(*[lax.stop_gradient(tops)] * 2) <= lax.stop_gradient(h * h / 4)
        roots = components(near & counted & counted[:, None])
        chosen, filled, _ = largest(roots, points.weights, clusters, points.log_slots > EMPTY / 2)
        filled = filled | (jnp.arange(clusters) == 0)
        return Modes(
            units.outside(points.x),
            points.weights,
            units.outside(jnp.where(filled[:, None], tops[chosen], 0)),
            jnp.where(filled, 0, jnp.asarray(EMPTY, h.dtype)),
            h,
            units.scale,
            _residual(tops, theta) * units.scale,
        )

    def assign(params: PyTree, state: Modes, inputs: Float[Array, "N D"]) -> Assignment:
        units = units_around(state.points, state.scale)
        theta = Theta(units.inside(state.points), state.weights, _beta(state.bandwidth))
        tops = climb(units.inside(as_float(inputs)), theta)
        squared = squared_differences(tops, units.inside(state.modes))
        log_probs = jax.nn.log_softmax(state.log_slots - 2 * SHARPNESS * theta.beta * squared)
        return Assignment(log_probs, jnp.zeros(len(tops), log_probs.dtype))

    return Clusterer(
        learned_numbers("mean_shift", learn, bandwidth=width.init), compiled(fit), compiled(assign)
    )


def shift_step(x: Float[Array, "M D"], theta: Theta, i: Int[Array, ""]) -> Float[Array, "M D"]:
    """One step of the map: each place moves to the mean of the points around it."""
    shares = jax.nn.softmax(log_weights(theta.weights) - theta.beta * squared_differences(x, theta.x))
    return jnp.matmul(shares, theta.x, precision="highest")


def _beta(h: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.clip(0.5 / (h * h), *RANGE)


def _residual(x: Float[Array, "N D"], theta: Theta) -> Float[Array, ""]:
    moved = shift_step(x, theta, jnp.asarray(0))
    counted = theta.weights[:, None] > 0
    return largest_change(jnp.where(counted, moved, 0), jnp.where(counted, x, 0))
