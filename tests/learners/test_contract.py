"""What every learner promises, whatever its method."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from algorithms import LEARNERS, PIECEWISE_CONSTANT

import jmeta as jm
from jmeta.weights import cleared

N, WAYS = 9, 3


def support(seed=0, spread=1.0):
    """Three blobs in the plane, three points of each; they overlap a little."""
    labels = np.arange(N) % WAYS
    noise = spread * np.random.default_rng(seed).normal(size=(N, 2))
    points = np.array([[0, 0], [3, 0], [0, 3]])[labels] + noise
    return jm.Batch(np.float32(points), labels, np.ones(N, np.float32), np.int32(WAYS))


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


@functools.cache
def init(name):
    return jax.jit(made(name).init)


@pytest.fixture
def meta(name):
    return init(name)(jax.random.key(0))


def test_a_learner_is_a_pure_function_of_its_arguments(name, meta):
    outputs = [compiled(name)(meta, support(), jax.random.key(1)) for _ in range(2)]
    np.testing.assert_array_equal(*outputs)
    assert outputs[0].shape == (N, WAYS)
    assert np.all(np.isfinite(outputs[0]))


def test_meta_parameters_are_a_tree_of_arrays(name, meta):
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(meta))
    same, other = (init(name)(jax.random.key(seed)) for seed in (0, 1))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, meta, same)))
    assert not all(jax.tree.leaves(jax.tree.map(np.array_equal, meta, other)))


def test_tasks_are_vmapped(name, meta):
    batches = jax.tree.map(lambda *leaves: np.stack(leaves), support(0), support(1))
    keys = jax.random.split(jax.random.key(1), 2)
    together = jax.jit(jax.vmap(compiled(name), in_axes=(None, 0, 0)))(meta, batches, keys)
    alone = [compiled(name)(meta, support(seed), keys[seed]) for seed in (0, 1)]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


@functools.cache
def differentiated(name):
    """The sum of squared outputs of the points that count, and its gradient to all that is real."""
    learner = made(name)

    @jax.jit
    def run(meta, batch, key):
        def total(meta, inputs, weights):
            own = batch._replace(inputs=inputs, weights=weights)
            outputs = learner.predict(learner.adapt(meta, own, key), inputs, weights)
            return jnp.sum(cleared(outputs, batch.weights) ** 2), outputs

        return jax.value_and_grad(total, (0, 1, 2), has_aux=True)(meta, batch.inputs, batch.weights)

    return run


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 1e3])
def test_points_of_weight_zero_have_no_influence(name, meta, value):
    kept = np.array([1, 2, 3, 5, 6, 7, 8])
    weights = np.float32(np.isin(np.arange(N), kept))
    lost = support()._replace(weights=weights)
    garbage = lost._replace(
        inputs=np.where(weights[:, None] > 0, lost.inputs, np.float32(value)),
        targets=np.where(weights > 0, lost.targets, 99),
    )
    (_, outputs), gradient = differentiated(name)(meta, garbage, jax.random.key(1))
    (_, expected), slope = differentiated(name)(meta, lost, jax.random.key(1))
    np.testing.assert_allclose(outputs[kept], expected[kept], rtol=1e-5, atol=1e-5)
    assert np.all(np.isfinite(outputs))
    for found, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(slope), strict=True):
        assert np.all(np.isfinite(found))
        np.testing.assert_allclose(found, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_point_that_counts_and_is_not_finite_is_not_hidden(name, meta, value):
    spoiled = support()
    spoiled.inputs[4, 0] = value
    assert np.any(np.isnan(compiled(name)(meta, spoiled, jax.random.key(1))[4]))


def test_meta_gradients_are_finite_and_reach_the_network_unless_outputs_jump(name, meta):
    learner = made(name)

    def loss(meta):
        fast = learner.adapt(meta, support(0), jax.random.key(1))
        outputs = learner.predict(fast, support(1).inputs)
        return jm.cross_entropy(outputs, support(1).targets)[0]

    leaves = jax.tree.leaves(jax.jit(jax.grad(loss))(meta))
    assert all(np.all(np.isfinite(leaf)) for leaf in leaves)
    assert any(np.any(leaf != 0) for leaf in leaves) == (name not in PIECEWISE_CONSTANT)


def test_meta_training_lowers_the_loss(name, meta):
    learner = made(name)
    tasks = jax.tree.map(lambda *leaves: np.stack(leaves), *(support(seed) for seed in range(4)))
    tasks = jm.Task(tasks, tasks, None, jax.random.split(jax.random.key(0), 4))
    step = jm.meta_step(jm.query_loss(learner, jm.cross_entropy), optax.adam(1e-2))
    update = jax.jit(step.update)
    state, losses = step.init(meta), []
    for _ in range(30):
        state, metrics = update(state, tasks)
        losses.append(float(metrics.loss))
    assert (losses[-1] < losses[0]) == (name not in PIECEWISE_CONSTANT)


OF_WAYS = ["matching", "ridge", "prototypes"]


@pytest.mark.parametrize("name", OF_WAYS)
def test_labels_beyond_the_ways_are_refused_and_inside_jit_make_all_outputs_nan(name, meta):
    beyond = support()
    beyond = beyond._replace(targets=beyond.targets + 1)
    with pytest.raises(jm.InputError, match="the support has the label 3; give labels from 0 to 2"):
        (made(name) if name != "ridge" else jm.ridge(ways=3)).adapt(meta, beyond, jax.random.key(1))
    assert np.all(np.isnan(compiled(name)(meta, beyond, jax.random.key(1))))
    padded = beyond._replace(weights=np.float32(beyond.targets < WAYS))
    found = made(name).predict(made(name).adapt(meta, padded, jax.random.key(1)), padded.inputs)
    assert np.all(np.isfinite(found))


def test_a_state_of_meta_training_is_no_meta_parameters(name, meta):
    state = jm.MetaState(0, meta, None)
    with pytest.raises(jm.InputError, match=r"give its meta-parameters, state\.meta"):
        made(name).adapt(state, support(), jax.random.key(1))
