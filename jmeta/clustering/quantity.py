"""A positive number of an algorithm: given, automatic, or learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..records import InputError
from .temperature import RANGE
from .validation import check_positive


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
        return jnp.log(jnp.asarray(self.number, float))

    def value(
        self, params: PyTree, unit: Float[Array, ""], automatic: Callable[[], Float[Array, ""]]
    ) -> Float[Array, ""]:
        """The number, in units of the computation: times `unit` if given, times `automatic()` if not."""
        learned = self.name in params
        factor = jnp.exp(params[self.name]) if learned else jnp.asarray(self.number, unit.dtype)
        return jnp.clip(factor * (automatic() if self.automatic else unit), *RANGE)


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
