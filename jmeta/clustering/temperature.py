"""How sharply soft clusterings assign: the inverse temperature, given, automatic, or learned."""

from __future__ import annotations

import math
from numbers import Real
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..distances import squared_distances
from ..errors import InputError
from ..weights import weighted_mean
from .points import Points, Units

RANGE = (1e-30, 1e30)
"""Inverse temperatures, in the units of the computation, that are neither zero nor infinite in float32."""


LOG_RANGE = (math.log(RANGE[0]), math.log(RANGE[1]))
"""Where their logarithms are kept before `exp`, whose derivative would be infinite."""


class Temperature(NamedTuple):
    """An inverse temperature: of `value`, or "auto", `sharpness` over the spread around the seeds.

    Attributes:
        value: in inverse squared units of the points, or "auto".
        sharpness: the numerator of the automatic one; no unit.
    """

    value: float | Literal["auto"]
    sharpness: float

    def init(self) -> Float[Array, ""]:
        """Its parameter, where it is learned: the logarithm of the temperature."""
        return -jnp.log(jnp.asarray(self.start, float))

    @property
    def start(self) -> float:
        """The number that is given, as float32 can hold it."""
        given = self.sharpness if self.value == "auto" else self.value
        return min(max(float(given), RANGE[0]), RANGE[1])

    def beta(
        self, params: PyTree, seeds: Float[Array, "K D"], points: Points, units: Units
    ) -> Float[Array, ""]:
        """The inverse temperature, in the units of the computation."""
        learned = "temperature" in params
        stored = jnp.clip(params["temperature"], *LOG_RANGE) if learned else 0
        number = jnp.asarray(jnp.exp(-stored) if learned else self.start, points.x.dtype)
        beta = number / spread(seeds, points) if self.value == "auto" else number * units.scale**2
        return jnp.clip(beta, *RANGE)


def checked_temperature(algorithm: str, value: float | Literal["auto"], sharpness: float) -> Temperature:
    """A temperature, after a look at its numbers."""
    automatic = value == "auto"
    start = sharpness if automatic else value
    if not isinstance(start, Real) or not 0 < start < math.inf:
        name, other = ("sharpness", "") if automatic else ("inverse temperature", " or 'auto'")
        raise InputError(f"the {name} of {algorithm} is {start!r}; give a positive number{other}.")
    return Temperature(value, sharpness)


def spread(seeds: Float[Array, "K D"], points: Points) -> Float[Array, ""]:
    """Mean squared distance to the nearest seed, kept from zero by a thousandth of the variance.

    The variance speaks where every point is a seed, and 1 where all points are equal. Which seed is nearest
    can be found with rounding; how far it is, where clusters are single points, can not.
    """
    weights = points.weights
    total = jnp.sum(weights)
    total = jnp.where(total > 0, total, 1)
    owners = jnp.argmin(squared_distances(points.x, seeds) - points.log_slots, 1)
    nearest = weights @ jnp.sum(jnp.square(points.x - seeds[owners]), 1) / total
    variance = weights @ jnp.sum(jnp.square(points.x - weighted_mean(points.x, weights)), 1) / total
    spread = nearest + 1e-3 * variance
    return jnp.where(spread > 0, spread, 1)
