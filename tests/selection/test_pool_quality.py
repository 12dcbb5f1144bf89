"""The choice among the partitions of a pool: cases by hand, and probabilities."""

import numpy as np
import pytest
from scipy.special import logit
from sklearn.metrics import adjusted_rand_score

from jmeta.portfolio.candidates import ONE_CLUSTER, candidate
from jmeta.selection.boosted import boosted_trees
from jmeta.selection.pool import Pool
from jmeta.selection.pool_quality import (
    EXPECTED_WEIGHT,
    PRIOR,
    TRAINED_PRIOR,
    PoolQuality,
    agreements,
    choose,
    cluster_probabilities,
    pool_descriptors,
    pool_inputs,
)

HALVES, ALMOST, NOISY = [0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 0, -1, 1, 1, -1]
PAIRS, WHOLE = [0, 0, 1, 1, 2, 2], [0] * 6
PARTITIONS = np.array([PAIRS, HALVES, ALMOST, NOISY, WHOLE])
MARGIN = np.array([0.6, 0.4, 0.5, 0.7, -1.0])
POOL = Pool(
    (
        candidate("ward")._replace(clusters=3),
        candidate("ward")._replace(clusters=2),
        candidate("genie", gini_threshold=0.1)._replace(clusters=2),
        candidate("hdbscan", min_samples=4),
        ONE_CLUSTER,
    ),
    PARTITIONS,
    {"margin": MARGIN, "silhouette": np.arange(5.0), "expected ARI": np.zeros(5)},
)


def split(feature, threshold, left, right):
    children = {"left_child": {"leaf_value": left}, "right_child": {"leaf_value": right}}
    return boosted_trees([{"split_feature": feature, "threshold": threshold, **children}])


def constant(value):
    return boosted_trees([{"leaf_value": value}])


def model(quality, shortfall, temperature=0.1):
    return PoolQuality(
        ("margin", "silhouette"), ("ward", "one_cluster"), quality, shortfall, temperature, 0.2
    )


def test_the_inputs_are_descriptors_and_methods():
    inputs = pool_inputs(POOL, ("silhouette", "margin"), ("ward", "hdbscan(min_samples=4)", "kmeans"))
    methods = [[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]]
    np.testing.assert_array_equal(inputs, np.column_stack([np.arange(5), MARGIN, methods]).astype(np.float32))


def test_agreements_are_scikit_learns():
    expected = [[adjusted_rand_score(one, other) for one in PARTITIONS] for other in PARTITIONS]
    np.testing.assert_allclose(agreements(PARTITIONS), expected, atol=1e-12)


def test_the_choice_by_hand():
    """Quality 0.8 where the margin is above 0.45, else 0.6; Ward's partitions fall short by 0.2."""
    choice = choose(model(split(0, 0.45, 0.6, 0.8), split(2, 0.5, 0.0, -0.2)), POOL)
    np.testing.assert_allclose(choice.quality[:4], [0.8, 0.6, 0.8, 0.8], rtol=1e-6)
    assert choice.quality[4] == choice.probability[4] == choice.expected[4] == 0  # one cluster
    scores = np.array([0.6, 0.4, 0.8, 0.8, -np.inf])
    probability = np.exp(scores / 0.1) / np.exp(scores / 0.1).sum()
    np.testing.assert_allclose(choice.probability, probability, rtol=1e-5)
    expected = [
        sum(p * adjusted_rand_score(one, other) for p, one in zip(probability, PARTITIONS, strict=True))
        for other in PARTITIONS
    ]
    np.testing.assert_allclose(choice.expected, expected, rtol=1e-5)
    np.testing.assert_array_equal(choice.ranking, np.argsort(-np.array(expected)))


def test_of_equal_scores_the_partition_in_the_middle_is_chosen():
    choice = choose(model(constant(0.5), constant(0.0)), POOL)
    np.testing.assert_allclose(choice.probability, [0.25] * 4 + [0])
    means = [np.mean([adjusted_rand_score(one, other) for one in PARTITIONS[:4]]) for other in PARTITIONS]
    np.testing.assert_allclose(choice.expected, means, rtol=1e-6)
    assert choice.ranking[0] == np.argmax(means)


def test_a_low_temperature_chooses_the_highest_score():
    for threshold, best in ((0.55, {0, 3}), (0.65, {3})):
        choice = choose(model(split(0, threshold, 0.0, 1.0), constant(0.0), 1e-3), POOL)
        assert choice.ranking[0] in best
        np.testing.assert_allclose(choice.probability[list(best)], 1 / len(best), rtol=1e-6)


def test_only_likely_partitions_have_a_probability(monkeypatch):
    monkeypatch.setattr("jmeta.selection.pool_quality.LIKELY", 2)
    quality = boosted_trees(
        [
            {
                "split_feature": 0,
                "threshold": t,
                "left_child": {"leaf_value": 0.0},
                "right_child": {"leaf_value": 1.0},
            }
            for t in (0.0, 0.45, 0.55, 0.65)
        ]
    )
    choice = choose(model(quality, constant(0.0), 1.0), POOL)
    assert choice.quality.tolist() == [3, 1, 2, 4, 0]
    assert np.flatnonzero(choice.probability).tolist() == [0, 3]
    np.testing.assert_allclose(choice.probability[[3, 0]], [np.e / (np.e + 1), 1 / (np.e + 1)], rtol=1e-6)
    assert np.flatnonzero(np.isfinite(choice.expected)).tolist() == [0, 3, 4]
    assert choice.ranking.tolist() == [3, 0, 4, 2, 1]  # by score beyond the likely ones and one cluster


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_sum_to_one_and_so_do_those_of_numbers_of_clusters(seed):
    random = np.random.default_rng(seed)
    partitions = random.integers(-1, 5, (80, 30))
    columns = {name: random.normal(size=80) for name in ("margin", "silhouette", "expected ARI")}
    pool = Pool((candidate("ward"),) * 80, partitions, columns)
    trees = [split(feature, 0.0, *random.normal(size=2)) for feature in (0, 1)]
    choice = choose(model(*trees, 0.5), pool)
    assert choice.probability.sum() == pytest.approx(1, abs=1e-12)
    assert sorted(choice.ranking) == list(range(80))
    assert np.all(np.diff(choice.expected[choice.ranking[:60]]) <= 0)
    found = cluster_probabilities(pool, choice)
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert min(found.values()) > 0


def test_the_probability_of_a_number_of_clusters_by_hand():
    choice = choose(model(constant(0.5), constant(0.0)), POOL)
    found = cluster_probabilities(POOL, choice)
    assert found == pytest.approx({2: 0.75, 3: 0.25})
    assert next(iter(found)) == 2


def test_the_expected_index_under_p_adds_to_the_score():
    columns = POOL.columns | {"expected ARI": np.array([0.0, 0.3, 0.2, 0.1, 0.0])}
    choice = choose(model(constant(0.5), constant(0.0)), POOL._replace(columns=columns))
    weights = np.exp(EXPECTED_WEIGHT * columns["expected ARI"][:4] / 0.1)
    np.testing.assert_allclose(choice.probability[:4], weights / weights.sum(), rtol=1e-6)
    np.testing.assert_allclose(choice.quality[:4], 0.5)


def test_one_partition_is_chosen():
    pool = Pool(POOL.candidates[:1], PARTITIONS[:1], {name: v[:1] for name, v in POOL.columns.items()})
    choice = choose(model(constant(0.5), constant(0.0)), pool)
    assert choice.ranking.tolist() == [0]
    assert choice.expected.tolist() == choice.probability.tolist() == [1]


@pytest.mark.parametrize("chance", [0.05, 0.9])
def test_the_probability_of_one_cluster_comes_before_the_others(chance):
    plain = choose(model(constant(0.5), constant(0.0)), POOL)
    trees = constant(logit(chance) + logit(TRAINED_PRIOR) - logit(PRIOR))
    choice = choose(model(constant(0.5), constant(0.0))._replace(single=trees), POOL)
    expected = (1 - chance) * plain.probability + chance * (np.arange(5) == 4)
    np.testing.assert_allclose(choice.probability, expected, rtol=1e-6)
    np.testing.assert_allclose(choice.expected[:4], (1 - chance) * plain.expected[:4], rtol=1e-6)
    assert choice.expected[4] == choice.quality[4] == choice.probability[4]
    assert (choice.ranking[0] == 4) == (chance > 0.5)


def test_the_probability_of_one_cluster_is_predicted_from_the_other_partitions():
    """Trees that split on the greatest margin: it is 0.7 with one cluster left out."""
    found = model(constant(0.0), constant(0.0))._replace(single=split(0, 0.65, -5.0, 5.0))
    descriptors = pool_descriptors(POOL, found.features)
    odds = PRIOR / (1 - PRIOR) / (TRAINED_PRIOR / (1 - TRAINED_PRIOR))
    for count, log_odds in ((4, 5.0), (3, -5.0)):
        expected = odds * np.exp(log_odds) / (1 + odds * np.exp(log_odds))
        assert found.probability_of_one(descriptors[:count]) == pytest.approx(expected)
    assert model(constant(0.0), constant(0.0)).probability_of_one(descriptors) == 0
