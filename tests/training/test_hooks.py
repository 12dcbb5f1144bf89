"""Hooks: where rows go, and what ends a run early."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm
from jmeta.records import MetaState
from jmeta.training.hooks import Training


def falling(losses):
    """A step whose loss is that of its number."""
    losses = jnp.asarray(losses)

    def update(state, tasks):
        report = jm.Report(losses[state.step], jnp.asarray(0), {})
        return MetaState(state.step + 1, state.meta, ()), report

    return jm.MetaStep(lambda meta: MetaState(jnp.asarray(0), meta, ()), update)


def run(losses, hooks):
    step = falling(losses)
    start, options = step.init(jnp.zeros(())), dict(steps=len(losses), tasks=1, every=1, hooks=hooks)
    return jm.loop(step, jm.sinusoid(), start, jax.random.key(0), **options)


def test_rows_are_lines_of_json_and_can_be_taken_back(tmp_path):
    log = jm.JSONLog(tmp_path / "log.jsonl")
    log.on_row(None, {"step": 1, "loss": 2.0})
    size = log.position()
    log.on_row(None, {"step": 2, "loss": float("nan")})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None}]
    log.rewind(None, size)
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 1
    with pytest.raises(jm.InputError, match="cannot be written"):
        jm.JSONLog(tmp_path).on_row(None, {"step": 1})


def test_every_hook_gets_every_row_in_order(tmp_path, capsys):
    class Heard(jm.Hook):
        def __init__(self):
            self.rows = []

        def on_row(self, training, row):
            assert isinstance(training, Training)
            self.rows.append(dict(row))

    heard = Heard()
    _, rows = run([3.0, 2.0], [jm.Validate(lambda meta: {"extra": 1.0}), heard, jm.PrintRows("a run")])
    assert [row["loss"] for row in rows] == [3.0, 2.0]
    assert [row["extra"] for row in heard.rows] == [1.0, 1.0]
    assert "a run: step 2, loss 2.000" in capsys.readouterr().err


def test_training_ends_early_without_improvement_and_its_state_is_saved(tmp_path):
    losses = [5.0, 4.0, 4.5, 4.2, 3.0, 1.0]
    hooks = [jm.EarlyStop("-loss", rows=2), jm.SaveStates(tmp_path / "states")]
    state, rows = run(losses, hooks)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    saved = jm.read_state(tmp_path / "states", state)
    assert int(saved.state.step) == 4
    assert saved.beside["early_stop"] == [-4.0, 2]
    again, rows = run(losses, [jm.EarlyStop("-loss", rows=2), jm.SaveStates(tmp_path / "states")])
    assert (int(again.step), rows) == (4, [])  # a run that was stopped stays stopped
    with pytest.raises(jm.InputError, match="rows of EarlyStop is 0"):
        jm.EarlyStop("loss", rows=0)


def test_the_best_parameters_are_kept_in_memory():
    step = falling([5.0, 3.0, float("nan"), 4.0, 3.5])
    counted = step._replace(
        update=lambda state, tasks: (lambda found: (found[0]._replace(meta=state.meta + 1), found[1]))(
            step.update(state, tasks)
        )
    )
    best, options = jm.KeepBest("-loss"), dict(steps=5, tasks=1, every=1)
    state = counted.init(jnp.zeros(()))
    state, _ = jm.loop(counted, jm.sinusoid(), state, jax.random.key(0), hooks=[best], **options)
    assert float(best.meta) == 2
    assert (best.row["step"], best.row["loss"]) == (2, 3.0)
    assert float(state.meta) == 5


def test_two_hooks_of_one_name_are_refused(tmp_path):
    with pytest.raises(jm.InputError, match="hooks share the name 'log'"):
        run([1.0], [jm.JSONLog(tmp_path / "a"), jm.JSONLog(tmp_path / "b")])


def test_a_resumed_run_remembers_how_long_it_has_not_improved(tmp_path):
    losses = [5.0, 6.0, 6.0, 6.0]
    hooks = lambda: [jm.EarlyStop("-loss", rows=3), jm.SaveStates(tmp_path / "states")]  # noqa: E731
    run(losses[:2], hooks())
    _, rows = run(losses, hooks())
    assert [row["step"] for row in rows] == [3, 4]


def test_the_profile_traces_the_work_between_the_first_two_rows(tmp_path):
    class Work(jm.Hook):
        def on_row(self, training, row):
            np.asarray(jm.sinusoid()(jax.random.key(training.step)).support.inputs)

    run([1.0] * 4, [jm.Profile(tmp_path / "all"), Work()])
    run([1.0], [jm.Profile(tmp_path / "one"), Work()])  # a run of one row: what came after it
    for folder in ("all", "one"):
        assert list((tmp_path / folder).rglob("*.xplane.pb"))


@pytest.mark.parametrize(
    ("hook", "package"), [(jm.TensorBoard, "tensorboardX"), (jm.WeightsAndBiases, "wandb")]
)
def test_a_package_that_is_missing_is_named(hook, package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(jm.InputError, match=f"{package} is not installed; pip install 'jmeta"):
        hook(tmp_path)


def test_rows_reach_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    jm.TensorBoard(tmp_path).on_row(None, {"step": 1, "loss": 2.0})
    assert list(tmp_path.glob("events*"))
