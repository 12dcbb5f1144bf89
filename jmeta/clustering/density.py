"""DBSCAN with fixed shapes, and a soft, differentiable form of it.

Hard: i and j are close if d_ij <= epsilon; i is a core point if sum_j w_j close_ij >= m, including i itself.
Clusters are the connected components of core points. Every other point joins the nearest core point if that
is close, and is noise otherwise.

Soft (our own; no canonical form was found): s_ij = sigmoid((epsilon^2 - d_ij^2) / (2 epsilon tau)), core_i =
sigmoid((sum_j w_j s_ij - m + 1/2) / t). A link has strength min(core_i, s_ij, core_j), and a path that of
its weakest link. r_kj is the strength of the strongest path to point j from the densest core point of cluster
k. A point is in cluster k with p_nk = max_j min(r_kj, s_nj), and is noise with prod_k (1 - p_nk). For points
of weight one, core points and noise are those of the hard form in the limit tau, t -> 0. Derivatives pass
along the weakest links.

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

from ..distances import as_float, exact_squared_distances
from ..errors import InputError
from ..graphs.components import components, largest_components
from ..graphs.neighbours import mean_neighbour_distance
from ..masking import make_clusterer
from ..records import Assignment, Batch, Clusterer
from ..validation import check_counts, check_positive, learned_numbers
from ..weights import LOG_ZERO
from .partition import hard_assignment
from .points import Points, prepare_points, units_around
from .quantity import checked_quantity


class Cores(NamedTuple):
    """A clustering by core points.

    Attributes:
        points: [N, D] in units of x.
        cores: [N] cluster of each core point, -1 for all others.
        log_reach: [K, N] logarithm of the strength of the path from each cluster to each point; zero in the
            hard form.
        log_slots: [K] zero for slots that hold a cluster, `LOG_ZERO` for the others.
        radius: epsilon, in units of `scale`.
        scale: the computation unit of length, a power of two.
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
    """DBSCAN; with `softness` its soft form, differentiable in the points, their weights and the radius.

    Args:
        clusters: K, the largest number of clusters; those of largest weight are kept, and points of the
            others are noise. A batch may use fewer.
        radius: epsilon, in units of the points; "auto" is `stretch` times the mean radius around a point that
            holds `min_points` of weight.
        min_points: m, the weight within the radius of a core point, including its own.
        stretch: factor of the automatic radius.
        softness: tau as a fraction of the radius, and t as one of `min_points`; None for the hard form.
        learn: ("radius",) makes the radius of the soft form, or the factor of the automatic radius, a learned
            parameter, stored as its logarithm.

    Returns:
        A `Clusterer` whose state is `Cores`.

    Raises:
        InputError: an argument is out of range, or `learn` holds an unknown name.

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
        squared = exact_squared_distances(points.x, points.x)
        limit = width.value(
            params,
            1 / units.scale,
            lambda: mean_neighbour_distance(squared, points.weights, jnp.asarray(min_points)),
        )
        cores, filled = core_clusters(*lax.stop_gradient((squared, points, limit)), min_points)
        log_slots = jnp.where(filled, 0, jnp.asarray(LOG_ZERO, limit.dtype))
        log_reach = jnp.zeros((clusters, len(points.x)), limit.dtype)
        if softness is not None:
            log_reach = soft_reach(squared, points, limit, cores, clusters, min_points, softness)
        return Cores(
            points=units.outside(points.x),
            cores=cores,
            log_reach=log_reach,
            log_slots=log_slots,
            radius=limit,
            scale=units.scale,
        )

    def assign(params: PyTree, state: Cores, inputs: Float[Array, "N D"]) -> Assignment:
        units = units_around(state.points, state.scale)
        squared = exact_squared_distances(units.inside(as_float(inputs)), units.inside(state.points))
        if softness is None:
            to_cores = jnp.where(state.cores >= 0, squared, jnp.inf)
            nearest = jnp.argmin(to_cores, 1)
            close = jnp.min(to_cores, 1) <= state.radius**2
            return hard_assignment(jnp.where(close, state.cores[nearest], -1), state.log_slots)
        log_close = _log_close(squared, state.radius, softness)
        belongs = jnp.max(jnp.minimum(log_close[:, None, :], state.log_reach), 2) + state.log_slots
        belongs = jnp.maximum(belongs, LOG_ZERO)
        return Assignment(jax.nn.log_softmax(belongs), jnp.prod(-jnp.expm1(belongs), 1))

    return make_clusterer(learned_numbers("dbscan", learn, radius=width.init), fit, assign)


def core_clusters(
    squared: Float[Array, "N N"], points: Points, limit: Float[Array, ""], min_points: float
) -> tuple[Int[Array, " N"], Bool[Array, " K"]]:
    """The cluster of each core point, -1 for all other points, and whether each slot holds a cluster."""
    close = squared <= limit * limit
    dense = close @ points.weights >= min_points * (1 - 1e-6)
    core = dense & (points.weights > 0)
    roots = components(close & core & core[:, None])
    weights = jnp.where(core, points.weights, 0)
    _, filled, slots = largest_components(
        roots, weights, len(points.log_slots), points.log_slots > LOG_ZERO / 2
    )
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
    """The log-strength of the best path to each point from the densest core point of each hard cluster."""
    log_close = _log_close(squared, limit, softness)
    mass = jnp.exp(log_close) @ points.weights
    # The threshold is half a point below m, so that points with exactly m neighbours of weight one are core.
    log_core = jax.nn.log_sigmoid((mass - min_points + 0.5) / (softness * min_points))
    log_core = jnp.where(points.weights > 0, log_core, LOG_ZERO)
    owned = cores == jnp.arange(clusters)[:, None]
    densest = jnp.argmax(jnp.where(owned, lax.stop_gradient(log_core), -jnp.inf), 1)
    links = jnp.maximum(jnp.minimum(jnp.minimum(log_core, log_core[:, None]), log_close), LOG_ZERO)
    starts = jnp.where(jnp.any(owned, 1), log_core[densest], LOG_ZERO)
    return jax.vmap(widest_paths, in_axes=(None, 0, 0))(links, densest, starts)


def widest_paths(
    links: Float[Array, "N N"], start: Int[Array, ""], value: Float[Array, ""]
) -> Float[Array, " N"]:
    """The strength of the strongest path to each point, where a path has the strength of its weakest link.

    Dijkstra's algorithm: of the unsettled points, no path through another can improve the strongest.

    >>> links = jnp.array([[0.0, 5, 1], [5, 0, 3], [1, 3, 0]])
    >>> widest_paths(links, jnp.asarray(0), jnp.asarray(9.0))
    Array([9., 5., 3.], dtype=float32)
    """

    def settle(carry: tuple, _: None) -> tuple[tuple, None]:
        reach, settled = carry
        best = jnp.argmax(jnp.where(settled, -jnp.inf, reach))
        settled = settled.at[best].set(True)
        through = jnp.minimum(reach[best], links[best])
        return (jnp.where(settled, reach, jnp.maximum(reach, through)), settled), None

    count = len(links)
    reach = jnp.where(jnp.arange(count) == start, value, jnp.asarray(LOG_ZERO, links.dtype))
    return lax.scan(settle, (reach, jnp.zeros(count, bool)), None, length=count)[0][0]


def _log_close(squared: Float[Array, "N M"], limit: Float[Array, ""], softness: float) -> Float[Array, "N M"]:
    return jax.nn.log_sigmoid((1 - squared / limit**2) / (2 * softness))
