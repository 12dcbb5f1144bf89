"""The sweep beside each method alone: the same partitions, for every number of clusters."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.datasets import make_blobs, make_moons
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from jmeta.clustering.host.genie import Genie
from jmeta.portfolio import sweep as sweeping
from jmeta.portfolio.candidates import candidate
from jmeta.portfolio.running import run_candidate
from jmeta.portfolio.sweep import GINI_THRESHOLDS, LINKAGES, counts_to_try, sweep
from jmeta.portfolio.sweep_methods import Mixtures, spectral_partitions

COUNTS = (2, 3, 5, 9)
EXACT = (*LINKAGES, "genie")


def cloud(rows=50, columns=3, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns))


@pytest.fixture(scope="module")
def found():
    return sweep(cloud(), COUNTS).partitions


def of(found, algorithm):
    """The partitions of an algorithm by number of clusters and by options."""
    return {
        (one.clusters, one.options): labels for one, labels in found.items() if one.algorithm == algorithm
    }


def same(a, b):
    """Whether two partitions are the same up to the numbers of their clusters."""
    return len(set(zip(a.tolist(), b.tolist(), strict=True))) == len(set(a.tolist())) == len(set(b.tolist()))


def test_every_candidate_has_a_valid_partition(found):
    for one, labels in found.items():
        numbers = set(labels.tolist()) - {-1}
        assert labels.shape == (50,)
        assert labels.dtype.kind == "i"
        assert numbers == set(range(len(numbers)))
        assert len(numbers) >= 2
        assert one.clusters is None or len(numbers) <= one.clusters
        if one.algorithm in EXACT:
            assert len(numbers) == one.clusters
        if one.algorithm != "hdbscan" or ("noise", "nearest") in one.options:
            assert -1 not in labels


def test_all_methods_are_there_for_every_number_of_clusters(found):
    for algorithm, methods in {
        "ward": 1,
        "average": 1,
        "complete": 1,
        "genie": len(GINI_THRESHOLDS),
        "kmeans": 1,
        "gaussian_mixture": 1,
        "spectral": 2,
    }.items():
        assert len(of(found, algorithm)) == methods * len(COUNTS)
        assert {count for count, _ in of(found, algorithm)} == set(COUNTS)


def test_the_order_and_the_labels_are_the_same_every_time(found):
    again = sweep(cloud(), COUNTS[::-1]).partitions
    assert list(again) == list(found)
    for one, labels in found.items():
        np.testing.assert_array_equal(labels, again[one])


@pytest.mark.parametrize("method", LINKAGES)
def test_linkages_are_scipys_and_scikit_learns(found, method):
    for (count, _), labels in of(found, method).items():
        assert same(labels, fcluster(linkage(cloud(), method), count, "maxclust"))
        theirs = AgglomerativeClustering(count, linkage=method).fit_predict(cloud())
        assert same(labels, theirs)


def test_genie_is_the_algorithm_of_one_number_of_clusters(found):
    for (count, options), labels in of(found, "genie").items():
        np.testing.assert_array_equal(labels, Genie(count, **dict(options)).fit(cloud()).labels_)


def test_kmeans_is_no_worse_than_from_ward_or_from_random_centres(found):
    def inertia(labels):
        return sum(np.sum((cloud()[labels == k] - cloud()[labels == k].mean(0)) ** 2) for k in set(labels))

    for (count, _), labels in of(found, "kmeans").items():
        random = KMeans(count, n_init=1, random_state=0).fit_predict(cloud())
        ward = found[candidate("ward")._replace(clusters=count)]
        assert inertia(labels) <= min(inertia(random), inertia(ward)) * (1 + 1e-3)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_mixtures_are_scikit_learns_from_the_same_start(covariance_type):
    points, _ = make_blobs(60, 2, centers=3, cluster_std=3, random_state=1)
    points = points - points.mean(0)
    start = KMeans(3, n_init=1, random_state=4).fit_predict(points)
    ours = Mixtures(points, full=covariance_type == "full", regularisation=1e-5).labels(start)
    theirs = GaussianMixture(3, covariance_type=covariance_type, reg_covar=1e-5, random_state=4)
    np.testing.assert_array_equal(ours, theirs.fit_predict(points))


def test_spectral_clustering_is_scikit_learns_where_the_graph_is_connected(monkeypatch):
    points = cloud(60, 2)
    for rows in (700, 10):  # a dense and a sparse eigendecomposition
        monkeypatch.setattr("jmeta.portfolio.sweep_methods.DENSE_ROWS", rows)
        for count, labels in spectral_partitions(points, [2, 3, 5], 10):
            theirs = SpectralClustering(
                count, affinity="nearest_neighbors", n_neighbors=10, assign_labels="cluster_qr"
            ).fit_predict(points)
            assert adjusted_rand_score(labels, theirs) == 1


def test_components_of_a_graph_are_clusters():
    truth = np.repeat(np.arange(4), 15)
    points = cloud(60, 2) + 100.0 * truth[:, None]
    partitions = dict(spectral_partitions(points, [2, 4], 5))
    assert adjusted_rand_score(partitions[4], truth) == 1
    assert set(np.bincount(partitions[2])) <= {15, 30, 45}


def test_noise_is_given_to_the_nearest_cluster(found):
    for (_, options), labels in of(found, "hdbscan").items():
        filled = of(found, "hdbscan").get((None, tuple(sorted((*options, ("noise", "nearest"))))))
        if filled is not None:
            np.testing.assert_array_equal(filled[labels >= 0], labels[labels >= 0])


def test_two_moons_are_found():
    points, truth = make_moons(60, noise=0.04, random_state=0)
    scores = {
        one: adjusted_rand_score(truth, labels) for one, labels in sweep(points, [2, 3]).partitions.items()
    }
    assert max(scores.values()) == 1


def test_candidates_run_alone_on_more_rows():
    points, truth = make_blobs(120, centers=[[0, 0], [9, 0], [0, 9]], random_state=0)
    for one, labels in sweep(points[:50], [3]).partitions.items():
        alone = run_candidate(one, points, None, 0)
        assert not alone.failure
        assert len(alone.labels) == 120
        if adjusted_rand_score(truth[:50], labels) == 1 and one.algorithm != "hdbscan":
            assert adjusted_rand_score(truth, alone.labels) == 1


@pytest.mark.faults
@pytest.mark.parametrize(
    "points",
    [
        np.repeat(cloud(8, 2), 5, 0),
        np.hstack([cloud(40, 2), np.ones((40, 1))]),
        np.ones((40, 2)),
        cloud(40, 1),
        np.repeat([[0.0], [1.0]], 20, 0),
        cloud(3),
        cloud(2),
        cloud(1),
        cloud(45, 60),
        cloud(40, 2) * 1e6 + 1e8,
    ],
    ids=["duplicates", "a constant", "all equal", "a column", "two values", "3", "2", "1", "wide", "far"],
)
def test_unusual_tables_give_partitions_without_errors_or_warnings(points):
    counts = counts_to_try(len(points))
    found = sweep(points, counts).partitions
    for one, labels in found.items():
        assert labels.min() >= -1
        assert labels.max() >= 1
        if one.algorithm in EXACT:
            assert len(set(labels.tolist())) == one.clusters
    if len(points) > 2:
        assert found


def test_candidates_that_there_is_no_time_for_are_counted(found, monkeypatch):
    """The clock goes on by a second at every look."""
    seconds = iter(range(10**6))
    monkeypatch.setattr(sweeping.time, "monotonic", lambda: next(seconds))
    whole = sweep(cloud(), COUNTS)
    assert whole.left_out == 0
    assert list(whole.partitions) == list(found)
    first = next(seconds) + 1
    cut = sweep(cloud(), COUNTS, until=first + 14)
    assert list(cut.partitions) == list(found)[:13]  # one look says that the linkages have ended
    methods = len(LINKAGES) + len(GINI_THRESHOLDS) + 2 + len(sweeping.NEIGHBOURS)
    densities = len(sweeping.MIN_SAMPLES) * sum(size < 25 for size in sweeping.MIN_CLUSTER_SIZES)
    assert cut.left_out == methods * len(COUNTS) + 2 * densities - 13
    assert not sweep(cloud(), COUNTS, until=0).partitions


@pytest.mark.faults
def test_a_method_that_fails_is_left_out(found, monkeypatch):
    def fail(*arguments, **options):
        raise MemoryError

    for name in ("linkage", "KMeans", "spectral_partitions", "HDBSCAN"):
        monkeypatch.setattr(sweeping, name, fail)
    assert {one.algorithm for one in sweep(cloud(), COUNTS).partitions} == {"genie"}


def test_counts_stay_below_half_of_the_rows_and_counts_of_all_rows_are_left_out():
    assert counts_to_try(2000)[-1] == 50
    assert counts_to_try(50)[-2:] == (22, 25)
    assert all(one.clusters in (2, None) for one in sweep(cloud(12), [0, 1, 2, 12, 40]).partitions)
    assert not of(sweep(cloud(60), []).partitions, "ward")


def test_it_starts_without_jax():
    code = "import sys, jmeta.portfolio.sweep; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
