"""What the learned criterion sees: no label, and not the number of clusters where that is not given."""

import numpy as np

from jmeta.portfolio import candidate, performance_table
from jmeta.selection.set_quality import candidate_inputs
from jmeta.tasks.problems import Problem

RANDOM = np.random.default_rng(0)
POINTS = RANDOM.normal(size=(30, 2)) + 9 * (np.arange(30) % 2)[:, None]


def table_of(labels, folder, *candidates):
    problem = Problem("one", "mine", POINTS, (labels,), "made here")
    return performance_table([problem], candidates, folder=folder, jobs=1, backend="threading")


def test_no_label_reaches_the_inputs(tmp_path):
    right = np.arange(30) % 2
    told = (candidate("ward"), candidate("kmeans"))
    inputs = [
        candidate_inputs(table_of(labels, tmp_path, *told)) for labels in (right, RANDOM.permutation(right))
    ]
    np.testing.assert_array_equal(*inputs)
    assert np.all(np.isfinite(inputs[0]))
    counted = [candidate("ward")._replace(clusters=count) for count in (2, 3)]
    inputs = [candidate_inputs(table_of(labels, tmp_path, *counted)) for labels in (right, np.arange(30) % 5)]
    np.testing.assert_array_equal(*inputs)
