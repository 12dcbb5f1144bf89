"""Two processes that train as one: as one process does, through signals, kills and another number of them."""

import json
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

import jmeta as jm
from jmeta.training.hosts import connect

RUN = """
import sys, pathlib, jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[3]))
from jmeta.training.hosts import connect
if len(sys.argv) > 4:
    connect(sys.argv[4], int(sys.argv[5]), int(sys.argv[6]))
import numpy as np, optax, jmeta as jm
folder, key = pathlib.Path(sys.argv[1]), jax.random.key(3)
learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(1e-3), mesh=jm.task_mesh())
state, _ = jm.loop(
    step, jm.sinusoid(shots=4, queries=4), step.init(learner.init(key)), key, steps=int(sys.argv[2]), tasks=8,
    every=100, hooks=[jm.JSONLog(folder / "log.jsonl"), jm.SaveStates(folder / "states", every_seconds=0)])
print(jax.process_count(), jax.device_count(), int(state.step))
"""


def address():
    """Where the first of several hosts can listen."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def begun(folder, steps, devices, hosts=1):
    """One process with some devices, or several hosts with as many each."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", RUN, str(folder), str(steps), str(devices)]
    first = address()
    joins = [[first, str(hosts), str(place)] for place in range(hosts)] if hosts > 1 else [[]]
    quiet = dict(stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return [subprocess.Popen(command + join, **quiet) for join in joins]


def ended(processes, timeout=240):
    said = [process.communicate(timeout=timeout)[0].split()[-3:] for process in processes]
    return [process.returncode for process in processes], said


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def under_way(processes, folder):
    log, until = folder / "log.jsonl", time.monotonic() + 120
    while not (log.exists() and log.stat().st_size) and time.monotonic() < until:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The losses of one process with one device."""
    folder = tmp_path_factory.mktemp("alone")
    codes, said = ended(begun(folder, 400, 1))
    assert (codes, said) == ([0], [["1", "1", "400"]])
    return losses(folder)


@pytest.mark.faults
def test_two_hosts_train_as_one_and_are_taken_up_by_other_numbers_of_devices(alone, tmp_path):
    folder = tmp_path / "run"
    codes, said = ended(begun(folder, 200, 2, hosts=2))
    assert (codes, said) == ([0, 0], [["2", "4", "200"]] * 2)
    codes, said = ended(begun(folder, 300, 4))
    assert (codes, said) == ([0], [["1", "4", "300"]])
    assert ended(begun(folder, 400, 1))[0] == [0]
    np.testing.assert_allclose(losses(folder), alone, rtol=1e-5)


@pytest.mark.faults
def test_a_signal_to_one_of_two_hosts_ends_both_at_the_same_step(tmp_path):
    folder = tmp_path / "run"
    processes = begun(folder, 10**6, 1, hosts=2)
    under_way(processes, folder)
    sent = time.monotonic()
    processes[1].send_signal(signal.SIGTERM)
    assert ended(processes)[0] == [128 + signal.SIGTERM] * 2
    assert time.monotonic() - sent < 10
    saved = max(int(path.name) for path in (folder / "states").iterdir() if path.name.isdigit())
    assert saved >= 100 * len(losses(folder)) > 0


@pytest.mark.faults
@pytest.mark.parametrize("killed", [0, 1])
def test_where_one_of_two_hosts_is_killed_the_other_ends_too_and_both_are_taken_up(alone, tmp_path, killed):
    folder = tmp_path / "run"
    processes = begun(folder, 10**6, 1, hosts=2)
    under_way(processes, folder)
    processes[killed].kill()
    began = time.monotonic()
    codes, _ = ended(processes, timeout=60)
    assert codes[1 - killed] != 0
    assert time.monotonic() - began < 30
    reached = max(int(path.name) for path in (folder / "states").iterdir() if path.name.isdigit())
    codes, said = ended(begun(folder, max(400, reached), 1, hosts=2))
    assert (codes, said) == ([0, 0], [["2", "2", str(max(400, reached))]] * 2)
    np.testing.assert_allclose(losses(folder)[:4], alone, rtol=1e-5)


STORED = """
import sys, jax, numpy as np
from jmeta.training.hosts import connect
if len(sys.argv) > 2:
    connect(sys.argv[1], 2, int(sys.argv[2]))
import optax, jmeta as jm
pixels = np.random.default_rng(0).integers(0, 256, (60, 1), dtype=np.uint8)
images, read = jm.by_class(pixels.__getitem__, np.arange(60) % 4, tuple("abcd"), "an array"), []
images = images._replace(read=lambda numbers: (read.append(len(numbers)), pixels[numbers])[1])
learner = jm.maml(jm.networks.mlp([1, 4, 2]), jm.cross_entropy)
step = jm.meta_step(jm.query_loss(learner, jm.cross_entropy), optax.adam(1e-2), mesh=jm.task_mesh())
sampler = jm.stored_episodes(images, ways=2, shots=1, queries=1)
start, key = step.init(learner.init(jax.random.key(0))), jax.random.key(1)
state, rows = jm.loop(step, sampler, start, key, steps=6, tasks=4, every=2)
print()
print(max(read), *(f"{row['loss']:.6f}" for row in rows))
"""


@pytest.mark.faults
def test_each_of_two_hosts_reads_its_own_images_and_together_they_train_as_one():
    quiet = dict(stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    command, first = [sys.executable, "-c", STORED], address()
    joined = [subprocess.Popen([*command, first, str(place)], **quiet) for place in range(2)]
    told = [process.communicate(timeout=120)[0].splitlines()[-1].split() for process in joined]
    single = subprocess.run(command, timeout=120, **quiet).stdout.splitlines()[-1].split()
    assert [said[0] for said in (*told, single)] == ["8", "8", "16"]  # images of a step that each one read
    np.testing.assert_allclose(np.array(told[0][1:], float), np.array(single[1:], float), rtol=1e-5)
    assert told[0] == told[1]


@pytest.mark.faults
def test_two_hosts_take_the_same_state_where_the_newest_is_damaged(alone, tmp_path):
    folder = tmp_path / "run"
    assert ended(begun(folder, 200, 1))[0] == [0]
    states = sorted(int(path.name) for path in (folder / "states").iterdir() if path.name.isdigit())
    (folder / "states" / str(states[-1]) / "manifest.json").unlink()
    codes, said = ended(begun(folder, 400, 1, hosts=2))
    assert (codes, said) == ([0, 0], [["2", "2", "400"]] * 2)
    np.testing.assert_allclose(losses(folder), alone, rtol=1e-5)


@pytest.mark.faults
def test_an_experiment_runs_on_two_hosts_and_an_error_of_one_ends_both(tmp_path):
    told = ["--preset", "quick", "--methods", "maml", "--out", str(tmp_path / "out")]

    def started(*more):
        command = [sys.executable, "-m", "experiments.sinusoid", *told, *more, "--coordinator", address()]
        quiet = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return [
            subprocess.Popen([*command, "--hosts", "2", "--host", str(place)], **quiet) for place in range(2)
        ]

    assert ended(started("--resume"))[0] == [0, 0]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["metrics"]
    began = time.monotonic()
    first, second = started()  # without --resume; the first host alone finds the states
    said = first.communicate(timeout=90)[1]
    assert first.returncode == 2
    assert "add --resume to continue it" in said
    second.communicate(timeout=90)
    assert second.returncode != 0
    assert time.monotonic() - began < 90


def test_hosts_that_do_not_say_who_they_are_are_refused():
    with pytest.raises(jm.InputError, match="give all three, or"):
        connect("127.0.0.1:1", 2)
