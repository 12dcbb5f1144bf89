"""The cost of a choice: by hand, its limits, and its gradient."""

import jax
import numpy as np
import pytest
from jax.test_util import check_grads

import jmeta as jm

WORTHS = np.random.default_rng(0).uniform(size=(5, 4)).astype(np.float32)
SCORES = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
WEIGHTS = np.float32([1, 0.5, 0, 1, 1])


def test_between_a_random_choice_and_the_highest_score():
    mean, _ = jm.losses.expected_regret(SCORES, WORTHS, WEIGHTS, sharpness=1e-6)
    sharp, metrics = jm.losses.expected_regret(SCORES, WORTHS, WEIGHTS, sharpness=1e6)
    regret = WORTHS.max(1) - WORTHS.mean(1)
    np.testing.assert_allclose(mean, WEIGHTS @ regret / WEIGHTS.sum(), rtol=1e-4)
    np.testing.assert_allclose(sharp, metrics["regret"], rtol=1e-5)
    best, _ = jm.losses.expected_regret(WORTHS, WORTHS, sharpness=1e6)
    np.testing.assert_allclose(best, 0, atol=1e-6)


@pytest.mark.usefixtures("float64")
def test_its_gradient_is_that_of_differences():
    @jax.jit
    def loss(scores):
        return jm.losses.expected_regret(scores, WORTHS, WEIGHTS)[0]

    check_grads(loss, (np.float64(SCORES),), order=2, modes=["fwd", "rev"])


def test_descending_it_finds_the_best_choice():
    slope = jax.jit(jax.grad(lambda scores: jm.losses.expected_regret(scores, WORTHS)[0]))
    scores = np.zeros((5, 4), np.float32)
    for _ in range(200):
        scores -= 5 * np.asarray(slope(scores))
    assert jm.losses.expected_regret(scores, WORTHS)[1]["regret"] == 0


def test_shapes_that_differ_are_refused():
    with pytest.raises(jm.InputError, match="give both as \\[examples, choices\\]"):
        jm.losses.expected_regret(SCORES, WORTHS[:, :3])


def test_listwise_by_hand_and_where_the_wrong_choice_is_certain():
    scores, worths = np.float32([[0, 0.2]]), np.float32([[0.3, 0.1]])
    wanted, found = (np.exp(x) / np.exp(x).sum() for x in (np.array([3.0, 1.0]), np.array([0.0, 1.0])))
    loss, _ = jm.losses.listwise(scores, worths)
    np.testing.assert_allclose(loss, -np.sum(wanted * np.log(found)), rtol=1e-5)
    certain = np.float32([[9, 0]])
    flat, steep = (
        jax.jit(jax.grad(lambda s, kind=kind: kind(s, certain[:, ::-1])[0]))(certain)
        for kind in (jm.losses.expected_regret, jm.losses.listwise)
    )
    assert np.abs(flat).max() < 1e-6
    assert np.abs(steep).max() > 1
    with pytest.raises(jm.InputError, match="give"):
        jm.losses.listwise(scores, worths[:, :1])


@pytest.mark.usefixtures("float64")
def test_the_gradient_of_listwise_is_that_of_differences():
    @jax.jit
    def loss(scores):
        return jm.losses.listwise(scores, WORTHS, WEIGHTS)[0]

    check_grads(loss, (np.float64(SCORES),), order=2, modes=["fwd", "rev"])
