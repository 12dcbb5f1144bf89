"""Samplers that draw one task: on purpose, and by mistake."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta as jm
from jmeta.tasks import fixed
from jmeta.tasks.fixed import warn_of_equal_tasks, warn_of_one_task
from jmeta.training.loop import traceable

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(4, 1)).astype(np.float32)
BATCH = jm.Batch(jnp.asarray(X), jnp.asarray(X))
ONE = jm.Task(BATCH, BATCH, None, KEY)
STEP = jm.meta_step(lambda meta, task: (jnp.mean((task.query.inputs - meta) ** 2), {}), optax.sgd(0.1))


def by_numpy(key):
    batch = jm.Batch(jnp.asarray(np.random.default_rng().normal(size=(4, 1)).astype(np.float32)))
    return jm.Task(batch, batch, None, key)


@jax.jit
def another_key(key):
    batch = jm.Batch(jax.random.normal(jax.random.key(0), (4, 1)))
    return jm.Task(batch, batch, None, key)


def drawn(key):
    batch = jm.Batch(jax.random.normal(key, (4, 1)))
    return jm.Task(batch, batch, None, key)


IGNORING = {"numpy": by_numpy, "another key": another_key, "one": lambda key: ONE, "array": lambda key: X}


@pytest.mark.parametrize("name", list(IGNORING))
def test_a_sampler_that_ignores_its_key_is_warned_of(name):
    with pytest.warns(jm.InputWarning, match="draws the same task for every key") as caught:
        warn_of_one_task(traceable(IGNORING[name]), KEY, stacklevel=2)
    assert caught[0].filename == __file__


USES = {
    "train": lambda sampler: jm.train(STEP, sampler, STEP.init(jnp.zeros(1)), KEY, steps=1, tasks=2),
    "loop": lambda sampler: jm.loop(STEP, sampler, STEP.init(jnp.zeros(1)), KEY, steps=1, tasks=2, hooks=[]),
    "evaluate": lambda sampler: jm.evaluate(
        None, sampler, {}, KEY, tasks=2, score=lambda _, meta, task: {"x": jnp.sum(task.query.inputs)}
    ),
}


@pytest.mark.parametrize("use", list(USES))
def test_it_is_said_where_tasks_are_drawn_and_not_of_one_that_is_meant(use):
    with pytest.warns(jm.InputWarning, match="draws the same task for every key") as caught:
        USES[use](by_numpy)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        USES[use](fixed(ONE))
        USES[use](drawn)


def test_a_fixed_task_has_the_key_that_it_is_drawn_with():
    found = fixed(ONE)(jax.random.key(5))
    np.testing.assert_array_equal(found.support.inputs, X)
    assert found.key == jax.random.key(5)


def test_equal_tasks_of_the_host_are_warned_of():
    def batch(x):
        return jm.Task(jm.Batch(x), jm.Batch(x), None, np.arange(len(x)))

    with pytest.warns(jm.InputWarning, match="draws the same task"):
        warn_of_equal_tasks(batch(np.stack([X, X])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_equal_tasks(batch(np.stack([X, X + 1])))
        warn_of_equal_tasks(batch(X[None]))
