"""A positive number of an algorithm: given, automatic, or learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..errors import InputError
from ..validation import check_positive

LENGTHS = (1e-9, 1e9)
"""Lengths, in the units of the computation, of which the fourth power is a float32, as derivatives need."""


class Quantity(NamedTuple):
    """A positive number, stored as its logarithm where it is learned.

    Attributes:
        name: of its parameter.
        number: what is given, or what the automatic one is multiplied by.
        automatic: whether it comes from the points.
    """

    name: str
    number: float
    automatic: bool

    def init(self) -> Float[Array, ""]:
        """Its parameter, where it is learned."""
        return jnp.asarray(math.log(self.number), float)

    def value(
        self,
        params: PyTree,
        unit: Float[Array, ""],
        automatic: Callable[[], Float[Array, ""]],
        bounds: tuple[float, float] = LENGTHS,
    ) -> Float[Array, ""]:
        """The number, in units of the computation: times `unit` if given, times `automatic()` if not."""
        scale = automatic() if self.automatic else unit
        if self.name not in params:
            return jnp.clip(self.number * scale, *bounds)
        logarithm = jnp.asarray(params[self.name], scale.dtype) + jnp.log(scale)
        return jnp.exp(jnp.clip(logarithm, *map(math.log, bounds)))


def checked_quantity(
    algorithm: str, name: str, value: float | Literal["auto"], factor: float = 1.0
) -> Quantity:
    """A positive number or "auto", of which `factor` times what comes from the points is taken."""
    if isinstance(value, str):
        if value != "auto":
            raise InputError(f"{name} of {algorithm} is {value!r}; give a positive number or 'auto'.")
        return Quantity(name, factor, True)
    check_positive(algorithm, **{name: value})
    return Quantity(name, float(value), False)
