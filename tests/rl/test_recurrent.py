"""Networks with a memory: a step at a time and all at once are one, and a reset is a fresh start."""

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


def weights(network):
    """Parameters far from the start, where outputs are nearly zero."""
    leaves, tree = jax.tree.flatten(network.init(KEY))
    drawn = [
        leaf + 0.5 * jax.random.normal(jax.random.fold_in(KEY, at), leaf.shape)
        for at, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(tree, drawn)


def stepwise(network, params, inputs):
    return lax.scan(lambda hidden, x: network.step(params, hidden, x), network.start(params), inputs)[1]


@pytest.mark.parametrize("name", list(NETWORKS))
def test_steps_are_the_unrolled_sequence(name):
    network = NETWORKS[name]()
    params, inputs = weights(network), jax.random.normal(KEY, (6, 3))
    whole = network.unroll(params, inputs, jnp.arange(6) == 0)
    np.testing.assert_allclose(stepwise(network, params, inputs), whole, atol=1e-5)
    assert float(jnp.std(whole, 0).min()) > 1e-3


@pytest.mark.parametrize("name", list(NETWORKS))
def test_after_a_reset_nothing_is_remembered(name):
    network = NETWORKS[name]()
    params, inputs = weights(network), jax.random.normal(KEY, (6, 3))
    resets = jnp.array([True, False, True, False, False, True])
    whole = network.unroll(params, inputs, resets)
    parts = [stepwise(network, params, inputs[a:b]) for a, b in ((0, 2), (2, 5), (5, 6))]
    np.testing.assert_allclose(whole, jnp.concatenate(parts), atol=1e-5)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_what_comes_later_changes_nothing(name):
    network = NETWORKS[name]()
    params, inputs = weights(network), jax.random.normal(KEY, (6, 3))
    first = jnp.arange(6) == 0
    changed = network.unroll(params, inputs.at[4:].add(3.0), first)
    np.testing.assert_allclose(changed[:4], network.unroll(params, inputs, first)[:4], atol=1e-6)
    assert float(jnp.abs(changed - network.unroll(params, inputs, first))[4:].max()) > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jm.networks.gru(0, 2), "inputs of gru is 0"),
        (lambda: jm.networks.transformer(3, 2, length=4, width=10, heads=4), "4 heads cannot share"),
        (lambda: _unrolled(jm.networks.transformer(3, 2, length=4), 5), "cannot see 5 steps"),
    ],
)
def test_what_makes_no_network_is_refused(make, message):
    with pytest.raises(jm.InputError, match=message):
        make()


def _unrolled(network, steps):
    return network.unroll(network.init(KEY), jnp.zeros((steps, 3)), jnp.zeros(steps, bool))
