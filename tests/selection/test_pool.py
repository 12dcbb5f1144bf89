"""The pool of partitions: what a predictor that knows the truth leads to, and which partitions are there."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from jmeta.portfolio.candidates import ONE_CLUSTER, Candidate
from jmeta.portfolio.running import count_clusters
from jmeta.portfolio.sweep import counts_to_try, sweep
from jmeta.selection.pool import make_pool

ROWS = 48
STRIPE = np.random.default_rng(0).permutation(np.arange(ROWS) % 4)
POINTS = np.column_stack([STRIPE, np.random.default_rng(1).normal(size=ROWS) * 9])
"""Four long stripes beside each other, which the first column tells apart."""


def blocks(points, clusters=0):
    """P of a network that knows the stripes."""
    return np.equal.outer(points[:, 0], points[:, 0]).astype(float)


def cut(count):
    return Candidate("zero_shot", clusters=count)


@pytest.fixture(scope="module")
def unknown():
    return make_pool(POINTS, blocks)


def partition(pool, one):
    return pool.partitions[pool.candidates.index(one)]


def test_the_cut_of_p_is_the_truth(unknown):
    for pool in (unknown, make_pool(POINTS, blocks, 4)):
        place = pool.candidates.index(cut(4))
        assert adjusted_rand_score(pool.partitions[place], STRIPE) == 1
        assert pool.columns["expected ARI"][place] == pytest.approx(1, abs=1e-6)
        assert pool.columns["expected ARI"].argmax() == place


def test_all_candidates_are_in_the_pool_with_their_descriptors(unknown):
    swept = sweep(POINTS, counts_to_try(ROWS)).partitions
    cuts = {cut(count) for count in counts_to_try(ROWS)}
    assert set(unknown.candidates) == {*swept, *cuts, ONE_CLUSTER}
    for one, labels in swept.items():
        np.testing.assert_array_equal(partition(unknown, one), labels)
    assert set(partition(unknown, ONE_CLUSTER)) == {0}
    assert unknown.partitions.shape == (len(unknown.candidates), ROWS)
    assert {values.shape for values in unknown.columns.values()} == {(len(unknown.candidates),)}
    for one in unknown.candidates:
        if one.algorithm == "zero_shot":
            assert count_clusters(partition(unknown, one)) == one.clusters


@pytest.mark.parametrize("clusters", [2, 5, 11])
def test_with_a_known_number_all_partitions_have_it(clusters):
    pool = make_pool(POINTS, blocks, clusters)
    assert {count_clusters(labels) for labels in pool.partitions} == {clusters}
    assert ONE_CLUSTER not in pool.candidates
    assert cut(clusters) in pool.candidates
    assert len(pool.columns["silhouette"]) == len(pool.candidates) > 5


def test_the_predictor_gets_the_points_and_the_known_number_of_clusters():
    seen = []

    def listening(points, clusters):
        seen.append((points, clusters))
        return blocks(points)

    make_pool(POINTS, listening)
    make_pool(POINTS, listening, 3)
    assert [clusters for _, clusters in seen] == [0, 3]
    for points, _ in seen:
        np.testing.assert_array_equal(points, POINTS)


def test_points_outside_the_sample_follow_the_nearest_in_it(monkeypatch):
    monkeypatch.setattr("jmeta.selection.pool.SAMPLE", 20)
    seen = []

    def listening(points, clusters):
        seen.append(points)
        return blocks(points)

    pool = make_pool(POINTS, listening)
    assert seen[0].shape == (20, 2)
    nearest = np.linalg.norm(POINTS[:, None] - seen[0], axis=-1).argmin(1)
    labels = partition(pool, cut(4))
    assert adjusted_rand_score(labels, seen[0][nearest, 0]) == 1
    assert cut(20) in pool.candidates
    assert cut(22) not in pool.candidates
    assert set(pool.columns["log sample"]) == {np.log(20)}


def test_equal_seeds_make_equal_pools(monkeypatch):
    monkeypatch.setattr("jmeta.selection.pool.SAMPLE", 20)
    one, same, other = (make_pool(POINTS, blocks, seed=seed) for seed in (3, 3, 4))
    assert one.candidates == same.candidates
    np.testing.assert_array_equal(one.partitions, same.partitions)
    for name, values in one.columns.items():
        np.testing.assert_array_equal(values, same.columns[name])
    assert not np.array_equal(partition(one, cut(9)), partition(other, cut(9)))


@pytest.mark.parametrize(("clusters", "best"), [(None, 4), (2, 2)])
def test_the_first_answer_is_the_best_cut_of_p(clusters, best):
    heard = []
    pool = make_pool(POINTS, blocks, clusters, first_answer=lambda *given: heard.append(given))
    ((labels, expected),) = heard
    np.testing.assert_array_equal(labels, partition(pool, cut(best)))
    assert expected == pytest.approx(pool.columns["expected ARI"][pool.candidates.index(cut(best))], abs=1e-6)


def test_more_clusters_than_rows_make_an_empty_pool():
    pool = make_pool(POINTS, blocks, ROWS + 1)
    assert pool.candidates == ()
    assert pool.partitions.shape == (0, ROWS)
    assert pool.columns == {}
