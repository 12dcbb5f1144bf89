"""Selection with an unknown number of clusters; that with a given one is run by `make quick`."""

import dataclasses

from experiments import selection


def test_without_a_number_of_clusters_it_is_part_of_what_is_chosen(tmp_path):
    quick = dataclasses.replace(selection.PRESETS["quick"], clusters="unknown")
    metrics = selection.experiment(dataclasses.replace(quick, out=tmp_path, table=tmp_path / "table"))
    assert "ari/consensus" not in metrics
    assert {"ari/most_agreement", "ari/learned_criterion", "gap_closed/meta_features"} <= set(metrics)
