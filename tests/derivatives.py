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


def check_three_ways(function, x, rtol=1e-5, atol=1e-7, epsilon=1e-5):
    """A scalar function's derivative in reverse, forward and by differences, and that of the derivative.

    One program takes them at the point itself and at the ends of all differences.
    """
    flat, unravel = ravel_pytree(x)
    along = np.cos(np.concatenate([np.arange(leaf.size) + 1.0 for leaf in jax.tree.leaves(x)]))
    steps = epsilon * np.eye(flat.size)

    @jax.jit
    def value(flat):
        return function(unravel(flat))

    def slope(flat):
        result, gradient = jax.value_and_grad(value)(flat)
        return gradient @ along, (result, gradient)

    @jax.jit
    def derivatives(ends):
        (slopes, (values, gradients)), second = jax.vmap(jax.value_and_grad(slope, has_aux=True))(ends)
        return values, slopes, gradients[0], second[0], jax.jvp(value, (ends[0],), (along,))[1]

    def differences(ends):
        after, before = np.split(ends[1:], 2)
        return (after - before) / (2 * epsilon)

    ends = np.concatenate([flat[None], flat + steps, flat - steps])
    values, slopes, reverse, second, forward = jax.device_get(derivatives(ends))
    assert np.any(np.abs(reverse) > 100 * atol)
    np.testing.assert_allclose(reverse, differences(values), rtol=rtol, atol=atol)
    np.testing.assert_allclose(forward, reverse @ along, rtol=rtol, atol=atol)
    np.testing.assert_allclose(second, differences(slopes), rtol=100 * rtol, atol=100 * atol)
