"""Clusters of tables with large offsets, outliers and duplicates, which single precision does not hold."""

import jax
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import jmeta as jm

KEY = jax.random.key(0)
TRUTH = np.repeat(np.arange(3), 12)
BURSTS = np.random.default_rng(0).normal(size=(36, 2)) * [2, 3] + 30 * TRUTH[:, None] * [1, 0]

SECONDS = np.array([1.7e9, 0])

CLUSTERERS = {
    "kmeans": jm.kmeans(3, restarts=5),
    "kmeans_centers": jm.kmeans(3, centers=BURSTS[::12] + SECONDS),
    "soft_kmeans": jm.soft_kmeans(3, restarts=5),
    "gaussian_mixture": jm.gaussian_mixture(3, covariance="diagonal", restarts=5),
    "ward": jm.agglomerative(3),
    "dbscan": jm.dbscan(3, radius=9.0, min_points=3),
    "mean_shift": jm.mean_shift(3),
    "host_kmeans": jm.host("kmeans", 3),
}


def labels(clusterer, points):
    return np.asarray(jm.cluster(clusterer, points, key=KEY).log_probs.argmax(1))


@pytest.mark.parametrize("name", list(CLUSTERERS))
def test_bursts_of_seconds_since_1970_are_separated(name):
    assert adjusted_rand_score(TRUTH, labels(CLUSTERERS[name], BURSTS + SECONDS)) > 0.95


def inertia(points, labels):
    return sum(np.sum((points[labels == k] - points[labels == k].mean(0)) ** 2) for k in set(labels))


def test_an_outlier_takes_a_cluster_and_leaves_the_others():
    points = np.concatenate([BURSTS, [[99_999, 99_999]]])
    expected = KMeans(4, n_init=10, random_state=0).fit(points).inertia_
    np.testing.assert_allclose(
        inertia(points, labels(jm.kmeans(4, restarts=10), points)), expected, rtol=1e-9
    )


def test_single_precision_stays_single_and_is_warned_of():
    points = np.float32(BURSTS)
    assert jm.cluster(jm.kmeans(3), points, key=KEY).log_probs.dtype == np.float32
    with pytest.warns(UserWarning, match="less than their type resolves; subtract an offset"):
        jm.cluster(jm.kmeans(3), np.float32(BURSTS + SECONDS), key=KEY)


def test_outliers_that_hide_the_others_are_warned_of():
    points = np.concatenate([BURSTS, [[1e13, 0]]])
    with pytest.warns(UserWarning, match="remove or clip the outliers"):
        jm.cluster(jm.kmeans(4), points, key=KEY)


@pytest.mark.parametrize("name", ["kmeans", "soft_kmeans", "gaussian_mixture"])
def test_all_distinct_points_are_used_before_a_warning_says_that_they_are_too_few(name):
    points = np.array([[0.0, 0.0], [0.0, 1.0], [900.0, 7.0]]).repeat(3, 0)
    clusterer = getattr(jm, name)(5)
    with pytest.warns(UserWarning, match="3 of 5 clusters have points, of which 3 are distinct"):
        assert len(set(labels(clusterer, points))) == 3
