"""Losses of clusterings: by hand, blind to the clusters' order, and their derivatives."""

import itertools

import jax
import numpy as np
import pytest
from derivatives import numerical
from scipy.special import log_softmax
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

import jmeta as jm

N, K = 8, 3
LABELS = np.array([0, 0, 1, 1, 2, 2, 2, -1])
LOSSES = [
    jm.matched_cross_entropy,
    jm.pairwise_cross_entropy,
    jm.soft_ari,
    jm.losses.soft_nmi,
]
ALL_LOSSES = [*LOSSES, jm.losses.pairwise_divergence]  # which stops the gradient of one side


def hard(found):
    return np.where(np.eye(K)[found] > 0, np.float32(0), np.float32(-1e30))


def log_probs(seed=0, dtype=np.float32):
    logits = np.random.default_rng(seed).normal(size=(N, K)).astype(dtype)
    return log_softmax(logits, 1)


@pytest.mark.parametrize("loss", ALL_LOSSES)
def test_the_order_of_clusters_and_of_classes_does_not_matter(loss):
    expected = loss(log_probs(), LABELS)[0]
    for order in itertools.permutations(range(K)):
        renamed = np.where(LABELS >= 0, np.array(order)[LABELS], -1)
        np.testing.assert_allclose(loss(log_probs()[:, order], LABELS)[0], expected, rtol=1e-5)
        np.testing.assert_allclose(loss(log_probs(), renamed)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("loss", ALL_LOSSES)
def test_points_of_weight_zero_and_hidden_labels_are_left_out(loss):
    kept = np.array([0, 2, 3, 4, 6])
    weights = np.float32(np.isin(np.arange(N), [*kept, 7]))
    expected = loss(log_probs()[kept], LABELS[kept])[0]
    np.testing.assert_allclose(loss(log_probs(), LABELS, weights)[0], expected, rtol=1e-5)


def test_matched_cross_entropy_is_the_least_over_all_matchings():
    known = np.flatnonzero(LABELS >= 0)
    table = -log_probs()[known]
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


def test_pairwise_divergence_by_hand_and_its_gradient_stops_at_the_target():
    probs = np.exp(log_probs()[:-1])
    divergence = (probs[:, None] * np.log(probs[:, None] / probs[None])).sum(-1)
    same = np.equal.outer(LABELS[:-1], LABELS[:-1])
    terms = np.where(same, divergence, np.maximum(2 - divergence, 0))[~np.eye(N - 1, dtype=bool)]
    np.testing.assert_allclose(jm.losses.pairwise_divergence(log_probs(), LABELS)[0], terms.mean(), rtol=1e-5)
    slope = jax.jit(jax.grad(lambda x: jm.losses.pairwise_divergence(x, np.array([0, 0]))[0]))
    gradient = slope(log_probs()[:2])
    np.testing.assert_allclose(gradient, -np.exp(log_probs())[:2][::-1] / 2, rtol=1e-5)


def test_soft_nmi_of_hard_assignments_is_the_metric():
    for seed in range(5):
        found = np.random.default_rng(seed).integers(0, K, N - 1)
        expected = normalized_mutual_info_score(LABELS[:-1], found)
        np.testing.assert_allclose(
            jm.losses.soft_nmi(hard(found), LABELS[:-1])[1]["soft_nmi"], expected, atol=1e-5
        )


def test_soft_ari_of_hard_assignments_is_the_adjusted_rand_index():
    for seed in range(5):
        found = np.random.default_rng(seed).integers(0, K, N - 1)
        loss, metrics = jm.soft_ari(hard(found), LABELS[:-1])
        np.testing.assert_allclose(metrics["soft_ari"], adjusted_rand_score(LABELS[:-1], found), atol=1e-6)
        np.testing.assert_allclose(loss, 1 - metrics["soft_ari"], atol=1e-7)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_equal_finite_differences(loss):
    logits = np.random.default_rng(3).normal(size=(N, K))
    scalar = jax.jit(lambda x: loss(jax.nn.log_softmax(x), LABELS)[0])
    gradient = jax.jit(jax.grad(scalar))(logits)
    np.testing.assert_allclose(np.ravel(gradient), numerical(scalar, logits, 1e-6), atol=1e-8)


@pytest.mark.parametrize("loss", ALL_LOSSES)
def test_certain_assignments_give_finite_gradients(loss):
    """Log-probabilities of -1e30, as hard k-means and unused slots have them."""
    value, gradient = jax.jit(jax.value_and_grad(lambda x: loss(x, LABELS)[0]))(hard(np.arange(N) % K))
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("loss", [jm.matched_cross_entropy, jm.pairwise_cross_entropy])
def test_certain_mistakes_still_have_a_gradient(loss):
    """Same class apart, and different classes together, each with probability 1 - 1e-11."""
    slope = jax.jit(jax.grad(lambda x, y: loss(jax.nn.log_softmax(x), y)[0]))
    for labels, found in (([0, 0], [0, 1]), ([0, 1], [0, 0])):
        gradient = slope(25 * np.eye(2, dtype=np.float32)[found], np.array(labels))
        assert np.abs(gradient).max() > 0.1


@pytest.mark.parametrize("loss", ALL_LOSSES)
def test_garbage_of_weight_zero_does_not_reach_the_loss(loss):
    weights = np.float32(np.arange(N) != 1)
    garbage = np.where(weights[:, None] > 0, log_probs(), np.float32(-1e30))
    np.testing.assert_allclose(
        loss(garbage, LABELS, weights)[0], loss(log_probs(), LABELS, weights)[0], rtol=1e-5
    )


def test_more_classes_than_clusters_make_the_matched_loss_nan_and_not_wrong():
    assert np.isnan(jm.matched_cross_entropy(log_probs(), np.append(K, LABELS[1:]))[0])
