"""Unrolled differentiation of k-means steps, with the cotangent of the points accumulated in one product.

A step uses the points twice, in products c x^T [K, N] and in sums r x [K, D]. Plain back-propagation would
add two [N, D] arrays to the points' cotangent in each step, and writing these takes most of the time. But the
points' tangent dx enters step t only by adding c_t dx^T to its products and r_t dx to its sums. The loop is
therefore linearised in these perturbations, which are small, and all of them are computed from dx at once,
outside the loop: in the backward pass, two products with [steps K] rows replace a loop of thin ones. The
derivative is the same, of any order and in either mode.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, Int, PyTree


class Nudge(NamedTuple):
    """Perturbations of the two products of a step with the points; their value is always zero."""

    products: Float[Array, "K N"]
    sums: Float[Array, "K D"]


class Factors(NamedTuple):
    """The factors by which the points are multiplied in a step."""

    centers: Float[Array, "K D"]
    shares: Float[Array, "K N"]


NudgedStep = Callable[..., tuple[PyTree, Factors]]
"""(x, points, rest, i, nudge) -> the next x, and the factors of the points."""


def unrolled(step: NudgedStep, x0: PyTree, points: Float[Array, "N D"], rest: PyTree, steps: int) -> PyTree:
    """The last iterate; equal to `iterate` with `unroll`, but with a faster derivative."""

    def run(x0: PyTree, points: Array, rest: PyTree, nudges: Nudge | None) -> tuple[PyTree, Factors]:
        def body(x: PyTree, at: tuple[Int[Array, ""], Nudge | None]) -> tuple[PyTree, Factors]:
            return step(x, points, rest, *at)

        return lax.scan(body, x0, (jnp.arange(steps), nudges))

    @jax.custom_jvp
    def solution(x0: PyTree, points: Array, rest: PyTree) -> PyTree:
        return run(x0, points, rest, None)[0]

    def tangent(primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
        x0, points, rest = primals
        leaves, structure = jax.tree.flatten((x0, rest))
        shapes = jax.eval_shape(partial(run, nudges=None), x0, points, rest)[1]
        nudges = Nudge(
            jnp.zeros(shapes.shares.shape, points.dtype), jnp.zeros(shapes.centers.shape, points.dtype)
        )
        dots = jax.tree.leaves(
            (tangents[0], tangents[2]), is_leaf=lambda leaf: isinstance(leaf, SymbolicZero)
        )
        moving = [i for i, dot in enumerate(dots) if not isinstance(dot, SymbolicZero)]

        def of_moving(values: list[Any], nudges: Nudge) -> tuple[PyTree, Factors]:
            filled = list(leaves)
            for i, value in zip(moving, values, strict=True):
                filled[i] = value
            x0, rest = jax.tree.unflatten(structure, filled)
            return run(x0, points, rest, nudges)

        last, linear, factors = jax.linearize(of_moving, [leaves[i] for i in moving], nudges, has_aux=True)
        if isinstance(tangents[1], SymbolicZero):
            moved = nudges
        else:
            moved = Nudge(
                jnp.einsum("skd,nd->skn", factors.centers, tangents[1], precision="highest"),
                jnp.einsum("skn,nd->skd", factors.shares, tangents[1], precision="highest"),
            )
        return last, linear([dots[i] for i in moving], moved)

    solution.defjvp(tangent, symbolic_zeros=True)
    return solution(x0, points, rest)
