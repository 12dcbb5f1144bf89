"""States on disk: damaged, of another run, on a full or read-only disk; what is not whole is never read."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm
from jmeta.records import MetaState
from jmeta.training.checkpoint import MANIFEST, Checkpoints, read_state, verified
from jmeta.training.preemption import only_writer


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
        with pytest.warns(UserWarning, match="state 3 in .* is skipped"):
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
        with pytest.warns(UserWarning, match="is skipped"):
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
def test_a_full_disk_is_said_and_what_was_saved_is_whole(states, tmp_path):
    """A limit of file sizes stands in for it, in a process of its own."""
    code = f"""
import pathlib, resource, jax, jax.numpy as jnp, signal
from jmeta.errors import InputError
from jmeta.records import MetaState
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
def test_a_folder_that_cannot_be_written_is_refused_and_its_states_are_read(states, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(jm.InputError, match="cannot be written to"), only_writer(tmp_path / "file"):
        pass
    code = """
import os, pathlib, sys, jax, jax.numpy as jnp, jmeta as jm
from jmeta.records import MetaState
from jmeta.training.checkpoint import Checkpoints, read_state
from jmeta.training.preemption import only_writer
folder = pathlib.Path(sys.argv[1])
like = MetaState(jnp.asarray(0), {"w": jnp.zeros(300), "key": jax.random.key(0)}, ())
if os.geteuid() == 0:  # to whom every folder is open
    os.seteuid(65534)
print(float(read_state(folder, like).state.meta["w"][1]))
try:
    with only_writer(folder):
        pass
except jm.InputError as error:
    print(error)
"""
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place) / "states"
        shutil.copytree(states, folder)
        pathlib.Path(place).chmod(0o755)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        ended = subprocess.run(
            [sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=120
        )
        for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            path.chmod(0o755)
    number, refused = ended.stdout.splitlines() or (ended.stderr, "")
    assert float(number) == 3.0
    assert "cannot be written to (Permission denied); name another folder." in refused


@pytest.mark.faults
def test_states_are_read_while_another_writes_and_are_missed_where_there_are_none(states, tmp_path):
    with Checkpoints(states, {"tasks": 2}) as kept:
        kept.restore(small(0))
        kept.save(small(4, 4.0), {})
        assert float(read_state(states, small(0)).state.meta["w"][1]) in (3.0, 4.0)
        kept.wait()
        assert float(read_state(states, small(0)).state.meta["w"][1]) == 4.0
    (states / "4" / MANIFEST).unlink()  # as if it were being written: the one before, and not a word
    assert float(read_state(states, small(0)).state.meta["w"][1]) == 3.0
    for folder, said in ((tmp_path / "none", "there is no folder"), (tmp_path, "holds no state")):
        with pytest.raises(jm.InputError, match=said):
            read_state(folder, small(0))


@pytest.mark.faults
def test_the_best_state_is_kept_beside_the_newest(tmp_path):
    folder = tmp_path / "states"
    scores = {1: 0.5, 2: 0.9, 3: 0.7, 4: None, 5: 0.8}
    with Checkpoints(folder, {"tasks": 2}) as kept:
        for step, score in scores.items():
            assert kept.is_best(score) == (step in (1, 2))
            kept.save(small(step, step), {}, score)
    assert sorted(path.name for path in folder.iterdir()) == ["2", "4", "5"]
    assert int(read_state(folder, small(0), best=True).state.step) == 2
    with Checkpoints(folder, {"tasks": 2}) as kept:
        assert int(kept.restore(small(0)).state.step) == 5
        assert not kept.is_best(0.85)  # what was best before is remembered
        kept.save(small(6, 6), {}, 0.95)
    assert sorted(path.name for path in folder.iterdir()) == ["5", "6"]
    assert int(read_state(folder, small(0), best=True).state.step) == 6
