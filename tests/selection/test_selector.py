"""The selector: from meta-features to a strategy, learned from other problems than it is asked about."""

import jax
import numpy as np
import pytest
from sklearn.datasets import make_blobs, make_moons

import jmeta as jm
from jmeta.selection import performance_table, portfolio
from jmeta.selection.choice import Settings
from jmeta.selection.criterion import candidate_inputs
from jmeta.selection.selector import (
    CRITERIA,
    answer,
    criterion_worths,
    learn_selector,
    nearest_worths,
    problem_inputs,
)
from jmeta.tasks.problems import Problem

KEY = jax.random.key(0)
PORTFOLIO = tuple(one for one in portfolio("seven") if one.algorithm in ("kmeans", "hdbscan", "ward"))


def made(seed, kind):
    points, labels = (
        make_blobs(60, centers=2, cluster_std=1.5, random_state=seed)
        if kind == "blobs"
        else make_moons(60, noise=0.04, random_state=seed)
    )
    return Problem(f"{kind}{seed}", f"group {seed % 2}", points, (labels,), "scikit-learn")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    problems = [made(seed, kind) for seed in range(4) for kind in ("blobs", "moons")]
    folder = tmp_path_factory.mktemp("table")
    return performance_table(problems, PORTFOLIO, folder=folder, jobs=1, backend="threading")


def test_moons_are_not_given_to_the_algorithm_of_blobs(table):
    """HDBSCAN is best on moons, and one of the others on blobs that touch."""
    selector = learn_selector(
        table, candidate_inputs(table), KEY, settings=Settings(steps=100, networks=2, hidden=0.2)
    )
    moons = answer(selector, made(11, "moons").points, 2)
    blobs = answer(selector, made(12, "blobs").points, 2)
    assert moons.candidate.algorithm == "hdbscan"
    assert moons.clusters is None
    assert blobs.candidate.algorithm in ("kmeans", "ward")
    assert blobs.clusters == 2
    assert {moons.criterion, blobs.criterion} <= set(CRITERIA)
    with pytest.raises(jm.InputError, match="with the number of clusters; give clusters"):
        answer(selector, made(11, "moons").points)


def test_a_criterion_is_worth_what_it_prefers(table):
    inputs = candidate_inputs(table)
    found = criterion_worths(table, inputs)
    assert found.shape == (8, len(CRITERIA))
    place = list(CRITERIA).index("silhouette")
    best = inputs[:, :, 0].argmax(1)
    np.testing.assert_array_equal(found[:, place], table.scores[np.arange(8), best])


def test_the_nearest_known_problems_answer_by_hand():
    """On a line of inputs, groups 0 and 1 known and 2 not; each hears of other groups only."""
    inputs = np.array([[0.0], [1.0], [0.1], [0.9], [0.2]])
    worths = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    known, groups = np.array([1, 1, 1, 1, 0]), np.array([0, 0, 1, 1, 2])
    found = nearest_worths(inputs, worths, known, groups, nearest=1)
    expected = [[0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, -0.5]]
    np.testing.assert_allclose(found, expected)
    worths[4] = [9.0, -9.0]  # the unknown one's own answer is told to no one
    np.testing.assert_array_equal(nearest_worths(inputs, worths, known, groups, nearest=1), found)


def test_meta_features_of_problems_of_any_size():
    """A wide and a long problem beside each other; without a number of clusters it is counted."""
    wide = np.random.default_rng(0).normal(size=(20, 5))
    long = make_blobs(1500, centers=3, cluster_std=0.3, random_state=0)[0]
    found = problem_inputs([wide, long], groups=["size"])
    np.testing.assert_allclose(np.exp(found[:, 0]), [20, 1500], rtol=1e-4)
    np.testing.assert_allclose(np.exp(found[:, 1]), [5, 2], rtol=1e-4)
    assert np.exp(found[1, 3]) == pytest.approx(3)
