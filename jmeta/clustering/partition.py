"""A clustering stored as labelled points; new points get the label of the nearest one."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..distances import as_float, exact_squared_distances
from ..records import Assignment
from ..weights import LOG_ZERO
from .points import Points, Units, units_around


class Partition(NamedTuple):
    """A clustering stored as labelled points.

    Attributes:
        points: [M, D] the clustered points.
        weights: [M]; points of weight zero are ignored in assignment.
        labels: [M] cluster of each point, from 0; -1 is noise.
        log_slots: [K] zero for slots in use, `LOG_ZERO` for the others.
        scale: the computation unit of length, a power of two.
    """

    points: Float[Array, "M D"]
    weights: Float[Array, " M"]
    labels: Int[Array, " M"]
    log_slots: Float[Array, " K"]
    scale: Float[Array, ""]


def partition(points: Points, units: Units, labels: Int[Array, " N"]) -> Partition:
    """The `Partition` of prepared points with the given labels."""
    return Partition(
        points=units.outside(points.x),
        weights=points.weights,
        labels=labels,
        log_slots=points.log_slots,
        scale=units.scale,
    )


def like_nearest(state: Partition, inputs: Float[Array, "N D"]) -> Assignment:
    """Assigns each point to the cluster of the nearest clustered point."""
    units = units_around(state.points, state.scale)
    squared = exact_squared_distances(units.inside(as_float(inputs)), units.inside(state.points))
    nearest = jnp.argmin(jnp.where(state.weights > 0, squared, jnp.inf), 1)
    return hard_assignment(state.labels[nearest], state.log_slots)


def hard_assignment(labels: Int[Array, " N"], log_slots: Float[Array, " K"]) -> Assignment:
    """The assignment of hard labels; noise (-1) is equally likely in all clusters."""
    owned = jax.nn.one_hot(labels, len(log_slots), dtype=bool)
    certain = jnp.where(owned, 0, jnp.asarray(LOG_ZERO, log_slots.dtype))
    noise = labels < 0
    log_probs = jnp.where(noise[:, None], jax.nn.log_softmax(log_slots), certain)
    return Assignment(log_probs, noise.astype(log_slots.dtype))
