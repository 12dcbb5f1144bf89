"""Pooled search with the models that come with jmeta, on tiny tables."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

import jmeta as jm
from jmeta.estimators.models import pair_network, pool_quality
from jmeta.padding import MIN_SIZE
from jmeta.portfolio.candidates import ONE_CLUSTER, Candidate, candidate
from jmeta.portfolio.running import count_clusters
from jmeta.portfolio.sweep import Swept
from jmeta.search.pooled import CRITERIA, WIDTH, PooledResult, pooled_search, predict_together
from jmeta.selection.pool import Pool
from jmeta.selection.pool_quality import Choice

TRUTH = np.arange(120) % 3
POINTS = np.array([[0, 0], [0.9, 0.1], [0.3, 0.8]])[TRUTH] - 0.4
POINTS = POINTS + 0.08 * np.random.default_rng(0).normal(size=(120, 2))
CORNERS = np.array([[-1.0, 0], [1, 0], [0, 1]])


def search(points, clusters=None, **options):
    network = pair_network()
    return pooled_search(
        (network.made, network.params), pool_quality(clusters is not None), points, clusters, **options
    )


def together(points, clusters=0):
    network = pair_network()
    return predict_together(network.made, network.params, points, clusters)


@pytest.fixture(scope="module")
def found():
    return search(POINTS)


@pytest.fixture(scope="module")
def predicted():
    return together(POINTS)


def test_blobs_are_found_without_their_number(found):
    assert adjusted_rand_score(found.labels, TRUTH) == 1
    assert next(iter(found.cluster_probabilities)) == 3
    assert sum(found.cluster_probabilities.values()) == pytest.approx(1)
    assert ONE_CLUSTER in found.pool.candidates
    assert found.best == found.pool.candidates[found.choice.ranking[0]]
    assert found.criterion in CRITERIA


@pytest.mark.parametrize("clusters", [2, 3, 7])
def test_a_known_number_of_clusters_is_obeyed(clusters):
    result = search(POINTS, clusters)
    assert {count_clusters(labels) for labels in result.pool.partitions} == {clusters}
    assert list(result.cluster_probabilities) == [clusters]
    assert result.criterion in CRITERIA
    if clusters == 3:
        assert adjusted_rand_score(result.labels, TRUTH) == 1


def test_equal_partitions_are_listed_once(found):
    labels = found.pool.partitions[found.distinct]
    assert found.distinct[0] == found.choice.ranking[0]
    likely = [place for place in found.choice.ranking if np.isfinite(found.choice.expected[place])]
    assert len(labels) < len(likely)
    for at, one in enumerate(labels):
        assert all(adjusted_rand_score(one, other) < 1 for other in labels[:at])
    for place in likely:
        assert any(adjusted_rand_score(found.pool.partitions[place], one) == 1 for one in labels)


def made_by_hand(candidates, expected, columns):
    """A result whose partitions have the given expected index."""
    expected = np.array(expected)
    choice = Choice(np.argsort(-expected), expected, np.full(len(expected), 1 / len(expected)), expected)
    partitions = np.arange(len(expected))[:, None] * np.arange(6) % 4
    return PooledResult(Pool(candidates, partitions, columns), choice, pool_quality(False), 0)


def test_the_criterion_is_the_one_whose_favourite_is_expected_to_be_best():
    columns = {name: np.array([1.0, 2, 3, 9 * sign]) for name, sign in CRITERIA.values()}
    columns["neighbours cut"] = np.array([0.1, 0.2, 0.3, 0])  # the fewest are best
    candidates = (candidate("ward"), candidate("genie"), candidate("kmeans"), ONE_CLUSTER)
    assert made_by_hand(candidates, [0.9, 0.5, 0.1, 0.2], columns).criterion == "near_neighbours"
    columns["edge gap"] = np.array([0, 1, 0, 9])
    assert made_by_hand(candidates, [0.2, 0.5, 0.1, 0.9], columns).criterion == "gap"
    whole = made_by_hand((ONE_CLUSTER,), [1.0], {name: v[:1] for name, v in columns.items()})
    assert whole.criterion == "none"


def test_meta_features_have_names_and_depend_on_the_known_number(found):
    unknown, known = found.features(POINTS, None), found.features(POINTS, 7)
    assert list(unknown) == list(known)
    assert np.all(np.isfinite(list(unknown.values())))
    assert known["log clusters"] == pytest.approx(np.log(7)) != unknown["log clusters"]


def test_p_is_a_symmetric_matrix_of_probabilities(predicted):
    np.testing.assert_array_equal(predicted, predicted.T)
    np.testing.assert_array_equal(np.diag(predicted), 1)
    assert np.all((predicted >= 0) & (predicted <= 1))
    same = np.equal.outer(TRUTH, TRUTH)
    assert predicted[same].mean() > 0.9
    assert predicted[~same].mean() < 0.1


@pytest.mark.parametrize("change", ["rotation", "shift", "scale", "columns", "tiny"])
def test_what_does_not_change_p(change, predicted):
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(2, 2)))[0]
    changed = {
        "rotation": POINTS @ turn,
        "shift": POINTS + 50,
        "scale": POINTS * 1e5,
        "columns": np.pad(POINTS, ((0, 0), (1, WIDTH - 3))),
        "tiny": POINTS * 1e-12,
    }
    np.testing.assert_allclose(together(changed[change]), predicted, atol=1e-4)


def test_the_order_of_points_permutes_p(predicted):
    order = np.random.default_rng(2).permutation(120)
    np.testing.assert_allclose(together(POINTS[order]), predicted[order][:, order], atol=1e-4)


def test_padding_does_not_change_p(predicted, monkeypatch):
    monkeypatch.setattr("jmeta.search.pooled.padded_size", lambda count: 2 * MIN_SIZE)
    np.testing.assert_allclose(together(POINTS), predicted, atol=1e-4)


def test_more_rows_than_the_smallest_padded_size():
    points = np.concatenate([POINTS, POINTS[:30] + 0.01])
    found = together(points)
    assert found.shape == (150, 150)
    assert found[:30, 120:].diagonal().min() > 0.5  # near copies
    result = search(points)
    assert adjusted_rand_score(result.labels, np.concatenate([TRUTH, TRUTH[:30]])) == 1


def test_a_known_number_changes_p(predicted):
    assert np.abs(together(POINTS, 9) - predicted).max() > 0.01


def test_as_many_clusters_as_distinct_rows_or_fewer():
    truth = np.repeat([0, 1, 2], 5)
    assert adjusted_rand_score(search(CORNERS[truth], 3).labels, truth) == 1
    two = search(CORNERS[truth], 2).labels
    assert sorted(np.bincount(two)) == [5, 10]
    assert all(len(set(two[truth == corner])) == 1 for corner in range(3))


def test_more_clusters_than_rows_are_refused_with_one_sentence():
    with pytest.raises(jm.InputError, match=r"^no candidate found 16 clusters; the last one .*\.$"):
        search(np.random.default_rng(3).normal(size=(15, 2)), 16)


def test_kmeans_stands_in_where_no_candidate_finds_the_known_number(monkeypatch):
    monkeypatch.setattr("jmeta.selection.pool.sweep", lambda *arguments, **options: Swept({}, 0))
    monkeypatch.setattr("jmeta.selection.pool.SAMPLE", 12)
    result = search(POINTS, 20)
    assert result.best == Candidate("kmeans", clusters=20)
    assert count_clusters(result.labels) == 20
    assert result.distinct == [0]
    assert result.cluster_probabilities == {20: 1.0}
    assert result.criterion == "none"


def test_equal_seeds_give_equal_results(found):
    again = search(POINTS)
    np.testing.assert_array_equal(again.choice.ranking, found.choice.ranking)
    np.testing.assert_array_equal(again.pool.partitions, found.pool.partitions)
