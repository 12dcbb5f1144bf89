"""Points in the units of the computation: what every map of the clusterers takes as its theta.

Points are moved by their mean, which saves digits, and scaled by a power of two, which costs none
and keeps squares and their derivatives in the range of float32. Whatever is computed moves and
scales along with them, so that its derivative to the move and the scale is exactly zero and is not
traced.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ..distances import as_float, unit_length
from ..records import Batch
from ..weights import EMPTY, weighted_mean, weights_or_ones

SMALLEST = 1e-18
"""Points closer to their mean than this are one point: the squares leave float32's range."""


class Units(NamedTuple):
    """Where the points were moved from, and what one unit of the computation is.

    Attributes:
        shift: [D] the weighted mean.
        scale: a power of two; no coordinate is farther from the mean.
    """

    shift: Float[Array, " D"]
    scale: Float[Array, ""]

    def inside(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """From the units of the points to those of the computation."""
        return (x - self.shift) / self.scale

    def outside(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """Back to the units of the points."""
        return x * self.scale + self.shift


def units_around(points: Float[Array, "M D"], scale: Float[Array, ""]) -> Units:
    """The units in which new points are compared with those of a state."""
    return Units(lax.stop_gradient(jnp.mean(points, 0)), scale)


class Points(NamedTuple):
    """Everything a map depends on.

    Attributes:
        x: [N, D] points, in the units of the computation.
        weights: [N].
        pinned: [N] cluster of a labelled point, none of the K for the others; None where no point is.
        log_slots: [K] zero for slots in use, `EMPTY` for the others.
    """

    x: Float[Array, "N D"]
    weights: Float[Array, " N"]
    pinned: Int[Array, " N"] | None
    log_slots: Float[Array, " K"]


def prepare_points(batch: Batch, clusters: int, *, spherical: bool = False) -> tuple[Points, Units]:
    """The points of a batch for `clusters` slots; those of weight zero lie at the mean.

    Where `spherical`, points are directions: brought to length one, and neither moved nor scaled.
    """
    x = as_float(batch.inputs)
    weights = jnp.asarray(weights_or_ones(x, batch.weights), x.dtype)
    counted = jnp.bool_(True) if batch.weights is None else weights[:, None] > 0
    x = jnp.where(counted, x, 0)
    log_slots = jnp.where(slots_in_use(clusters, batch.clusters), 0, jnp.asarray(EMPTY, x.dtype))
    if spherical:
        unmoved = Units(jnp.zeros(x.shape[1], x.dtype), jnp.ones((), x.dtype))
        return Points(unit_length(x), weights, batch.targets, log_slots), unmoved
    shift = lax.stop_gradient(weighted_mean(x, weights))
    centered = jnp.where(counted, x - shift, 0)
    largest = lax.stop_gradient(jnp.max(jnp.abs(centered)))
    _, exponent = jnp.frexp(jnp.where(largest > SMALLEST, largest, 1))
    scale = jnp.ldexp(jnp.ones((), x.dtype), exponent)
    return Points(centered / scale, weights, batch.targets, log_slots), Units(shift, scale)


def slots_in_use(clusters: int, used: Int[Array, ""] | None) -> Bool[Array, " K"]:
    """Which of the K slots a task uses."""
    return jnp.arange(clusters) < (clusters if used is None else used)
