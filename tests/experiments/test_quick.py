"""What `make quick` measured and drew, where it has run."""

import json
import math
import pathlib

import pytest

from experiments import few_shot_clustering, sinusoid

RUNS = pathlib.Path(__file__).parents[2] / "runs" / "quick" / "experiments"
pytestmark = pytest.mark.skipif(not RUNS.exists(), reason="there are no quick runs; make quick makes them")
NAMES = sorted(
    file.stem
    for file in (pathlib.Path(__file__).parents[2] / "experiments").glob("*.py")
    if "harness.run(" in file.read_text()
)


def metrics_of(name):
    found = json.loads((RUNS / name / "summary.json").read_text())
    assert found["preset"] == "quick"
    return found["metrics"]


@pytest.mark.parametrize("name", NAMES)
def test_all_metrics_are_numbers(name):
    for metric, found in metrics_of(name).items():
        assert math.isfinite(found["mean"]), metric
        assert found["n"] >= 1, metric


def test_every_method_is_tested_with_every_number_of_inner_steps():
    config, found = sinusoid.PRESETS["quick"], metrics_of("sinusoid")
    assert list(found) == [
        f"mse/{method}/{steps}"
        for method in config.methods
        for steps in sorted({*config.test_steps, sinusoid.INNER_STEPS.get(method, 1)})
    ]
    assert all(value["n"] == config.test_tasks for value in found.values())
    assert list((RUNS / "sinusoid").glob("training_cavia_*.jsonl"))
    assert (RUNS / "sinusoid" / "learning_curves.png").stat().st_size > 0


def test_the_main_job_compares_its_rows_and_draws_them():
    config, found = few_shot_clustering.PRESETS["quick"], metrics_of("few_shot_clustering")
    assert {f"accuracy/{row}" for row in ("pixels", "untrained", config.train)} <= set(found)
    assert all(0 <= value["mean"] <= 1 for name, value in found.items() if "accuracy" in name)
    for name in ("learning_curves.png", "task.png", f"training_{config.train}_0.jsonl"):
        assert (RUNS / "few_shot_clustering" / name).stat().st_size > 0


def test_no_choice_among_candidates_is_better_than_the_best():
    found = {name: value["mean"] for name, value in metrics_of("selection").items()}
    names = (
        *("random", "oracle", "single_best", "silhouette", "consensus", "random_forest"),
        *("nearest_neighbours", "meta_features", "chosen_criterion", "learned_criterion"),
    )
    assert {f"ari/{name}" for name in names} <= set(found)
    for name in set(names) - {"consensus"}:  # which is a clustering of its own
        assert found[f"ari/{name}"] <= found["ari/oracle"] + 1e-9, name
    assert found["ari/random"] < found["ari/oracle"]
    difference = found["ari/learned_criterion"] - found["ari/random"]
    assert found["gain/learned_criterion-random"] == pytest.approx(difference)
