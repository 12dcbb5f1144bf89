"""The estimator of zero-shot clustering: scikit-learn's checks, numbers of clusters, weights and samples."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_moons
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import jmeta as jm

POINTS, TRUTH = make_blobs(90, centers=3, cluster_std=0.5, random_state=0)


def expected_failures(estimator):
    return {
        "check_sample_weight_equivalence_on_dense_data": "the network sees a copy of a row as another row",
        "check_sample_weight_equivalence_on_sparse_data": "the same",
    }


@parametrize_with_checks(
    [jm.ZeroShotClusterer(2), jm.ZeroShotClusterer()], expected_failed_checks=expected_failures
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.EstimatorCheckFailedWarning")
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("case", [(POINTS, TRUTH), make_moons(120, noise=0.04, random_state=0)])
def test_shapes_are_found(case, known):
    points, truth = case
    count = len(set(truth))
    model = jm.ZeroShotClusterer(count if known else None).fit(points)
    assert adjusted_rand_score(truth, model.labels_) == 1
    assert model.n_clusters_ == count == next(iter(model.cluster_probabilities_))
    assert 0.95 < sum(model.cluster_probabilities_.values()) <= 1 + 1e-6
    assert 0.5 < model.expected_score_ <= 1
    np.testing.assert_array_equal(model.predict(points), model.labels_)
    shares = model.predict_proba(points)
    assert shares.shape == (len(points), count)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(clone(model).fit(points).labels_, model.labels_)


def test_the_number_of_clusters_is_bounded_and_obeyed():
    assert jm.ZeroShotClusterer(max_clusters=2).fit(POINTS).n_clusters_ <= 2
    for count in (1, 5, 90):
        model = jm.ZeroShotClusterer(count).fit(POINTS)
        assert len(set(model.labels_)) == count == model.n_clusters_
        assert model.cluster_probabilities_ == {count: 1.0}


def test_a_weight_is_nearly_a_number_of_copies():
    weights = np.r_[np.zeros(10), np.full(40, 2.0), np.ones(40)]
    weighted = jm.ZeroShotClusterer(3).fit(POINTS, sample_weight=weights)
    copied = jm.ZeroShotClusterer(3).fit(np.repeat(POINTS, weights.astype(int), 0))
    np.testing.assert_allclose(weighted.predict_proba(POINTS), copied.predict_proba(POINTS), atol=0.02)


def test_rows_beyond_the_sample_follow_the_nearest():
    points, truth = make_blobs(2_000, centers=[[0, 0], [9, 9]], random_state=0)
    model = jm.ZeroShotClusterer(sample_size=100).fit(points)
    assert adjusted_rand_score(truth, model.labels_) == 1
    assert len(model._state.points) == 128


def test_settings_out_of_range_are_one_sentence():
    for options in ({"n_clusters": 0}, {"max_clusters": 1.5}, {"sample_size": 1}, {"n_clusters": 91}):
        with pytest.raises(jm.InputError):
            jm.ZeroShotClusterer(**options).fit(POINTS)
    with pytest.raises(jm.InputError, match="nowhere"):
        jm.ZeroShotClusterer(model="nowhere.npz").fit(POINTS)
