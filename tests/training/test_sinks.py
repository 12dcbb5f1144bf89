"""Where rows go besides the log."""

import json
import sys

import jax
import numpy as np
import pytest

import jmeta as jm
from jmeta.training.rows import Told
from jmeta.training.sinks import profiler, tensorboard, weights_and_biases


def test_rows_are_lines_of_json_and_told_to_all_sinks(tmp_path):
    heard = []
    told = Told(tmp_path / "log.jsonl", [heard.append])
    told.tell({"step": 1, "loss": 2.0})
    size = told.bytes
    told.tell({"step": 2, "loss": float("nan")})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None}]
    assert [row["step"] for row in heard] == [1, 2]
    told.cut(size)
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 1
    with pytest.raises(jm.InputError, match="cannot be written"):
        Told(tmp_path).tell({"step": 1})


def test_the_profiler_traces_what_is_done_between_the_first_two_rows(tmp_path):
    with profiler(tmp_path / "all") as tell:
        for step in range(4):
            tell({"step": step})
            np.asarray(jm.sinusoid()(jax.random.key(step)).support.inputs)
    with profiler(tmp_path / "one") as tell:  # a run of one row: what came after it
        tell({"step": 0})
    for folder in ("all", "one"):
        assert list((tmp_path / folder).rglob("*.xplane.pb"))


@pytest.mark.parametrize(("sink", "package"), [(tensorboard, "tensorboardX"), (weights_and_biases, "wandb")])
def test_a_package_that_is_missing_is_named(sink, package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(jm.InputError, match=f"{package} is not installed; pip install 'jmeta"):
        sink(tmp_path)


def test_rows_reach_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    tell = tensorboard(tmp_path)
    tell({"step": 1, "loss": 2.0})
    assert list(tmp_path.glob("events*"))
