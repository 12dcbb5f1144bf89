"""A network over sets: what it must not see, and what it must."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm

MODEL = jm.networks.set_transformer(2, 3, seeds=4, width=8, heads=2, inducing=3)
PARAMS = MODEL.init(jax.random.key(0))
POINTS = jax.random.normal(jax.random.key(1), (10, 2))
APPLY = jax.jit(MODEL.apply)


def test_neither_order_nor_points_of_weight_zero_matter():
    found = APPLY(PARAMS, POINTS, jnp.ones(10))
    np.testing.assert_allclose(APPLY(PARAMS, POINTS[::-1], jnp.ones(10)), found, atol=1e-5)
    hidden = jnp.concatenate([POINTS[:6], 1e6 * jnp.ones((4, 2))])
    few = APPLY(PARAMS, hidden, (jnp.arange(10) < 6).astype(float))
    np.testing.assert_allclose(few, MODEL.apply(PARAMS, POINTS[:6]), atol=1e-5)
    assert jnp.abs(few - found).max() > 1e-3


def test_a_point_of_weight_two_is_two_points():
    double = APPLY(PARAMS, POINTS, jnp.ones(10).at[3].set(2.0))
    twice = MODEL.apply(PARAMS, jnp.concatenate([POINTS, POINTS[3:4]]))
    np.testing.assert_allclose(double, twice, atol=1e-5)


def test_nothing_seen_is_finite():
    assert bool(jnp.isfinite(APPLY(PARAMS, POINTS, jnp.zeros(10))).all())


@pytest.mark.parametrize("sizes", [{"width": 8, "heads": 3}, {"seeds": 0}, {"layers": 1.5}])
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(jm.InputError):
        jm.networks.set_transformer(2, 3, **({"seeds": 4} | sizes))


def test_points_of_another_size_are_refused():
    with pytest.raises(jm.InputError, match=r"takes points \[N, 2\]"):
        MODEL.apply(PARAMS, jnp.ones((5, 3)))
