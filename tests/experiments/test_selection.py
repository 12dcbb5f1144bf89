"""Choosing leaving a group out: nothing is learned from what is left out, and the table adds up."""

import dataclasses

import pytest

from experiments import selection


def test_the_experiment_names_its_metrics_and_they_are_ordered(tmp_path):
    config = dataclasses.replace(selection.PRESETS["quick"], out=tmp_path, table=tmp_path / "table")
    metrics = selection.experiment(config)
    names = (
        *("random", "oracle", "single_best", "silhouette", "consensus", "random_forest"),
        *("nearest_neighbours", "meta_features", "chosen_criterion", "learned_criterion"),
    )
    assert {f"ari/{name}" for name in names} <= set(metrics)
    best = metrics["ari/oracle"].mean
    for name in set(names) - {"consensus"}:  # which is a clustering of its own
        assert metrics[f"ari/{name}"].mean <= best + 1e-9, name
    assert metrics["ari/random"].mean < best
    difference = metrics["ari/learned_criterion"].mean - metrics["ari/random"].mean
    assert metrics["gain/learned_criterion-random"].mean == pytest.approx(difference)


def test_without_a_number_of_clusters_it_is_part_of_what_is_chosen(tmp_path):
    quick = dataclasses.replace(selection.PRESETS["quick"], clusters="unknown")
    metrics = selection.experiment(dataclasses.replace(quick, out=tmp_path, table=tmp_path / "table"))
    assert "ari/consensus" not in metrics
    assert {"ari/most_agreement", "ari/learned_criterion", "gap_closed/meta_features"} <= set(metrics)
