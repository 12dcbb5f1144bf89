"""Derivatives through training itself: of the trained state in the start, and in what training depends on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jmeta as jm

KEY = jax.random.key(0)
MODEL = jm.Model(
    lambda key: {"w": 0.1 * jnp.ones((1, 3)), "v": 0.2 * jnp.ones((3, 1))},
    lambda params, x, weights=None: jnp.tanh(x @ params["w"]) @ params["v"],
)


def sine(key, good=1.0):
    """Four points of a sine wave, and four others; infinite inputs where it is not good."""
    x_key, phase_key, task_key = jax.random.split(key, 3)
    x = jax.random.uniform(x_key, (8, 1), minval=-2.0, maxval=2.0) / good
    y = jnp.sin(x + jax.random.uniform(phase_key))
    return jm.Task(jm.Batch(x[:4], y[:4]), jm.Batch(x[4:], y[4:]), None, task_key)


def trained_loss(numbers, sampler=sine, steps=3):
    """The loss of new tasks after meta-training with these rates, inside and outside, and from this start."""
    learner = jm.maml(MODEL, jm.squared_error, numbers={"learning_rate": numbers["inner"]})
    loss = jm.query_loss(learner, jm.squared_error)
    step = jm.meta_step(loss, optax.adam(numbers["outer"]), chunk=2)
    start = learner.init(KEY)
    start = start._replace(start=jax.tree.map(lambda leaf: numbers["scale"] * leaf, start.start))
    state = jm.train(step, sampler, step.init(start), KEY, steps=steps, tasks=3)
    new = jax.vmap(sine)(jax.random.split(jax.random.key(9), 2))
    return jnp.mean(jax.vmap(lambda task: loss(state.meta, task)[0])(new))


NUMBERS = {"inner": 0.1, "outer": 0.05, "scale": 1.5}


def test_the_derivative_of_a_trained_state_equals_differences(float64):
    program = jax.jit(jax.value_and_grad(functools.partial(trained_loss, steps=2)))
    slope = program(jax.tree.map(jnp.asarray, NUMBERS))[1]
    for name, number in NUMBERS.items():
        ends = [program({**NUMBERS, name: jnp.asarray(number + step)})[0] for step in (1e-5, -1e-5)]
        np.testing.assert_allclose(slope[name], (ends[0] - ends[1]) / 2e-5, rtol=1e-6)


def test_a_task_that_is_not_finite_does_not_reach_it():
    def some_bad(key):
        return sine(key, jnp.where(jax.random.bernoulli(key, 0.3), 0.0, 1.0))

    value, slope = jax.jit(jax.value_and_grad(functools.partial(trained_loss, sampler=some_bad)))(NUMBERS)
    drawn = jax.vmap(some_bad)(jax.random.split(KEY, 9)).support.inputs
    assert not np.all(np.isfinite(drawn))
    assert np.isfinite(value)
    assert all(np.isfinite(leaf) and leaf != 0 for leaf in jax.tree.leaves(slope))


def test_memory_grows_with_the_state_and_not_with_what_a_step_needs():
    """Each step adds its state: of 6 weights, with Adam's moments, less than a kilobyte."""

    def needed(steps):
        program = jax.jit(jax.grad(functools.partial(trained_loss, steps=steps)))
        return program.lower(NUMBERS).compile().memory_analysis().temp_size_in_bytes

    assert needed(42) - needed(2) < 40 * 1024
