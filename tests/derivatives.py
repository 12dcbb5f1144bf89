"""What tests of derivatives share."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


def numerical(function, x, epsilon=1e-5):
    """Central differences of a function of a tree, one row for each of its numbers."""
    flat, unravel = ravel_pytree(x)
    steps = epsilon * np.eye(flat.size)
    slopes = [(function(unravel(flat + s)) - function(unravel(flat - s))) / (2 * epsilon) for s in steps]
    return jnp.stack(slopes)


def check_three_ways(function, x, rtol=1e-5, atol=1e-7):
    """A scalar function's derivative in reverse, forward and by differences, and that of the derivative."""
    function = jax.jit(function)
    reverse = ravel_pytree(jax.jit(jax.grad(function))(x))[0]
    assert np.any(np.abs(reverse) > 100 * atol)
    direction = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size) + 1.0).reshape(leaf.shape), x)
    along = ravel_pytree(direction)[0]
    forward = jax.jit(lambda x: jax.jvp(function, (x,), (direction,))[1])(x)
    np.testing.assert_allclose(reverse, numerical(function, x), rtol=rtol, atol=atol)
    np.testing.assert_allclose(forward, reverse @ along, rtol=rtol, atol=atol)
    slope = jax.jit(lambda x: ravel_pytree(jax.grad(function)(x))[0] @ along)
    np.testing.assert_allclose(
        ravel_pytree(jax.jit(jax.grad(slope))(x))[0], numerical(slope, x), rtol=100 * rtol, atol=100 * atol
    )
