"""Both reports, looked at in a browser where there is one."""

import browser
import numpy as np
import pandas as pd
import pytest
from browser import assert_readable, looked_at
from sklearn.datasets import make_blobs

import jmeta as jm
from jmeta.report import run_report
from jmeta.report.clustering import clustering_report
from jmeta.report.findings import findings_of

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no Chromium on this machine")


def test_the_report_of_a_clustering_is_readable_on_a_phone(tmp_path):
    points, _ = make_blobs(80, centers=3, cluster_std=0.5, random_state=0)
    model = jm.AutoCluster(3).fit(points)
    table = pd.DataFrame({"a column of a rather long name, in metres": points[:, 0], "second": points[:, 1]})
    page = tmp_path / "report.html"
    page.write_text(clustering_report("people.csv", model, table, findings_of(model, table)))
    found = looked_at(page, tmp_path / "browser")
    assert_readable(found)
    assert found["title"] == "Clusters of people.csv"


def test_the_report_of_a_run_is_readable_on_a_phone(tmp_path):
    told = {
        "experiment": "few_shot_clustering",
        "preset": "cpu",
        "seed": 0,
        "command": "python -m experiments.few_shot_clustering --dataset omniglot --train both --data-dir DIR",
        "wall_s": 701.5,
        "device": {"kind": "cpu", "count": 2, "cores": 2},
        "versions": {"jax": "0.10.2", "flax": "0.12.8", "optax": "0.2.8", "scikit-learn": "1.9.1"},
        "config": {"steps": 300, "rate": 1e-3},
    }
    rows = ("pixels", "both", "a row of a rather long name")
    one = {"mean": 0.98765, "ci95": 0.00123, "n": 1000}
    metrics = {
        f"{metric}/{row}": one for metric in ("accuracy", "ari", "nmi", "query_accuracy") for row in rows
    }
    metrics["gain/accuracy/both-pixels"] = one
    logs = {"both": [{"step": step, "loss": float(np.exp(-step)), "accuracy": 0.5} for step in range(5)]}
    picture = tmp_path / "task.png"
    jm.report.learning_curves(logs, "loss").savefig(picture)
    page = tmp_path / "report.html"
    page.write_text(run_report(told, metrics, logs, [picture]))
    found = looked_at(page, tmp_path / "browser")
    assert_readable(found)
    assert found["figures"] == 3
    assert found["title"] == "few_shot_clustering, cpu preset, seed 0"
