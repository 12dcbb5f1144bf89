"""DBSCAN with fixed shapes, and its soft form, which has derivatives.

Hard: i and j are close if d_ij <= epsilon; i is a core point if sum_j w_j close_ij >= m, itself included;
clusters are the connected components of core points; every other point joins its nearest core point, if
that is close, and is noise if none is.

Soft (ours; no canonical form was found): s_ij = sigmoid((epsilon^2 - d_ij^2) / (2 epsilon tau)), core_i =
sigmoid((sum_j w_j s_ij - m + 1/2) / t), a link is as sound as min(core_i, s_ij, core_j), and a path as its
weakest link. Cluster k reaches point j by r_kj, the soundest path from its densest core point; a point is
in it by p_nk = max_j min(r_kj, s_nj), and is noise by prod_k (1 - p_nk). For points of weight one, core
points and noise are those of the hard form in the limit tau, t -> 0. A derivative passes along the weakest
links.

Reference: Ester et al. 1996, A density-based algorithm for discovering clusters in large spatial databases
with noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from ..compiler import compiled
from ..distances import as_float, squared_differences
from ..errors import InputError
from ..graphs import components, largest, typical_reach
from ..records import Assignment, Batch, Clusterer
from ..validation import check_counts, check_positive, learned_numbers
from ..weights import EMPTY
from .partition import hard_assignment
from .points import Points, prepare_points, units_around
from .quantity import checked_quantity


class Cores(NamedTuple):
    """A clustering by core points.

    Attributes:
        points: [N, D] in units of x.
        cores: [N] cluster of each core point, -1 for all others.
        log_reach: [K, N] logarithm of how soundly each cluster reaches each point; zero in the hard form.
        log_slots: [K] zero for slots that hold a cluster, `EMPTY` for the others.
        radius: epsilon, in units of `scale`.
        scale: the unit of length of the computation, a power of two.
    """

    points: Float[Array, "N D"]
    cores: Int[Array, " N"]
    log_reach: Float[Array, "K N"]
    log_slots: Float[Array, " K"]
    radius: Float[Array, ""]
    scale: Float[Array, ""]


def dbscan(
    clusters: int,
    *,
    radius: float | Literal["auto"] = "auto",
    min_points: float = 5,
    stretch: float = 2.0,
    softness: float | None = None,
    learn: Sequence[str] = (),
) -> Clusterer:
    """DBSCAN, or with `softness` its soft form, differentiable to the points, their weights and the radius.

    Args:
        clusters: K, the most clusters there may be; the heaviest are kept, and points of others are noise.
            A batch may use fewer.
        radius: epsilon, in units of the points; "auto" is `stretch` times the mean distance at which a
            point has `min_points` of weight around it.
        min_points: m, the weight that a core point has around it, its own included.
        stretch: of the automatic radius.
        softness: tau as a part of the radius, and t as a part of `min_points`; None for the hard form.
        learn: ("radius",) makes the radius of the soft form a parameter, or what the automatic one is
            multiplied by; stored as its logarithm.

    Returns:
        A `Clusterer` whose state is `Cores`.

    Raises:
        InputError: a number is out of its range, or `learn` names something unknown.

    >>> import jmeta as jm
    >>> points = jnp.array([[0.0], [0.2], [0.4], [5.0], [5.2], [5.4], [99.0]])
    >>> found = jm.cluster(dbscan(3, radius=0.3, min_points=2), points, key=jax.random.key(0))
    >>> found.log_probs.argmax(-1)[:6], found.noise
    (Array([0, 0, 0, 1, 1, 1], dtype=int32), Array([0., 0., 0., 0., 0., 0., 1.], dtype=float32))
    """
    check_counts("dbscan", clusters=clusters)
    check_positive("dbscan", min_points=min_points, stretch=stretch)
    if softness is not None:
        check_positive("dbscan", softness=softness)
    elif learn:
        raise InputError("hard dbscan has no derivative; give softness, or leave out learn.")
    width = checked_quantity("dbscan", "radius", radius, stretch)

    def fit(params: PyTree, batch: Batch, key: Key[Array, ""]) -> Cores:
        points, units = prepare_points(batch, clusters)
        squared = squared_differences(points.x, points.x)
        limit = width.value(
            params, 1 / units.scale, lambda: typical_reach(squared, points.weights, jnp.asarray(min_points))
        )
        cores, filled = core_clusters(*lax.stop_gradient((squared, points, limit)), min_points)
        log_slots = jnp.where(filled, 0, jnp.asarray(EMPTY, limit.dtype))
        log_reach = jnp.zeros((clusters, len(points.x)), limit.dtype)
        if softness is not None:
            log_reach = soft_reach(squared, points, limit, cores, clusters, min_points, softness)
        return Cores(units.outside(points.x), cores, log_reach, log_slots, limit, units.scale)

    def assign(params: PyTree, state: Cores, inputs: Float[Array, "N D"]) -> Assignment:
        units = units_around(state.points, state.scale)
        squared = squared_differences(units.inside(as_float(inputs)), units.inside(state.points))
        if softness is None:
            to_cores = jnp.where(state.cores >= 0, squared, jnp.inf)
            nearest = jnp.argmin(to_cores, 1)
            close = jnp.min(to_cores, 1) <= state.radius**2
            return hard_assignment(jnp.where(close, state.cores[nearest], -1), state.log_slots)
        log_close = _log_close(squared, state.radius, softness)
        belongs = jnp.max(jnp.minimum(log_close[:, None, :], state.log_reach), 2) + state.log_slots
        belongs = jnp.maximum(belongs, EMPTY)
        return Assignment(jax.nn.log_softmax(belongs), jnp.prod(-jnp.expm1(belongs), 1))

    return Clusterer(learned_numbers("dbscan", learn, radius=width.init), compiled(fit), compiled(assign))


def core_clusters(
    squared: Float[Array, "N N"], points: Points, limit: Float[Array, ""], min_points: float
) -> tuple[Int[Array, " N"], Bool[Array, " K"]]:
    """The cluster of each core point, -1 for all others, and which slots hold a cluster."""
    close = squared <= limit * limit
    dense = close @ points.weights >= min_points * (1 - 1e-6)
    core = dense & (points.weights > 0)
    roots = components(close & core & core[:, None])
    weights = jnp.where(core, points.weights, 0)
    _, filled, slots = largest(roots, weights, len(points.log_slots), points.log_slots > EMPTY / 2)
    return jnp.where(core, slots, -1), filled


def soft_reach(
    squared: Float[Array, "N N"],
    points: Points,
    limit: Float[Array, ""],
    cores: Int[Array, " N"],
    clusters: int,
    min_points: float,
    softness: float,
) -> Float[Array, "K N"]:
    """How soundly each hard cluster reaches all points, in logarithms, from its densest core point."""
    log_close = _log_close(squared, limit, softness)
    mass = jnp.exp(log_close) @ points.weights
    # Halfway to the count below: points of weight one that have just enough neighbours are core points.
    log_core = jax.nn.log_sigmoid((mass - min_points + 0.5) / (softness * min_points))
    log_core = jnp.where(points.weights > 0, log_core, EMPTY)
    owned = cores == jnp.arange(clusters)[:, None]
    densest = jnp.argmax(jnp.where(owned, lax.stop_gradient(log_core), -jnp.inf), 1)
    links = jnp.maximum(jnp.minimum(jnp.minimum(log_core, log_core[:, None]), log_close), EMPTY)
    starts = jnp.where(jnp.any(owned, 1), log_core[densest], EMPTY)
    return jax.vmap(soundest_paths, in_axes=(None, 0, 0))(links, densest, starts)


def soundest_paths(
    links: Float[Array, "N N"], start: Int[Array, ""], value: Float[Array, ""]
) -> Float[Array, " N"]:
    """How sound the best path to each point is, a path being as sound as its weakest link.

    Dijkstra's algorithm: the point reached best of those left can only be reached worse through others.

    >>> links = jnp.array([[0.0, 5, 1], [5, 0, 3], [1, 3, 0]])
    >>> soundest_paths(links, jnp.asarray(0), jnp.asarray(9.0))
    Array([9., 5., 3.], dtype=float32)
    """

    def settle(carry: tuple, _: None) -> tuple[tuple, None]:
        reach, settled = carry
        best = jnp.argmax(jnp.where(settled, -jnp.inf, reach))
        settled = settled.at[best].set(True)
        through = jnp.minimum(reach[best], links[best])
        return (jnp.where(settled, reach, jnp.maximum(reach, through)), settled), None

    count = len(links)
    reach = jnp.where(jnp.arange(count) == start, value, jnp.asarray(EMPTY, links.dtype))
    return lax.scan(settle, (reach, jnp.zeros(count, bool)), None, length=count)[0][0]


def _log_close(squared: Float[Array, "N M"], limit: Float[Array, ""], softness: float) -> Float[Array, "N M"]:
    return jax.nn.log_sigmoid((1 - squared / limit**2) / (2 * softness))
