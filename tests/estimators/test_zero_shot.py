"""The estimator of zero-shot clustering: scikit-learn's checks, numbers of clusters, weights and samples."""

import os

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_moons
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import jmeta as jm
from jmeta.estimators import zero_shot
from jmeta.estimators.models import pair_network

POINTS, TRUTH = make_blobs(90, centers=3, cluster_std=0.5, random_state=0)


@parametrize_with_checks([jm.ZeroShotClusterer(2), jm.ZeroShotClusterer()])
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


def test_a_weight_is_a_number_of_copies():
    weights = np.r_[np.zeros(10), np.full(40, 2.0), np.ones(40)]
    weighted = jm.ZeroShotClusterer(3).fit(POINTS, sample_weight=weights)
    copied = jm.ZeroShotClusterer(3).fit(np.repeat(POINTS, weights.astype(int), 0))
    np.testing.assert_allclose(weighted.predict_proba(POINTS), copied.predict_proba(POINTS), atol=1e-5)


def test_rows_beyond_the_sample_follow_the_nearest():
    points, truth = make_blobs(2_000, centers=[[0, 0], [9, 9]], random_state=0)
    model = jm.ZeroShotClusterer(sample_size=100).fit(points)
    assert adjusted_rand_score(truth, model.labels_) == 1
    assert len(model._state.points) == 128


def test_settings_out_of_range_are_one_sentence():
    wrong = [{"n_clusters": 0}, {"n_clusters": True}, {"max_clusters": 1.5}, {"sample_size": 1}]
    for options in (*wrong, {"n_clusters": 91}):
        with pytest.raises(jm.InputError):
            jm.ZeroShotClusterer(**options).fit(POINTS)
    with pytest.raises(jm.InputError, match="all weights are zero"):
        jm.ZeroShotClusterer().fit(POINTS, sample_weight=np.zeros(90))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("nowhere.npz", "the model nowhere.npz cannot be read"),
        ("omniglot", "model is 'omniglot', which holds a Learner; give a trained pair_transformer."),
        (None, "model is None; give a trained pair_transformer."),
    ],
)
def test_a_wrong_model_is_refused(model, words):
    with pytest.raises(jm.InputError, match=words):
        jm.ZeroShotClusterer(model=model).fit(POINTS)


def test_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "network.npz"
    recipe = jm.recipe("pair_transformer", width=8, pair_width=4, layers=1, heads=2)
    for seed in (0, 1):
        jm.save_trained(path, recipe, jm.make(recipe).init(jax.random.key(seed)))
        os.utime(path, (seed, seed))
        trained = pair_network(path)
        expected = jm.load_trained(path).params
        jax.tree.map(np.testing.assert_array_equal, trained.params, expected)
        assert pair_network(path) is trained
    assert pair_network() is pair_network("zero_shot")


def test_a_known_number_of_clusters_is_obeyed_where_rows_repeat():
    points = np.repeat(np.random.default_rng(0).normal(size=(6, 2)), 15, 0)
    assert len(set(jm.ZeroShotClusterer(6).fit(points).labels_)) == 6
    with pytest.raises(jm.InputError, match="n_clusters is 7, but only 6 rows differ; give a smaller number"):
        jm.ZeroShotClusterer(7).fit(points)
    weights = np.r_[np.zeros(15), np.ones(75)]
    with pytest.raises(jm.InputError, match="n_clusters is 6, but only 5 rows differ"):
        jm.ZeroShotClusterer(6).fit(points, sample_weight=weights)


def test_a_known_number_of_clusters_is_obeyed_beyond_the_sample():
    points = np.random.default_rng(0).normal(size=(60, 2))
    assert len(set(jm.ZeroShotClusterer(30, sample_size=20).fit(points).labels_)) == 30
    mostly_equal = np.concatenate([np.zeros((1_000, 2)), points])
    model = jm.ZeroShotClusterer(30, sample_size=100).fit(mostly_equal)
    assert len(set(model.labels_)) == 30
    np.testing.assert_array_equal(model.predict(mostly_equal), model.labels_)


def test_weights_of_any_size_are_taken():
    weights = np.tile([1e-300, 1.0, 1e300], 30)
    for clusters in (None, 5, 90):
        model = jm.ZeroShotClusterer(clusters).fit(POINTS, sample_weight=weights)
        assert len(set(model.labels_)) == model.n_clusters_ == (clusters or model.n_clusters_)
        assert np.isfinite(model.predict_proba(POINTS)).all()
    assert len(set(jm.ZeroShotClusterer(20, sample_size=40).fit(POINTS, sample_weight=weights).labels_)) == 20


def test_equal_rows_are_one_cluster():
    model = jm.ZeroShotClusterer().fit(np.ones((20, 2)))
    assert model.cluster_probabilities_ == {1: 1.0}
    assert set(model.labels_) == {0}


@pytest.mark.parametrize("scale", [1e-300, 1e-40, 1e18, 1e298])
def test_the_scale_has_no_effect(scale):
    expected = jm.ZeroShotClusterer().fit(POINTS).labels_
    model = jm.ZeroShotClusterer().fit(POINTS * scale)
    np.testing.assert_array_equal(model.labels_, expected)
    np.testing.assert_array_equal(model.predict(POINTS * scale), expected)


def test_rows_far_away_and_numbers_too_large():
    model = jm.ZeroShotClusterer(3).fit(POINTS * 1e-300)
    assert set(model.predict([[1e300, 1e300], [-1e300, 0]])) <= {0, 1, 2}
    with pytest.raises(jm.InputError, match="beyond"):
        jm.ZeroShotClusterer().fit(POINTS * 1e301)


def test_chunks_do_not_change_the_answer(monkeypatch):
    points, _ = make_blobs(300, centers=3, random_state=0)
    whole = jm.ZeroShotClusterer(3).fit(points)
    monkeypatch.setattr(zero_shot, "CHUNK", 128)
    parts = jm.ZeroShotClusterer(3).fit(points)
    np.testing.assert_array_equal(parts.labels_, whole.labels_)
    np.testing.assert_array_equal(parts.predict_proba(points), whole.predict_proba(points))


def test_labels_are_the_cut_where_another_cluster_is_more_probable():
    model = jm.ZeroShotClusterer(3).fit(POINTS)
    model._state = model._state._replace(log_probs=np.roll(model._state.log_probs[:, :3], 1, 1))
    assert (model.predict_proba(POINTS).argmax(1) != model.labels_).all()
    np.testing.assert_array_equal(model.predict(POINTS), model.labels_)
