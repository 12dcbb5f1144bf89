"""Inner optimisers whose numbers may differ from weight to weight, beside all of optax's.

An inner optimiser is `numbers -> optax.GradientTransformation`, built inside the step, so that its numbers
can be learned. A number here is a scalar, or a tree with a scalar or an array for every array of weights.
"""

from __future__ import annotations

import string

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree


def descent(learning_rate: PyTree) -> optax.GradientTransformation:
    """Plain descent, w <- w - rate * g, where rates may be a tree: `optax.sgd` of one number for all.

    >>> updates, _ = descent({"a": 0.1, "b": jnp.array([1.0, 2.0])}).update(
    ...     {"a": jnp.ones(2), "b": jnp.ones(2)}, optax.EmptyState()
    ... )
    >>> updates
    {'a': Array([-0.1, -0.1], dtype=float32), 'b': Array([-1., -2.], dtype=float32)}
    """

    def update(gradient: PyTree, state: optax.EmptyState, weights: PyTree = None) -> tuple:
        return _scaled(learning_rate, gradient), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def curvature(learning_rate: PyTree, factors: PyTree) -> optax.GradientTransformation:
    """Descent along gradients that learned matrices transform, one per axis of every array of weights.

    For a dense kernel G this is  w <- w - rate * M_1 G M_2^T, for a convolution also a matrix over its
    window: Kronecker factors of a preconditioner of each layer.

    Args:
        learning_rate: a number, or a tree of them.
        factors: for every array of weights its matrices; see `numbers.factors`.

    Reference: Park & Oliva 2019, Meta-Curvature.

    >>> rule = curvature(0.1, {"w": [2 * jnp.eye(2), jnp.eye(3)]})
    >>> rule.update({"w": jnp.ones((2, 3))}, optax.EmptyState())[0]["w"][0]
    Array([-0.2, -0.2, -0.2], dtype=float32)
    """

    def update(gradient: PyTree, state: optax.EmptyState, weights: PyTree = None) -> tuple:
        return _scaled(learning_rate, jax.tree.map(_transformed, gradient, factors)), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def _scaled(rates: PyTree, gradient: PyTree) -> PyTree:
    return jax.tree.map(lambda rate, part: jax.tree.map(lambda g: -rate * g, part), rates, gradient)


def _transformed(gradient: Array, matrices: list[Array]) -> Array:
    """Each axis times its matrix."""
    axes = string.ascii_lowercase[: len(matrices)]
    terms = [axes, *(axis.upper() + axis for axis in axes)]
    compact = gradient.reshape([len(matrix) for matrix in matrices])
    return jnp.einsum(f"{','.join(terms)}->{axes.upper()}", compact, *matrices).reshape(gradient.shape)
