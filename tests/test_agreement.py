"""Tables and counts of two partitions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from sklearn.metrics import adjusted_rand_score

from jmeta.agreement import adjusted_rand, best_matching, contingency


def one_hot(labels, width):
    return jnp.eye(width)[jnp.asarray(labels)]


def test_contingency_by_hand():
    table = contingency(one_hot([0, 0, 1], 2), one_hot([2, 0, 0], 3), jnp.array([1.0, 2.0, 0.5]))
    np.testing.assert_allclose(table, [[2, 0, 1], [0.5, 0, 0]])


def test_soft_adjusted_rand_counts_expected_pairs_of_different_points():
    """The definition, summed over pairs, against the closed form."""
    random = np.random.default_rng(0)
    x, y = random.dirichlet(np.ones(3), 6), random.dirichlet(np.ones(4), 6)
    weights = random.uniform(0.1, 1, 6)
    pairs = list(itertools.combinations(range(6), 2))
    mass = np.array([weights[i] * weights[j] for i, j in pairs])
    in_x = np.array([x[i] @ x[j] for i, j in pairs])
    in_y = np.array([y[i] @ y[j] for i, j in pairs])
    expected = (mass @ in_x) * (mass @ in_y) / mass.sum()
    index = (mass @ (in_x * in_y) - expected) / ((mass @ in_x + mass @ in_y) / 2 - expected)
    with jax.enable_x64(True):
        found = adjusted_rand(jnp.asarray(x), jnp.asarray(y), jnp.asarray(weights))
    np.testing.assert_allclose(found, index, rtol=1e-12)


@pytest.mark.parametrize(
    ("x", "y"), [([0] * 5, [0] * 5), (range(5), range(5)), ([0] * 5, range(5)), ([0, 0, 1, 1, 1], [0] * 5)]
)
def test_trivial_partitions_score_as_in_scikit_learn(x, y):
    found = adjusted_rand(one_hot(list(x), 5), one_hot(list(y), 5), jnp.ones(5))
    np.testing.assert_allclose(found, adjusted_rand_score(list(x), list(y)), atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (1, 1)])
def test_best_matching_reaches_the_greatest_gain(shape):
    matching = jax.jit(best_matching)
    for seed in range(5):
        gain = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        matched = np.asarray(matching(gain))
        rows = np.flatnonzero(matched >= 0)
        assert len(rows) == min(shape) == len(set(matched[rows]))
        best = gain[scipy.optimize.linear_sum_assignment(-gain)].sum()
        np.testing.assert_allclose(gain[rows, matched[rows]].sum(), best, rtol=1e-5)


def test_the_unit_of_the_weights_does_not_matter():
    x, y = one_hot([0, 0, 1, 1, 2], 3), one_hot([0, 1, 1, 2, 0], 3)
    expected = adjusted_rand(x, y, jnp.ones(5))
    for unit in (1e-6, 1e-3, 1e3):
        np.testing.assert_allclose(adjusted_rand(x, y, jnp.full(5, unit)), expected, rtol=1e-4)
