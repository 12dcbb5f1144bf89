"""Runs that are killed, stopped, damaged and shared: they go on as if nothing had been, or say why not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm
from jmeta.records import MetaState
from jmeta.training.checkpoint import read_state
from jmeta.training.preemption import DivergedError, only_writer

STEPS = 2_500
RUN = """
import sys, pathlib, jax, numpy as np, optax, jmeta as jm
folder, key = pathlib.Path(sys.argv[1]), jax.random.key(3)
learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(1e-3))
state, _ = jm.loop(
    step, jm.sinusoid(shots=4, queries=4), step.init(learner.init(key)), key, steps=int(sys.argv[2]), tasks=2,
    every=50, hooks=[jm.JSONLog(folder / "log.jsonl"), jm.SaveStates(folder / "states", every_seconds=0)])
np.savez(folder / "end.npz", *map(np.asarray, jax.tree.leaves(state)))
"""


def begun(folder, steps=STEPS):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, "-c", RUN, str(folder), str(steps)], stderr=subprocess.DEVNULL)


def rows(folder):
    """The log but for its clock."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def size(folder):
    log = folder / "log.jsonl"
    return log.stat().st_size if log.exists() else 0


def under_way(process, folder, timeout=120):
    """Wait until it has written a row more."""
    before, until = size(folder), time.monotonic() + timeout
    while process.poll() is None and size(folder) <= before and time.monotonic() < until:
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert begun(folder).wait(300) == 0
    return folder


def same(folder, other):
    first, second = (np.load(one / "end.npz") for one in (folder, other))
    assert first.files == second.files
    for name in first.files:
        np.testing.assert_array_equal(first[name], second[name])
    assert rows(folder) == rows(other)


@pytest.mark.faults
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(whole, tmp_path, kills):
    random, folder = np.random.default_rng(kills), tmp_path / "run"
    for _ in range(kills):
        process = begun(folder)
        under_way(process, folder)
        time.sleep(random.uniform(0, 0.15))
        process.kill()
        assert process.wait() == -signal.SIGKILL  # it was not done before
    assert begun(folder).wait(300) == 0
    same(folder, whole)


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_soon_and_saved(whole, tmp_path, number):
    folder = tmp_path / "run"
    process = begun(folder)
    under_way(process, folder)
    sent = time.monotonic()
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert time.monotonic() - sent < 10
    assert rows(folder)[-1]["step"] < STEPS
    assert begun(folder).wait(300) == 0
    same(folder, whole)


@pytest.mark.faults
def test_a_second_signal_ends_a_run_at_once_and_loses_nothing_that_was_saved(whole, tmp_path):
    folder = tmp_path / "run"
    process = begun(folder)
    under_way(process, folder)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    assert process.wait(60) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert time.monotonic() - sent < 2
    assert begun(folder).wait(300) == 0
    same(folder, whole)


@pytest.mark.faults
def test_two_writers_are_one_too_many(tmp_path):
    code = f"""
import pathlib, time
from jmeta.training.preemption import only_writer
with only_writer(pathlib.Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(jm.InputError, match=f"process {other.pid} on .* is writing to"),
            only_writer(tmp_path),
        ):
            pass
        other.kill()
    with only_writer(tmp_path):  # a lock dies with its process
        assert (tmp_path / "lock").read_text().startswith(f"{os.getpid()} on ")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], stderr=subprocess.DEVNULL
    )
    if not mounted or mounted.returncode:
        pytest.skip("file systems can be mounted by nobody but root")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.faults
def test_a_run_goes_on_once_a_full_disk_has_room_again(whole, small_disk):
    folder = small_disk / "run"
    process = begun(folder)
    under_way(process, folder)
    with (small_disk / "filler").open("wb", buffering=0) as filler:
        while process.poll() is None:
            with suppress(OSError):  # the disk is full, until a state is removed
                filler.write(bytes(4096))
    assert process.wait(60) == 1  # an InputError, as no command caught it
    (small_disk / "filler").unlink()
    assert begun(folder).wait(300) == 0
    same(folder, whole)


def test_a_run_keeps_the_state_of_its_best_row(tmp_path):
    step = unfinite(100, 0)
    losses = dict(zip(range(2, 12, 2), [3.0, 1.0, 2.0, float("nan"), 1.5], strict=True))
    start = step.init(jnp.zeros(()))
    options = dict(steps=10, tasks=2, every=2)
    hooks = [jm.Validate(lambda meta: {"error": losses[int(meta)]}), jm.SaveStates(tmp_path, best="-error")]
    state, _ = jm.loop(step, jm.sinusoid(), start, jax.random.key(0), hooks=hooks, **options)
    assert int(state.step) == 10
    assert int(read_state(tmp_path, start, best=True).state.step) == 4
    hooks = [jm.SaveStates(tmp_path / "b", best="accuracy")]
    with pytest.raises(jm.InputError, match="rows have no 'accuracy', but loss, "):
        jm.loop(step, jm.sinusoid(), start, jax.random.key(1), hooks=hooks, **options)


def unfinite(first, good):
    """A step whose loss is not finite from a step on, for as many steps; the state counts the good ones."""

    def update(state, tasks):
        bad = (state.step >= first) & (state.step < first + good)
        meta = state.meta + jnp.where(bad, 0, 1)
        report = jm.Report(jnp.where(bad, 0.0, 1.0), jnp.where(bad, 2, 0), {})
        return MetaState(state.step + 1, meta, ()), report

    return jm.MetaStep(lambda meta: MetaState(jnp.asarray(0), meta, ()), update)


@pytest.mark.faults
def test_a_run_that_diverges_is_given_up_and_its_last_good_state_kept(tmp_path):
    hooks = [jm.JSONLog(tmp_path / "log.jsonl"), jm.SaveStates(tmp_path / "states")]
    options = dict(steps=60, tasks=2, every=40, hooks=hooks)
    step = unfinite(10, 100)
    with pytest.raises(DivergedError, match="in steps 10 to 14, tasks 0 to 1;"):
        jm.loop(step, jm.sinusoid(), step.init(jnp.zeros(())), jax.random.key(0), patience=5, **options)
    said = json.loads((tmp_path / "states" / "diverged.json").read_text())
    assert said["steps"] == [10, 14]
    keys = jax.vmap(lambda t: jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 10), t))(jnp.arange(2))
    np.testing.assert_array_equal(said["tasks"], jax.random.key_data(keys))
    with pytest.raises(DivergedError, match="in steps 10 to 14"):  # at once: the state stays as it is
        jm.loop(step, jm.sinusoid(), step.init(jnp.zeros(())), jax.random.key(0), patience=5, **options)
    assert (tmp_path / "states" / "diverged.json").exists()
    step = unfinite(10, 5)
    state, _ = jm.loop(
        step, jm.sinusoid(), step.init(jnp.zeros(())), jax.random.key(0), patience=6, **options
    )
    assert (int(state.step), float(state.meta)) == (60, 55)
    assert not (tmp_path / "states" / "diverged.json").exists()


def test_few_bad_steps_are_counted_and_passed(tmp_path):
    step = unfinite(3, 2)
    state, found = jm.loop(
        step,
        jm.sinusoid(),
        step.init(jnp.zeros(())),
        jax.random.key(0),
        steps=10,
        tasks=2,
        every=10,
        patience=3,
    )
    assert float(state.meta) == 8
    assert found[0]["skipped"] == pytest.approx(0.4)
    assert found[0]["loss"] == 1.0


@pytest.mark.faults
def test_one_bad_step_ends_no_run_though_it_is_all_of_a_row():
    step = unfinite(3, 1)
    state, found = jm.loop(
        step, jm.sinusoid(), step.init(jnp.zeros(())), jax.random.key(0), steps=6, tasks=2, every=1
    )
    assert float(state.meta) == 5
    assert [bool(np.isnan(row["loss"])) for row in found] == [False, False, False, True, False, False]


@pytest.mark.faults
def test_a_second_signal_ends_a_run_at_once_and_one_that_nobody_heard_is_sent_again():
    code = """
import os, signal, sys, time
from jmeta.training.preemption import Stop
with Stop():
    os.kill(os.getpid(), signal.SIGTERM)
    if sys.argv[1] == "twice":
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
time.sleep(60)
"""
    began = time.monotonic()
    once, twice = (
        subprocess.run([sys.executable, "-c", code, word], timeout=60) for word in ("once", "twice")
    )
    assert once.returncode == -signal.SIGTERM
    assert twice.returncode == 128 + signal.SIGTERM
    assert time.monotonic() - began < 50
