"""Intervals over tasks."""

import numpy as np
import pytest

import jmeta as jm


def test_interval_by_hand():
    found = jm.interval(np.array([1.0, 2.0, 3.0, 6.0]))
    assert found.mean == 3
    student = 3.182446  # the 97.5 % quantile with three degrees of freedom
    np.testing.assert_allclose(found.ci95, student * np.sqrt(14 / 3) / 2, rtol=1e-6)
    assert found.n == 4


def test_the_interval_covers_the_mean_19_times_in_20():
    random = np.random.default_rng(0)
    few = (1 + random.normal(size=(4000, tasks)) for tasks in (2, 5, 20))
    for draws in (random.exponential(size=(2000, 200)), *few):
        found = [jm.interval(row) for row in draws]
        covered = np.mean([abs(one.mean - 1) <= one.ci95 for one in found])
        assert 0.93 < covered < 0.965


def test_one_value_is_infinitely_uncertain_and_none_is_refused():
    assert jm.interval(np.array([2.0])).ci95 == np.inf
    with pytest.raises(jm.InputError, match="no values"):
        jm.interval(np.array([]))


def test_a_value_that_is_not_finite_is_not_left_out():
    assert np.isnan(jm.interval(np.array([1.0, np.nan])).mean)
