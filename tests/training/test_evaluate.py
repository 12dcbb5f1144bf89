"""Evaluation: scores by hand, the same tasks for all learners, and labels that stay hidden."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

import jmeta as jm

FOUND = jnp.array([1, 1, 0, 0, 2, 2])
TRUTH = jnp.array([0, 0, 1, 2, 2, 2])


score = jax.jit(jm.clustering_score, static_argnums=0)


@cache
def oracle(outputs):
    """A learner that clusters by the first feature, which holds the answer."""

    def adapt(meta, support, key):
        assert support.targets is None or not outputs
        return meta

    def predict(fast, inputs, weights=None):
        return jax.nn.log_softmax(10 * jax.nn.one_hot(inputs[:, 0].astype(int), 3))

    return jm.Learner(lambda key: {}, adapt, predict)


def task():
    support = jm.Batch(FOUND[:, None].astype(float), None, jnp.ones(6))
    query = jm.Batch(jnp.array([[1.0], [0], [2], [2]]), jnp.array([0, 1, 2, 0]), jnp.ones(4))
    return jm.Task(support, query, TRUTH, jax.random.key(0))


def test_clustering_scores_by_hand():
    found = score(oracle(True), {}, task())
    np.testing.assert_allclose(found["accuracy"], 5 / 6, rtol=1e-6)
    np.testing.assert_allclose(found["ari"], adjusted_rand_score(TRUTH, FOUND), rtol=1e-5)
    np.testing.assert_allclose(found["nmi"], normalized_mutual_info_score(TRUTH, FOUND), rtol=1e-5)
    np.testing.assert_allclose(found["query_accuracy"], 3 / 4, rtol=1e-6)


def test_nan_is_not_taken_for_a_cluster():
    learner = oracle(True)
    lost = learner._replace(predict=lambda fast, x, weights=None: learner.predict(fast, x).at[2].set(jnp.nan))
    found = jm.clustering_score(lost, {}, task())
    assert all(np.isnan(value) for value in found.values())


def test_labels_shown_by_a_task_are_hidden_from_the_learner():
    shown = task()._replace(support=task().support._replace(targets=TRUTH), truth=None)
    assert score(oracle(True), {}, shown)["accuracy"] == pytest.approx(5 / 6)


def test_without_queries_the_partition_alone_is_scored():
    empty = task()._replace(query=jm.Batch(jnp.zeros((0, 1)), jnp.zeros(0, int), jnp.ones(0)))
    assert sorted(score(oracle(True), {}, empty)) == ["accuracy", "ari", "nmi"]


def test_query_scores_are_accuracy_of_labels_and_error_of_values():
    labelled = task()._replace(support=task().support._replace(targets=TRUTH), truth=None)
    assert jm.query_score(oracle(False), {}, labelled)["accuracy"] == 0.25
    learner = jm.maml(jm.networks.mlp([1, 4, 1]), jm.squared_error, steps=2)
    meta = learner.init(jax.random.key(0))
    one = jm.sinusoid()(jax.random.key(1))
    fast = learner.adapt(meta, one.support, one.key)
    error = jnp.mean((learner.predict(fast, one.query.inputs) - one.query.targets) ** 2)
    np.testing.assert_allclose(jm.query_score(learner, meta, one)["mse"], error, rtol=1e-6)


@cache
def alone():
    """A learner and its weights, a sampler, a key, and the errors of its first five tasks."""
    learner = jm.maml(jm.networks.mlp([1, 4, 1]), jm.squared_error)
    meta = learner.init(jax.random.key(0))
    sample, key = jm.sinusoid(), jax.random.key(1)
    error = jax.jit(lambda at: jm.query_score(learner, meta, sample(jax.random.fold_in(key, at)))["mse"])
    return learner, meta, sample, key, [error(at) for at in range(5)]


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_tasks_are_the_same_however_they_are_chunked(chunk):
    learner, meta, sample, key, each = alone()
    found = jm.evaluate(learner, sample, meta, key, tasks=5, chunk=chunk).values["mse"]
    np.testing.assert_allclose(found, each, rtol=1e-4)


def test_a_hidden_support_is_scored_as_a_clustering():
    sample = jm.episodes(
        np.random.default_rng(0).normal(size=(3, 4, 2)), ways=2, shots=2, queries=1, labelled=False
    )
    learner = jm.centroids(jm.networks.mlp([2, 2]), jm.kmeans(2))
    found = jm.evaluate(learner, sample, learner.init(jax.random.key(0)), jax.random.key(1), tasks=3)
    assert sorted(found.values) == ["accuracy", "ari", "nmi", "query_accuracy"]
    assert found.intervals()["ari"].n == 3
    assert "accuracy" in str(found)


def test_fewer_clusters_than_classes_are_scored_as_scikit_learn_does():
    images = np.random.default_rng(0).normal(size=(5, 4, 2)).astype(np.float32)
    sample = jm.episodes(images, ways=5, shots=3, queries=1, labelled=False)
    learner = jm.centroids(jm.networks.mlp([2, 2]), jm.kmeans(2))
    meta, key = learner.init(jax.random.key(0)), jax.random.key(1)
    found = jm.evaluate(learner, sample, meta, key, tasks=3).values
    for place in range(3):
        task = sample(jax.random.fold_in(key, place))
        fast = learner.adapt(meta, task.support, task.key)
        labels = learner.predict(fast, task.support.inputs).argmax(-1)
        np.testing.assert_allclose(found["ari"][place], adjusted_rand_score(task.truth, labels), atol=1e-5)
        np.testing.assert_allclose(
            found["nmi"][place], normalized_mutual_info_score(task.truth, labels), atol=1e-5
        )
        assert found["accuracy"][place] <= 0.4 + 1e-6
        assert found["query_accuracy"][place] <= 0.4 + 1e-6
        alone = score(learner, meta, task)
        np.testing.assert_allclose(alone["ari"], found["ari"][place], atol=1e-5)


def test_no_task_is_refused():
    learner = jm.maml(jm.networks.mlp([1, 4, 1]), jm.squared_error)
    with pytest.raises(jm.InputError, match="chunk is 0"):
        jm.evaluate(learner, jm.sinusoid(), {}, jax.random.key(0), tasks=1, chunk=0)
    with pytest.raises(jm.InputError, match="evaluate at least one"):
        jm.evaluate(learner, jm.sinusoid(), {}, jax.random.key(0), tasks=0)


def test_a_clusterer_is_scored_as_the_learner_that_clusters_inputs_as_they_are():
    sampler, key = jm.mixtures(points=(20, 30), clusters=(3, 3)), jax.random.key(5)
    clusterer = jm.soft_kmeans(3, steps=5)
    learner = jm.centroids(jm.Model(lambda key: {}, lambda params, x, weights=None: x), clusterer)
    alone = jm.evaluate(clusterer, sampler, {}, key, tasks=4)
    within = jm.evaluate(learner, sampler, learner.init(key), key, tasks=4)
    for name, values in within.values.items():
        np.testing.assert_array_equal(alone.values[name], values)
