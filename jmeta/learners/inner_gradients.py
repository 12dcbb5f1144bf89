"""Gradients of the inner loop, and how the outer loop differentiates them.

A descent step takes  grad_w L(w, theta). Backpropagation through that gradient stores what reverse mode over
reverse mode needs. The functions here replace `jax.grad` and give the same value.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
from jaxtyping import Array, Float, PyTree

from ..trees import inexact_leaves, is_inexact, replace_inexact

Scalar = Callable[[PyTree, PyTree], Float[Array, ""]]
Gradient = Callable[[PyTree, PyTree], PyTree]


def mixed_mode(function: Scalar) -> Gradient:
    """`jax.grad(function)` in its first argument, differentiated in forward-over-reverse mode.

    The backward pass of  g(w, theta) = grad_w L  with cotangent v needs  H v  and  d/dtheta (v . g). As H is
    symmetric, both are the derivative of  (grad_w L, grad_theta L)  along v in w: one forward pass over one
    reverse pass, which stores only w and theta. The tangent of g is given to jax as the transpose of that
    derivative, which jax transposes again in reverse mode. Derivatives of any order exist, in either mode.

    Args:
        function: (w, theta) -> scalar.

    Reference: Kemaev et al. 2025, Scalable meta-learning via mixed-mode differentiation.

    >>> slope = mixed_mode(lambda w, theta: theta * w**3)
    >>> float(slope(2.0, 5.0)), [float(d) for d in jax.grad(slope, (0, 1))(2.0, 5.0)]
    (60.0, [60.0, 12.0])
    """

    @jax.custom_jvp
    def gradient(w: PyTree, theta: PyTree) -> PyTree:
        return jax.grad(function)(w, theta)

    @gradient.defjvp
    def tangent(primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
        w, theta = primals

        def both(w: PyTree) -> tuple[PyTree, list[Array]]:
            return jax.grad(lambda w, some: function(w, replace_inexact(theta, some)), (0, 1))(
                w, inexact_leaves(theta)
            )

        _, along = jax.linearize(both, w)
        pairs = zip(jax.tree.leaves(theta), jax.tree.leaves(tangents[1]), strict=True)
        moved = (tangents[0], [tangent for primal, tangent in pairs if is_inexact(primal)])
        return gradient(w, theta), jax.linear_transpose(along, w)(moved)[0]

    return jax.checkpoint(gradient)


def first_order(function: Scalar) -> Gradient:
    """`jax.grad(function)` in its first argument, treated as a constant in the outer loop.

    It makes MAML first-order: the start gets the same gradient as with `straight_through`, and learned rates
    still get one.

    >>> slope = first_order(lambda w, theta: theta * w**3)
    >>> float(slope(2.0, 5.0)), float(jax.grad(slope)(2.0, 5.0))
    (60.0, 0.0)
    """
    return lambda w, theta: jax.lax.stop_gradient(jax.grad(function)(w, theta))
