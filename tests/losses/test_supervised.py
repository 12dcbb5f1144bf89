"""Losses against known targets: by hand, with weights and hidden labels."""

import jax
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

import jmeta as jm

OUTPUTS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
LABELS = np.array([0, 2, 1, -1, 0, 2])
WEIGHTS = np.float32([1, 0.5, 0, 1, 1, 1])


def test_cross_entropy_is_the_weighted_mean_over_known_labels():
    loss, metrics = jm.cross_entropy(OUTPUTS, LABELS, WEIGHTS)
    each = np.asarray(
        jax.jit(optax.softmax_cross_entropy_with_integer_labels)(OUTPUTS, np.maximum(LABELS, 0))
    )
    counted = WEIGHTS * (LABELS >= 0)
    np.testing.assert_allclose(loss, counted @ each / counted.sum(), rtol=1e-6)
    right = OUTPUTS.argmax(-1) == LABELS
    np.testing.assert_allclose(metrics["accuracy"], counted @ right / counted.sum(), rtol=1e-6)


def test_squared_error_is_the_weighted_mean_over_points_and_features():
    targets = OUTPUTS + np.arange(6, dtype=np.float32)[:, None]
    loss, metrics = jm.squared_error(OUTPUTS, targets, WEIGHTS)
    np.testing.assert_allclose(loss, WEIGHTS @ np.arange(6.0) ** 2 / WEIGHTS.sum(), rtol=1e-5)
    assert metrics["mse"] == loss


@pytest.mark.parametrize(
    "loss", [jm.cross_entropy, jm.matched_cross_entropy, jm.pairwise_cross_entropy, jm.soft_ari]
)
def test_nothing_to_compare_is_no_nan(loss):
    both = jax.jit(jax.value_and_grad(lambda *arguments: loss(*arguments)[0]))
    for labels, weights in ((np.full(6, -1), None), (LABELS, np.zeros(6, np.float32))):
        value, gradient = both(log_softmax(OUTPUTS, 1), labels, weights)
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))


def test_weights_of_zero_hide_a_point_from_the_gradient():
    gradient = jax.jit(jax.grad(lambda x: jm.cross_entropy(x, LABELS, WEIGHTS)[0]))(OUTPUTS)
    assert not np.any(gradient[2])
    assert not np.any(gradient[3])


def test_shapes_that_differ_are_refused_and_not_broadcast():
    with pytest.raises(jm.InputError, match="make them equal"):
        jm.squared_error(np.zeros((4, 1)), np.zeros(4))
    with pytest.raises(jm.InputError, match="give at least one"):
        jm.squared_error(np.zeros((0, 1)), np.zeros((0, 1)))


def test_a_label_without_an_output_makes_the_loss_nan():
    assert np.isnan(jm.cross_entropy(OUTPUTS, np.append(3, LABELS[1:]))[0])
