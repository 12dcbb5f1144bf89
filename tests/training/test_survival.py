"""Runs that are killed, stopped, damaged and shared: they go on as if nothing had been, or say why not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm
from jmeta.records import MetaState
from jmeta.training.checkpoint import MANIFEST, Checkpoints, verified
from jmeta.training.survival import DivergedError, only_writer

STEPS = 3_000
RUN = """
import sys, pathlib, jax, numpy as np, optax, jmeta as jm
folder, key = pathlib.Path(sys.argv[1]), jax.random.key(3)
learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(1e-3))
state, _ = jm.loop(
    step, jm.sinusoid(shots=4, queries=4), step.init(learner.init(key)), key, steps=int(sys.argv[2]), tasks=2,
    every=50, log=folder / "log.jsonl", checkpoints=folder / "states", save_every=0)
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
        time.sleep(random.uniform(0, 0.5))
        process.kill()
        process.wait()
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


def small(step, value=1.0):
    return MetaState(jnp.asarray(step), {"w": value * jnp.arange(300.0), "key": jax.random.key(step)}, ())


@pytest.fixture
def states(tmp_path):
    folder = tmp_path / "states"
    with Checkpoints(folder, {"tasks": 2}) as kept:
        for step in (1, 2, 3):
            kept.save(small(step, step), {"log": step})
    return folder


def newest(folder, run=None):
    with Checkpoints(folder, run or {"tasks": 2}) as kept:
        return kept.restore(small(0))


def test_the_newest_states_are_kept_each_with_its_manifest(states):
    assert sorted(path.name for path in states.iterdir()) == ["2", "3"]
    assert verified(states / "3")[0] == ""
    found = newest(states)
    assert (int(found.state.step), found.beside) == (3, {"log": 3})
    np.testing.assert_array_equal(found.state.meta["w"], 3 * jnp.arange(300.0))
    np.testing.assert_array_equal(*map(jax.random.key_data, (found.state.meta["key"], jax.random.key(3))))


@pytest.mark.faults
@pytest.mark.parametrize("way", ["truncated", "deleted", "flipped"])
def test_a_file_that_is_damaged_is_never_read(states, tmp_path, way):
    """Every file of the newest state, in turn: the one before is taken, aloud."""
    files = sorted(path for path in (states / "3").rglob("*") if path.is_file() and path.stat().st_size)
    assert len(files) > 5
    for path in files:
        copy = tmp_path / "copy"
        shutil.copytree(states, copy)
        target = copy / path.relative_to(states)
        content = bytearray(target.read_bytes())
        content[len(content) // 2] ^= 1
        if way == "deleted":
            target.unlink()
        else:
            target.write_bytes(content if way == "flipped" else content[: len(content) // 2])
        with pytest.warns(UserWarning, match="state 3 in .* is passed over"):
            found = newest(copy)
        assert int(found.state.step) == 2
        np.testing.assert_array_equal(found.state.meta["w"], 2 * jnp.arange(300.0))
        shutil.rmtree(copy)


@pytest.mark.faults
def test_where_nothing_is_whole_nothing_is_begun(states):
    for step in "23":
        (states / step / MANIFEST).unlink()
    with (
        pytest.warns(UserWarning, match="has no manifest"),
        pytest.raises(jm.InputError, match="none of the states"),
    ):
        newest(states)


@pytest.mark.faults
def test_a_state_that_was_passed_over_is_written_anew(states):
    (states / "3" / MANIFEST).unlink()
    with Checkpoints(states, {"tasks": 2}) as kept:
        with pytest.warns(UserWarning, match="passed over"):
            assert int(kept.restore(small(0)).state.step) == 2
        kept.save(small(3, 9.0), {"log": 9})
    assert newest(states).beside == {"log": 9}


@pytest.mark.faults
def test_another_run_and_a_newer_format_are_named(states):
    with pytest.raises(jm.InputError, match="of a run with tasks 2, not 3"):
        newest(states, {"tasks": 3})
    with pytest.raises(jm.InputError, match="of another learner"):
        Checkpoints(states, {"tasks": 2}).restore(small(0)._replace(meta={"v": jnp.zeros(3)}))
    content = json.loads((states / "3" / MANIFEST).read_text())
    from jmeta.training.checkpoint import _digest

    content = {name: value for name, value in content.items() if name != "sha256"} | {"format": 99}
    (states / "3" / MANIFEST).write_text(json.dumps({"sha256": _digest(content)} | content))
    with pytest.raises(jm.InputError, match="is of format 99"):
        newest(states)


@pytest.mark.faults
def test_two_writers_are_one_too_many(tmp_path):
    code = f"""
import pathlib, time
from jmeta.training.survival import only_writer
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


@pytest.mark.faults
def test_a_full_disk_is_said_and_what_was_saved_is_whole(states, tmp_path):
    """A limit of file sizes stands in for it, in a process of its own."""
    code = f"""
import pathlib, resource, jax, jax.numpy as jnp, signal
from jmeta.records import InputError, MetaState
from jmeta.training.checkpoint import Checkpoints
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
weights = jax.random.normal(jax.random.key(0), (10**6,))
large = MetaState(jnp.asarray(4), {{"w": weights, "key": jax.random.key(4)}}, ())
resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, resource.RLIM_INFINITY))
try:
    with Checkpoints(pathlib.Path({str(states)!r}), {{"tasks": 2}}) as kept:
        kept.save(large, {{}})
except InputError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with Checkpoints(pathlib.Path({str(states)!r}), {{"tasks": 2}}) as kept:
    kept.save(large, {{"log": 4}})
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "no state could be written to" in ended.stdout, ended.stderr[-2000:]
    assert verified(states / "3")[0] == ""
    assert verified(states / "4")[0] == ""


@pytest.mark.faults
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(jm.InputError, match="cannot be written to"), only_writer(tmp_path / "file"):
        pass


def unfinite(first, good):
    """A step whose loss is not finite from a step on, for as many steps; the state counts the good ones."""

    def update(state, tasks):
        bad = (state.step >= first) & (state.step < first + good)
        meta = state.meta + jnp.where(bad, 0, 1)
        return MetaState(state.step + 1, meta, ()), {
            "loss": jnp.where(bad, 0.0, 1.0),
            "skipped": jnp.where(bad, 2, 0),
        }

    return jm.MetaStep(lambda meta: MetaState(jnp.asarray(0), meta, ()), update)


@pytest.mark.faults
def test_a_run_that_diverges_is_given_up_and_its_last_good_state_kept(tmp_path):
    options = dict(steps=60, tasks=2, every=40, checkpoints=tmp_path / "states", log=tmp_path / "log.jsonl")
    step = unfinite(10, 100)
    with pytest.raises(DivergedError, match="in steps 10 to 14, tasks 0 to 1;"):
        jm.loop(step, jm.sinusoid(), step.init(jnp.zeros(())), jax.random.key(0), patience=5, **options)
    with pytest.raises(DivergedError, match="in steps 10 to 14"):  # at once: the state stays as it is
        jm.loop(step, jm.sinusoid(), step.init(jnp.zeros(())), jax.random.key(0), patience=5, **options)
    step = unfinite(10, 5)
    state, _ = jm.loop(
        step, jm.sinusoid(), step.init(jnp.zeros(())), jax.random.key(0), patience=6, **options
    )
    assert (int(state.step), float(state.meta)) == (60, 55)


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
from jmeta.training.survival import Stop
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
