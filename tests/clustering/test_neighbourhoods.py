"""Mean shift, DBSCAN, linkage and spectral clustering: by hand, against scikit-learn, and derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_three_ways
from scipy.cluster.hierarchy import fcluster
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.special import logsumexp
from sklearn.cluster import DBSCAN, AgglomerativeClustering, MeanShift, SpectralClustering
from sklearn.datasets import make_circles, make_moons

import jmeta as jm
from jmeta.clustering.density import core_clusters
from jmeta.clustering.points import Points
from jmeta.clustering.spectral import leading_projector
from jmeta.distances import squared_distances
from jmeta.graphs.components import components
from jmeta.graphs.neighbours import neighbour_distance

KEY = jax.random.key(0)


def cloud(seed, count=40, features=2):
    random = np.random.default_rng(seed)
    centers = random.normal(size=(4, features)) * 4
    return (centers[np.arange(count) % 4] + random.normal(size=(count, features))).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def fitted(clusterer, batch):
    params = clusterer.init(KEY)
    state = clusterer.fit(params, batch, KEY)
    return clusterer.assign(params, state, batch.inputs), state


def found(clusterer, points, **batch):
    assignment, state = jax.device_get(fitted(clusterer, jm.Batch(points, **batch)))
    return np.where(assignment.noise > 0.5, -1, assignment.log_probs.argmax(-1)), state


agglomerative, dbscan = functools.cache(jm.agglomerative), functools.cache(jm.dbscan)
"""Of the same options the same one, so that it is compiled once."""


def same_partition(found, expected):
    return jm.adjusted_rand_index(found, expected) == 1


def test_components_of_a_path_and_of_random_graphs():
    path = np.abs(np.subtract.outer(np.arange(50), np.arange(50))) == 1
    order = np.random.default_rng(0).permutation(50)
    np.testing.assert_array_equal(jax.jit(components)(path[order][:, order]), 0)
    from scipy.sparse.csgraph import connected_components

    for seed in range(5):
        drawn = np.random.default_rng(seed).random((30, 30)) < 0.03
        joined = drawn | drawn.T
        mine, theirs = np.asarray(jax.jit(components)(joined)), connected_components(joined)[1]
        assert same_partition(mine, theirs)
        assert all(mine[label] == label for label in np.unique(mine))


def test_reach_counts_weights_like_copies():
    points = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)
    weights = np.array([2, 1, 1, 3, 1, 0], np.float32)
    copies = np.repeat(points, weights.astype(int), 0)
    of_points = jax.jit(
        lambda points, weights: neighbour_distance(squared_distances(points, points), weights, 3)
    )
    by_weight, by_copies = of_points(points, weights), of_points(copies, np.ones(8, np.float32))
    np.testing.assert_allclose(np.repeat(by_weight, weights.astype(int)), by_copies, atol=1e-6)


@pytest.mark.parametrize("linkage", ["ward", "average", "complete", "single"])
@pytest.mark.parametrize("seed", range(3))
def test_linkage_equals_scikit_learn(linkage, seed):
    points = cloud(seed)
    for clusters in (2, 4, 9):
        labels, _ = found(agglomerative(9, linkage=linkage), points, clusters=np.int32(clusters))
        expected = AgglomerativeClustering(clusters, linkage=linkage).fit_predict(points)
        assert same_partition(labels, expected)


def test_ward_merges_by_hand():
    """0 and 2 first (they add 2 to the inertia), then 7 and 10 (4.5); 1 with 8.5 would add 56."""
    points = np.array([[0.0], [2.0], [7.0], [10.0]], np.float32)
    assert same_partition(found(agglomerative(3), points)[0], [0, 0, 1, 2])
    assert same_partition(found(agglomerative(2), points)[0], [0, 0, 1, 1])
    for scale in (1e-24, 1e20):
        weights = np.full(4, scale, np.float32)
        assert same_partition(found(agglomerative(3), points, weights=weights)[0], [0, 0, 1, 2])
    heavy = np.float32([9, 9, 1, 1])  # 0 and 2 now cost 18, and 7 and 10 still 4.5
    assert same_partition(found(agglomerative(3), points, weights=heavy)[0], [0, 1, 2, 2])


def test_linkage_of_a_thousand_points():
    """A transposed scatter of booleans once ended the process from here on."""
    points = np.linspace(0, 1, 1024, dtype=np.float32)[:, None] + 9 * (np.arange(1024) % 2)[:, None]
    assert same_partition(found(jm.agglomerative(2, linkage="single"), points)[0], np.arange(1024) % 2)


def test_linkage_of_weights_equals_copies():
    points = cloud(5, 12)
    weights = np.array([2, 1, 3, 1, 1, 2, 1, 1, 1, 1, 4, 1])
    for linkage in ("ward", "average"):
        copies = np.repeat(points, weights, 0)
        expected = fcluster(scipy_linkage(copies, linkage), 3, "maxclust")
        labels, _ = found(jm.agglomerative(3, linkage=linkage), points, weights=jnp.float32(weights))
        assert same_partition(np.repeat(labels, weights), expected)


@pytest.mark.parametrize("seed", range(4))
def test_dbscan_equals_scikit_learn(seed):
    points, weights = cloud(seed, 60), np.random.default_rng(seed).integers(1, 3, 60)
    for radius, least in ((0.8, 4), (0.5, 3), (1.2, 8)):
        mine = dbscan(60, radius=radius, min_points=least)
        labels, state = found(mine, points, weights=jnp.float32(weights))
        theirs = DBSCAN(eps=radius, min_samples=least).fit(points, sample_weight=weights)
        core = np.zeros(60, bool)
        core[theirs.core_sample_indices_] = True
        np.testing.assert_array_equal(state.cores >= 0, core)
        assert same_partition(labels[core], theirs.labels_[core]) or not core.any()
        np.testing.assert_array_equal(labels < 0, theirs.labels_ < 0)
        border = ~core & (labels >= 0)
        for i in np.flatnonzero(border):
            near = np.linalg.norm(points - points[i], axis=1) <= radius
            assert labels[i] in labels[core & near]


def test_dbscan_of_nothing_but_noise():
    points = np.arange(6, dtype=np.float32)[:, None] * 10
    for softness in (None, 0.05):
        mine = jm.dbscan(3, radius=1.0, min_points=2, softness=softness)
        labels, state = found(mine, points)
        np.testing.assert_array_equal(labels, -1)
        assert np.all(np.isfinite(logsumexp(mine.assign({}, state, points).log_probs, -1)))


def test_dbscan_keeps_the_heaviest_clusters():
    points = np.array([0, 0.1, 5, 5.1, 5.2, 9, 9.1, 9.2, 9.3], np.float32)[:, None]
    labels, _ = found(jm.dbscan(2, radius=0.5, min_points=2), points)
    np.testing.assert_array_equal(labels, [-1, -1, 1, 1, 1, 0, 0, 0, 0])


def test_soft_dbscan_tends_to_the_hard_one():
    points = np.float32(make_moons(60, noise=0.04, random_state=0)[0])
    hard, _ = found(jm.dbscan(4, radius=0.3, min_points=4), points)
    soft = jm.dbscan(4, radius=0.3, min_points=4, softness=0.01)
    labels, state = found(soft, points)
    np.testing.assert_array_equal(labels, hard)
    assert len(np.unique(hard)) == 2
    noise = soft.assign({}, state, np.float32([[0, 0.5], [5, 5]])).noise
    assert noise[1] > 0.99


def test_mean_shift_by_hand():
    """Points 0 and 1, h = 1: from 0, the weights are 1 and e^-1/2."""
    step = jm.mean_shift(1, steps=1, bandwidth=1.0).fit({}, jm.Batch(np.float32([[0], [1]])), KEY)
    np.testing.assert_allclose(step.modes, [[np.exp(-0.5) / (1 + np.exp(-0.5))]], rtol=1e-5)


def test_mean_shift_finds_what_scikit_learn_finds():
    random = np.random.default_rng(0)
    centers = np.array([[0, 0], [6, 0], [0, 6], [7, 7]])
    points = np.float32(centers[np.arange(80) % 4] + random.normal(size=(80, 2)))
    labels, state = found(jm.mean_shift(10, bandwidth=1.5, steps=100), points)
    expected = MeanShift(bandwidth=3.0).fit_predict(points)
    assert same_partition(labels, expected)
    assert state.residual < 1e-3
    assert int(np.sum(state.log_slots == 0)) == 4
    automatic, _ = found(jm.mean_shift(10, part=0.1, steps=100), points)
    assert same_partition(automatic, expected)


SPECTRAL = jm.spectral(2)


@pytest.mark.parametrize("shape", ["moons", "circles"])
def test_spectral_finds_what_scikit_learn_finds(shape):
    make = {"moons": make_moons, "circles": functools.partial(make_circles, factor=0.4)}[shape]
    points, truth = make(120, noise=0.05, random_state=1)
    labels, state = found(SPECTRAL, np.float32(points))
    gamma = float(state.gamma / state.scale**2)
    expected = SpectralClustering(2, gamma=gamma, assign_labels="cluster_qr").fit_predict(points)
    assert same_partition(labels, expected)
    assert same_partition(labels, truth)
    given, _ = found(jm.spectral(2, gamma=gamma), np.float32(points))
    assert same_partition(given, truth)


def test_the_projector_and_its_derivatives():
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        basis = np.linalg.qr(random.normal(size=(7, 7)))[0]
        # Two pairs of equal eigenvalues, one on either side: no derivative of an eigenvector exists.
        matrix = basis @ np.diag([3, 3, 2, 1, 1, 0.5, 0]) @ basis.T
        projector, gap = jax.jit(leading_projector, static_argnums=1)(matrix, 3)
        np.testing.assert_allclose(projector, basis[:, :3] @ basis[:, :3].T, atol=1e-12)
        np.testing.assert_allclose(gap, 1)
        probe = random.normal(size=(7, 7))
        check_three_ways(lambda a: jnp.sum(leading_projector(a, 3)[0] ** 2 * probe), matrix)


def scalar_of(clusterer, points, weights, params):
    """One number that all of a result goes into: where clusters are, who is in them, and who is noise."""
    state = clusterer.fit(params, jm.Batch(points, weights=weights), KEY)
    found = clusterer.assign(params, state, points)
    shares = jnp.concatenate([jnp.exp(found.log_probs), found.noise[:, None]], 1)
    places = jnp.sum(jnp.sin(state.modes)) if hasattr(state, "modes") else 0
    return places + jnp.sum(shares * jnp.cos(jnp.arange(shares.size).reshape(shares.shape)))


def two_blobs():
    random = np.random.default_rng(3)
    points = np.repeat([[0.0, 0], [3, 1]], 4, 0) + 0.7 * random.normal(size=(8, 2))
    return points, random.uniform(0.7, 1, 8)


DIFFERENTIABLE = {
    "mean_shift": lambda: jm.mean_shift(2, steps=30, part=0.2, learn=("bandwidth",)),
    "mean_shift_implicit": lambda: jm.mean_shift(
        2, steps=120, part=0.2, diff=jm.implicit(jm.gmres(16)), learn=("bandwidth",)
    ),
    "dbscan": lambda: jm.dbscan(2, min_points=3, softness=0.4, learn=("radius",)),
}


@pytest.mark.parametrize("name", list(DIFFERENTIABLE))
def test_derivatives_to_points_weights_and_the_learned_number(name):
    with jax.enable_x64(True):
        clusterer = DIFFERENTIABLE[name]()
        inputs = *two_blobs(), clusterer.init(KEY)
        check_three_ways(lambda inputs: scalar_of(clusterer, *inputs), inputs, rtol=1e-4, atol=1e-6)


def test_derivatives_of_spectral_clustering():
    with jax.enable_x64(True):
        clusterer = jm.spectral(
            2, gamma=0.2, rows=jm.soft_kmeans(2, steps=5, inverse_temperature=0.5), learn=("gamma",)
        )
        inputs = *two_blobs(), clusterer.init(KEY)
        check_three_ways(lambda inputs: scalar_of(clusterer, *inputs), inputs, rtol=1e-4, atol=1e-6)


NARROW = jm.mean_shift(3, bandwidth=1.0)


@pytest.mark.parametrize("far", [1e3, 1e5, 1e7])
def test_one_point_far_away_does_not_blur_the_others(far):
    points = np.array([[0.0], [0.2], [0.4], [5.0], [5.2], [5.4], [far]], np.float32)
    near = dbscan(3, radius=0.3, min_points=2)
    np.testing.assert_array_equal(found(near, points)[0], [0, 0, 0, 1, 1, 1, -1])
    soft = dbscan(3, radius=0.3, min_points=2, softness=0.05)
    np.testing.assert_array_equal(found(soft, points)[0], [0, 0, 0, 1, 1, 1, -1])
    for linkage in ("single", "ward"):
        assert same_partition(found(agglomerative(3, linkage=linkage), points)[0], [0, 0, 0, 1, 1, 1, 2])
    assert same_partition(found(NARROW, points)[0], [0, 0, 0, 1, 1, 1, 2])


def test_a_long_chain_is_one_soft_cluster():
    points = np.arange(60, dtype=np.float32)[:, None]
    for softness in (0.01, 0.05):
        labels, _ = found(jm.dbscan(2, radius=1.5, min_points=2, softness=softness), points)
        np.testing.assert_array_equal(labels, 0)


NUMBERS = {
    "bandwidth": lambda **o: jm.mean_shift(2, steps=3, **o),
    "radius": lambda **o: jm.dbscan(2, softness=0.1, **o),
    "gamma": lambda **o: jm.spectral(2, rows=jm.soft_kmeans(2, steps=2), **o),
}


@pytest.mark.parametrize("name", list(NUMBERS))
def test_numbers_at_the_ends_of_their_range_give_no_nan(name):
    clusterer = NUMBERS[name](**{name: 1.0, "learn": (name,)})

    @jax.jit
    def everything(points, logarithm):
        def total(points, logarithm):
            params = {name: logarithm}
            state = clusterer.fit(params, jm.Batch(points), KEY)
            assignment = clusterer.assign(params, state, points)
            return jnp.sum(jnp.exp(assignment.log_probs) ** 2) + jnp.sum(assignment.noise)

        return jax.value_and_grad(total, (0, 1))(points, logarithm)

    for scale in (1e-10, 1.0, 1e15):
        for logarithm in (-200.0, -46.0, 0.0, 46.0, 200.0):
            leaves = jax.tree.leaves(everything(cloud(0, 8) * np.float32(scale), logarithm))
            assert all(np.all(np.isfinite(leaf)) for leaf in leaves), (scale, logarithm)


def test_padding_does_not_change_where_unseen_points_go():
    random = np.random.default_rng(0)
    sides = 10 * np.sign(np.arange(8) - 2.5)[:, None]  # three and five, so that one is farther from the mean
    points = np.float32(random.normal(size=(8, 2)) * 0.05 + sides)
    padded = np.concatenate([points, np.zeros((4, 2), np.float32)])
    weights, unseen = np.float32(np.arange(12) < 8), np.float32([[2, 0], [-3, 1], [40, 40]])
    rows = jm.soft_kmeans(2, seeding=jm.farthest_first)
    for clusterer in (
        jm.spectral(2, rows=rows),
        jm.mean_shift(2),
        jm.dbscan(2, radius=1.0, min_points=2),
        jm.agglomerative(2),
    ):
        plain = clusterer.assign({}, clusterer.fit({}, jm.Batch(points), KEY), unseen)
        state = clusterer.fit({}, jm.Batch(padded, weights=weights), KEY)
        jax.tree.map(
            # float32 holds the spectral log-probabilities, around -1e8, to the fifth digit, as their
            # temperature is that of rows which differ by rounding alone
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-5),
            clusterer.assign({}, state, unseen),
            plain,
        )


def test_core_points_are_counted_with_themselves():
    x = np.float32([[0], [1], [2], [9]])
    points = Points(x, np.ones(4, np.float32), None, np.zeros(2, np.float32))
    cores, filled = jax.jit(core_clusters, static_argnums=3)((x - x.T) ** 2, points, np.float32(1), 3)
    np.testing.assert_array_equal(cores, [-1, 0, -1, -1])
    np.testing.assert_array_equal(filled, [True, False])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jm.mean_shift(2, bandwidth=-1), "bandwidth"),
        (lambda: jm.mean_shift(2, bandwidth="wide"), "positive number or 'auto'"),
        (lambda: jm.mean_shift(0), "whole number"),
        (lambda: jm.dbscan(2, radius=0), "radius"),
        (lambda: jm.dbscan(2, learn=("radius",)), "hard dbscan has no derivative"),
        (lambda: jm.dbscan(2, softness=-1), "softness"),
        (lambda: jm.spectral(2, gamma=np.inf), "gamma"),
        (lambda: jm.spectral(2, learn=("radius",)), "cannot learn"),
        (lambda: jm.agglomerative(2, linkage="centroid"), "linkage"),
        (lambda: jm.agglomerative(1.5), "whole number"),
        (lambda: jm.mean_shift(2, part=50.0), "at most 1"),
        (lambda: jm.spectral(2, rows=jm.host("kmeans", 2)), "rows of spectral run on the host"),
        (lambda: found(jm.spectral(3, rows=jm.kmeans(2)), cloud(0)), "rows of spectral have 2 clusters"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(jm.InputError, match=message):
        make()
