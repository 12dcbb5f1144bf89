"""The rule that soft and Sinkhorn k-means have unless another is given, against plain `unroll`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm

KEY, UNROLL = jax.random.key(0), jm.unroll()
GIVEN = {
    "points": np.random.default_rng(0).normal(size=(9, 2)),
    "weights": np.random.default_rng(1).uniform(0.5, 1, 9),
    "temperature": np.zeros(()),
    "centers": np.random.default_rng(2).normal(size=(3, 2)),
}


@functools.cache
def all_derivatives(make, diff):
    """Of a scalar to each of `GIVEN`: the gradient, the slope in a direction and the gradient of that."""
    clusterer = make(3, steps=4, diff=diff, centers=GIVEN["centers"], learn=("temperature", "centers"))
    labels = np.array([0, -1, -1, -1, -1, -1, -1, -1, 1])

    @jax.jit
    def scalar(given):
        batch = jm.Batch(given["points"], labels, given["weights"])
        state = clusterer.fit({name: given[name] for name in ("temperature", "centers")}, batch, KEY)
        return jnp.sum(jnp.sin(state.centers)) + jnp.sum(state.log_prior * jnp.arange(3.0))

    def along(direction):
        def slope(given):
            gradient = jax.grad(scalar)(given)
            return sum(jnp.vdot(direction[name], gradient[name]) for name in given), gradient

        second, gradient = jax.grad(slope, has_aux=True)(GIVEN)
        return gradient, jax.jvp(scalar, (GIVEN,), (direction,))[1], second

    directions = {
        name: np.cos(np.arange(value.size) + 1.0).reshape(value.shape)
        * (np.array(list(GIVEN)) == name).reshape(-1, *np.ones(value.ndim, int))
        for name, value in GIVEN.items()
    }
    found = jax.device_get(jax.jit(jax.vmap(along))(directions))
    return {
        name: (found[0][name][place], found[1][place], found[2][name][place])
        for place, name in enumerate(GIVEN)
    }


@pytest.mark.parametrize("make", [jm.soft_kmeans, jm.sinkhorn_kmeans])
@pytest.mark.parametrize("what", list(GIVEN))
def test_the_default_rule_is_unroll_of_every_order(make, what):
    """It collects what the points receive; plain `unroll` does not. All derivatives agree."""
    with jax.enable_x64(True):
        found, expected = (all_derivatives(make, diff)[what] for diff in (None, UNROLL))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), found, expected)
    assert np.any(found[0] != 0)
