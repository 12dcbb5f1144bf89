"""The command line of experiments: presets, the summary, and one sentence for bad input."""

import dataclasses
import json
import sys
from typing import Literal

import jax
import jax.numpy as jnp
import pytest

from experiments import cifar_fs, few_shot_clustering, omniglot_maml, selection, sinusoid
from jmeta import harness
from jmeta.errors import InputError
from jmeta.metrics import Interval
from jmeta.planning.operations import precisions


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of a test."""

    variants = ("dataset",)

    size: int = 1
    """A size."""
    dataset: Literal["small", "large"] = "small"
    """A data set."""
    rate: float = 0.1
    """A rate."""
    decay: float = harness.option(0.1, least=0)
    """A decay."""


PRESETS = {
    "quick": Config(preset="quick", size=2),
    "cpu": Config(),
    "gpu": Config(preset="gpu", size=3),
    "gpu-large": Config(preset="gpu", dataset="large", size=4),
}


def call(monkeypatch, tmp_path, experiment, *arguments):
    monkeypatch.setattr(sys, "argv", ["NAME", "--out", str(tmp_path / "out"), *arguments])
    harness.run(experiment, PRESETS)
    return json.loads((tmp_path / "out" / "summary.json").read_text())


def measure(config):
    return {
        "accuracy/a": Interval(0.5, 0.1, 10),
        "accuracy/alone": Interval(float(config.size), float("inf"), 1),
    }


@pytest.mark.parametrize("precision", [None, "highest"])
def test_products_of_an_experiment_have_the_precision_asked_for(monkeypatch, tmp_path, precision):
    def experiment(config):
        found = jax.make_jaxpr(lambda x: x @ x)(jnp.ones((2, 2))).jaxpr
        return {str(precisions(found, "tpu")): Interval(0.0, 0.0, 1)}

    found = call(monkeypatch, tmp_path, experiment, *(["--precision", precision] if precision else []))
    assert list(found["metrics"]) == [str({"float32" if precision else "bfloat16": 1.0})]


@pytest.mark.parametrize(
    ("arguments", "preset", "size"),
    [
        ([], "cpu", 1),
        (["--preset", "quick"], "quick", 2),
        (["--preset=gpu"], "gpu", 3),
        (["--dataset", "large", "--preset=gpu"], "gpu", 4),
        (["--dataset", "large"], "cpu", 1),
        (["--size", "7", "--preset", "quick"], "quick", 7),
        (["--decay", "0.0", "--preset", "quick"], "quick", 2),
    ],
)
def test_a_summary_tells_what_was_run(monkeypatch, tmp_path, arguments, preset, size):
    summary = call(monkeypatch, tmp_path, measure, *arguments)
    assert summary["preset"] == preset
    assert summary["config"]["size"] == size
    assert summary["metrics"]["accuracy/a"] == {"mean": 0.5, "ci95": 0.1, "n": 10}
    assert summary["metrics"]["accuracy/alone"] == {"mean": size, "ci95": None, "n": 1}
    assert summary["experiment"] == "test_harness"
    assert summary["seed"] == 0
    assert {"jax", "python", "jmeta"} <= set(summary["versions"])
    assert summary["device"]["count"] >= 1
    assert summary["wall_s"] >= 0
    assert all(word in summary["command"] for word in arguments)


def failing(error):
    def experiment(config):
        raise error

    return experiment


@pytest.mark.faults
@pytest.mark.parametrize(
    ("experiment", "arguments", "code", "message"),
    [
        (failing(InputError("this is wrong; do that.")), [], 2, "error: this is wrong; do that."),
        (failing(KeyboardInterrupt()), [], 130, "interrupted"),
        (measure, ["--preset", "huge"], 2, "huge"),
        (measure, ["--size", "many"], 2, "size"),
        (measure, ["--size", "0"], 2, "error: --size is 0; give a whole number from 1"),
        (measure, ["--seed", "-1"], 2, "error: --seed is -1"),
        (measure, ["--rate", "0.0"], 2, "error: --rate is 0.0; give a positive number"),
        (measure, ["--decay", "-1"], 2, "error: --decay is -1.0; give a number >= 0"),
        (measure, ["--seed", str(2**70)], 2, "error: --seed is"),
        (measure, ["--colour", "red"], 2, "colour"),
    ],
)
def test_bad_input_is_one_sentence_and_an_exit_code(
    monkeypatch, tmp_path, capfd, experiment, arguments, code, message
):
    with pytest.raises(SystemExit) as left:
        call(monkeypatch, tmp_path, experiment, *arguments)
    assert left.value.code == code
    printed = capfd.readouterr()
    assert message in printed.err + printed.out
    assert "Traceback" not in printed.err


@pytest.mark.faults
def test_an_output_that_is_a_file_is_refused_and_left_alone(monkeypatch, tmp_path, capfd):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(SystemExit) as left:
        call(monkeypatch, tmp_path, measure)
    assert left.value.code == 2
    assert "error:" in capfd.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_data_that_is_not_there_ends_the_main_job_with_one_sentence(monkeypatch, tmp_path, capfd, damage):
    if damage == "truncated":
        (tmp_path / "omniglot.npz").write_bytes(b"PK\x03\x04")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    words = ["--dataset", "omniglot", "--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["NAME", *words])
    with pytest.raises(SystemExit) as left:
        harness.run(few_shot_clustering.experiment, few_shot_clustering.PRESETS)
    assert left.value.code == 2
    printed = capfd.readouterr().err.strip()
    assert printed.startswith("error: ")
    assert "omniglot" in printed
    assert "\n" not in printed


@pytest.mark.parametrize("module", [cifar_fs, few_shot_clustering, omniglot_maml, selection, sinusoid])
def test_every_experiment_has_the_three_presets_and_says_how_to_run_it(module):
    assert {"quick", "cpu", "gpu"} <= set(module.PRESETS)
    assert all(name.split("-")[0] == config.preset for name, config in module.PRESETS.items())
    assert f"python -m {module.__name__}" in module.__doc__


@pytest.mark.parametrize("row", few_shot_clustering.PHASES)
def test_a_third_of_the_main_job_is_trained_with_each_loss_of_its_row(monkeypatch, tmp_path, row):
    config = dataclasses.replace(few_shot_clustering.PRESETS["quick"], out=tmp_path, steps=9)
    setting = few_shot_clustering.prepare(config, jax.random.key(0))
    seen = []

    def train(config, name, step, sampler, state, key, *, steps, **options):
        seen.append((name, step, steps))
        return state, [{"validation_accuracy": 0.5}]

    monkeypatch.setattr(harness, "train", train)
    _, rows = few_shot_clustering.train_row(setting, row, jax.random.key(1), jax.random.key(2))
    losses = few_shot_clustering.PHASES[row]
    assert seen == [(f"{row}_{phase}", setting.steps[loss], 3) for phase, loss in enumerate(losses)]
    assert (tmp_path / f"{row}.npz").exists()
    assert len(rows) == 3
    with pytest.raises(InputError, match="multiple of three"):
        few_shot_clustering.experiment(dataclasses.replace(config, steps=4))


@pytest.mark.slow
@pytest.mark.parametrize("module", [omniglot_maml, cifar_fs])
@pytest.mark.parametrize("method", omniglot_maml.METHODS)
def test_every_method_has_a_quick_run(tmp_path, module, method):
    metrics = module.experiment(dataclasses.replace(module.PRESETS[f"quick-{method}"], out=tmp_path))
    assert all(0 <= found.mean <= 1 for found in metrics.values())


def test_presets_of_twenty_ways_are_their_own():
    few, many = (omniglot_maml.PRESETS[name] for name in ("gpu", "gpu-20"))
    assert (few.ways, few.inner_rate, few.inner_steps, few.tasks) == (5, 0.4, 1, 32)
    assert (many.ways, many.inner_rate, many.inner_steps, many.tasks) == (20, 0.1, 5, 16)
    assert omniglot_maml.PRESETS["cpu-reptile-20"].minibatch == 20


def test_a_few_shot_run_is_taken_up_by_the_same_options_alone(tmp_path):
    quick = omniglot_maml.PRESETS["quick-protonet"]
    config = dataclasses.replace(quick, preset="cpu", out=tmp_path, resume=True)
    metrics = omniglot_maml.experiment(config)
    assert list(metrics) == ["accuracy/protonet/transductive", "accuracy/protonet/inductive"]
    again = omniglot_maml.experiment(config)
    assert metrics == again
    log = tmp_path / "training_protonet.jsonl"
    assert len(log.read_text().splitlines()) == 2
    with pytest.raises(InputError, match=f"of a run with rate {quick.rate}, not 0.5"):
        omniglot_maml.experiment(dataclasses.replace(config, rate=0.5))
    with pytest.raises(InputError, match="add --resume to continue it"):
        omniglot_maml.experiment(dataclasses.replace(config, resume=False))
    with pytest.raises(InputError, match="leave train-ways out"):
        omniglot_maml.experiment(dataclasses.replace(config, method="maml", train_ways=4))
