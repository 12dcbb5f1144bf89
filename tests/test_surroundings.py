"""Machines as they are: no home, no network, another locale, and folders of any name."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

ALONE = """
import runpy, socket, sys
def refused(self, address):
    near = ("127.0.0.1", "::1", "localhost")
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in near:
        raise AssertionError(f"the network was asked for {address}")
    return connect(self, address)
connect, socket.socket.connect = socket.socket.connect, refused
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def ended(*command, cwd, **locale):
    """A module run as a command, where there is nothing but Python and its packages."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "XLA_FLAGS") if name in os.environ}
    bare = {"HOME": "/dev/null", "LC_ALL": "C", **locale}
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    environment = kept | bare | {"PYTHONPATH": root, "JAX_PLATFORMS": "cpu"}
    told = [sys.executable, "-c", ALONE, *map(str, command)]
    return subprocess.run(told, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)


@pytest.mark.faults
def test_an_experiment_runs_there(tmp_path):
    place = tmp_path / "two words \u00fc"
    place.mkdir()
    command = ("experiments.sinusoid", "--preset", "quick", "--methods", "maml", "--out", place / "an out")
    found = ended(*command, "--resume", cwd=place)
    assert found.returncode == 0, found.stderr[-2000:]
    assert json.loads((place / "an out" / "summary.json").read_text())["metrics"]


@pytest.mark.faults
def test_a_table_is_clustered_there_whatever_python_takes_text_to_be(tmp_path):
    place, ascii_alone = tmp_path / "two words", {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    place.mkdir()
    table, random = place / "a table.csv", np.random.default_rng(0)
    rows = [
        f"{x:.3f};{y:.3f};\u00e9t\u00e9"
        for x, y in random.normal(size=(60, 2)) + 9 * random.integers(0, 2, (60, 1))
    ]
    table.write_text("a;b;c\n" + "\n".join(rows) + "\n", encoding="utf-8")
    told = ("--time-limit", "2", "--out", place / "labels.csv", "--report", place / "page.html")
    found = ended("jmeta.cli", "cluster", table, *told, cwd=place, **ascii_alone)
    assert found.returncode == 0, found.stderr[-2000:]
    assert "Traceback" not in found.stderr  # of what was under way when time was up
    assert len((place / "labels.csv").read_text().splitlines()) == 61
    assert "a table.csv" in (place / "page.html").read_text(encoding="utf-8")
    missing = ended("jmeta.cli", "cluster", place / "none.csv", cwd=place, **ascii_alone)
    assert missing.returncode == 2
    assert missing.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in missing.stderr
