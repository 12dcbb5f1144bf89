"""Points in computation units, which the iterated maps of the clusterers take as part of theta.

Points are centred, which reduces rounding error, and scaled by a power of two, which is exact and keeps
squares and their derivatives in the range of float32. All results are equivariant to the shift and the
scale, so that the derivatives with respect to both are exactly zero and are not traced.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ..distances import as_float, length_unit, unit_length
from ..records import Batch
from ..weights import LOG_ZERO, cleared, weighted_mean, weights_or_ones


class Units(NamedTuple):
    """The shift and scale between units of the points and computation units.

    Attributes:
        shift: [D] the weighted mean.
        scale: a power of two that bounds the distance of every coordinate from the mean.
    """

    shift: Float[Array, " D"]
    scale: Float[Array, ""]

    def inside(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """Converts from units of the points to computation units."""
        return (x - self.shift) / self.scale

    def outside(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """Converts from computation units to units of the points."""
        return x * self.scale + self.shift


def units_around(points: Float[Array, "M D"], scale: Float[Array, ""]) -> Units:
    """The computation units for comparing new points with the points of a fitted state."""
    return Units(lax.stop_gradient(jnp.mean(points, 0)), scale)


class Points(NamedTuple):
    """Prepared points of a batch.

    Attributes:
        x: [N, D] points, in computation units.
        weights: [N].
        pinned: [N] cluster of each labelled point, out of range for the others; None if no point is labelled.
        log_slots: [K] zero for slots in use, `LOG_ZERO` for the others.
    """

    x: Float[Array, "N D"]
    weights: Float[Array, " N"]
    pinned: Int[Array, " N"] | None
    log_slots: Float[Array, " K"]


def prepare_points(batch: Batch, clusters: int, *, spherical: bool = False) -> tuple[Points, Units]:
    """Prepares the points of a batch for `clusters` slots; points of weight zero are moved to the mean.

    Points whose distance to the mean is negligible, see `length_unit`, count as equal. If `spherical`, points
    are normalised to length one, and neither centred nor scaled.
    """
    x = as_float(batch.inputs)
    weights = jnp.asarray(weights_or_ones(x, batch.weights), x.dtype)
    x = cleared(x, batch.weights)
    log_slots = jnp.where(slots_in_use(clusters, batch.clusters), 0, jnp.asarray(LOG_ZERO, x.dtype))
    if spherical:
        unmoved = Units(jnp.zeros(x.shape[1], x.dtype), jnp.ones((), x.dtype))
        return Points(unit_length(x), weights, batch.targets, log_slots), unmoved
    shift = lax.stop_gradient(weighted_mean(x, weights))
    centered = cleared(x - shift, batch.weights)
    scale = length_unit(centered)
    return Points(centered / scale, weights, batch.targets, log_slots), Units(shift, scale)


def slots_in_use(clusters: int, used: Int[Array, ""] | None) -> Bool[Array, " K"]:
    """Which of the K slots a task uses."""
    return jnp.arange(clusters) < (clusters if used is None else used)
