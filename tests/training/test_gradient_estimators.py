"""Gradients from losses alone: unbiased, on functions whose blurred gradient is known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta as jm

pytestmark = pytest.mark.usefixtures("float64")


def tasks(count=64, seed=0):
    targets = jnp.asarray(np.random.default_rng(seed).normal(size=(count, 1, 3)))
    batch = jm.Batch(targets, targets)
    return jm.Task(batch, batch, None, jax.random.split(jax.random.key(seed), count))


def bowl(meta, task):
    value = jnp.sum((meta - task.query.targets[0]) ** 2)
    return value, {"value": value}


def test_evolution_is_unbiased_for_a_quadratic():
    """Its blurred gradient is its own: antithetic pairs cancel even orders, and there is no other odd one."""
    meta, batch = jnp.array([1.0, -1.0, 0.5]), tasks()
    estimate = jax.jit(partial(jm.evolution(pairs=512, deviation=0.3), bowl))
    found, (losses, metrics) = estimate(meta, batch, jnp.ones(64), 0)
    exact, (own, _) = jm.backpropagation()(bowl, meta, batch, jnp.ones(64), 0)
    # One pair's estimate e (e . g) has variance |g|^2 + g^2 per number; here g is about (100, 150, 70).
    np.testing.assert_allclose(found, exact, atol=4 * np.linalg.norm(exact) * 2 / np.sqrt(512 * 64))
    np.testing.assert_allclose(losses, own + 3 * 0.3**2, rtol=0.2)
    np.testing.assert_allclose(losses, metrics["value"])


def test_evolution_sees_the_slope_of_a_step_function():
    """d/dm E[m + s e > 0] = N(m; 0, s^2), where back-propagation says zero."""

    def jump(meta, task):
        return jnp.where(meta > 0, 1.0, 0.0), {}

    batch, meta = tasks(), jnp.asarray(0.2)
    found, _ = jm.evolution(pairs=2048, deviation=0.5)(jump, meta, batch, jnp.ones(64) / 64, 0)
    density = np.exp(-(0.2**2) / (2 * 0.25)) / (0.5 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(found, density, rtol=0.02)
    assert jm.backpropagation()(jump, meta, batch, jnp.ones(64) / 64, 0)[0] == 0


def test_the_same_tasks_are_perturbed_anew_at_every_step():
    """Else a fixed batch would never see beyond its first directions."""
    batch = tasks(4)
    step = jm.meta_step(bowl, optax.sgd(0.0), estimator=jm.evolution())
    state, first = step.update(step.init(jnp.ones(3)), batch)
    _, second = step.update(state, batch)
    assert first.metrics["gradient_norm"] != second.metrics["gradient_norm"]


def test_a_task_that_is_not_finite_counts_as_skipped():
    def broken(meta, task):
        return bowl(meta, task)[0] / (task.query.targets[0, 0] < 5), {}

    batch = tasks(8)
    targets = batch.query.targets.at[3].set(9)
    batch = batch._replace(query=batch.query._replace(targets=targets))
    step = jm.meta_step(broken, optax.sgd(0.1), estimator=jm.evolution())
    state, report = step.update(step.init(jnp.ones(3)), batch)
    assert report.skipped == 1
    assert jnp.all(jnp.isfinite(state.meta))


DECAY = jm.InnerProblem(
    init=lambda meta, task: task.query.targets[0],
    advance=lambda meta, task, x, i: (x - jnp.exp(meta) * x, jnp.sum((x - jnp.exp(meta) * x) ** 2)),
)
"""x_{i+1} = (1 - r) x_i with r = exp(meta); each step costs |x_{i+1}|^2."""


def whole_cost(meta, batch, steps):
    factors = (1 - jnp.exp(meta)) ** (2 * jnp.arange(1, steps + 1))
    return jnp.mean(jnp.sum(batch.query.targets[:, 0] ** 2, -1)) * jnp.sum(factors)


def windows(meta, batch, **options):
    """The sum of all windows' gradients, meta held where it is."""
    step = jm.persistent_evolution(DECAY, optax.sgd(1.0), batch, pairs=256, deviation=1e-3, **options)
    state, total = step.init(meta), 0.0
    update = jax.jit(step.update)
    for _ in range(options["steps"] // options["window"]):
        state, report = update(state._replace(meta=meta), batch)
        total = total + (meta - state.meta)
        assert report.skipped == 0
    assert state.carry.position == 0
    return total


@pytest.mark.parametrize("window", [1, 2, 6])
def test_windows_of_persistent_evolution_add_up_to_the_gradient_of_the_whole(window):
    meta, batch = jnp.asarray(-2.0), tasks(128)
    expected = jax.grad(whole_cost)(meta, batch, 6)
    np.testing.assert_allclose(windows(meta, batch, steps=6, window=window), expected, rtol=0.06)


def test_persistent_evolution_sees_a_learned_start():
    """x stays where it starts, at meta, and each of 4 steps costs |x - y|^2."""
    problem = jm.InnerProblem(
        init=lambda meta, task: meta,
        advance=lambda meta, task, x, i: (x, jnp.sum((x - task.query.targets[0]) ** 2)),
    )
    batch, meta = tasks(128), jnp.array([1.0, -1.0, 0.5])
    step = jm.persistent_evolution(problem, optax.sgd(1.0), batch, steps=4, window=4, pairs=256)
    state, _ = jax.jit(step.update)(step.init(meta), batch)
    expected = 8 * (meta - jnp.mean(batch.query.targets[:, 0], 0))
    error = 4 * np.linalg.norm(expected) / np.sqrt(256 * 128)
    np.testing.assert_allclose(meta - state.meta, expected, atol=error)


def test_persistent_evolution_never_repeats_its_noise_on_repeated_tasks():
    """One task and one pair: with the same direction every time, meta would stay on a line."""
    problem = jm.InnerProblem(
        init=lambda meta, task: jnp.zeros(()),
        advance=lambda meta, task, x, i: (x, jnp.sum((meta - 1) ** 2)),
    )
    step = jm.persistent_evolution(problem, optax.sgd(0.02), tasks(1), steps=1, window=1, pairs=1)
    state, update = step.init(jnp.array([0.0, 2.0, 5.0])), jax.jit(step.update)
    for _ in range(600):
        state, _ = update(state, tasks(1))
    np.testing.assert_allclose(state.meta, 1, atol=1e-2)


def test_where_no_copy_is_finite_persistent_evolution_changes_nothing():
    problem = jm.InnerProblem(
        init=lambda meta, task: meta, advance=lambda meta, task, x, i: (x, jnp.log(-jnp.sum(x**2)))
    )
    step = jm.persistent_evolution(problem, optax.adamw(0.1), tasks(3), steps=2, window=1)
    state, report = step.update(step.init(jnp.ones(3)), tasks(3))
    np.testing.assert_array_equal(state.meta, 1)
    assert report.skipped == 3


def test_persistent_evolution_learns_a_rate_and_takes_up_new_tasks():
    step = jm.persistent_evolution(DECAY, optax.adam(0.05), tasks(4), steps=6, window=2, pairs=4)
    state, update = step.init(jnp.asarray(-3.0)), jax.jit(step.update)
    for seed in range(60):
        state, report = update(state, tasks(4, seed=seed // 3))
        np.testing.assert_array_equal(state.carry.tasks.query.targets, tasks(4, seed=seed // 3).query.targets)
    assert state.meta > -1
    assert state.step == 60
    assert jnp.isfinite(report.loss)


@pytest.mark.parametrize("options", [dict(pairs=0), dict(deviation=0.0), dict(deviation=np.inf)])
def test_what_perturbs_nothing_is_refused(options):
    with pytest.raises(jm.InputError, match="give positive numbers"):
        jm.evolution(**options)
    with pytest.raises(jm.InputError, match="give positive numbers"):
        jm.persistent_evolution(DECAY, optax.sgd(0.1), tasks(2), steps=4, window=2, **options)


@pytest.mark.parametrize("window", [0, 3])
def test_windows_divide_the_steps(window):
    with pytest.raises(jm.InputError, match="choose a divisor"):
        jm.persistent_evolution(DECAY, optax.sgd(0.1), tasks(2), steps=4, window=window)
