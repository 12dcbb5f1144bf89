"""What every learner promises, whatever its method."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from algorithms import LEARNERS, PIECEWISE_CONSTANT

import jmeta as jm

N, WAYS = 9, 3


def support(seed=0, spread=1.0):
    """Three blobs in the plane, three points of each; they overlap a little."""
    labels = np.arange(N) % WAYS
    noise = spread * np.random.default_rng(seed).normal(size=(N, 2))
    points = np.array([[0, 0], [3, 0], [0, 3]])[labels] + noise
    return jm.Batch(jnp.asarray(points, jnp.float32), jnp.asarray(labels), jnp.ones(N), jnp.asarray(WAYS))


@functools.cache
def made(name):
    return LEARNERS[name]()


@functools.cache
def compiled(name):
    learner = made(name)

    @jax.jit
    def run(meta, batch, key):
        return learner.predict(learner.adapt(meta, batch, key), batch.inputs, batch.weights)

    return run


@pytest.fixture(params=list(LEARNERS))
def name(request):
    return request.param


@pytest.fixture
def meta(name):
    return made(name).init(jax.random.key(0))


def test_a_learner_is_a_pure_function_of_its_arguments(name, meta):
    outputs = [compiled(name)(meta, support(), jax.random.key(1)) for _ in range(2)]
    np.testing.assert_array_equal(*outputs)
    assert outputs[0].shape == (N, WAYS)
    assert jnp.all(jnp.isfinite(outputs[0]))


def test_meta_parameters_are_a_tree_of_arrays(name, meta):
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(meta))
    same = made(name).init(jax.random.key(0))
    other = made(name).init(jax.random.key(1))
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), meta, same)))
    assert not all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), meta, other)))


def test_tasks_are_vmapped(name, meta):
    batches = jax.tree.map(lambda *leaves: jnp.stack(leaves), support(0), support(1))
    keys = jax.random.split(jax.random.key(1), 2)
    together = jax.vmap(compiled(name), in_axes=(None, 0, 0))(meta, batches, keys)
    alone = [compiled(name)(meta, support(seed), keys[seed]) for seed in (0, 1)]
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-4, atol=1e-4)


def test_points_of_weight_zero_have_no_influence(name, meta):
    batch = support()
    weights = batch.weights.at[jnp.array([0, 4])].set(0)
    lost = batch._replace(weights=weights)
    garbage = lost._replace(inputs=batch.inputs.at[jnp.array([0, 4])].set(1e3))
    kept = np.flatnonzero(weights)
    found = [np.asarray(compiled(name)(meta, b, jax.random.key(1)))[kept] for b in (lost, garbage)]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)


def test_meta_gradients_are_finite_and_reach_the_network_unless_outputs_jump(name, meta):
    learner = made(name)

    def loss(meta):
        fast = learner.adapt(meta, support(0), jax.random.key(1))
        outputs = learner.predict(fast, support(1).inputs)
        return jm.cross_entropy(outputs, support(1).targets)[0]

    gradient = jax.jit(jax.grad(loss))(meta)
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
    assert bool(optax.tree.norm(gradient) > 0) == (name not in PIECEWISE_CONSTANT)


def test_meta_training_lowers_the_loss(name, meta):
    learner = made(name)
    tasks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(support(seed) for seed in range(4)))
    tasks = jm.Task(tasks, tasks, None, jax.random.split(jax.random.key(0), 4))
    step = jm.meta_step(jm.query_loss(learner, jm.cross_entropy), optax.adam(1e-2))
    update = jax.jit(step.update)
    state, losses = step.init(meta), []
    for _ in range(30):
        state, metrics = update(state, tasks)
        losses.append(float(metrics["loss"]))
    assert (losses[-1] < losses[0]) == (name not in PIECEWISE_CONSTANT)
