"""Learners of embeddings: prototypes, and centroids with labels shown, hidden, or some of each."""

import jax
import numpy as np
import pytest
from scipy.special import log_softmax

import jmeta as jm

NET = jm.networks.mlp([2, 8, 3])
BODY = NET.init(jax.random.key(0))
X = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, -1])


def test_prototypes_are_class_means_and_hidden_labels_do_not_count():
    learner = jm.prototypes(NET, ways=3)
    _, centers, mass = learner.adapt(BODY, jm.Batch(X, LABELS), jax.random.key(0))
    embedded = np.asarray(NET.apply(BODY, X))
    for label in range(3):
        np.testing.assert_allclose(centers[label], embedded[label == LABELS].mean(0), atol=1e-6)
    logits = learner.predict((BODY, centers, mass), X)
    expected = -np.sum((embedded[:, None] - centers[None]) ** 2, -1)
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_a_class_without_support_is_never_predicted():
    learner = jm.prototypes(NET, ways=5)
    fast = learner.adapt(BODY, jm.Batch(X, LABELS), jax.random.key(0))
    log_probs = log_softmax(learner.predict(fast, X), 1)
    assert np.all(np.exp(log_probs[:, 3:]) == 0)
    np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, rtol=1e-5)


def test_centroids_with_every_label_shown_are_a_prototypical_network():
    labels = np.arange(8) % 3
    clusterer = jm.soft_kmeans(3, inverse_temperature=1.0)
    learner, known = jm.centroids(NET, clusterer), jm.prototypes(NET, ways=3)
    meta = learner.init(jax.random.key(0))._replace(body=BODY)
    batch = jm.Batch(X, labels)
    found = learner.predict(learner.adapt(meta, batch, jax.random.key(1)), X)
    expected = log_softmax(known.predict(known.adapt(BODY, batch, jax.random.key(1)), X), 1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_centroids_of_hidden_labels_are_the_clusterer_on_embeddings():
    clusterer = jm.kmeans(3)
    learner = jm.centroids(NET, clusterer)
    meta = learner.init(jax.random.key(0))._replace(body=BODY)
    fast = learner.adapt(meta, jm.Batch(X), jax.random.key(1))
    state = clusterer.fit({}, jm.Batch(NET.apply(BODY, X)), jax.random.key(1))
    np.testing.assert_array_equal(fast[1].centers, state.centers)


def test_a_learned_temperature_is_among_the_meta_parameters_and_gets_a_gradient():
    clusterer = jm.soft_kmeans(3, inverse_temperature=1.0, learn=("temperature",))
    learner = jm.centroids(NET, clusterer)
    meta = learner.init(jax.random.key(0))
    task = jm.Task(jm.Batch(X), jm.Batch(X, LABELS), np.arange(8) % 3, jax.random.key(1))
    loss = jm.clustering_loss(learner, jm.matched_cross_entropy)
    gradient = jax.jit(jax.grad(lambda m: loss(m, task)[0]))(meta)
    assert gradient.clusterer["temperature"] != 0


def test_prototypes_without_labels_are_refused():
    with pytest.raises(jm.InputError, match="use labelled tasks"):
        jm.prototypes(NET, ways=3).adapt(BODY, jm.Batch(X), jax.random.key(0))
