"""scikit-learn's algorithms behind the record: what each finds, its weights, its noise, its refusals."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import DBSCAN, KMeans

import jmeta as jm
from jmeta.clustering.host.algorithms import HOST_ALGORITHMS, host_labels

K, N = 3, 30
TRUTH = np.arange(N) % K
KEY = jax.random.key(0)
OPTIONS = {
    "dbscan": {"eps": 1.0},
    "optics": {"cluster_method": "dbscan", "eps": 1.0},
    "hdbscan": {"min_cluster_size": 4},
    "affinity_propagation": {"preference": -200.0},
    "spectral": {"affinity": "nearest_neighbors", "n_neighbors": 6},
}
pytestmark = pytest.mark.filterwarnings("ignore")


def blobs(seed=0, spread=0.2):
    centers = np.array([[0, 0], [9, 0], [0, 9]])
    return centers[TRUTH] + spread * np.random.default_rng(seed).normal(size=(N, 2))


INSTALLED = [
    name for name, entry in HOST_ALGORITHMS.items() if importlib.util.find_spec(entry.module.split(".")[0])
]


@pytest.fixture(params=INSTALLED)
def name(request):
    return request.param


@pytest.mark.parametrize("name", list(HOST_ALGORITHMS))
def test_an_algorithm_whose_package_is_not_installed_says_so(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(jm.InputError, match="install it with pip"):
        jm.host(name, K)


def made(name):
    return jm.host(name, K if HOST_ALGORITHMS[name].clusters_argument else None, **OPTIONS.get(name, {}))


def labels(assignment):
    return np.where(np.asarray(assignment.noise) > 0.5, -1, np.asarray(assignment.log_probs.argmax(-1)))


def test_separated_clusters_are_found_and_unseen_points_join_them(name):
    clusterer = made(name)
    assignment = jm.cluster(clusterer, blobs(), key=KEY)
    assert jm.adjusted_rand_index(labels(assignment), TRUTH) == 1
    np.testing.assert_allclose(jax.nn.logsumexp(assignment.log_probs, 1), 0, atol=1e-6)
    state = clusterer.fit({}, jm.Batch(blobs()), KEY)
    unseen = clusterer.assign({}, state, jnp.asarray(blobs(seed=1)))
    np.testing.assert_array_equal(labels(unseen), labels(clusterer.assign({}, state, jnp.asarray(blobs()))))


def test_points_of_weight_zero_are_left_out(name):
    weights = np.ones(N)
    weights[[0, 4]] = 0
    garbage = blobs()
    garbage[[0, 4]] = [[1e6, 0], [0, -1e6]]
    states = [made(name).fit({}, jm.Batch(points, None, weights), KEY) for points in (blobs(), garbage)]
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert len(states[0].points) == N - 2


def test_equal_keys_give_equal_results(name):
    again = [made(name).fit({}, jm.Batch(blobs(spread=3.0)), KEY) for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, *again)


def test_it_says_that_it_is_not_traceable(name):
    clusterer = made(name)
    assert not clusterer.traceable
    with pytest.raises(jm.InputError, match="outside jit"):
        jax.jit(lambda x: clusterer.fit({}, jm.Batch(x), KEY))(blobs())


def test_fractional_weights_are_used_or_refused(name):
    weights = np.linspace(0.1, 1, N)
    batch = jm.Batch(blobs(spread=2.0), None, weights)
    if name in ("kmeans", "minibatch_kmeans", "bisecting_kmeans", "dbscan"):
        made(name).fit({}, batch, KEY)
    else:
        with pytest.raises(jm.InputError, match="zero and one only"):
            made(name).fit({}, batch, KEY)


@pytest.mark.parametrize("seed", range(8))
def test_any_points_are_clustered_or_refused_with_one_sentence(name, seed):
    random = np.random.default_rng(seed)
    points = random.normal(size=(int(random.integers(1, 12)), int(random.integers(1, 4))))
    points = [points, np.round(points), np.zeros_like(points), 1e12 * points][seed % 4]
    try:
        assignment = jm.cluster(made(name), points, key=KEY)
    except jm.InputError as refused:
        sentence = str(refused)
    else:
        sentence = ""
        assert np.all(np.isfinite(assignment.log_probs))
        assert len(assignment.log_probs) == len(points)
    assert "\n" not in sentence


def test_kmeans_with_weights_is_scikit_learns():
    points, weights = blobs(spread=4.0), np.linspace(0.1, 1, N)
    state = jm.host("kmeans", K, init=points[:K], n_init=1).fit({}, jm.Batch(points, None, weights), KEY)
    expected = KMeans(K, init=points[:K], n_init=1).fit(points, sample_weight=weights).labels_
    np.testing.assert_array_equal(state.labels, expected)


def test_noise_is_noise():
    points = np.concatenate([blobs(), [[50.0, 50.0]]])
    assignment = jm.cluster(jm.host("dbscan", eps=1.0), points, key=KEY)
    np.testing.assert_array_equal(labels(assignment), DBSCAN(eps=1.0).fit_predict(points))
    assert assignment.noise[-1] == 1
    nothing = jm.cluster(jm.host("dbscan", eps=1e-6), points, key=KEY)
    np.testing.assert_array_equal(nothing.noise, 1)


def test_noise_of_hdbscan_is_kept_or_given_to_the_nearest_cluster():
    points = np.concatenate([blobs(), [[40.0, 0.0], [0.0, 30.0]]])
    kept, same, filled = (
        host_labels("hdbscan", points, min_cluster_size=4, **options)
        for options in ({}, {"noise": "keep"}, {"noise": "nearest"})
    )
    np.testing.assert_array_equal(kept, same)
    assert kept[-2:].tolist() == [-1, -1]
    np.testing.assert_array_equal(filled[kept >= 0], kept[kept >= 0])
    assert filled[-2:].tolist() == [filled[1], filled[2]]
    assignment = jm.cluster(jm.host("hdbscan", min_cluster_size=4, noise="nearest"), points, key=KEY)
    np.testing.assert_array_equal(labels(assignment), filled)
    nothing = host_labels("hdbscan", points, min_cluster_size=20, noise="nearest")
    assert set(nothing.tolist()) == {-1}


REFUSED = {
    "name": (lambda: jm.host("k-means", 3), "there is no algorithm"),
    "no count": (lambda: jm.host("ward"), "needs the number of clusters"),
    "a count": (lambda: jm.host("dbscan", 3), "finds the number of clusters itself"),
    "zero": (lambda: jm.host("ward", 0), "whole number >= 1"),
    "a word": (lambda: jm.host("ward", "3"), "whole number >= 1"),
    "told twice": (lambda: jm.host("ward", 3, n_clusters=4), "leave out n_clusters"),
    "pins": (lambda: jm.host("ward", 3).fit({}, jm.Batch(blobs(), TRUTH), KEY), "takes neither labels"),
    "option": (lambda: jm.host("ward", 3, speed=9), "has no options"),
    "noise": (lambda: jm.host("hdbscan", noise="none"), "choose 'keep' or 'nearest'"),
    "noise of k-means": (lambda: jm.host("kmeans", 3, noise="keep"), "has no options"),
    "value": (
        lambda: jm.cluster(jm.host("dbscan", eps=-1.0), blobs(), key=KEY),
        "cannot cluster these points",
    ),
    "too few": (lambda: jm.cluster(jm.host("ward", 3), np.eye(2), key=KEY), "2 points cannot form 3"),
    "NaN": (lambda: jm.cluster(jm.host("ward", 1), np.full((3, 2), np.nan), key=KEY), "hold NaN"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_done_is_refused_with_one_sentence(case):
    make, message = REFUSED[case]
    with pytest.raises(jm.InputError, match=message):
        make()
