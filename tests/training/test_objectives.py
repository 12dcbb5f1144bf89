"""Task losses: what each shows the learner, and what each hides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm

X = jnp.arange(12.0).reshape(6, 2)
LABELS = jnp.array([0, 1, 2, 0, 1, 2])


def spy(seen):
    """A learner that reports what it was shown, and predicts that everything is class 0."""

    def adapt(meta, support, key):
        seen["adapted"] = support
        return meta

    def predict(fast, inputs, weights=None):
        seen["asked"] = inputs
        return jnp.zeros((len(inputs), 3)).at[:, 0].set(fast)

    return jm.Learner(lambda key: jnp.asarray(1.0), adapt, predict)


def task(labelled):
    support = jm.Batch(X, LABELS if labelled else None, jnp.ones(6))
    query = jm.Batch(X + 100, LABELS, jnp.ones(6))
    return jm.Task(support, query, None if labelled else LABELS, jax.random.key(0))


@pytest.mark.parametrize("labelled", [True, False])
def test_the_clustering_loss_hides_all_labels(labelled):
    seen = {}
    value, metrics = jm.clustering_loss(spy(seen), jm.cross_entropy)(1.0, task(labelled))
    assert seen["adapted"].targets is None
    np.testing.assert_array_equal(seen["asked"], X)
    np.testing.assert_allclose(value, jm.cross_entropy(spy({}).predict(1.0, X), LABELS)[0])
    assert list(metrics) == ["clustering/accuracy"]


@pytest.mark.parametrize("labelled", [True, False])
def test_the_prototype_loss_shows_all_labels_and_asks_the_query(labelled):
    seen = {}
    _, metrics = jm.prototype_loss(spy(seen))(1.0, task(labelled))
    np.testing.assert_array_equal(seen["adapted"].targets, LABELS)
    np.testing.assert_array_equal(seen["asked"], X + 100)
    assert list(metrics) == ["prototype/accuracy"]


def test_the_query_loss_shows_what_the_task_shows():
    seen = {}
    jm.query_loss(spy(seen), jm.cross_entropy)(1.0, task(True))
    assert seen["adapted"].targets is LABELS
    jm.query_loss(spy(seen), jm.cross_entropy)(1.0, task(False))
    assert seen["adapted"].targets is None


def test_a_total_is_the_weighted_sum():
    losses = [jm.prototype_loss(spy({})), jm.clustering_loss(spy({}), jm.cross_entropy)]
    each = [loss(1.0, task(False))[0] for loss in losses]
    value, metrics = jm.total(*losses, weights=(0.5, 2.0))(1.0, task(False))
    np.testing.assert_allclose(value, 0.5 * each[0] + 2 * each[1])
    assert sorted(metrics) == ["clustering/accuracy", "prototype/accuracy"]


def test_a_total_keeps_metrics_of_equal_names():
    one, other = (lambda meta, task, by=by: (meta * by, {"mse": meta * by}) for by in (1.0, 3.0))
    value, metrics = jm.total(one, other, one)(2.0, None)
    assert (value, metrics) == (10.0, {"mse": 2.0, "mse_2": 6.0, "mse_3": 2.0})


def test_tasks_that_lack_what_a_loss_needs_are_refused():
    bare = task(True)._replace(support=jm.Batch(X), truth=None)
    empty = task(True)._replace(query=jm.Batch(X[:0], LABELS[:0], jnp.ones(0)))
    silent = task(True)._replace(query=jm.Batch(X))
    with pytest.raises(jm.InputError, match="has no labels, shown or hidden"):
        jm.clustering_loss(spy({}), jm.cross_entropy)(1.0, bare)
    with pytest.raises(jm.InputError, match="the query is empty"):
        jm.prototype_loss(spy({}))(1.0, empty)
    with pytest.raises(jm.InputError, match="the query is empty"):
        jm.query_loss(spy({}), jm.cross_entropy)(1.0, empty)
    with pytest.raises(jm.InputError, match="the query has no targets"):
        jm.query_loss(spy({}), jm.cross_entropy)(1.0, silent)
    with pytest.raises(jm.InputError, match="give one for each"):
        jm.total(jm.prototype_loss(spy({})), weights=(1, 2))
