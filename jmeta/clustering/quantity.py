"""A positive parameter of an algorithm: given, automatic, or learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..errors import InputError
from ..validation import check_positive

LENGTHS = (1e-9, 1e9)
"""Bounds of lengths, in computation units; derivatives need their fourth powers to be in float32's range."""


class Quantity(NamedTuple):
    """A positive number; stored as its logarithm if it is learned.

    Attributes:
        name: name of the parameter.
        number: the given value, or the factor of the automatic one.
        automatic: whether it is computed from the points.
    """

    name: str
    number: float
    automatic: bool

    def init(self) -> Float[Array, ""]:
        """The initial value of the learned parameter."""
        return jnp.asarray(math.log(self.number), float)

    def value(
        self,
        params: PyTree,
        unit: Float[Array, ""],
        automatic: Callable[[], Float[Array, ""]],
        bounds: tuple[float, float] = LENGTHS,
    ) -> Float[Array, ""]:
        """The number in computation units: multiplied by `unit` if given, by `automatic()` if automatic."""
        scale = automatic() if self.automatic else unit
        if self.name not in params:
            return jnp.clip(self.number * scale, *bounds)
        logarithm = jnp.asarray(params[self.name], scale.dtype) + jnp.log(scale)
        return jnp.exp(jnp.clip(logarithm, *map(math.log, bounds)))


def checked_quantity(
    algorithm: str, name: str, value: float | Literal["auto"], factor: float = 1.0
) -> Quantity:
    """A `Quantity` from a positive number or "auto", which stands for `factor` times the automatic value."""
    if isinstance(value, str):
        if value != "auto":
            raise InputError(f"{name} of {algorithm} is {value!r}; give a positive number or 'auto'.")
        return Quantity(name, factor, automatic=True)
    check_positive(algorithm, **{name: value})
    return Quantity(name, float(value), automatic=False)
