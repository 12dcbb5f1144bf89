"""What tests of derivatives share."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


def numerical(function, x, epsilon=1e-5):
    """Central differences of a function of a tree, one row for each of its numbers, by one program."""
    flat, unravel = ravel_pytree(x)

    @jax.jit
    def slopes(flat):
        steps = epsilon * jnp.eye(flat.size)
        ends = jax.vmap(lambda step: function(unravel(flat + step)))(jnp.concatenate([steps, -steps]))
        return (ends[: flat.size] - ends[flat.size :]) / (2 * epsilon)

    return slopes(flat)


def check_three_ways(function, x, rtol=1e-5, atol=1e-7):
    """A scalar function's derivative in reverse, forward and by differences, and that of the derivative."""
    flat, unravel = ravel_pytree(x)
    along = np.cos(np.concatenate([np.arange(leaf.size) + 1.0 for leaf in jax.tree.leaves(x)]))

    @jax.jit
    def value(flat):
        return function(unravel(flat))

    @jax.jit
    def slope(flat):
        gradient = jax.grad(value)(flat)
        return gradient @ along, gradient

    @jax.jit
    def derivatives(flat):
        curvature, reverse = jax.grad(slope, has_aux=True)(flat)
        measured = numerical(lambda flat: jnp.stack([value(flat), slope(flat)[0]]), flat)
        return reverse, jax.jvp(value, (flat,), (along,))[1], curvature, *measured.T

    reverse, forward, curvature, of_value, of_slope = map(np.asarray, derivatives(flat))
    assert np.any(np.abs(reverse) > 100 * atol)
    np.testing.assert_allclose(reverse, of_value, rtol=rtol, atol=atol)
    np.testing.assert_allclose(forward, reverse @ along, rtol=rtol, atol=atol)
    np.testing.assert_allclose(curvature, of_slope, rtol=100 * rtol, atol=100 * atol)
