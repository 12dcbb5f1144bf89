"""Symmetric matrices stored with each pair once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta.pairs import half, pair_sums, whole

LEADS = [(), (3,), (2, 3)]


def symmetric(*shape):
    values = np.random.default_rng(0).integers(1, 100, shape)
    return jnp.asarray((values + np.swapaxes(values, -1, -2)) * (1 - np.eye(shape[-1])), jnp.float32)


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("count", [1, 2, 3, 6, 7])
def test_half_and_whole_are_inverse(count, lead):
    matrix = symmetric(*lead, count, count)
    pairs = half(matrix)
    assert pairs.shape == (*lead, count, count // 2)
    for i in range(count):
        for step in range(1, count // 2 + 1):
            np.testing.assert_array_equal(pairs[..., i, step - 1], matrix[..., i, (i + step) % count])
    np.testing.assert_array_equal(whole(pairs), matrix)


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("count", [2, 5, 6])
def test_sums_of_pairs(count, lead):
    values = np.random.default_rng(1).integers(0, 100, (*lead, count))
    sums = values[..., :, None] + values[..., None, :]
    np.testing.assert_array_equal(pair_sums(jnp.asarray(values)), half(jnp.asarray(sums)))


@pytest.mark.parametrize("function", [half, whole])
@pytest.mark.parametrize("count", [5, 6])
def test_both_are_linear_and_their_transposes_are_exact(count, function):
    random = np.random.default_rng(2)
    shapes = [(2, count, count), (2, count, count // 2)]
    x, y = (
        jnp.asarray(random.normal(size=shape), jnp.float32)
        for shape in shapes[:: 1 if function is half else -1]
    )

    @jax.jit
    def everything(x, y):
        value, pull = jax.vjp(function, x)
        return value, function(2 * x + x[::-1]), pull(y)[0], jax.linear_transpose(function, x)(y)[0]

    value, of_sum, back, transposed = everything(x, y)
    np.testing.assert_allclose(of_sum, 2 * value + value[::-1], atol=1e-5)
    np.testing.assert_allclose(back, transposed, atol=1e-6)
    basis = jnp.eye(x.size).reshape(-1, *x.shape)
    columns = np.asarray(jax.jit(jax.vmap(function))(basis)).reshape(x.size, -1)
    np.testing.assert_allclose(columns @ np.ravel(y), np.ravel(back), atol=1e-5)
