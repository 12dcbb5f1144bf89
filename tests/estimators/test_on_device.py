"""Estimators of one algorithm: scikit-learn's checks, the algorithm behind them, and no compiling twice."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.utils.estimator_checks import parametrize_with_checks

import jmeta as jm
from jmeta.estimators import on_device

KINDS = (jm.SoftKMeans, jm.SinkhornKMeans, jm.MixtureClusterer)
POINTS, TRUTH = make_blobs(90, centers=3, cluster_std=0.5, random_state=0)
DRAWN = "seeds are drawn among rows, so that a row left out or given twice draws others"


def expected_failures(estimator):
    return {
        "check_sample_weight_equivalence_on_dense_data": DRAWN,
        "check_sample_weight_equivalence_on_sparse_data": DRAWN,
    }


@parametrize_with_checks(
    [kind(3, steps=10, restarts=1) for kind in KINDS], expected_failed_checks=expected_failures
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.EstimatorCheckFailedWarning")
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", KINDS)
def test_blobs_are_found_and_described(kind):
    model = kind(3).fit(POINTS)
    assert adjusted_rand_score(TRUTH, model.labels_) > 0.95
    np.testing.assert_array_equal(model.predict(POINTS), model.labels_)
    shares = model.predict_proba(POINTS)
    assert shares.shape == (90, 3)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    again = clone(model).fit(POINTS)
    np.testing.assert_array_equal(again.labels_, model.labels_)


def test_centres_and_components_are_those_of_scikit_learn():
    def order(rows):
        return rows[np.argsort(rows[:, 0])]

    sharp = jm.SoftKMeans(3, inverse_temperature=1e3).fit(POINTS + 1e6)
    hard = KMeans(3, n_init=10, random_state=0).fit(POINTS)
    np.testing.assert_allclose(order(sharp.cluster_centers_ - 1e6), order(hard.cluster_centers_), atol=1e-3)
    np.testing.assert_allclose(sharp.inertia_, hard.inertia_, rtol=1e-4)
    ours = jm.MixtureClusterer(3, ridge=1e-6, steps=1000).fit(POINTS)
    theirs = GaussianMixture(3, n_init=5, random_state=0, tol=1e-9, max_iter=1000).fit(POINTS)
    np.testing.assert_allclose(order(ours.means_), order(theirs.means_), atol=1e-3)
    np.testing.assert_allclose(ours.log_likelihood_, 90 * theirs.score(POINTS), rtol=1e-4)
    np.testing.assert_allclose(ours.bic_, theirs.bic(POINTS), rtol=1e-4)
    np.testing.assert_allclose(sorted(ours.weights_), sorted(theirs.weights_), atol=1e-4)


def test_rows_of_weight_zero_do_not_count():
    far = np.concatenate([POINTS, [[1e3, 1e3]]])
    weights = np.r_[np.ones(90), 0.0]
    model = jm.SoftKMeans(3).fit(far, sample_weight=weights)
    assert np.abs(model.cluster_centers_).max() < 20
    assert len(model.labels_) == 91


def test_balanced_clusters_are_equally_large():
    line = np.square(np.linspace(0, 3, 60))[:, None]
    assert np.bincount(jm.SinkhornKMeans(2).fit(line).labels_).tolist() == [30, 30]
    assert np.bincount(jm.SoftKMeans(2).fit(line).labels_).tolist() != [30, 30]


def test_directions_are_compared_by_their_angle():
    angles = np.repeat([0.1, 1.4], 20)
    points = np.stack([np.cos(angles), np.sin(angles)], 1) * np.linspace(1, 50, 40)[:, None]
    found = jm.SoftKMeans(2, metric="cosine").fit(points).labels_
    assert adjusted_rand_score(np.repeat([0, 1], 20), found) == 1


def test_tables_of_about_the_same_size_share_one_program():
    model = jm.SoftKMeans(3, steps=7)
    sizes = [90, 91, 100, 127, 128]
    for size in sizes:
        points, _ = make_blobs(size, centers=3, n_features=5, random_state=size)
        model.fit(points).predict(points[:70])
        if size == sizes[0]:
            before = on_device._fitted._cache_size(), on_device._assigned._cache_size()
    assert (on_device._fitted._cache_size(), on_device._assigned._cache_size()) == before


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (jm.SoftKMeans(0), "clusters of soft_kmeans is 0"),
        (jm.SoftKMeans(91), "n_samples=90 with nonzero weight cannot form 91 clusters"),
        (jm.SoftKMeans(2, metric="taxi"), "choose one of"),
        (jm.SoftKMeans(2, inverse_temperature=[1.0]), "is a list or an array"),
        (jm.MixtureClusterer(2, covariance="round"), "covariance is 'round'"),
        (jm.SinkhornKMeans(2, restarts=0), "restarts of sinkhorn_kmeans is 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(model, message):
    with pytest.raises(jm.InputError, match=message):
        model.fit(POINTS)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12])
def test_hostile_scales_give_clusters(scale):
    for kind in KINDS:
        assert kind(3).fit(POINTS * scale).labels_.shape == (90,)


def test_numbers_whose_squares_overflow_are_refused():
    for model in (jm.SoftKMeans(3), jm.MetaClusterer(n_clusters=3)):
        with pytest.raises(jm.InputError, match="rescale the columns"):
            model.fit(POINTS * 1e20)
