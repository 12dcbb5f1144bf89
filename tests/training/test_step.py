"""One meta-update: the mean gradient of the tasks that are whole, however they are chunked."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta as jm


def loss(meta, task):
    """A quadratic around each task's point; the logarithm turns it NaN below zero."""
    value = jnp.sum((meta["w"] - task["x"]) ** 2) + 0 * jnp.log(task["good"])
    return value, {"x": jnp.sum(task["x"])}


def tasks(good=(1, 1, 1, 1)):
    x = jnp.arange(8.0).reshape(4, 2)
    return {"x": x, "good": jnp.asarray(good, jnp.float32)}


META, KEY = {"w": jnp.array([1.0, -1.0])}, jax.random.key(0)


def update(batch, **options):
    step = jm.meta_step(loss, optax.sgd(0.5), **options)
    return jax.jit(step.update)(step.init(META), batch)


@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 4, 9])
def test_an_update_is_the_mean_over_tasks(chunk):
    state, report = update(tasks(), chunk=chunk)
    x = np.arange(8.0).reshape(4, 2)
    np.testing.assert_allclose(state.meta["w"], x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(report.loss, ((x - [1, -1]) ** 2).sum(1).mean(), rtol=1e-6)
    np.testing.assert_allclose(report.metrics["x"], x.sum(1).mean(), rtol=1e-6)
    np.testing.assert_allclose(
        report.metrics["gradient_norm"], np.linalg.norm(2 * (np.array([1, -1]) - x.mean(0))), rtol=1e-6
    )
    assert report.skipped == 0
    assert state.step == 1


@pytest.mark.parametrize("chunk", [None, 1, 2, 3])
def test_a_task_that_is_not_finite_is_left_out_and_counted(chunk):
    state, report = update(tasks(good=(1, -1, 1, 0)), chunk=chunk)
    kept = np.arange(8.0).reshape(4, 2)[[0, 2]]
    np.testing.assert_allclose(state.meta["w"], kept.mean(0), rtol=1e-6)
    np.testing.assert_allclose(report.loss, ((kept - [1, -1]) ** 2).sum(1).mean(), rtol=1e-6)
    assert report.skipped == 2


def test_if_no_task_is_finite_nothing_changes():
    state, report = update(tasks(good=(-1, -1, -1, -1)))
    np.testing.assert_array_equal(state.meta["w"], META["w"])
    assert state.step == 1
    assert report.skipped == 4
    assert all(np.isnan(value) for value in (report.loss, *report.metrics.values()))


def test_a_gradient_that_is_not_finite_changes_nothing():
    def steep(meta, task):
        return jnp.sum(jnp.sqrt(meta["w"] - meta["w"])), {}

    step = jm.meta_step(steep, optax.adam(0.1))
    state, report = step.update(step.init(META), tasks())
    np.testing.assert_array_equal(state.meta["w"], META["w"])
    assert jax.tree.leaves(state.opt)[0] == 0
    assert report.skipped == 4
    assert np.isnan(report.loss)
    assert np.isinf(report.metrics["gradient_norm"])


def test_training_that_learns_nothing_says_why():
    def steep(meta, task):
        return jnp.sum(jnp.sqrt(meta["w"] - meta["w"])) / task["good"], {}

    step = jm.meta_step(steep, optax.adam(0.1))
    reasons = {1.0: "losses are finite but their gradient is not", 0.0: "no task had a finite loss"}
    for good, reason in reasons.items():

        def sampler(key, good=good):
            return {"x": jax.random.normal(key, 2), "good": jnp.asarray(good)}

        with pytest.warns(UserWarning, match=f"{reason} in steps 0 to 1, tasks 0 to 2"):
            jm.train(step, sampler, step.init(META), KEY, steps=2, tasks=3)
        with pytest.raises(jm.InputError, match=f"{reason} in steps 0 to 1, tasks 0 to 2"):
            jm.loop(step, sampler, step.init(META), KEY, steps=2, tasks=3, hooks=[])


def test_a_chunk_whose_gradient_is_not_finite_is_left_out():
    def steep(meta, task):
        return jnp.sum(jnp.sqrt(task["good"] * meta["w"] ** 2)), {}

    step = jm.meta_step(steep, optax.sgd(0.5), chunk=1)
    state, report = step.update(step.init(META), tasks(good=(1, 0, 1, 1)))
    np.testing.assert_allclose(state.meta["w"], META["w"] - 0.5 * np.sign(META["w"]), rtol=1e-6)
    assert report.skipped == 1


def test_an_inner_loop_that_diverges_is_skipped_and_counted():
    """The first task's curvature turns a rate of one into a factor of -1e8 a step."""
    model = jm.Model(lambda key: jnp.ones(2), lambda w, x, weights=None: x @ w)
    learner = jm.maml(model, jm.squared_error, steps=40, numbers={"learning_rate": 1.0})
    scale = jnp.array([1e4, 0.1, 0.1])[:, None, None]
    batch = jm.Batch(scale * jnp.ones((3, 4, 2)), jnp.zeros((3, 4)))
    step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.sgd(0.1))
    state, report = step.update(
        step.init(learner.init(jax.random.key(0))),
        jm.Task(batch, batch, None, jax.random.split(jax.random.key(0), 3)),
    )
    assert report.skipped == 1
    assert jnp.all(jnp.isfinite(state.meta.start))
    assert jnp.all(state.meta.start < 1)


def test_a_schedule_of_meta_steps_sees_how_many_were_taken():
    faded = jm.scheduled(
        lambda i: jm.meta_step(jm.total(loss, weights=[jnp.where(i < 1, 1.0, 0.0)]), optax.sgd(0.5))
    )
    state, _ = jax.jit(faded.update)(faded.init(META), tasks())
    np.testing.assert_allclose(state.meta["w"], update(tasks())[0].meta["w"])
    again, _ = jax.jit(faded.update)(state, tasks())
    np.testing.assert_array_equal(again.meta["w"], state.meta["w"])


def test_a_bad_task_never_reaches_the_shared_backward_pass():
    """A NaN in one task's forward pass makes NaN gradients of weights even at weight zero."""

    def product(meta, task):
        return jnp.sum(meta["w"] * task["x"] / task["good"]) * 1.0, {}

    step = jm.meta_step(product, optax.sgd(1.0))
    state, report = step.update(step.init(META), tasks(good=(1, 0, 1, 1)))
    assert jnp.all(jnp.isfinite(state.meta["w"]))
    assert report.skipped == 1


def test_an_estimator_of_ones_own_is_used():
    def constant(loss, meta, tasks, weights, step):
        count = len(weights)
        return {"w": jnp.ones(2) * count}, (jnp.zeros(count), {})

    state, _ = update(tasks(), estimator=constant)
    np.testing.assert_allclose(state.meta["w"], META["w"] - 0.5)


@pytest.mark.parametrize("chunk", [0, -1, 1.5])
def test_a_chunk_that_is_no_count_is_refused(chunk):
    with pytest.raises(jm.InputError, match="chunk is"):
        update(tasks(), chunk=chunk)


def test_an_empty_batch_is_refused():
    for empty in ({}, jax.tree.map(lambda leaf: leaf[:0], tasks())):
        with pytest.raises(jm.InputError, match="holds no task"):
            update(empty)


def test_labels_beyond_the_outputs_are_skipped_and_not_learned_from():
    learner = jm.prototypes(jm.networks.mlp([2, 2]), ways=3)
    batch = jm.Batch(jnp.ones((2, 5, 2)), jnp.stack([jnp.arange(5), jnp.arange(5) % 3]))
    step = jm.meta_step(jm.query_loss(learner, jm.cross_entropy), optax.sgd(0.1))
    state = step.init(learner.init(jax.random.key(0)))
    _, report = step.update(state, jm.Task(batch, batch, None, jax.random.split(jax.random.key(0), 2)))
    assert report.skipped == 1


def test_an_update_that_would_leave_the_numbers_is_not_taken():
    """Adam's second moment of a gradient of 1e20 is infinite, and would stay so."""
    loss = lambda meta, task: (1e20 * meta * task.truth, {})  # noqa: E731
    step = jm.meta_step(loss, optax.adam(1e-1))
    empty = jm.Batch(jnp.zeros((2, 1)))
    tasks = jm.Task(empty, empty, jnp.ones(2), jax.random.split(jax.random.key(0), 2))
    state, report = step.update(step.init(jnp.ones(())), tasks)
    assert (float(state.meta), int(report.skipped)) == (1.0, 2)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state.opt))


def test_an_optimizer_that_needs_the_loss_gets_the_mean_of_the_kept_tasks():
    def remember(gradient, state, params=None, *, value, **others):
        return jax.tree.map(lambda leaf: -leaf, gradient), value

    optimizer = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), remember)
    step = jm.meta_step(loss, optimizer)
    state, report = step.update(step.init(META), tasks(good=(1, -1, 1, 1)))
    assert report.skipped == 1
    np.testing.assert_allclose(state.opt, report.loss)


def test_the_rate_falls_on_a_plateau_of_the_loss():
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=2, cooldown=0)
    step = jm.meta_step(
        lambda meta, task: (0 * jnp.sum(meta["w"]) + 1, {}), optax.chain(optax.sgd(1.0), plateau)
    )
    state = step.init(META)
    for _ in range(4):
        state, _ = step.update(state, tasks())
    assert optax.tree.get(state.opt, "scale") == 0.5


def bowl(meta, task):
    """A quadratic with curvatures of 1 and 100, which descent with one rate takes hundreds of steps for."""
    return jnp.sum(jnp.array([1.0, 100.0]) * (meta["w"] - task["x"]) ** 2) + 0 * jnp.log(task["good"]), {}


SEARCHES = {
    "lbfgs": optax.lbfgs(),
    "backtracking": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(40, store_grad=True)),
}


@pytest.mark.parametrize("name", list(SEARCHES))
def test_an_optimizer_that_searches_along_a_line_gets_the_loss_of_the_kept_tasks(name):
    step = jm.meta_step(bowl, SEARCHES[name], chunk=2)
    update, state = jax.jit(step.update), step.init(META)
    batch = tasks(good=(1, -1, 1, 1))
    losses = []
    for _ in range(6):
        state, report = update(state, batch)
        losses.append(float(report.loss))
        assert report.skipped == 1
    assert np.all(np.diff(losses) <= 1e-4 * np.abs(losses[:-1]))
    if name == "lbfgs":
        np.testing.assert_allclose(
            state.meta["w"], np.arange(8.0).reshape(4, 2)[[0, 2, 3]].mean(0), rtol=1e-3
        )
