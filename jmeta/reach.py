"""Which inputs of an iteration a differentiation rule passes a derivative to."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal
from jaxtyping import Array

from .errors import InputError
from .iteration import iterate
from .records import Diff


class Reach(NamedTuple):
    """To which inputs of an iteration a differentiation rule passes a derivative."""

    start: bool
    theta: bool


def reach(diff: Diff) -> Reach:
    """To which inputs a rule passes a derivative, found by differentiating a small map of both.

    >>> from jmeta.iteration import truncate, unroll
    >>> reach(unroll()), reach(truncate(1))
    (Reach(start=True, theta=True), Reach(start=False, theta=True))
    """

    def last(x0: Array, theta: Array) -> Array:
        return jnp.sum(iterate(lambda x, theta, i: x * theta, x0, theta, steps=2, diff=diff))

    def depends(place: int) -> bool:
        tangents = [jnp.zeros(()), jnp.zeros(())]

        def along(tangent: Array) -> Array:
            tangents[place] = tangent
            return jax.jvp(last, (jnp.full((), 0.5), jnp.full((), 0.5)), tuple(tangents))[1]

        program = jax.make_jaxpr(along)(1.0).jaxpr
        reached = set(program.invars)
        for equation in program.eqns:
            if any(not isinstance(one, Literal) and one in reached for one in equation.invars):
                reached.update(equation.outvars)
        return not isinstance(program.outvars[0], Literal) and program.outvars[0] in reached

    return Reach(depends(0), depends(1))


def check_start_is_learned(diff: Diff | None, what: str) -> None:
    """Raises an InputError if a rule passes no derivative to the start, which depends on what is learned."""
    if diff is not None and not reach(diff).start:
        raise InputError(
            f"diff passes no derivative to the {what}, which would never be learned; leave it out, or give "
            "another rule such as unroll()."
        )
