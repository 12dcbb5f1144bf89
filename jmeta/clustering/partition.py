"""A clustering by the points themselves: every other point is assigned like the nearest of them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..distances import as_float, squared_differences
from ..records import Assignment
from ..weights import EMPTY
from .points import Points, Units, units_around


class Partition(NamedTuple):
    """A clustering by the points themselves.

    Attributes:
        points: [M, D] the points that were clustered.
        weights: [M]; nobody is assigned like a point of weight zero.
        labels: [M] cluster of each, from 0; -1 is noise.
        log_slots: [K] zero for slots in use, `EMPTY` for the others.
        scale: the unit of length of the computation, a power of two.
    """

    points: Float[Array, "M D"]
    weights: Float[Array, " M"]
    labels: Int[Array, " M"]
    log_slots: Float[Array, " K"]
    scale: Float[Array, ""]


def partition(points: Points, units: Units, labels: Int[Array, " N"]) -> Partition:
    """The record of labels that were found for prepared points."""
    return Partition(units.outside(points.x), points.weights, labels, points.log_slots, units.scale)


def like_nearest(state: Partition, inputs: Float[Array, "N D"]) -> Assignment:
    """Each point in the cluster of the nearest point that was clustered."""
    units = units_around(state.points, state.scale)
    squared = squared_differences(units.inside(as_float(inputs)), units.inside(state.points))
    nearest = jnp.argmin(jnp.where(state.weights > 0, squared, jnp.inf), 1)
    return hard_assignment(state.labels[nearest], state.log_slots)


def hard_assignment(labels: Int[Array, " N"], log_slots: Float[Array, " K"]) -> Assignment:
    """The assignment of labels, of which -1 is noise: alike to all clusters, were it in any."""
    owned = jax.nn.one_hot(labels, len(log_slots), dtype=bool)
    certain = jnp.where(owned, 0, jnp.asarray(EMPTY, log_slots.dtype))
    noise = labels < 0
    log_probs = jnp.where(noise[:, None], jax.nn.log_softmax(log_slots), certain)
    return Assignment(log_probs, noise.astype(log_slots.dtype))
