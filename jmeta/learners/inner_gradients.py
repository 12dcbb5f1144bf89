"""How the gradient of an inner loop is taken, hence how it is differentiated in the outer one.

A descent step takes  grad_w L(w, theta). Back-propagation through that gradient stores what reverse mode over
reverse mode needs; the functions here give the same value, and take the place of `jax.grad`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float, PyTree

from ..trees import inexact_leaves, replace_inexact, tangent_like

Scalar = Callable[[PyTree, PyTree], Float[Array, ""]]
Gradient = Callable[[PyTree, PyTree], PyTree]


def mixed_mode(function: Scalar) -> Gradient:
    """`jax.grad(function)` in its first argument, whose own derivative is taken forward over reverse.

    Going back through g(w, theta) = grad_w L with a cotangent v needs  H v  and  d/dtheta (v . g). As H is
    symmetric, both are the derivative of  (grad_w L, grad_theta L)  along v in w, one forward pass over one
    reverse pass, which stores no more than w and theta. To be differentiated in reverse mode only, hence with
    `unroll` and `truncate`, not `implicit`.

    Args:
        function: (w, theta) -> scalar.

    Reference: Kemaev et al. 2025, Scalable meta-learning via mixed-mode differentiation.

    >>> slope = mixed_mode(lambda w, theta: theta * w**3)
    >>> float(slope(2.0, 5.0)), [float(d) for d in jax.grad(slope, (0, 1))(2.0, 5.0)]
    (60.0, [60.0, 12.0])
    """

    @jax.custom_vjp
    def gradient(w: PyTree, theta: PyTree) -> PyTree:
        return jax.grad(function)(w, theta)

    def forward(w: PyTree, theta: PyTree) -> tuple[PyTree, tuple[PyTree, PyTree]]:
        return gradient(w, theta), (w, theta)

    def backward(saved: tuple[PyTree, PyTree], v: PyTree) -> tuple[PyTree, Any]:
        w, theta = saved

        def both(w: PyTree) -> tuple[PyTree, list[Array]]:
            return jax.grad(lambda w, some: function(w, replace_inexact(theta, some)), (0, 1))(
                w, inexact_leaves(theta)
            )

        _, (hessian_v, mixed_v) = jax.jvp(both, (w,), (v,))
        return hessian_v, jax.tree.map(tangent_like, theta, replace_inexact(theta, mixed_v))

    gradient.defvjp(forward, backward)
    return gradient


def first_order(function: Scalar) -> Gradient:
    """`jax.grad(function)` in its first argument, taken as constant in the outer loop.

    With it MAML is first-order MAML: to the start as with `straight_through`, and learned rates still get a
    gradient.

    >>> slope = first_order(lambda w, theta: theta * w**3)
    >>> float(slope(2.0, 5.0)), float(jax.grad(slope)(2.0, 5.0))
    (60.0, 0.0)
    """
    return lambda w, theta: jax.lax.stop_gradient(jax.grad(function)(w, theta))
