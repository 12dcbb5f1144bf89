"""Objectives without labels, and learners that descend them."""

import jax
import numpy as np
import pytest
from derivatives import check_three_ways

import jmeta as jm

KEY = jax.random.key(0)


def test_energy_is_the_mean_inertia_of_kmeans():
    points = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
    weights = np.arange(12, dtype=np.float32)
    clusterer = jm.kmeans(3)
    state = clusterer.fit({}, jm.Batch(points, weights=weights), KEY)
    value, metrics = jm.losses.clustering_energy(clusterer)(points, None, weights)
    np.testing.assert_allclose(value, state.inertia / 66, rtol=1e-6)
    assert metrics == {"energy": value}


def test_information_by_hand():
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    weights = np.array([1.0, 2, 0])
    mean = (probs[0] + 2 * probs[1]) / 3
    entropy = -np.sum(probs * np.log(probs), 1)
    expected = (entropy[0] + 2 * entropy[1]) / 3 + np.sum(mean * np.log(mean))
    value, _ = jm.losses.information_maximization(np.float32(np.log(probs)), None, weights)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    nothing = jm.losses.information_maximization(np.full((2, 3), np.nan), None, np.zeros(2))[0]
    assert np.isfinite(nothing)


@pytest.mark.parametrize("diff", [jm.unroll(), jm.implicit(jm.gmres(4))], ids=["unroll", "implicit"])
def test_maml_descends_a_clustering_and_its_meta_gradient_is_exact(diff):
    """The inner step is a gradient through soft k-means, so the meta-gradient holds its second derivative."""
    with jax.enable_x64(True):
        net = jm.networks.mlp([2, 2], activation=jax.nn.tanh)
        clusterer = jm.soft_kmeans(2, steps=40, sharpness=2.0, diff=diff, seeding=jm.farthest_first)
        learner = jm.maml(
            net,
            jm.losses.clustering_energy(clusterer),
            numbers={"learning_rate": 0.1},
        )
        points = np.random.default_rng(1).normal(size=(6, 2))
        loss = jm.query_loss(learner, jm.squared_error)
        task = jm.Task(jm.Batch(points), jm.Batch(points, np.cos(points)), None, KEY)
        meta = jax.tree.map(np.float64, learner.init(KEY))
        check_three_ways(lambda meta: loss(meta, task)[0], meta, rtol=1e-4, atol=1e-6)


def test_descent_on_information_separates_clusters():
    truth = np.arange(10) // 5
    points = np.float32(3 * truth[:, None] + 0.1 * np.random.default_rng(0).normal(size=(10, 2)))
    net = jm.networks.mlp([2, 8, 2])
    learner = jm.maml(net, jm.losses.information_maximization, steps=60, numbers={"learning_rate": 0.5})
    fast = learner.adapt(learner.init(KEY), jm.Batch(points), KEY)
    labels = np.argmax(learner.predict(fast, points), -1)
    assert jm.adjusted_rand_index(labels, truth) == 1
