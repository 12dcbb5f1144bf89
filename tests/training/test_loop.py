"""Training: the scan, the host's loop around it, its log, and resuming."""

import functools
import json
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

import jmeta as jm
from jmeta.training.loop import draw_tasks

KEY = jax.random.key(3)
SAMPLE = jm.sinusoid(shots=4, queries=4)


@functools.cache
def parts():
    learner = jm.maml(jm.networks.mlp([1, 4, 1]), jm.squared_error)
    step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(1e-2))
    return learner, step


def start(seed=0):
    learner, step = parts()
    return step.init(learner.init(jax.random.key(seed)))


def loop(state=None, steps=6, hooks=()):
    state = start() if state is None else state
    return jm.loop(parts()[1], SAMPLE, state, KEY, steps=steps, tasks=2, every=2, hooks=hooks)


def equal(x, y, **tolerance):
    compare = functools.partial(np.testing.assert_allclose, **(tolerance or {"rtol": 0}))
    jax.tree.map(compare, x, y)


def test_tasks_are_numbered_by_step_and_place():
    batch = draw_tasks(SAMPLE, KEY, 5, 3)
    own = jax.random.fold_in(jax.random.fold_in(KEY, 5), 2)
    np.testing.assert_allclose(batch.support.inputs[2], SAMPLE(own).support.inputs, rtol=1e-6)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit():
    whole, _ = loop()
    half, _ = loop(steps=4)
    resumed, _ = loop(half, steps=2)
    equal(resumed, whole)
    assert whole.step == 6


def test_the_loop_is_train():
    trained = jm.train(parts()[1], SAMPLE, start(), KEY, steps=6, tasks=2)
    equal(loop()[0], trained, rtol=1e-5)


def test_the_callers_state_survives_the_loop():
    state = start()
    loop(state)
    equal(state, start())


def test_seeds_are_a_vmap():
    keys = jax.random.split(KEY, 2)
    states = jax.tree.map(lambda *leaves: np.stack(leaves), start(0), start(1))

    def train(state, key):
        return jm.train(parts()[1], SAMPLE, state, key, steps=3, tasks=2)

    together, one = jax.jit(jax.vmap(train))(states, keys), jax.jit(train)
    for seed in (0, 1):
        alone = one(start(seed), keys[seed])
        equal(jax.tree.map(lambda leaf, seed=seed: leaf[seed], together), alone, rtol=1e-4, atol=1e-6)


def test_the_log_holds_means_since_the_row_before(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("left by another run\n")
    _, curve = jm.learning_curve(parts()[1], SAMPLE, start(), KEY, steps=5, tasks=2)
    _, rows = loop(
        steps=5, hooks=[jm.Validate(lambda meta: {"validation": 0.5, "bad": float("nan")}), jm.JSONLog(path)]
    )
    logged = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [row["step"] for row in logged] == [2, 4, 5]
    for row, part in zip(logged, (slice(0, 2), slice(2, 4), slice(4, 5)), strict=True):
        np.testing.assert_allclose(row["loss"], np.mean(curve.loss[part]), rtol=1e-4)
        assert row["validation"] == 0.5
        assert row["bad"] is None
        assert row["seconds"] > 0


def test_a_resumed_run_goes_on_writing_its_log(tmp_path):
    path = tmp_path / "log.jsonl"
    state, _ = loop(steps=2, hooks=[jm.JSONLog(path)])
    loop(state, steps=2, hooks=[jm.JSONLog(path)])
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2, 4]


def test_dispatches_of_one_length_are_traced_once():
    traces = []

    def counted(key):
        traces.append(1)
        return SAMPLE(key)

    sampler = jax.tree_util.Partial(counted)
    state, _ = jm.loop(parts()[1], sampler, start(), KEY, steps=2, tasks=2, every=1)
    first = len(traces)
    jm.loop(parts()[1], sampler, state, KEY, steps=8, tasks=2, every=1)
    assert len(traces) == first


def test_rows_compile_nothing_again_on_a_mesh(caplog):
    learner, _ = parts()
    step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(1e-2), mesh=jm.task_mesh(1))
    with jax.log_compiles(), caplog.at_level("WARNING", logger="jax"):
        jm.loop(step, SAMPLE, start(), KEY, steps=8, tasks=2, every=2)
    made = [record.message for record in caplog.records if "Finished XLA compilation" in record.message]
    assert sum("_advance" in message for message in made) == 1


def test_the_evaluation_may_keep_what_it_is_given():
    kept = []
    state, _ = loop(hooks=[jm.Validate(lambda meta: kept.append(meta) or {})])
    equal(kept[-1], state.meta)
    assert all(np.all(np.isfinite(leaf)) for meta in kept for leaf in jax.tree.leaves(meta))


def sometimes(good):
    """A step whose loss is the number of the step, and finite for `good` tasks of two."""

    def update(state, tasks):
        count = good(state.step)
        report = jm.Report(jax.numpy.where(count > 0, state.step, 0.0), 2 - count, {})
        return state._replace(step=state.step + 1), report

    return jm.MetaStep(parts()[1].init, update)


def test_a_row_is_the_mean_over_the_tasks_that_were_kept():
    step = sometimes(lambda i: jax.numpy.array([2, 0, 1, 2])[i])
    _, rows = jm.loop(step, SAMPLE, start(), KEY, steps=4, tasks=2, every=4)
    assert rows[0]["loss"] == pytest.approx((0 * 2 + 2 * 1 + 3 * 2) / 5)
    assert rows[0]["skipped"] == pytest.approx(3 / 4)


def test_a_run_whose_every_task_is_skipped_stops():
    with pytest.raises(jm.InputError, match="no task had a finite loss"):
        jm.loop(sometimes(lambda i: 0 * i), SAMPLE, start(), KEY, steps=4, tasks=2, every=2)


def test_counts_that_mean_nothing_are_refused():
    for run in (jm.train, jm.loop):
        with pytest.raises(jm.InputError, match="give zero or more"):
            run(parts()[1], SAMPLE, start(), KEY, steps=-5, tasks=1)
    with pytest.raises(jm.InputError, match="empty batch"):
        jm.train(parts()[1], SAMPLE, start(), KEY, steps=1, tasks=0)
    with pytest.raises(jm.InputError, match="every is 0; give 1 step or more"):
        jm.loop(parts()[1], SAMPLE, start(), KEY, steps=1, tasks=1, every=0)


def test_a_run_that_was_cut_goes_on_from_its_last_state_bit_for_bit(tmp_path):
    whole, _ = loop()
    folder, log = tmp_path / "states", tmp_path / "log.jsonl"
    loop(steps=4, hooks=[jm.JSONLog(log), jm.SaveStates(folder)])
    resumed, rows = loop(hooks=[jm.JSONLog(log), jm.SaveStates(folder)])
    equal(resumed, whole)
    assert [row["step"] for row in rows] == [6]
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [2, 4, 6]
    again, rows = loop(hooks=[jm.SaveStates(folder)])
    equal(again, whole)
    assert rows == []
    with pytest.raises(jm.InputError, match="holds step 6, beyond the last one, 4"):
        loop(steps=4, hooks=[jm.SaveStates(folder)])


@pytest.mark.faults
def test_states_of_another_run_and_damaged_ones_are_refused(tmp_path):
    """In a process of its own: orbax leaves failed coroutines behind, which warn in some later test."""
    code = f"""
import pathlib, jax, optax, pytest, jmeta as jm
folder, key = pathlib.Path({str(tmp_path)!r}) / "states", jax.random.key(3)
def run(width):
    learner = jm.maml(jm.networks.mlp([1, width, 1]), jm.squared_error)
    step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(1e-2))
    state = step.init(learner.init(key))
    jm.loop(step, jm.sinusoid(), state, key, steps=2, tasks=2, every=2, hooks=[jm.SaveStates(folder)])
run(4)
with pytest.raises(jm.InputError, match="is of another learner or optimiser"):
    run(5)
for path in folder.rglob("*"):
    if path.is_file():
        path.write_bytes(b"")
with pytest.warns(match="is skipped"), pytest.raises(jm.InputError, match="none of the states"):
    run(4)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
