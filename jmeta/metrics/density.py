"""DBCV, a density-based internal index for clusters of any shape, with noise.

Reference: Moulavi et al. 2014, Density-based clustering validation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.nn import logsumexp
from jaxtyping import Array, Bool, Float, Int, Num

from ..distances import as_float
from ..errors import InputError
from ..graphs.components import spanning_forest
from ..records import AnyArray
from ..weights import weights_or_ones
from .clusters import Clusters, clusters_of, index_of_clusters
from .partitions import Labels

MOST_POINTS = 16_384
"""The largest number of points, as matrices of all pairs are held: about 9 GB for so many."""


@index_of_clusters
def density_validity(
    points: Num[AnyArray, "N D"],
    labels: Labels,
    weights: Float[AnyArray, " N"] | None = None,
    *,
    slots: int | None = None,
) -> Float[Array, ""]:
    """Density-based clustering validation (DBCV): sparseness between clusters against that within them.

    The core distance of a point is  a_i = (mean_j d_ij^-D)^(-1/D) over the other points of its cluster, and
    the mutual reachability distance of two points is max(a_i, a_j, d_ij). The sparseness within a cluster is
    the longest edge between inner points of its minimum spanning tree; the separation from other clusters is
    the smallest distance between inner points. V_k = (separation - sparseness) / max of both, and DBCV is the
    mean of V_k weighted by the share of cluster k in all points, including noise.

    Args:
        points: [N, D].
        labels: [N] cluster of each point; -1 is noise. Clusters of one point count as noise.
        weights: [N], which matter only by being zero or not; all ones unless given.
        slots: upper bound of the number of clusters; the largest label + 1 unless given.

    Returns:
        The index, in [-1, 1], larger is better; 0 or less if fewer than two clusters have points.

    Raises:
        InputError: there are more than `MOST_POINTS` points.

    Reference: Moulavi et al. 2014, Density-based clustering validation.

    >>> points = jnp.array([[0.0], [1.0], [2.0], [3.0], [9.0], [10.0], [11.0], [12.0]])
    >>> print(f"{density_validity(points, jnp.array([0, 0, 0, 0, 1, 1, 1, 1])):.4f}")
    0.8500
    """
    if len(points) > MOST_POINTS:
        raise InputError(
            f"density_validity compares all pairs of {len(points)} points; give at most {MOST_POINTS} of "
            "them, such as a random sample."
        )
    x = as_float(jnp.asarray(points))
    counted = jnp.sum(weights_or_ones(x, weights) > 0)
    return mean_validity(clusters_of(x, labels, weights, slots), counted)


def mean_validity(clusters: Clusters, counted: Int[Array, ""]) -> Float[Array, ""]:
    """The index `density_validity` of clusters, of a number of points that includes noise."""
    x = clusters.x
    member = clusters.member()
    sizes = jnp.sum(member, 0)
    member = jnp.where(sizes > 1, member, 0)
    together = member @ member.T > 0
    same = together & ~jnp.eye(len(x), dtype=bool)
    away = jax.vmap(clusters.to_points)(clusters.rows)
    columns = jnp.maximum(jnp.sum(jnp.any(x != 0, 0)), 1)  # constant columns do not affect distances
    core = _core_distances(away, same, columns)
    reached = jnp.maximum(away, jnp.maximum(core, core[:, None]))
    edges = spanning_forest(reached, away, same)
    inner = _inner(edges, member)
    longest = jnp.max(jnp.where(edges & inner & inner[:, None], reached, 0), 1)
    within = jnp.max(jnp.where(member > 0, longest[:, None], 0), 0)
    between = jnp.where(inner & inner[:, None], reached, jnp.inf)
    to_others = jnp.min(jnp.where(together | (jnp.sum(member, 1) == 0), jnp.inf, between), 1)
    between = jnp.min(jnp.where(member > 0, to_others[:, None], jnp.inf), 0)
    largest = jnp.maximum(between, within)
    validity = jnp.where(largest > 0, (between - within) / jnp.where(largest > 0, largest, 1), 0)
    enough = jnp.sum(jnp.sum(member, 0) > 0) > 1
    shares = jnp.sum(member, 0) / jnp.maximum(counted, 1)
    return jnp.where(enough, jnp.sum(jnp.where(shares > 0, shares * validity, 0)), 0)


def _core_distances(
    away: Float[Array, "N N"], same: Bool[Array, "N N"], features: Int[Array, ""]
) -> Float[Array, " N"]:
    """(mean_j d_ij^-D)^(-1/D), computed from logarithms, as the powers overflow."""
    log_away = jnp.log(jnp.where(away > 0, away, jnp.finfo(away.dtype).tiny))
    others = jnp.sum(same, 1)
    total = logsumexp(jnp.where(same, -features * log_away, -jnp.inf), 1)
    log_mean = jnp.where(others > 0, total, 0) - jnp.log(jnp.maximum(others, 1))
    return jnp.where(others > 0, jnp.exp(-log_mean / features), 0)


def _inner(edges: Bool[Array, "N N"], member: Float[Array, "N K"]) -> Bool[Array, " N"]:
    """Points with two edges or more; all points of a cluster if no edge joins two of these."""
    many = jnp.sum(edges, 1) > 1
    kept = jnp.sum(edges & many & many[:, None], 1) > 0
    has_edge = (member.T @ kept.astype(member.dtype)) > 0
    covered = member @ has_edge.astype(member.dtype) > 0
    return jnp.where(covered, many, jnp.sum(member, 1) > 0)
