"""MetaClusterer: scikit-learn's checks, embeddings from files, and the number of clusters."""

import jax
import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import jmeta as jm

SHAPE = (8, 8, 1)
NET = jm.recipe("convnet", (8,), shape=SHAPE, norm="layer", linear=True)
LEARNER = jm.recipe("centroids", NET, jm.recipe("soft_kmeans", 5, steps=3))


@parametrize_with_checks(
    [jm.MetaClusterer(n_clusters=3, restarts=1), jm.MetaClusterer(most_clusters=4, restarts=1)]
)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "digits.npz"
    jm.save_trained(path, LEARNER, jm.make(LEARNER).init(jax.random.key(0)), {"shape": SHAPE})
    return path


@pytest.fixture(scope="module")
def images():
    unseen = jm.load("digits", "test")
    return unseen.examples[:3, :10].reshape(-1, *SHAPE)


def test_a_file_a_learner_and_a_model_embed_alike(file, images):
    trained = jm.load_trained(file)
    net = jm.make(NET)
    alone = jm.Trained(NET, net, trained.params.body, {"shape": SHAPE})
    expected = net.apply(trained.params.body, images / np.float32(255))
    labels = []
    for embedding in (file, str(file), trained, alone):
        model = jm.MetaClusterer(embedding, n_clusters=3).fit(images)
        np.testing.assert_allclose(model.embedding_, expected, atol=1e-4)
        labels.append(model.labels_)
        np.testing.assert_array_equal(model.predict(images), model.labels_)
    assert all(np.array_equal(labels[0], other) for other in labels)


def test_rows_may_be_flat_and_of_any_type(file, images):
    model = jm.MetaClusterer(file, n_clusters=3)
    flat = images.reshape(len(images), -1)
    one, other = model.fit(images).labels_, model.fit(flat / 255.0).labels_
    assert adjusted_rand_score(one, other) == 1


def test_the_number_is_found_by_the_silhouette():
    points, truth = make_blobs(120, centers=4, cluster_std=0.4, random_state=3)
    model = jm.MetaClusterer(most_clusters=8).fit(points)
    assert model.n_clusters_ == 4
    assert adjusted_rand_score(truth, model.labels_) == 1
    assert list(model.silhouettes_) == list(range(2, 9))
    assert max(model.silhouettes_, key=model.silhouettes_.get) == 4


def test_equal_sizes_are_kept():
    line = np.square(np.linspace(0, 3, 60))[:, None]
    assert np.bincount(jm.MetaClusterer(n_clusters=2, sizes="equal").fit(line).labels_).tolist() == [30, 30]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_clusters": 0}, "n_clusters is 0"),
        ({"n_clusters": 31}, "n_samples=30 cannot form 31 clusters"),
        ({"most_clusters": 1}, "most_clusters is 1"),
        ({"sizes": "odd"}, "choose one of any, equal"),
        ({"embedding": "missing.npz"}, "there is no trained model missing.npz"),
        ({"embedding": 3}, "embedding is 3; give a file"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, message):
    with pytest.raises(jm.InputError, match=message):
        jm.MetaClusterer(**options).fit(np.random.default_rng(0).normal(size=(30, 2)))


def test_rows_that_do_not_fit_the_embedding_are_refused(file):
    with pytest.raises(jm.InputError, match="rows of 5 numbers were given; the embedding takes 8 x 8 x 1"):
        jm.MetaClusterer(file, n_clusters=2).fit(np.zeros((10, 5)))


def test_a_file_of_something_else_is_refused(tmp_path):
    clusterer = jm.recipe("soft_kmeans", 3)
    jm.save_trained(tmp_path / "means.npz", clusterer, {}, {})
    with pytest.raises(jm.InputError, match="the embedding is a Clusterer"):
        jm.MetaClusterer(tmp_path / "means.npz").fit(np.zeros((10, 5)))


def test_the_embedding_that_ships_is_of_characters_and_says_where_it_is_from():
    trained = jm.load_trained("omniglot")
    assert trained.card["dataset"] == "omniglot"
    assert trained.card["validation accuracy"] > 0.9
    images = np.zeros((4, 28, 28, 1), np.uint8)
    images[:2, 10:12], images[2:, :, 10:12] = 255, 255  # strokes across, and strokes down
    labels = jm.MetaClusterer("omniglot", n_clusters=2, sizes="equal").fit(images).labels_
    assert labels[0] == labels[1] != labels[2] == labels[3]
