"""The loss of predicted pairs: against NumPy, and trained on one task."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from blobs import TRUTH, K, N, blobs

import jmeta as jm
from jmeta.training.pair_loss import BALANCED, pair_cross_entropy, pair_loss

MODEL = jm.networks.pair_transformer(width=8, pair_width=4, layers=1, heads=2)
CLUSTERER = jm.soft_kmeans(K, steps=3)
CROSS_ENTROPY = jax.jit(jax.vmap(pair_cross_entropy))


def task(truth=TRUTH, key=0):
    weights = np.ones(N, np.float32)
    support = jm.Batch(jnp.asarray(blobs(spread=2.0)), None, jnp.asarray(weights), jnp.asarray(K))
    return jm.Task(support=support, query=support, truth=jnp.asarray(truth), key=jax.random.key(key))


@jax.jit
def value(params, task, pairs=1.0, through=1.0):
    """The loss and its gradient where the number of clusters is known: one program for all tests."""
    loss = pair_loss(MODEL, CLUSTERER, pairs=pairs, through=through, known=1.0)
    return jax.value_and_grad(loss, has_aux=True)(params, task)


def norm(tree):
    return np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree)))


def test_cross_entropy_of_pairs():
    random = np.random.default_rng(0)
    logits = random.normal(size=(6, 6)).astype(np.float32)
    logits = logits + logits.T
    targets = np.array([0, 0, 1, 1, -1, 2])
    weights = np.array([1, 2, 1, 0.5, 1, 0], np.float32)
    same, losses, counted = [], [], []
    for i in range(6):
        for j in range(6):
            if i != j and min(targets[i], targets[j]) >= 0:
                same.append(targets[i] == targets[j])
                losses.append(np.log1p(np.exp(-logits[i, j] if same[-1] else logits[i, j])))
                counted.append(weights[i] * weights[j])
    same = np.array(same)
    mean = np.average(losses, weights=counted)
    halves = [np.average(losses, weights=counted * one) for one in (same, ~same)]
    found, zero = CROSS_ENTROPY(
        np.stack([logits, 0 * logits]), np.stack([targets] * 2), np.stack([weights] * 2)
    )
    np.testing.assert_allclose(found, mean + BALANCED * sum(halves), rtol=1e-5)
    np.testing.assert_allclose(zero, np.log(2) * (1 + 2 * BALANCED), rtol=1e-5)


def test_pairs_of_nothing_are_finite():
    targets = np.stack([np.full(6, -1), np.zeros(6, int)])
    weights = np.stack([np.ones(6, np.float32), np.zeros(6, np.float32)])
    np.testing.assert_array_equal(CROSS_ENTROPY(np.ones((2, 6, 6), np.float32), targets, weights), 0)


def test_the_weights_of_both_parts():
    params = MODEL.init(jax.random.key(1))
    (both, metrics), gradient = value(params, task())
    (pairs, _), pairs_gradient = value(params, task(), through=0.0)
    (through, _), through_gradient = value(params, task(), pairs=0.0)
    np.testing.assert_allclose(pairs, metrics["pair_cross_entropy"], rtol=1e-5)
    np.testing.assert_allclose(through, 1 - metrics["soft_ari"], rtol=1e-5)
    np.testing.assert_allclose(both, pairs + through, rtol=1e-5)
    parts = jax.tree.map(jnp.add, pairs_gradient, through_gradient)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), parts, gradient)
    assert norm(through_gradient) > 1e-4


def test_a_task_of_one_cluster_has_no_clustering_term():
    params = MODEL.init(jax.random.key(1))
    (loss, metrics), gradient = value(params, task(np.zeros(N, int)), pairs=0.0)
    assert loss == metrics["soft_ari"] == 0
    assert norm(gradient) == 0
    (loss, metrics), _ = value(params, task(np.zeros(N, int)))
    assert loss == metrics["pair_cross_entropy"]


def test_the_share_of_tasks_whose_number_of_clusters_is_known():
    def apply(params, inputs, weights, clusters):
        return jnp.full((N, N), jnp.asarray(clusters, float))

    loss = pair_loss(jm.Model(lambda key: {}, apply), CLUSTERER, through=0.0, known=0.25)
    keys = jax.random.split(jax.random.key(0), 400)
    loss_of_tasks = jax.jit(jax.vmap(lambda key: loss({}, task()._replace(key=key))[0]))
    unknown = np.isclose(loss_of_tasks(keys), np.log(2) * (1 + 2 * BALANCED), rtol=1e-5)
    assert 0.68 < unknown.mean() < 0.82


def test_the_loss_falls_on_one_task():
    optimizer = optax.adam(1e-2)
    params = MODEL.init(jax.random.key(2))
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    apply = jax.jit(optax.apply_updates)
    losses = []
    for _ in range(60):
        (loss, _), gradient = value(params, task())
        updates, state = update(gradient, state)
        params = apply(params, updates)
        losses.append(float(loss))
    assert np.all(np.isfinite(losses))
    assert losses[-1] < 0.5 * losses[0]
