"""Choosing leaving a group out: nothing is learned from what is left out, and the table adds up."""

import dataclasses

import numpy as np
import pytest

from experiments import selection


def test_the_experiment_names_its_metrics_and_they_are_ordered(tmp_path):
    config = dataclasses.replace(selection.PRESETS["quick"], out=tmp_path, table=tmp_path / "table")
    metrics = selection.experiment(config)
    names = ("random", "oracle", "single_best", "silhouette", "consensus", "learned_criterion")
    assert {f"ari/{name}" for name in names} <= set(metrics)
    best = metrics["ari/oracle"].mean
    assert all(metrics[f"ari/{name}"].mean <= best + 1e-9 for name in names)
    assert metrics["ari/random"].mean < best
    difference = metrics["ari/learned_criterion"].mean - metrics["ari/random"].mean
    assert metrics["gain/learned_criterion-random"].mean == pytest.approx(difference)


def test_the_bootstrap_has_the_width_of_the_normal_interval():
    values = np.random.default_rng(0).normal(1, 2, 400)
    found = selection.bootstrap(values, 0)
    assert found.mean == pytest.approx(values.mean())
    assert found.ci95 == pytest.approx(1.96 * values.std() / 20, rel=0.05)
