"""The preparation of columns: numbers of any size, and the number of distinct rows."""

import numpy as np
import pytest

import jmeta as jm
from jmeta.estimators.preparation import AXES, BESIDE_WORDS, count_distinct, deviations, prepare

POINTS = np.random.default_rng(0).normal(size=(60, 2)) + 1


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1.0, 1e170, 1e299])
def test_the_scale_has_no_effect(scale):
    center, spread, varies = deviations(POINTS * scale)
    np.testing.assert_allclose(center / scale, POINTS.mean(0))
    np.testing.assert_allclose(spread / scale, POINTS.std(0))
    assert varies.all()
    np.testing.assert_allclose(
        prepare(POINTS * scale, "auto")(POINTS * scale), prepare(POINTS, "auto")(POINTS), atol=1e-12
    )


@pytest.mark.parametrize("rows", [40, 90])
def test_of_wide_tables_the_axes_that_exceed_chance_are_kept(rows):
    random = np.random.default_rng(0)
    group = np.arange(rows) % 3
    wide = random.normal(size=(rows, 300))
    wide[:, :90] += 3 * np.eye(3)[group].repeat(30, 1)
    made = prepare(wide, "auto")
    assert made(wide).shape == (rows, 2)
    assert "the first 2 principal axes of 300 columns" in made.description
    assert prepare(wide[:, :rows], "auto")(wide[:, :rows]).shape[1] == min(rows, AXES)
    assert prepare(wide, "auto", numeric=np.arange(300) < 299)(wide).shape[1] == 2
    assert prepare(wide[:10], "auto").axes is None


def test_words_are_not_divided_by_their_deviations():
    points = np.c_[[1.0, 1, 5, 5], np.eye(2)[[0, 1, 0, 1]] / np.sqrt(2)]
    numeric = np.array([True, False, False])
    made = prepare(points, "auto", numeric=numeric)
    assert made.description == BESIDE_WORDS
    np.testing.assert_allclose(np.ptp(made(points), axis=0), [2, np.sqrt(0.5), np.sqrt(0.5)])
    np.testing.assert_allclose(np.ptp(prepare(points[:, 1:], "auto", numeric=numeric[1:]).scale), 0)


def test_numbers_that_would_overflow_are_refused():
    with pytest.raises(jm.InputError, match=r"beyond 1e\+300; give it in larger units"):
        prepare(POINTS * 1e301, "auto")


def test_constant_columns_do_not_vary():
    assert deviations(np.zeros((5, 2)))[2].tolist() == [False, False]
    assert deviations(np.c_[np.full(5, 0.1), np.arange(5.0)])[2].tolist() == [False, True]


def test_distinct_rows_are_counted_as_far_as_needed():
    rows = np.repeat(np.arange(4.0), 50)[:, None]
    assert count_distinct(rows, 4) == 4
    assert count_distinct(rows, 9) == 4
    assert 2 <= count_distinct(np.arange(100.0)[:, None], 2) <= 100
    assert count_distinct(rows[:0], 1) == 0
