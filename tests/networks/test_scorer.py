"""A set has no order, and its members are seen beside each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm

MODEL = jm.networks.scorer(3, width=8)
PARAMS = MODEL.init(jax.random.key(0))
SETS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)), jnp.float32)


def test_the_order_of_members_does_not_matter():
    order = np.array([3, 0, 4, 1, 2])
    scores = MODEL.apply(PARAMS, SETS)
    np.testing.assert_allclose(MODEL.apply(PARAMS, SETS[:, order]), scores[:, order], rtol=1e-4, atol=1e-6)


def test_a_member_is_seen_beside_the_others_of_its_set_alone():
    scores = MODEL.apply(PARAMS, SETS)
    changed = MODEL.apply(PARAMS, SETS.at[0, 0].add(1.0))
    assert np.all(changed[0] != scores[0])
    np.testing.assert_array_equal(changed[1], scores[1])


def test_it_adapts_to_a_few_cases_by_maml():
    worths = SETS[:, :, 0]
    learner = jm.maml(MODEL, jm.losses.expected_regret, steps=20, numbers={"learning_rate": 1.0})
    start = learner.init(jax.random.key(0))
    fast = learner.adapt(start, jm.Batch(SETS, worths), jax.random.key(1))
    before, after = (
        jm.losses.expected_regret(learner.predict(weights, SETS), worths)[0]
        for weights in (start.start, fast)
    )
    assert after < 0.5 * before


def test_what_is_no_set_is_refused():
    with pytest.raises(jm.InputError, match="give whole numbers >= 1"):
        jm.networks.scorer(0)
    with pytest.raises(jm.InputError, match="takes sets"):
        MODEL.apply(PARAMS, SETS[0])
