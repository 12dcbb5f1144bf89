"""Spectral clustering, differentiated through projectors instead of eigenvectors.

With affinities a_ij = exp(-gamma ||x_i - x_j||^2), degrees d_i = sum_j w_j a_ij and S_ij = sqrt(w_i w_j) a_ij
/ sqrt(d_i d_j), let P = U U^T project on the span of the K leading eigenvectors of S. Eigenvectors are not
unique where eigenvalues coincide, and their derivatives divide by the gaps between all eigenvalues; P and
its derivative are unique as long as the K-th and the next eigenvalue differ. The rows of S P, normalised to
length one, have the same distances as those of U Lambda; soft k-means clusters them.

References: Ng et al. 2001, On spectral clustering; Bach & Jordan 2004, Learning spectral clustering;
von Luxburg 2007, A tutorial on spectral clustering.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key, PyTree

from ..distances import as_float, exact_squared_distances, quotient, square_root, unit_length
from ..errors import InputError
from ..graphs.neighbours import mean_neighbour_distance
from ..masking import make_clusterer
from ..records import Assignment, Batch, Clusterer
from ..validation import check_counts, learned_numbers
from ..weights import LOG_ZERO, weighted_mean
from .points import prepare_points, units_around
from .quantity import checked_quantity
from .soft_kmeans import soft_kmeans
from .temperature import RANGE


class Spectrum(NamedTuple):
    """A clustering in the span of leading eigenvectors.

    Attributes:
        points: [N, D] in units of x.
        weights: [N].
        projector: [N, N] projector, scaled by weights and degrees; affinities to the points times this matrix
            are the rows that are clustered.
        gamma: of the affinities, per squared `scale`.
        scale: the computation unit of length, a power of two.
        gap: the gap between the K-th and the next eigenvalue; if it is small the derivative is large.
        rows: state of the clusterer of the rows.
    """

    points: Float[Array, "N D"]
    weights: Float[Array, " N"]
    projector: Float[Array, "N N"]
    gamma: Float[Array, ""]
    scale: Float[Array, ""]
    gap: Float[Array, ""]
    rows: PyTree


def spectral(
    clusters: int,
    *,
    gamma: float | Literal["auto"] = "auto",
    rows: Clusterer | None = None,
    learn: Sequence[str] = (),
) -> Clusterer:
    """Spectral clustering, differentiable in the points, their weights and gamma.

    Args:
        clusters: K, the number of slots; a batch may use fewer.
        gamma: in inverse squared units of the points; "auto" is 1 / s^2, where s is the mean radius around a
            point that holds log N others, the number that keeps a random graph connected.
        rows: clusterer of the rows; `soft_kmeans(clusters, restarts=8)` unless given.
        learn: ("gamma",) makes gamma, or the factor of the automatic gamma, a learned parameter, stored as
            its logarithm.

    Returns:
        A `Clusterer` whose state is `Spectrum`. The rows of new points follow from their affinities to the
        clustered points.

    Raises:
        InputError: an argument is out of range, or `learn` holds an unknown name.

    >>> import jmeta as jm
    >>> angles = jnp.linspace(0, 6.28, 41)[:-1]
    >>> circle = jnp.stack([jnp.cos(angles), jnp.sin(angles)], 1)
    >>> rings = jnp.concatenate([circle, 4 * circle])
    >>> found = jm.cluster(spectral(2), rings, key=jax.random.key(0))
    >>> float(jm.adjusted_rand_index(found.log_probs.argmax(-1), jnp.repeat(jnp.arange(2), 40)))
    1.0
    """
    check_counts("spectral", clusters=clusters)
    sharpness = checked_quantity("spectral", "gamma", gamma)
    inner = soft_kmeans(clusters, restarts=8) if rows is None else rows
    if not inner.traceable:
        raise InputError("rows of spectral run on the host; give an on-device clusterer such as soft_kmeans.")

    def automatic(squared: Array, weights: Array) -> Float[Array, ""]:
        around = 1 + jnp.log(jnp.maximum(jnp.sum(weights), 1))
        return 1 / mean_neighbour_distance(squared, weights, around) ** 2

    def fit(params: PyTree, batch: Batch, key: Key[Array, ""]) -> Spectrum:
        points, units = prepare_points(batch, clusters)
        squared = exact_squared_distances(points.x, points.x)
        beta = sharpness.value(params, units.scale**2, lambda: automatic(squared, points.weights), RANGE)
        affinity = jnp.exp(-beta * squared)
        degrees = jnp.where(points.weights > 0, affinity @ points.weights, 1)
        balance = square_root(quotient(points.weights, degrees))
        used = jnp.sum(points.log_slots > LOG_ZERO / 2)
        projector, gap = leading_projector(balance[:, None] * affinity * balance, used)
        projector = balance[:, None] * projector
        fitted = inner.fit(
            params.get("rows", {}),
            Batch(_apart(unit_length(affinity @ projector), points.weights), None, points.weights, used),
            key,
        )
        return Spectrum(
            points=units.outside(points.x),
            weights=points.weights,
            projector=projector,
            gamma=beta,
            scale=units.scale,
            gap=gap,
            rows=fitted,
        )

    def assign(params: PyTree, state: Spectrum, inputs: Float[Array, "N D"]) -> Assignment:
        units = units_around(state.points, state.scale)
        squared = exact_squared_distances(units.inside(as_float(inputs)), units.inside(state.points))
        # Distances are relative to the nearest point, so that affinities of distant points do not vanish.
        counted = state.weights > 0
        nearest = lax.stop_gradient(jnp.min(squared, 1, keepdims=True, where=counted, initial=jnp.inf))
        nearest = jnp.where(jnp.any(counted), nearest, 0)
        away = jnp.where(counted, squared - nearest, 0)
        rows = jnp.where(counted, jnp.exp(-state.gamma * away), 0) @ state.projector
        result = inner.assign(params.get("rows", {}), state.rows, unit_length(rows))
        if result.log_probs.shape[1] != clusters:
            raise InputError(f"rows of spectral have {result.log_probs.shape[1]} clusters; give {clusters}.")
        return result

    init_own = learned_numbers("spectral", learn, gamma=sharpness.init)

    def init(key: Key[Array, ""]) -> PyTree:
        learned = inner.init(key)
        return init_own(key) | ({"rows": learned} if learned else {})

    return make_clusterer(init, fit, assign)


def _apart(rows: Float[Array, "N M"], weights: Float[Array, " N"]) -> Float[Array, "N M"]:
    """The rows; or their mean, as a constant, if the rows differ only by rounding error."""
    mean = lax.stop_gradient(weighted_mean(rows, weights))
    farthest = jnp.max(jnp.abs(rows - mean), where=weights[:, None] > 0, initial=0)
    return jnp.where(farthest > 16 * jnp.finfo(rows.dtype).eps, rows, mean)


def leading_projector(
    matrix: Float[Array, "N N"], rank: Array
) -> tuple[Float[Array, "N N"], Float[Array, ""]]:
    """The projector on the span of the `rank` leading eigenvectors of a symmetric matrix, and the eigengap.

    With Q = I - P, the derivative is dP = Y + Y^T, where Y solves A Y - Y A = P dA Q. The solve is linear, so
    that this rule gives derivatives of every order, in either mode.

    >>> projector, gap = leading_projector(jnp.diag(jnp.array([3.0, 1.0, 2.0])), 2)
    >>> print(jnp.diag(projector), gap)
    [1. 0. 1.] 1.0
    """
    matrix = (matrix + matrix.T) / 2
    values, vectors = jnp.linalg.eigh(lax.stop_gradient(matrix))
    leading = jnp.arange(len(values)) >= len(values) - rank
    inside = jnp.min(jnp.where(leading, values, jnp.inf))
    outside = jnp.max(jnp.where(leading, -jnp.inf, values))
    gap = jnp.where(jnp.any(leading) & ~jnp.all(leading), inside - outside, 1)
    return _projector(matrix, values, vectors, leading), gap


@jax.custom_jvp
def _projector(matrix: Array, values: Array, vectors: Array, leading: Array) -> Float[Array, "N N"]:
    kept = jnp.where(leading, vectors, 0)
    return jnp.matmul(kept, kept.T, precision="highest")


@_projector.defjvp
def _projector_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    matrix, values, vectors, leading = primals
    projector = _projector(*primals)
    rest = jnp.eye(len(values), dtype=matrix.dtype) - projector
    differ = leading[:, None] & ~leading
    gaps = jnp.where(differ, values[:, None] - values, 1)
    # Gaps are bounded below by a fraction of the spectral radius, as there is no derivative at zero.
    width = jnp.max(jnp.abs(values))
    gaps = jnp.maximum(gaps, 1e3 * jnp.finfo(matrix.dtype).eps * jnp.where(width > 0, width, 1))

    def corner(y: Array) -> Array:
        return projector @ y @ rest

    def matvec(y: Array) -> Array:
        inner = corner(y)
        return corner(matrix @ inner - inner @ matrix) + y - inner

    def solve(_: object, b: Array) -> Array:
        turned = vectors.T @ b @ vectors
        return vectors @ jnp.where(differ, turned / gaps, turned) @ vectors.T

    y = lax.custom_linear_solve(matvec, corner(tangents[0]), solve, symmetric=True)
    return projector, y + y.T
