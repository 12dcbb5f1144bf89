"""MAML and its relatives: the identities that define them, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from derivatives import numerical
from jax.flatten_util import ravel_pytree

import jmeta as jm

pytestmark = pytest.mark.usefixtures("float64")


def network():
    """Smooth, so that finite differences mean something."""
    return jm.networks.mlp([1, 4, 1], activation=jnp.tanh)


def start():
    return jax.tree.map(lambda leaf: leaf.astype(float), network().init(jax.random.key(0)))


def task(seed=0):
    x = jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (8, 1)))
    return jm.Task(jm.Batch(x[:4], jnp.sin(3 * x[:4])), jm.Batch(x[4:], jnp.sin(3 * x[4:])), None, None)


def loss_on(batch, weights):
    return jm.squared_error(network().apply(weights, batch.inputs), batch.targets)[0]


def descend(weights, batch, rate, steps):
    """The inner loop, written out."""
    for _ in range(steps):
        slope = jax.grad(partial(loss_on, batch))(weights)
        weights = jax.tree.map(lambda w, g: w - rate * g, weights, slope)
    return weights


def meta_of(learner):
    return learner.init(jax.random.key(0))._replace(start=start())


def gradient(learner, meta=None):
    loss = jm.query_loss(learner, jm.squared_error)
    meta = meta_of(learner) if meta is None else meta
    return jax.jit(jax.grad(lambda m: loss(m, task())[0]))(meta)


def flat(tree):
    return ravel_pytree(tree)[0]


maml = partial(jm.maml, network(), jm.squared_error)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_adapting_is_gradient_descent(steps):
    learner = maml(steps=steps, numbers={"learning_rate": 0.1})
    fast = learner.adapt(meta_of(learner), task().support, None)
    expected = descend(start(), task().support, 0.1, steps)
    np.testing.assert_allclose(flat(fast), flat(expected), rtol=1e-12)


@pytest.mark.parametrize("remat", [False, True])
def test_the_gradient_of_maml_passes_through_the_inner_loop(remat):
    found = gradient(maml(steps=3, numbers={"learning_rate": 0.1}, diff=jm.unroll(remat)))

    def outer(weights):
        return loss_on(task().query, descend(weights, task().support, 0.1, 3))

    np.testing.assert_allclose(flat(found.start), flat(jax.grad(outer)(start())), rtol=1e-10)
    np.testing.assert_allclose(flat(found.start), numerical(jax.jit(outer), start(), 1e-6), atol=1e-7)


def test_first_order_maml_is_the_query_gradient_at_the_adapted_weights():
    found = gradient(maml(steps=3, numbers={"learning_rate": 0.1}, diff=jm.straight_through()))
    adapted = descend(start(), task().support, 0.1, 3)
    expected = jax.grad(partial(loss_on, task().query))(adapted)
    np.testing.assert_allclose(flat(found.start), flat(expected), rtol=1e-12)


def test_the_gradient_of_the_displacement_is_reptiles_update():
    learner = maml(steps=3, numbers={"learning_rate": 0.1}, diff=jm.straight_through())
    meta = meta_of(learner)
    slope = jax.grad(lambda m: jm.displacement(learner)(m, task())[0])(meta)
    adapted = descend(start(), task().support, 0.1, 3)
    np.testing.assert_array_equal(
        flat(slope.start), flat(meta.start) - flat(learner.adapt(meta, task().support, None))
    )
    np.testing.assert_allclose(flat(slope.start), flat(start()) - flat(adapted), rtol=1e-12)

    step = jm.meta_step(jm.displacement(learner), optax.sgd(0.25))
    tasks = jax.tree.map(lambda *leaves: jnp.stack(leaves), task(0), task(1))
    state, _ = step.update(step.init(meta), tasks)
    adapted = [flat(descend(start(), task(seed).support, 0.1, 3)) for seed in (0, 1)]
    expected = flat(start()) + 0.25 * (np.mean(adapted, 0) - flat(start()))
    np.testing.assert_allclose(flat(state.meta.start), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "numbers"),
    [
        (optax.sgd, {"learning_rate": 0.1, "momentum": 0.5}),
        (optax.adam, {"learning_rate": 0.01, "eps": 1e-3}),
    ],
)
def test_any_optimiser_descends_and_its_numbers_can_be_learned(optimizer, numbers):
    learner = maml(steps=3, optimizer=optimizer, numbers=numbers, learn=tuple(numbers))
    meta = meta_of(learner)
    np.testing.assert_allclose(
        [np.exp(meta.numbers[name]) for name in numbers], list(numbers.values()), rtol=1e-6
    )
    found = gradient(learner, meta).numbers
    loss = jax.jit(
        lambda numbers: jm.query_loss(learner, jm.squared_error)(meta._replace(numbers=numbers), task())[0]
    )
    expected = numerical(loss, meta.numbers)
    np.testing.assert_allclose(flat(found), expected, atol=1e-8)


def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(jm.InputError, match="give zero or more"):
        maml(steps=-1)
    with pytest.raises(jm.InputError, match="its numbers are"):
        maml(learn=("momentum",))
    with pytest.raises(jm.InputError, match="learns positive numbers only"):
        maml(numbers={"learning_rate": 0.0}, learn=("learning_rate",))
    learner = maml()
    with pytest.raises(jm.InputError, match="the support has none"):
        learner.adapt(meta_of(learner), task().support._replace(targets=None), None)


def test_an_optimiser_without_numbers_is_given_none():
    learner = maml(optimizer=lambda: optax.sgd(0.1), numbers={})
    fast = learner.adapt(meta_of(learner), task().support, None)
    np.testing.assert_allclose(flat(fast), flat(descend(start(), task().support, 0.1, 1)), rtol=1e-12)
