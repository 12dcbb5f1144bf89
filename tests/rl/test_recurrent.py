"""Networks with a memory: a step at a time and all at once are one, and a reset is a fresh start."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jmeta as jm

KEY = jax.random.key(0)
NETWORKS = {
    "gru": lambda: jm.networks.gru(3, 2, width=8),
    "transformer": lambda: jm.networks.transformer(3, 2, length=6, width=8, heads=2),
}


INPUTS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
FIRST = np.arange(6) == 0


@cache
def made(name):
    """A network, and parameters far from the start, where outputs are nearly zero."""
    network, random = NETWORKS[name](), np.random.default_rng(0)

    def moved(leaf):
        return leaf + 0.5 * random.normal(size=leaf.shape).astype(np.float32)

    return network, jax.tree.map(moved, network.init(KEY))


@partial(jax.jit, static_argnums=0)
def stepwise(network, params, inputs):
    return lax.scan(lambda hidden, x: network.step(params, hidden, x), network.start(params), inputs)[1]


@pytest.mark.parametrize("name", list(NETWORKS))
def test_steps_are_the_unrolled_sequence(name):
    network, params = made(name)
    whole = network.unroll(params, INPUTS, FIRST)
    np.testing.assert_allclose(stepwise(network, params, INPUTS), whole, atol=1e-5)
    assert np.std(whole, 0).min() > 1e-3


@pytest.mark.parametrize("name", list(NETWORKS))
def test_after_a_reset_nothing_is_remembered(name):
    network, params = made(name)
    whole = network.unroll(params, INPUTS, np.array([True, False, True, False, False, True]))
    for start, end in ((0, 2), (2, 5), (5, 6)):
        alone = stepwise(network, params, np.roll(INPUTS, -start, 0))
        np.testing.assert_allclose(whole[start:end], alone[: end - start], atol=1e-5)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_what_comes_later_changes_nothing(name):
    network, params = made(name)
    other = INPUTS + 3 * (np.arange(6) >= 4)[:, None].astype(np.float32)
    whole, changed = (np.asarray(network.unroll(params, inputs, FIRST)) for inputs in (INPUTS, other))
    np.testing.assert_allclose(changed[:4], whole[:4], atol=1e-6)
    assert np.abs(changed - whole)[4:].max() > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jm.networks.gru(0, 2), "inputs of gru is 0"),
        (lambda: jm.networks.transformer(3, 2, length=4, width=10, heads=4), "width is 10 and heads is 4"),
        (lambda: _unrolled(jm.networks.transformer(3, 2, length=4), 5), "there are 5 steps"),
    ],
)
def test_what_makes_no_network_is_refused(make, message):
    with pytest.raises(jm.InputError, match=message):
        make()


def _unrolled(network, steps):
    return network.unroll(network.init(KEY), jnp.zeros((steps, 3)), jnp.zeros(steps, bool))
