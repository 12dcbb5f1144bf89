"""Losses of clusterings: by hand, blind to the clusters' order, and their derivatives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

import jmeta as jm

N, K = 8, 3
LABELS = jnp.array([0, 0, 1, 1, 2, 2, 2, -1])
LOSSES = [jm.matched_cross_entropy, jm.pairwise_cross_entropy, jm.soft_ari]


def log_probs(seed=0, dtype=np.float32):
    logits = np.random.default_rng(seed).normal(size=(N, K)).astype(dtype)
    return jax.nn.log_softmax(jnp.asarray(logits))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_order_of_clusters_and_of_classes_does_not_matter(loss):
    expected = loss(log_probs(), LABELS)[0]
    for order in itertools.permutations(range(K)):
        renamed = jnp.where(LABELS >= 0, jnp.array(order)[LABELS], -1)
        np.testing.assert_allclose(loss(log_probs()[:, jnp.array(order)], LABELS)[0], expected, rtol=1e-5)
        np.testing.assert_allclose(loss(log_probs(), renamed)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_points_of_weight_zero_and_hidden_labels_are_left_out(loss):
    kept = jnp.array([0, 2, 3, 4, 6])
    weights = jnp.zeros(N).at[kept].set(1).at[7].set(1)
    expected = loss(log_probs()[kept], LABELS[kept])[0]
    np.testing.assert_allclose(loss(log_probs(), LABELS, weights)[0], expected, rtol=1e-5)


def test_matched_cross_entropy_is_the_least_over_all_matchings():
    known = np.flatnonzero(LABELS >= 0)
    table = -np.asarray(log_probs())[known]
    each = [
        table[np.arange(len(known)), np.array(order)[LABELS[known]]].mean()
        for order in itertools.permutations(range(K))
    ]
    np.testing.assert_allclose(jm.matched_cross_entropy(log_probs(), LABELS)[0], min(each), rtol=1e-6)


def test_pairwise_cross_entropy_by_hand():
    probs = np.exp(log_probs())
    terms = []
    for i, j in itertools.combinations(range(N - 1), 2):
        together = probs[i] @ probs[j]
        terms.append(-np.log(together if LABELS[i] == LABELS[j] else 1 - together))
    np.testing.assert_allclose(jm.pairwise_cross_entropy(log_probs(), LABELS)[0], np.mean(terms), rtol=1e-5)


def test_soft_ari_of_hard_assignments_is_the_adjusted_rand_index():
    for seed in range(5):
        found = np.random.default_rng(seed).integers(0, K, N - 1)
        hard = jnp.where(jax.nn.one_hot(found, K) > 0, 0, -1e30)
        loss, metrics = jm.soft_ari(hard, LABELS[:-1])
        np.testing.assert_allclose(metrics["soft_ari"], adjusted_rand_score(LABELS[:-1], found), atol=1e-6)
        np.testing.assert_allclose(loss, 1 - metrics["soft_ari"], atol=1e-7)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_equal_finite_differences(loss):
    logits = jnp.asarray(np.random.default_rng(3).normal(size=(N, K)))
    scalar = jax.jit(lambda x: loss(jax.nn.log_softmax(x), LABELS)[0])
    gradient = jax.jit(jax.grad(scalar))(logits)
    steps = 1e-6 * np.eye(N * K).reshape(-1, N, K)
    expected = [(scalar(logits + s) - scalar(logits - s)) / 2e-6 for s in steps]
    np.testing.assert_allclose(np.ravel(gradient), expected, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
def test_certain_assignments_give_finite_gradients(loss):
    """Log-probabilities of -1e30, as hard k-means and unused slots have them."""
    hard = jnp.where(jax.nn.one_hot(jnp.arange(N) % K, K) > 0, 0, -1e30)
    value, gradient = jax.value_and_grad(lambda x: loss(x, LABELS)[0])(hard)
    assert jnp.isfinite(value)
    assert jnp.all(jnp.isfinite(gradient))
