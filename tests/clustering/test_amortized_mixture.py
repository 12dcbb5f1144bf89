"""Mixtures that start where a network says: by hand, through EM, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from blobs import TRUTH, K, blobs
from derivatives import numerical

import jmeta as jm
from jmeta.clustering.mixtures.amortized import outputs_per_component

TWO = np.array([[-3.0], [-1.0], [1.0], [3.0]], np.float32)
"""Of mean zero and variance five."""


def says(answer):
    """A model that says the same of all points."""
    return jm.Model(lambda key: jnp.asarray(answer), lambda params, inputs, weights=None: params)


def fit(clusterer, points, **batch):
    params = clusterer.init(jax.random.key(0))
    return clusterer.fit(params, jm.Batch(points, **batch), jax.random.key(1))


def test_without_a_step_the_network_is_believed():
    answer = [[np.log(3.0), -2.0, np.log(0.2)], [0.0, 1.0, np.log(0.4)]]
    state = fit(jm.amortized_mixture(says(answer), 2, steps=0, covariance="diagonal", ridge=1e-30), TWO)
    np.testing.assert_allclose(np.exp(state.log_share), [0.75, 0.25], rtol=1e-5)
    np.testing.assert_allclose(state.means.ravel(), np.sqrt(5) * np.array([-2.0, 1.0]), rtol=1e-5)
    np.testing.assert_allclose(state.covariances.ravel() * state.scale**2, [1.0, 2.0], rtol=1e-5)


def test_em_goes_on_from_there():
    answer = [[0.0, -1.0, -2.0], [0.0, 1.0, -2.0]]
    state = fit(jm.amortized_mixture(says(answer), 2, steps=50), TWO)
    np.testing.assert_allclose(state.means.ravel(), [-2.0, 2.0], atol=0.1)
    assert state.residual < 1e-3


def test_the_likeliest_of_the_proposals_is_kept():
    bad, good = [[0.0, 0.0, 0.0]] * 2, [[0.0, -0.9, -2.0], [0.0, 0.9, -2.0]]
    for answer in (bad + good, good + bad):
        state = fit(jm.amortized_mixture(says(answer), 2, proposals=2, steps=0), TWO)
        np.testing.assert_allclose(state.means.ravel(), np.sqrt(5) * np.array([-0.9, 0.9]), rtol=1e-5)


def test_what_mirrors_show_is_tried_too():
    points = blobs(1, spread=0.3)
    answer = [[0.0, 1.0, 1.0, -2.0, -2.0], [0.0, 1.1, 1.0, -2.0, -2.0], [0.0, 1.0, 1.1, -2.0, -2.0]]
    once, often = (
        fit(jm.amortized_mixture(says(answer), 3, views=views, steps=2), points) for views in (1, 20)
    )
    assert often.log_likelihood > once.log_likelihood + 1


def test_the_network_is_shown_one_point_in_so_many_and_em_takes_all():
    def ends(params, inputs, weights=None):
        assert len(weights) == len(inputs) == 2
        return jnp.stack([jnp.array([0.0, x, -2.0]) for x in inputs[:, 0]])

    clusterer = jm.amortized_mixture(jm.Model(lambda key: {}, ends), 2, stride=2, steps=0)
    state = fit(clusterer, TWO)
    np.testing.assert_allclose(state.means.ravel(), [-3.0, 1.0], rtol=1e-5)
    same = fit(jm.amortized_mixture(says([[0.0, *x, -2.0] for x in TWO[::2] / np.sqrt(5)]), 2, steps=0), TWO)
    np.testing.assert_allclose(state.log_likelihood, same.log_likelihood, rtol=1e-5)


def test_labels_pin_the_start():
    answer = [[0.0, 0.0, 0.0]] * 2
    state = fit(jm.amortized_mixture(says(answer), 2, steps=0), TWO, targets=np.array([1, -1, -1, 0]))
    np.testing.assert_allclose(state.means.ravel(), [3.0, -3.0], rtol=1e-5)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_likelihood_has_the_derivative_of_finite_differences(steps):
    with jax.enable_x64(True):
        points, random = np.float64(blobs(1, spread=2.0)), np.random.default_rng(0)
        answer, away = random.normal(size=(2, 3, 5)) * [[[0.5]], [[1.0]]]
        clusterer = jm.amortized_mixture(says(answer), 3, steps=steps, covariance="diagonal")

        def likelihood(params):
            return clusterer.fit(params, jm.Batch(points), jax.random.key(0)).log_likelihood

        slope = jax.jit(jax.grad(likelihood))(answer)
        assert np.abs(slope).max() > 1e-3
        measured = numerical(lambda size: likelihood(answer + size * away), np.zeros(()), 1e-6)
        np.testing.assert_allclose(np.vdot(slope, away), measured[0], rtol=1e-5)


def test_a_network_learns_where_clusters_are():
    outputs, shape = outputs_per_component(2), dict(width=8, heads=2, layers=1)
    network = jm.networks.set_transformer(3, outputs, seeds=2 * K, **shape)
    clusterer = jm.amortized_mixture(network, K, proposals=2, steps=1, covariance="spherical")
    loss = jm.fitting_loss(clusterer, lambda state: -state.log_likelihood)

    def sample(key):
        points_key, task_key = jax.random.split(key)
        turn = jax.random.uniform(points_key, (), maxval=2 * np.pi)
        turned = jnp.array([[jnp.cos(turn), jnp.sin(turn)], [-jnp.sin(turn), jnp.cos(turn)]])
        batch = jm.Batch(blobs(0, spread=0.5) @ turned, weights=jnp.ones(len(TRUTH)))
        return jm.Task(batch, batch, jnp.asarray(TRUTH), task_key)

    step = jm.meta_step(loss, optax.adam(3e-3))
    state = step.init(clusterer.init(jax.random.key(0)))
    before = jm.evaluate(clusterer, sample, state.meta, jax.random.key(9), tasks=20, score=score)
    state = jm.train(step, sample, state, jax.random.key(1), steps=60, tasks=8)
    after = jm.evaluate(clusterer, sample, state.meta, jax.random.key(9), tasks=20, score=score)
    assert after.values["likelihood"].mean() > before.values["likelihood"].mean() + 1


def score(clusterer, params, task):
    return {"likelihood": clusterer.fit(params, task.support, task.key).log_likelihood}


@pytest.mark.parametrize(
    "options",
    [
        {"steps": -1},
        {"proposals": 0},
        {"stride": 0},
        {"covariance": "round"},
        {"ridge": 0.0},
        {"pseudo_points": -1.0},
    ],
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(jm.InputError):
        jm.amortized_mixture(says(jnp.zeros((2, 3))), 2, **options)


def test_an_answer_of_another_shape_is_refused():
    with pytest.raises(jm.InputError, match="returns shape"):
        fit(jm.amortized_mixture(says(jnp.zeros((3, 3))), 2), TWO)
