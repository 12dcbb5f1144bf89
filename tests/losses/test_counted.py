"""Rows that do not count change no loss and no derivative, whatever they hold; a NaN that counts is seen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta as jm

N, K = 6, 3
OUTPUTS = np.log(np.random.default_rng(0).dirichlet(np.ones(K), N)).astype(np.float32)
VALUES = np.random.default_rng(1).uniform(size=(N, K)).astype(np.float32)
LABELS = np.array([0, 1, 1, 2, 0, 2])
WEIGHTS = np.float32([1, 0.5, 0, 1, 1, 2])

OF_LABELS = {
    name: getattr(jm.losses, name)
    for name in (
        "cross_entropy",
        "matched_cross_entropy",
        "pairwise_cross_entropy",
        "pairwise_divergence",
        "soft_ari",
        "soft_nmi",
        "within_class_variance",
    )
} | {"supervised_contrastive": jm.losses.supervised_contrastive(0.5)}
OF_VALUES = {
    name: getattr(jm.losses, name)
    for name in (
        "squared_error",
        "expected_regret",
        "regret_and_error",
        "listwise",
        "information_maximization",
    )
} | {"clustering_energy": jm.losses.clustering_energy(jm.soft_kmeans(2, seeding=jm.farthest_first))}
LOSSES = OF_LABELS | OF_VALUES
"""Every public loss."""


@functools.cache
def compiled(name):
    def value(outputs, targets, weights):
        loss, metrics = LOSSES[name](outputs, targets, weights)
        return loss, metrics

    return jax.jit(jax.value_and_grad(value, has_aux=True))


def found(name, outputs=OUTPUTS, targets=None, weights=WEIGHTS):
    targets = (LABELS if name in OF_LABELS else VALUES) if targets is None else targets
    return compiled(name)(outputs, targets, weights)


@pytest.fixture(params=list(LOSSES))
def name(request):
    return request.param


def test_no_loss_is_missing():
    assert set(LOSSES) == set(jm.losses.__all__)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1e30])
def test_a_row_of_weight_zero_changes_neither_the_loss_nor_its_derivative(name, garbage):
    spoiled = np.where(WEIGHTS[:, None] > 0, OUTPUTS, np.float32(garbage))
    targets = None if name in OF_LABELS else np.where(WEIGHTS[:, None] > 0, VALUES, np.float32(garbage))
    jax.tree.map(np.testing.assert_array_equal, found(name), found(name, spoiled, targets))


@pytest.mark.parametrize("name", list(OF_LABELS))
def test_a_row_with_a_hidden_label_changes_neither_the_loss_nor_its_derivative(name):
    spoiled = np.where(WEIGHTS[:, None] > 0, OUTPUTS, np.float32(np.nan))
    labels = np.where(WEIGHTS > 0, LABELS, -1)
    jax.tree.map(np.testing.assert_array_equal, found(name), found(name, spoiled, labels, np.abs(WEIGHTS)))
    (plain, _), gradient = found(name, spoiled, labels, np.ones(N, np.float32))
    assert np.isfinite(plain)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("place", [(0, 0), (5, 2), (0, slice(None))])
def test_a_nan_in_a_row_that_counts_makes_the_loss_and_its_metrics_nan(name, place):
    spoiled = OUTPUTS.copy()
    spoiled[place] = np.nan
    for value in jax.tree.leaves(found(name, spoiled)[0]):
        assert np.isnan(value)


@pytest.mark.parametrize("name", ["soft_ari", "soft_nmi", "within_class_variance", "pairwise_divergence"])
def test_labels_may_be_any_whole_numbers(name):
    jax.tree.map(np.testing.assert_array_equal, found(name), found(name, targets=100 + 50 * LABELS))


def test_a_task_that_turned_nan_is_skipped_alone():
    def loss(meta, task):
        return jm.soft_ari(jax.nn.log_softmax(meta * task.support.inputs), task.support.targets)

    points = np.stack([OUTPUTS] * 4)
    points[1, 2] = np.nan
    batch = jm.Batch(points, np.stack([LABELS] * 4))
    tasks = jm.Task(batch, batch, None, jax.random.split(jax.random.key(0), 4))
    step = jm.meta_step(loss, optax.sgd(0.1), chunk=4)
    _, report = step.update(step.init(jnp.ones(())), tasks)
    assert report.skipped == 1
    assert np.isfinite(report.loss)
