"""An experiment file of one's own: run, cut off, resumed, measured again, shown."""

import json
import re

import pytest

from jmeta import cli

WAVES = '''
"""Waves."""

import dataclasses

import jax
import optax

import jmeta as jm
from jmeta import harness


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options."""

    steps: int = 4
    """Meta-steps."""
    test_tasks: int = 10
    """Tasks."""


PRESETS = {"quick": Config(preset="quick"), "cpu": Config(), "gpu": Config(preset="gpu")}


def experiment(config):
    """Train."""
    learner = jm.maml(jm.networks.mlp([1, 4, 1]), jm.squared_error)
    step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(1e-3))
    start_key, train_key, test_key = jax.random.split(config.key, 3)
    state, log = harness.train(
        config, "maml", step, jm.sinusoid(), step.init(learner.init(start_key)), train_key,
        steps=config.steps, tasks=2, every=2,
    )
    metas = {"trained": state.meta, "start": learner.init(start_key)}
    found = {
        row: jm.evaluate(learner, jm.sinusoid(), meta, test_key, tasks=config.test_tasks)
        for row, meta in metas.items()
    }
    curve = jm.report.learning_curves({"maml": log}, "loss")
    curve.savefig(config.folder / "task.png")
    return harness.paired(found, [("trained", "start")])


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
'''


@pytest.fixture
def waves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "waves.py").write_text(WAVES)
    return tmp_path


def ended(arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(argument) for argument in arguments])
    return stopped.value.code


def test_a_file_is_run_measured_again_and_shown(waves, capsys):
    cli.main(["train", "waves.py", "--seed", "3", "--json"])
    summary = json.loads(capsys.readouterr().out)
    folder = waves / "runs" / "waves"
    assert summary == json.loads((folder / "summary.json").read_text())
    assert summary["command"] == "jmeta train waves.py --seed 3"
    assert summary["config"]["seed"] == 3
    assert summary["metrics"]["mse/trained"]["n"] == 10

    cli.main(["evaluate", "runs/waves", "--json"])
    again = json.loads(capsys.readouterr().out)
    assert again["metrics"] == summary["metrics"]
    cli.main(["evaluate", "runs/waves", "--test-tasks", "30"])
    assert "written to" in capsys.readouterr().out
    again = json.loads((folder / "evaluation.json").read_text())
    assert again["metrics"]["mse/trained"]["n"] == 30
    assert json.loads((folder / "summary.json").read_text()) == summary

    cli.main(["report", "runs/waves", "--json"])
    assert json.loads(capsys.readouterr().out) == {"report": "runs/waves/report.html"}
    page = (folder / "report.html").read_text()
    for words in (
        "jmeta train waves.py --seed 3",
        "trained-start",
        "Later evaluation",
        "test tasks",
        "One task",
    ):
        assert words in page
    assert len(re.findall(r"src='data:image/png;base64,", page)) == 2
    assert not re.findall(r"(?:src|href)=['\"]http", page)


def test_a_run_that_was_cut_off_is_shown_and_measured_as_far_as_it_came(waves, capsys):
    cli.main(["train", "waves.py", "--out", "cut"])
    (waves / "cut" / "summary.json").unlink()
    capsys.readouterr()
    cli.main(["report", "cut", "--out", "page.html"])
    assert "The run has not ended" in (waves / "page.html").read_text()
    capsys.readouterr()
    cli.main(["evaluate", "cut", "--json"])
    assert json.loads(capsys.readouterr().out)["metrics"]["mse/trained"]["n"] == 10


def test_a_run_that_is_refused_leaves_the_one_that_is_there(waves, capsys):
    cli.main(["train", "waves.py", "--out", "kept"])
    before = (waves / "kept" / "run.json").read_text()
    assert ended(["train", "waves.py", "--out", "kept", "--seed", "7"]) == 2
    assert "holds a run; add --resume" in capsys.readouterr().err
    assert (waves / "kept" / "run.json").read_text() == before
    cli.main(["evaluate", "kept", "--json"])


def test_an_experiment_tells_its_own_options(waves, capsys):
    assert ended(["train", "waves.py", "--help"]) == 0
    assert "--test-tasks" in capsys.readouterr().out


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "none.py"], "there is no file none.py"),
        (["train", "broken.py"], "broken.py is not Python: line 1"),
        (["train", "empty.py"], "wrote no runs/empty/summary.json; end it with harness.run"),
        (["train", "waves.py", "--steps", "0"], "--steps is 0"),
        (["evaluate", "nowhere"], "there is no nowhere/run.json; name the folder of a run"),
        (["evaluate", "waves.py"], "there is no waves.py/run.json; name the folder of a run"),
        (["report", "nowhere"], "there is no nowhere/run.json; name the folder of a run"),
        (["report", "damaged"], "damaged/run.json is damaged"),
        (["evaluate", "moved"], "moved was made by gone.py, which does not exist"),
        (["evaluate", "stateless"], "there is no folder"),
        (["evaluate", "stateless", "--seed", "1"], "leave --seed out"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(waves, capsys, arguments, message):
    (waves / "broken.py").write_text("def (")
    (waves / "empty.py").write_text("x = 1")
    for name, text in {
        "damaged": "{",
        "moved": '{"file": "gone.py", "arguments": []}',
        "stateless": '{"file": "waves.py", "arguments": []}',
    }.items():
        (waves / name).mkdir()
        (waves / name / "run.json").write_text(text)
    assert ended(arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


@pytest.mark.faults
@pytest.mark.parametrize("error", [ValueError("a bug of mine"), TypeError("a bug of mine"), OSError("mine")])
def test_an_error_of_the_users_own_file_keeps_its_traceback(waves, error):
    (waves / "buggy.py").write_text(f"raise {error!r}")
    with pytest.raises(type(error), match="mine") as raised:
        cli.main(["train", "buggy.py"])
    assert any(entry.path.name == "buggy.py" for entry in raised.traceback if hasattr(entry.path, "name"))


def test_the_doctor_speaks_json(capsys):
    assert ended(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in found} >= {"python", "devices", "compiler", "model"}
    assert all(one["well"] for one in found)
