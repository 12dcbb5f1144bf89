"""Internal indices equal scikit-learn's in float64, with noise, weights, padding and nothing to separate."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist
from sklearn import metrics as reference

import jmeta as jm
from jmeta.metrics import clusters

N, D, SLOTS = 24, 3, 5


def simplified(points, labels):
    values = np.unique(labels)
    to_means = cdist(points, [points[labels == v].mean(0) for v in values])
    places = np.searchsorted(values, labels)
    own = to_means[np.arange(len(points)), places]
    to_means[np.arange(len(points)), places] = np.inf
    other = to_means.min(1)
    return np.mean((other - own) / np.maximum(own, other))


def dunn(points, labels):
    distances, same = cdist(points, points), labels[:, None] == labels[None]
    return distances[~same].min() / distances[same].max()


def near(points, labels, neighbours=3):
    """Distances to near neighbours, and which are of the same cluster; None where a cluster is too small."""
    if np.bincount(labels)[np.unique(labels)].min() <= neighbours:
        return None
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, 1)[:, :neighbours]
    return np.take_along_axis(distances, nearest, 1), labels[nearest] == labels[:, None]


def near_neighbours(points, labels):
    found = near(points, labels)
    return 0 if found is None else found[1].mean()


def near_dunn(points, labels):
    found = near(points, labels)
    if found is None:
        return 0
    apart, inside = np.sort(found[0][~found[1]])[:6], found[0][found[1]]
    if not len(apart):
        return np.inf
    shares = np.exp(-0.5 * (np.arange(len(apart)) / 2) ** 2)
    return shares @ apart / shares.sum() / inside.mean()


def density_validity(points, labels):
    total, kept = 0, [v for v in np.unique(labels) if np.sum(labels == v) > 1]
    core, inner, within = np.zeros(len(points)), {}, {}
    for v in kept:
        own = np.flatnonzero(labels == v)
        distances = cdist(points[own], points[own])
        for i, row in enumerate(distances):
            core[own[i]] = np.mean(np.delete(row, i) ** -points.shape[1]) ** (-1 / points.shape[1])
        reached = np.maximum(distances, np.maximum.outer(core[own], core[own]))
        tree = minimum_spanning_tree(reached + 1e-9 * distances).toarray()  # ties go to the shorter edge
        tree = reached * (np.maximum(tree, tree.T) > 0)
        many = (tree > 0).sum(1) > 1
        if not (tree[many][:, many] > 0).any():
            many[:] = True
        inner[v], within[v] = own[many], tree[many][:, many].max()
    for v in kept:
        others = np.concatenate([inner[u] for u in kept if u != v])
        reached = cdist(points[inner[v]], points[others])
        reached = np.maximum(reached, np.maximum.outer(core[inner[v]], core[others])).min()
        total += np.sum(labels == v) * (reached - within[v]) / max(reached, within[v])
    return total / len(points)


INDICES = {
    "silhouette": (jm.metrics.silhouette, reference.silhouette_score, -1),
    "simplified_silhouette": (jm.metrics.simplified_silhouette, simplified, -1),
    "calinski_harabasz": (jm.metrics.calinski_harabasz, reference.calinski_harabasz_score, 0),
    "davies_bouldin": (jm.metrics.davies_bouldin, reference.davies_bouldin_score, np.inf),
    "dunn": (jm.metrics.dunn, dunn, 0),
    "near_neighbours": (partial(jm.metrics.near_neighbours, neighbours=3), near_neighbours, 0),
    "near_dunn": (
        partial(jm.metrics.near_dunn, neighbours=3, compactness="mean", width=2),
        near_dunn,
        0,
    ),
    "density_validity": (jm.metrics.density_validity, density_validity, 0),
}
COMPILED = {name: jax.jit(ours, static_argnames="slots") for name, (ours, _, _) in INDICES.items()}


@pytest.fixture(params=list(INDICES))
def name(request):
    return request.param


def draw(seed, labels=4):
    random = np.random.default_rng(seed)
    return random.normal(size=(N, D)) + 5, random.permutation(np.arange(N) % labels)


@pytest.mark.usefixtures("float64")
def test_equal_to_the_reference(name):
    for seed in range(5):
        points, labels = draw(seed)
        if seed == 4:
            labels[:] = 0
            labels[:3] = [1, 2, 2]  # a point alone, and a pair
        expected = INDICES[name][1](points, labels)
        tolerance = 1e-7 if seed == 4 else 1e-9  # scikit-learn puts a point alone 3e-8 from itself
        np.testing.assert_allclose(COMPILED[name](points, labels, slots=SLOTS), expected, rtol=tolerance)
        np.testing.assert_allclose(INDICES[name][0](points, 100 * labels), expected, rtol=tolerance)


@pytest.mark.usefixtures("float64")
def test_noise_and_points_of_weight_zero_do_not_count(name):
    points, labels = draw(6)
    kept = np.arange(N) % 5 > 0
    expected = INDICES[name][1](points[kept], labels[kept])
    garbage = np.where(kept[:, None], points, np.nan)
    noise = COMPILED[name](points, np.where(kept, labels, -1), slots=SLOTS)
    masked = COMPILED[name](garbage, labels, kept.astype(float), slots=SLOTS)
    share = kept.mean() if name == "density_validity" else 1  # where noise is part of the whole
    np.testing.assert_allclose([noise, masked], [share * expected, expected], rtol=1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["silhouette", "simplified_silhouette", "davies_bouldin"])
def test_a_weight_of_two_is_a_point_given_twice(name):
    points, labels = draw(7)
    weights = 1.0 + (np.arange(N) % 3 == 0)
    twice = np.repeat(np.arange(N), weights.astype(int))
    if name == "silhouette":  # its twin is another point of the same cluster, at distance zero
        distances = cdist(points, points)
        shares = weights[:, None] * np.eye(4)[labels]
        mean = distances @ shares / np.maximum(shares.sum(0) - shares, 1e-9)
        own = mean[np.arange(N), labels]
        mean[np.arange(N), labels] = np.inf
        expected = np.average((mean.min(1) - own) / np.maximum(own, mean.min(1)), weights=weights)
    else:
        expected = INDICES[name][1](points[twice], labels[twice])
    np.testing.assert_allclose(COMPILED[name](points, labels, weights, slots=4), expected, rtol=1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("factor", [2, 0.01])
def test_weights_are_relative(name, factor):
    points, labels = draw(10)
    weights = np.random.default_rng(0).uniform(0.1, 1, N) * (np.arange(N) % 4 > 0)
    ours = COMPILED[name](points, labels, weights, slots=SLOTS)
    assert ours >= 0 or name != "calinski_harabasz"
    np.testing.assert_allclose(COMPILED[name](points, labels, factor * weights, slots=SLOTS), ours, rtol=1e-9)
    equal = COMPILED[name](points, labels, np.full(N, factor), slots=SLOTS)
    np.testing.assert_allclose(equal, INDICES[name][1](points, labels), rtol=1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_a_point_that_is_not_finite_makes_the_index_nan_unless_its_weight_is_zero(name, value):
    points, labels = draw(11)
    weights = (np.arange(N) != 5).astype(float)
    expected = COMPILED[name](points, labels, weights, slots=SLOTS)
    points[5, 1] = value
    np.testing.assert_array_equal(COMPILED[name](points, labels, weights, slots=SLOTS), expected)
    if not np.isfinite(value):
        assert np.isnan(COMPILED[name](points, labels, np.ones(N), slots=SLOTS))
        assert np.isnan(INDICES[name][0](points, labels))


def test_where_nothing_is_separated_the_index_is_its_worst_and_finite_differences_of_it_are_no_nan(name):
    points, _ = draw(8)
    for labels in (np.zeros(N, int), np.full(N, -1)):
        assert COMPILED[name](points, labels, slots=SLOTS) == INDICES[name][2]
    same = COMPILED[name](np.ones((N, D)), np.arange(N) % 2, slots=SLOTS)
    assert not np.isnan(same)


def test_gradients_are_finite_also_at_duplicates(name):
    points, labels = draw(9)
    points[1] = points[0]
    gradient = jax.jit(jax.grad(lambda x: INDICES[name][0](x, labels, slots=4)))(np.float32(points))
    assert np.all(np.isfinite(gradient))


def test_batches_of_tasks_are_vmapped(name):
    tasks = [draw(seed) for seed in (0, 1)]
    points, labels = (jnp.asarray(np.stack(part)) for part in zip(*tasks, strict=True))
    together = jax.vmap(lambda x, y: COMPILED[name](x, y, slots=SLOTS))(points, labels)
    np.testing.assert_allclose(together, [INDICES[name][1](*task) for task in tasks], rtol=1e-4)


def test_bad_input_is_refused_with_one_sentence(name):
    with pytest.raises(jm.InputError, match="one label for each"):
        INDICES[name][0](np.zeros((4, 2)), np.zeros(3, int))
    with pytest.raises(jm.InputError, match="one label for each"):
        INDICES[name][0](np.zeros(4), np.zeros(4, int))
    with pytest.raises(jm.InputError, match="give finite numbers >= 0"):
        INDICES[name][0](np.zeros((4, 2)), np.zeros(4, int), np.full(4, np.nan))


def test_tight_clusters_close_together_keep_their_digits(name):
    centers = np.repeat(np.array([[0, 0], [1e-3, 0], [9, 9]]), 8, 0)
    points = (centers + 1e-4 * np.random.default_rng(0).normal(size=centers.shape)).astype(np.float32)
    labels = np.repeat(np.arange(3), 8)
    expected = INDICES[name][1](points.astype(np.float64), labels)
    np.testing.assert_allclose(COMPILED[name](points, labels, slots=3), expected, rtol=2e-3)


def test_half_precision_is_widened(name):
    points, labels = draw(3)
    half = (500 * points).astype(np.float16)
    expected = INDICES[name][1](half.astype(np.float64), labels)
    np.testing.assert_allclose(COMPILED[name](half, labels, slots=4), expected, rtol=1e-3)


@pytest.mark.parametrize("offset", [0, 1.7e9, 1e12])
@pytest.mark.parametrize("scale", [1e-12, 1, 1e12])
@pytest.mark.parametrize("name", ["silhouette", "calinski_harabasz", "davies_bouldin"])
def test_offsets_and_scales_on_the_host_keep_their_digits(name, offset, scale):
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 8)
    points = scale * (offset + 30 * labels[:, None] + random.normal(size=(N, D)))
    expected = INDICES[name][1]((points - points.mean(0)) / scale, labels)
    np.testing.assert_allclose(INDICES[name][0](points, labels), expected, rtol=1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("index", [jm.metrics.near_neighbours, jm.metrics.near_dunn])
def test_neighbours_found_on_the_host_are_those_found_on_the_device(index):
    random = np.random.default_rng(0)
    points = random.normal(size=(90, D)) + 1e6
    labels, weights = np.arange(90) % 3, (np.arange(90) % 7 > 0).astype(float)
    labels[::11] = -1
    for neighbours in (3, 25, 99):
        ours = index(points, labels, weights, neighbours=neighbours)
        traced = jax.jit(lambda x, m=neighbours: index(x, labels, weights, slots=3, neighbours=m))(points)
        np.testing.assert_allclose(ours, traced, rtol=1e-9)


def test_an_outlier_leaves_the_index_of_the_others():
    points, labels = draw(1)
    points[0] = 99_999
    for ours, expected, _ in [INDICES[name] for name in ("silhouette", "davies_bouldin")]:
        np.testing.assert_allclose(ours(points, labels), expected(points, labels), rtol=1e-6)


def test_clusters_of_equal_points_have_the_index_of_scikit_learn():
    """0.1 is not a binary fraction, so that the mean of three of them may be rounded."""
    points = np.repeat([[0.1, 0.3], [0.7, 0.9], [1.3, 0.2]], 3, 0)
    labels = np.repeat(np.arange(3), 3)
    assert jm.metrics.calinski_harabasz(points, labels) == 1
    assert jm.metrics.davies_bouldin(points, labels) == 0
    assert COMPILED["calinski_harabasz"](np.float32(points), labels, slots=SLOTS) == 1


@pytest.mark.parametrize("name", ["silhouette", "calinski_harabasz", "davies_bouldin"])
def test_more_clusters_than_one_product_takes(name):
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(100), 2)
    points = 9 * labels[:, None] + random.normal(size=(200, 2))
    np.testing.assert_allclose(INDICES[name][0](points, labels), INDICES[name][1](points, labels), rtol=1e-6)


@pytest.mark.parametrize("name", ["calinski_harabasz", "davies_bouldin"])
def test_many_rows_in_thousands_of_clusters(name):
    random = np.random.default_rng(0)
    labels = random.permutation(np.arange(100_000) % 5_000)
    points = 9 * np.stack(np.divmod(labels, 71), 1) + random.normal(size=(100_000, 2))
    expected = getattr(reference, f"{name}_score")(points, labels)
    np.testing.assert_allclose(INDICES[name][0](points, labels), expected, rtol=1e-6)


def test_more_points_than_all_pairs_allow_are_refused():
    with pytest.raises(jm.InputError, match="give at most 16384 of them"):
        jm.metrics.density_validity(np.zeros((16_385, 2)), np.arange(16_385) % 2)


def test_blocks_of_rows_give_the_same_index(name, monkeypatch):
    points, labels = draw(2)
    monkeypatch.setattr(clusters, "BLOCK", 5 * N)
    blocks = jax.jit(lambda x: INDICES[name][0](x, labels, slots=4))(points)
    np.testing.assert_allclose(blocks, COMPILED[name](points, labels, slots=SLOTS), rtol=1e-5)


def test_words_and_columns_of_a_table_are_labels():
    points, labels = draw(2)
    words = np.array(list("abcd"))[labels]
    for column in (words, words.tolist(), pd.Series(words, dtype="category")):
        assert jm.metrics.silhouette(points, column) == jm.metrics.silhouette(points, labels)
