"""The inverse temperature of soft assignments: given, automatic, or learned."""

from __future__ import annotations

import math
from numbers import Real
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..distances import quotient, squared_distances
from ..errors import InputError
from ..sharding.points import row_of_each
from ..weights import weighted_mean
from .points import Points, Units

RANGE = (1e-30, 1e30)
"""Bounds of inverse temperatures, in computation units, that are neither zero nor infinite in float32."""

LOG_RANGE = (math.log(RANGE[0]), math.log(RANGE[1]))
"""Bounds of their logarithms before `exp`, so that its derivative is finite."""


class Temperature(NamedTuple):
    """An inverse temperature: `value`, or for "auto" `sharpness` divided by the spread around the seeds.

    Attributes:
        value: in inverse squared units of the points, or "auto".
        sharpness: numerator of the automatic value; dimensionless.
    """

    value: float | Literal["auto"]
    sharpness: float

    def init(self) -> Float[Array, ""]:
        """The initial value of the learned parameter: the logarithm of the temperature."""
        return -jnp.log(jnp.asarray(self.start, float))

    @property
    def start(self) -> float:
        """The given number, clipped to `RANGE`."""
        number = self.sharpness if self.value == "auto" else self.value
        return min(max(float(number), RANGE[0]), RANGE[1])

    def beta(
        self, params: PyTree, seeds: Float[Array, "K D"], points: Points, units: Units
    ) -> Float[Array, ""]:
        """The inverse temperature, in computation units."""
        learned = "temperature" in params
        stored = jnp.clip(params["temperature"], *LOG_RANGE) if learned else 0
        number = jnp.asarray(jnp.exp(-stored) if learned else self.start, points.x.dtype)
        beta = number / spread(seeds, points) if self.value == "auto" else number * units.scale**2
        return jnp.clip(beta, *RANGE)


def checked_temperature(algorithm: str, value: float | Literal["auto"], sharpness: float) -> Temperature:
    """A `Temperature`; raises an InputError if its number is not positive and finite."""
    automatic = value == "auto"
    start = sharpness if automatic else value
    if not isinstance(start, Real) or not 0 < start < math.inf:
        name, other = ("sharpness", "") if automatic else ("inverse temperature", " or 'auto'")
        raise InputError(f"the {name} of {algorithm} is {start!r}; give a positive number{other}.")
    return Temperature(value, sharpness)


def spread(seeds: Float[Array, "K D"], points: Points) -> Float[Array, ""]:
    """The sum of `column_spreads`; 1 if it is zero but for rounding errors, as all points are equal."""
    total = jnp.sum(column_spreads(seeds, points))
    return jnp.where(total > jnp.finfo(total.dtype).eps ** 2, total, 1)


def column_spreads(seeds: Float[Array, "K D"], points: Points) -> Float[Array, " D"]:
    """The mean squared distance to the nearest seed along each column, plus `eps` of its variance.

    The variance keeps the sum positive if every point is a seed. Its factor is the machine epsilon, so that
    points far from all others, which are seeds, do not decide. `squared_distances` is accurate enough to find
    the nearest seed, but not to measure its distance.
    """
    weights = points.weights
    total = jnp.sum(weights)
    owners = jnp.argmin(squared_distances(points.x, seeds) - points.log_slots, 1)
    nearest = quotient(weights @ jnp.square(points.x - row_of_each(seeds, owners)), total)
    variance = quotient(weights @ jnp.square(points.x - weighted_mean(points.x, weights)), total)
    return nearest + jnp.finfo(variance.dtype).eps * variance
