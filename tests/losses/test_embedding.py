"""Losses of embeddings: by their definitions, with hidden labels, and their gradients."""

import jax
import numpy as np
import pytest
from derivatives import numerical

import jmeta as jm

Z = np.random.default_rng(0).normal(size=(7, 3))
LABELS = np.array([0, 0, 1, 1, 1, 2, -1])
LOSSES = {
    "supervised_contrastive": jm.losses.supervised_contrastive(0.5),
    "within_class_variance": jm.losses.within_class_variance,
}


def contrastive_by_definition(z, labels, temperature):
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    terms = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        partners = [p for p in others if labels[p] == labels[i]]
        total = sum(np.exp(z[i] @ z[a] / temperature) for a in others)
        if partners:
            terms.append(-np.mean([np.log(np.exp(z[i] @ z[p] / temperature) / total) for p in partners]))
    return np.mean(terms)


@pytest.mark.usefixtures("float64")
def test_equal_to_their_definitions_over_the_points_with_known_labels():
    found = LOSSES["supervised_contrastive"](Z, LABELS)[0]
    np.testing.assert_allclose(found, contrastive_by_definition(Z[:6], LABELS[:6], 0.5), rtol=1e-12)
    means = np.stack([Z[label == LABELS].mean(0) for label in range(3)])
    expected = ((Z[:6] - means[LABELS[:6]]) ** 2).sum(1).mean()
    found = LOSSES["within_class_variance"](Z, LABELS)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_equal_finite_differences(name):
    scalar = jax.jit(lambda z: LOSSES[name](z, LABELS)[0])
    gradient = jax.jit(jax.grad(scalar))(Z)
    np.testing.assert_allclose(np.ravel(gradient), numerical(scalar, Z, 1e-6), atol=1e-8)


@pytest.mark.parametrize("name", list(LOSSES))
def test_points_of_weight_zero_are_left_out_whatever_they_hold(name):
    weights = np.float32(np.arange(7) != 2)
    garbage = np.float32(np.where(weights[:, None] > 0, Z, 1e6))
    kept = np.array([0, 1, 3, 4, 5])
    expected = LOSSES[name](np.float32(Z[kept]), LABELS[kept])[0]
    np.testing.assert_allclose(LOSSES[name](garbage, LABELS, weights)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("name", list(LOSSES))
def test_nothing_to_compare_and_zero_embeddings_are_no_nan(name):
    both = jax.jit(jax.value_and_grad(lambda z, labels: LOSSES[name](z, labels)[0]))
    for z, labels in ((np.zeros((4, 2)), np.array([0, 0, 1, 1])), (np.ones((4, 2)), np.full(4, -1))):
        value, gradient = both(z, labels)
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))


def test_a_temperature_that_is_not_positive_is_refused():
    with pytest.raises(jm.InputError, match="give a positive number"):
        jm.losses.supervised_contrastive(0)
