"""Inner optimisers whose hyperparameters may differ from weight to weight, in addition to those of optax.

An inner optimiser is `hyperparameters -> optax.GradientTransformation`, built inside the step, so that its
hyperparameters can be learned. Each is a scalar, or a tree with a scalar or an array for every array of
weights.
"""

from __future__ import annotations

import string

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree


def descent(learning_rate: PyTree) -> optax.GradientTransformation:
    """Gradient descent, w <- w - rate * g, where the rate may be a tree; equals `optax.sgd` for a scalar.

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
    """Gradient descent preconditioned by learned matrices, one per axis of every array of weights.

    For a dense kernel with gradient G this is  w <- w - rate * M_1 G M_2^T; a convolution has one more matrix
    for its window. The matrices are Kronecker factors of a preconditioner of each layer.

    Args:
        learning_rate: a scalar, or a tree of rates.
        factors: the matrices of every array of weights; see `numbers.factors`.

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
    """Multiplies each axis by its matrix."""
    axes = string.ascii_lowercase[: len(matrices)]
    terms = [axes, *(axis.upper() + axis for axis in axes)]
    compact = gradient.reshape([len(matrix) for matrix in matrices])
    return jnp.einsum(f"{','.join(terms)}->{axes.upper()}", compact, *matrices).reshape(gradient.shape)
