"""The selector: from meta-features to a strategy, learned from other problems than it is asked about."""

import jax
import numpy as np
import pytest
from problems import made
from sklearn.datasets import make_blobs

import jmeta as jm
from jmeta.metafeatures.partitions import NAMES
from jmeta.portfolio import performance_table, portfolio
from jmeta.portfolio.running import Outcome
from jmeta.selection.examples import Settings
from jmeta.selection.selector import (
    CRITERIA,
    adapt_selector,
    choose_strategy,
    criterion_scores,
    learn_selector,
    neighbour_scores,
    problem_features,
)
from jmeta.selection.set_quality import (
    adapt_set_quality,
    candidate_inputs,
    learn_set_quality,
    set_quality_scores,
)

KEY = jax.random.key(0)
SETTINGS = Settings(steps=100, networks=2, dropout=0.2)
PORTFOLIO = tuple(one for one in portfolio("seven") if one.algorithm in ("kmeans", "hdbscan", "ward"))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    problems = [made(seed, kind) for seed in range(4) for kind in ("blobs", "moons")]
    folder = tmp_path_factory.mktemp("table")
    return performance_table(problems, PORTFOLIO, folder=folder, jobs=1, backend="threading")


def test_moons_are_not_given_to_the_algorithm_of_blobs(table):
    """HDBSCAN is best on moons, and one of the others on blobs that touch."""
    selector = learn_selector(table, candidate_inputs(table), KEY, settings=SETTINGS)
    moons = choose_strategy(selector, made(11, "moons").points, 2)
    blobs = choose_strategy(selector, made(12, "blobs").points, 2)
    assert moons.candidate.algorithm == "hdbscan"
    assert moons.clusters is None
    assert blobs.candidate.algorithm in ("kmeans", "ward")
    assert blobs.clusters == 2
    assert {moons.criterion, blobs.criterion} <= set(CRITERIA)
    with pytest.raises(jm.InputError, match="with the number of clusters; give clusters"):
        choose_strategy(selector, made(11, "moons").points)
    with pytest.raises(jm.InputError, match="another version"):
        choose_strategy(selector._replace(features=selector.features[:, 1:]), made(11, "moons").points, 2)
    one_group = table._replace(problems=[p._replace(group="one") for p in table.problems])
    with pytest.raises(jm.InputError, match="two groups"):
        learn_selector(one_group, candidate_inputs(table), KEY)
    for points in (np.zeros((0, 2)), np.zeros(3), np.full((5, 2), np.nan), np.zeros((1, 2))):
        with pytest.raises(jm.InputError):
            choose_strategy(selector, points, 2)


def test_both_adapt_to_a_new_group_where_another_algorithm_is_best(table):
    """In the new group the worst of the old ones is best: after some descent it is chosen."""
    inputs, worst = candidate_inputs(table), int(table.scores.mean(0).argmin())
    other = table._replace(scores=np.eye(3)[[worst] * 8])
    selector = learn_selector(table, inputs, KEY, settings=SETTINGS)
    adapted = adapt_selector(selector, other, inputs, steps=200, rate=0.02)
    assert choose_strategy(adapted, made(11, "blobs").points, 2).candidate == PORTFOLIO[worst]
    criterion = adapt_set_quality(
        learn_set_quality(table, KEY, settings=SETTINGS), other, steps=200, rate=0.02
    )
    assert np.mean(set_quality_scores(criterion, table).argmax(1) == worst) > 0.8
    fewer = table._replace(candidates=table.candidates[::-1])
    for adapt in (
        lambda: adapt_selector(selector, fewer, inputs),
        lambda: adapt_set_quality(criterion, fewer),
    ):
        with pytest.raises(jm.InputError, match="another portfolio"):
            adapt()


def test_a_criterion_belongs_to_its_portfolio(table):
    criterion = learn_set_quality(table, KEY, settings=SETTINGS)
    failed = [[*row[:-1], Outcome(None, 0.0, "it failed")] for row in table.outcomes]
    scores = set_quality_scores(criterion, table._replace(outcomes=failed))
    assert np.all(np.isneginf(scores[:, -1]))
    assert np.all(np.isfinite(scores[:, :-1]))
    with pytest.raises(jm.InputError, match="another portfolio"):
        set_quality_scores(criterion, table._replace(candidates=table.candidates[::-1]))


def test_a_criterion_is_worth_what_it_prefers(table):
    inputs = candidate_inputs(table)
    found = criterion_scores(table, inputs)
    assert found.shape == (8, len(CRITERIA))
    place = list(CRITERIA).index("silhouette")
    best = np.where(inputs[:, :, NAMES.index("log clusters")] > 0, inputs[:, :, 0], -np.inf).argmax(1)
    np.testing.assert_array_equal(found[:, place], table.scores[np.arange(8), best])
    one, noise = (np.full(60, label) for label in (0, -1))
    outcomes = [[row[0], Outcome(one, 0.0, ""), Outcome(noise, 0.0, "")] for row in table.outcomes]
    alone = table._replace(outcomes=outcomes)
    names = [name for name in CRITERIA if name != "most_agreement"]
    found = criterion_scores(alone, candidate_inputs(alone))  # nothing but the first parts any points
    for name in names:
        np.testing.assert_array_equal(found[:, list(CRITERIA).index(name)], table.scores[:, 0])


def test_the_nearest_known_problems_answer_by_hand():
    """On a line of inputs, groups 0 and 1 known and 2 not; each hears of other groups only."""
    inputs = np.array([[0.0], [1.0], [0.1], [0.9], [0.2]])
    worths = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    known, groups = np.array([1, 1, 1, 1, 0]), np.array([0, 0, 1, 1, 2])
    found = neighbour_scores(inputs, worths, known, groups, nearest=1)
    expected = [[0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, -0.5]]
    np.testing.assert_allclose(found, expected)
    worths[4] = [9.0, -9.0]  # the unknown one's own answer is told to no one
    np.testing.assert_array_equal(neighbour_scores(inputs, worths, known, groups, nearest=1), found)


def test_meta_features_of_problems_of_any_size():
    """A wide and a long problem beside each other; without a number of clusters it is counted."""
    wide = np.random.default_rng(0).normal(size=(20, 5))
    long = make_blobs(1500, centers=3, cluster_std=0.3, random_state=0)[0]
    found = problem_features([wide, long], groups=["size"])
    np.testing.assert_allclose(np.exp(found[:, 0]), [20, 1500], rtol=1e-4)
    np.testing.assert_allclose(np.exp(found[:, 1]), [5, 2], rtol=1e-4)
    assert np.exp(found[1, 3]) == pytest.approx(3)
