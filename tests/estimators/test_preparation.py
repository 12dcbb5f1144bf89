"""The preparation of columns: numbers of any size, and the number of distinct rows."""

import numpy as np
import pytest

import jmeta as jm
from jmeta.estimators.preparation import count_distinct, deviations, prepare

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
