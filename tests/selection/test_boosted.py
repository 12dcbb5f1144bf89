"""Boosted trees as arrays: a case by hand, LightGBM's predictions, and a file."""

import numpy as np
import pytest

from jmeta.artifacts.advisors import load_model, save_model
from jmeta.selection.boosted import boosted_trees
from jmeta.selection.pool_quality import PoolQuality

ROWS, COLUMNS = 300, 5


def leaf(value):
    return {"leaf_value": value}


def split(feature, threshold, left, right):
    return {"split_feature": feature, "threshold": threshold, "left_child": left, "right_child": right}


UNEVEN = split(1, 0.5, leaf(1.0), split(0, -1.0, split(1, 2.0, leaf(10.0), leaf(20.0)), leaf(40.0)))


def points(seed=0):
    x = np.random.default_rng(seed).normal(size=(ROWS, COLUMNS)).astype(np.float32)
    x[:, 3] = np.round(x[:, 3])  # many zeros and other equal values
    return x


def trained(inputs, target, trees=30, **options):
    lightgbm = pytest.importorskip("lightgbm")
    options = {"num_threads": 1, "verbosity": -1, "min_data_in_leaf": 5, "seed": 0} | options
    model = lightgbm.train(options, lightgbm.Dataset(inputs, target), trees)
    return model, boosted_trees([tree["tree_structure"] for tree in model.dump_model()["tree_info"]])


def test_a_tree_by_hand():
    rows = np.array([[0, 0.5], [-1, 2], [-1, 2.1], [-0.9, 1], [-5, 0.6], [9, 9]])
    expected = np.array([1, 10, 20, 40, 10, 40])
    trees = boosted_trees([UNEVEN])
    assert trees.predict(rows).tolist() == expected.tolist()
    assert trees.depth == 3
    assert trees.feature.shape == (1, 7)


def test_trees_of_different_sizes_are_added():
    rows = np.array([[-1, 2], [0, 0]])
    trees = boosted_trees([leaf(0.5), UNEVEN, split(0, -0.5, leaf(100.0), leaf(200.0))])
    assert trees.predict(rows).tolist() == [110.5, 201.5]
    assert boosted_trees([leaf(0.5), leaf(0.25)]).predict(rows).tolist() == [0.75, 0.75]
    assert trees.predict(rows[:0]).shape == (0,)


@pytest.mark.parametrize("leaves", [2, 31])
def test_predictions_are_those_of_lightgbm(leaves):
    x = points()
    model, trees = trained(x, np.sin(x[:, 0]) + x[:, 1] * x[:, 3], num_leaves=leaves)
    for rows in (x, points(1), x * 100):
        np.testing.assert_allclose(trees.predict(rows), model.predict(rows), atol=1e-6)
    assert trees.feature.shape[1] <= 2 * leaves - 1


def test_trees_without_splits_and_columns_without_information():
    x = points() * [1, 0, 1, 1, 0]
    target = (x[:, 0] > 0.3).astype(float)
    for options in ({}, {"min_gain_to_split": 5.0}, {"min_data_in_leaf": ROWS}):
        model, trees = trained(x, target, **options)
        np.testing.assert_allclose(trees.predict(x), model.predict(x), atol=1e-6)
    assert trees.depth == 0
    np.testing.assert_allclose(trees.predict(x), target.mean(), atol=1e-6)


def test_values_that_are_missing_in_training_do_not_change_what_finite_rows_get():
    x = points()
    missing = np.where(np.random.default_rng(2).random(x.shape) < 0.2, np.nan, x)
    model, trees = trained(missing, x[:, 0] + x[:, 2])
    np.testing.assert_allclose(trees.predict(x), model.predict(x), atol=1e-6)


def test_what_is_written_is_read_back_the_same(tmp_path):
    trees = boosted_trees([UNEVEN, leaf(0.1)])
    model = PoolQuality(("silhouette", "margin"), ("ward",), trees, trees._replace(depth=2), 0.05, 0.2)
    save_model(tmp_path / "quality.npz", {"known": model}, {"tasks": 3})
    parts, card = load_model(tmp_path / "quality.npz")
    again = parts["known"]
    assert card == {"tasks": 3}
    assert isinstance(again, PoolQuality)
    assert again._replace(quality=None, shortfall=None) == model._replace(quality=None, shortfall=None)
    for one, other in ((again.quality, model.quality), (again.shortfall, model.shortfall)):
        for name, values in one._asdict().items():
            np.testing.assert_array_equal(values, getattr(other, name), strict=True)
    rows = points()[:, :2]
    np.testing.assert_array_equal(again.quality.predict(rows), trees.predict(rows))
