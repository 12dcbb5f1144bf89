"""Losses against known targets: by hand, with weights and hidden labels."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta as jm

OUTPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32))
LABELS = jnp.array([0, 2, 1, -1, 0, 2])
WEIGHTS = jnp.array([1.0, 0.5, 0, 1, 1, 1])


def test_cross_entropy_is_the_weighted_mean_over_known_labels():
    loss, metrics = jm.cross_entropy(OUTPUTS, LABELS, WEIGHTS)
    each = optax.softmax_cross_entropy_with_integer_labels(OUTPUTS, jnp.maximum(LABELS, 0))
    counted = WEIGHTS * (LABELS >= 0)
    np.testing.assert_allclose(loss, counted @ each / counted.sum(), rtol=1e-6)
    right = OUTPUTS.argmax(-1) == LABELS
    np.testing.assert_allclose(metrics["accuracy"], counted @ right / counted.sum(), rtol=1e-6)


def test_squared_error_is_the_weighted_mean_over_points_and_features():
    targets = OUTPUTS + jnp.arange(6.0)[:, None]
    loss, metrics = jm.squared_error(OUTPUTS, targets, WEIGHTS)
    np.testing.assert_allclose(loss, WEIGHTS @ jnp.arange(6.0) ** 2 / WEIGHTS.sum(), rtol=1e-5)
    assert metrics["mse"] == loss


@pytest.mark.parametrize(
    "loss", [jm.cross_entropy, jm.matched_cross_entropy, jm.pairwise_cross_entropy, jm.soft_ari]
)
def test_nothing_to_compare_is_no_nan(loss):
    log_probs = jax.nn.log_softmax(OUTPUTS)
    for labels, weights in ((jnp.full(6, -1), None), (LABELS, jnp.zeros(6))):
        value, gradient = jax.value_and_grad(lambda x, y=labels, w=weights: loss(x, y, w)[0])(log_probs)
        assert jnp.isfinite(value)
        assert jnp.all(jnp.isfinite(gradient))


def test_weights_of_zero_hide_a_point_from_the_gradient():
    gradient = jax.grad(lambda x: jm.cross_entropy(x, LABELS, WEIGHTS)[0])(OUTPUTS)
    assert not np.any(gradient[2])
    assert not np.any(gradient[3])


def test_shapes_that_differ_are_refused_and_not_broadcast():
    with pytest.raises(jm.InputError, match="make them equal"):
        jm.squared_error(jnp.zeros((4, 1)), jnp.zeros(4))
    with pytest.raises(jm.InputError, match="nothing to compare"):
        jm.squared_error(jnp.zeros((0, 1)), jnp.zeros((0, 1)))


def test_a_label_without_an_output_makes_the_loss_nan():
    assert jnp.isnan(jm.cross_entropy(OUTPUTS, LABELS.at[0].set(3))[0])
