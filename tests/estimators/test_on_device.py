"""Estimators of one algorithm: scikit-learn's checks, the algorithm behind them, and no compiling twice."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.utils.estimator_checks import parametrize_with_checks

import jmeta as jm
from jmeta.estimators import on_device
from jmeta.validation import LARGEST

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
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # ten steps are few
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


@pytest.mark.parametrize("offset", [0, 1.7e9, 1e12])
@pytest.mark.parametrize("scale", [1e-12, 1, 1e12])
def test_units_of_the_table_do_not_change_clusters_nor_attributes(offset, scale):
    """Seconds since 1970 hold half a microsecond, and 1e12 a tenth of a thousandth."""
    points = scale * (offset + POINTS)
    if scale * offset > LARGEST:
        points = points - scale * offset
    hard = KMeans(3, n_init=10, random_state=0).fit(POINTS)
    soft = jm.SoftKMeans(3, inverse_temperature=1e3 / scale**2).fit(points)
    assert adjusted_rand_score(hard.labels_, soft.labels_) == 1
    np.testing.assert_allclose(soft.inertia_ / scale**2, hard.inertia_, rtol=1e-3)
    mixture = jm.MixtureClusterer(3).fit(points)
    plain = jm.MixtureClusterer(3).fit(POINTS)
    np.testing.assert_allclose(mixture.covariances_ / scale**2, plain.covariances_, rtol=5e-3, atol=1e-4)


def test_the_unit_of_one_column_does_not_change_a_mixture():
    stretch = np.array([1e4, 1e-3])
    plain, stretched = (jm.MixtureClusterer(3).fit(x) for x in (POINTS, POINTS * stretch))
    np.testing.assert_array_equal(plain.labels_, stretched.labels_)
    np.testing.assert_allclose(stretched.means_, plain.means_ * stretch, rtol=1e-9)
    np.testing.assert_allclose(
        stretched.covariances_, plain.covariances_ * np.outer(stretch, stretch), rtol=1e-9, atol=1e-12
    )
    shift = 90 * np.log(stretch).sum()
    np.testing.assert_allclose(stretched.log_likelihood_, plain.log_likelihood_ - shift, rtol=1e-9)
    np.testing.assert_allclose(stretched.bic_, plain.bic_ + 2 * shift, rtol=1e-9)


def test_one_component_has_the_mean_and_the_covariance_of_the_table():
    x = POINTS * [1e4, 1.0]
    model = jm.MixtureClusterer(1).fit(x)
    np.testing.assert_allclose(model.means_[0], x.mean(0), rtol=1e-9)
    np.testing.assert_allclose(model.covariances_[0], np.cov(x.T, bias=True), rtol=1e-3)


@pytest.mark.parametrize("code", [9_999, 99_999])
def test_an_outlier_is_a_cluster_and_leaves_the_others(code):
    x = np.concatenate([POINTS, [[code, code]]])
    model = jm.SoftKMeans(4).fit(x)
    assert adjusted_rand_score(TRUTH, model.labels_[:-1]) > 0.95
    assert np.sum(model.labels_ == model.labels_[-1]) == 1


@pytest.mark.parametrize("apart", [1e2, 1e5])
def test_inertia_of_tight_groups_far_apart(apart):
    x = np.random.default_rng(0).normal(size=(100, 2)) + apart * (np.arange(100) % 2)[:, None]
    model = jm.SoftKMeans(2).fit(x)
    expected = np.sum((x - model.cluster_centers_[model.labels_]) ** 2)
    np.testing.assert_allclose(model.inertia_, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [jm.SoftKMeans, jm.MixtureClusterer])
def test_all_distinct_rows_are_used_before_a_warning_says_that_they_are_too_few(kind):
    x = np.array([[0.0, 0.0], [0.0, 1.0], [300.0, 0.0], [300.0, 0.5], [900.0, 7.0]]).repeat(2, 0)
    with pytest.warns(ConvergenceWarning, match="5 of 7 clusters have points, of which 5 are distinct"):
        labels = kind(7).fit(x).labels_
    assert len(set(labels)) == 5


def test_labels_of_balanced_clusters_are_rounded_and_probabilities_balanced():
    x = np.concatenate([POINTS[TRUTH == 0], POINTS[TRUTH == 1][:10]])
    model = jm.SinkhornKMeans(2).fit(x)
    assert np.bincount(model.labels_).tolist() == [20, 20]
    np.testing.assert_allclose(model.predict_proba(x).mean(0), 0.5, atol=1e-6)


def test_centres_that_still_move_are_reported():
    with pytest.warns(ConvergenceWarning, match="raise steps"):
        jm.SinkhornKMeans(5, steps=1, restarts=1).fit(POINTS)


@pytest.mark.parametrize("kind", [jm.SoftKMeans, jm.MixtureClusterer])
def test_seedings_of_large_tables_are_tried_on_a_sample_and_the_fit_is_as_good(kind, monkeypatch):
    whole = kind(3).fit(POINTS)
    monkeypatch.setattr(on_device, "SAMPLED_ROWS", 40)
    monkeypatch.setattr(on_device, "SAMPLED_PER_CLUSTER", 10)
    sampled = kind(3).fit(POINTS)
    np.testing.assert_allclose(objective(sampled), objective(whole), rtol=0.01)
    assert adjusted_rand_score(whole.labels_, sampled.labels_) > 0.95
    assert kind(3)._sample_size(POINTS) == 40
    assert kind(3)._sample_size(np.repeat(POINTS[:10], 9, 0)) is None


def objective(model):
    return model.log_likelihood_ if isinstance(model, jm.MixtureClusterer) else model.inertia_
