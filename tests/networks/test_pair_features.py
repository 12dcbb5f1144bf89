"""The features of points and pairs: by hand, ranks, weights, and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
from derivatives import numerical

from jmeta.networks.pair_features import PAIR_FEATURES, POINT_FEATURES, pair_features
from jmeta.pairs import whole

LINE = np.array([[0.0], [1], [3], [6]], np.float32)
FEATURES = jax.jit(pair_features)


def on_pairs(edges):
    return np.asarray(whole(edges))


def test_by_hand():
    nodes, edges = FEATURES(LINE, jnp.ones(4))
    assert nodes.shape == (4, POINT_FEATURES)
    assert edges.shape == (PAIR_FEATURES, 4, 2)
    edges = on_pairs(edges)
    scale = 3  # the second neighbours are at 3, 2, 3 and 5
    np.testing.assert_allclose(np.exp(nodes[:, 0]) * scale, [1, 1, 2, 3], rtol=1e-5)
    np.testing.assert_allclose(np.exp(nodes[:, 1]) * scale, [3, 2, 3, 5], rtol=1e-5)
    np.testing.assert_allclose(np.exp(nodes[:, 2]) * scale, [6, 5, 3, 6], rtol=1e-5)
    np.testing.assert_allclose(nodes[:, 9], nodes[:, 2] - nodes[:, 1], atol=1e-6)

    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    distance = dict(zip(pairs, [1, 3, 6, 2, 5, 3], strict=True))
    ward = [1, np.sqrt(4 / 3) * 2.5, np.sqrt(6 / 4) * 14 / 3]
    for i, j in pairs:
        found = edges[:, i, j]
        local = np.log([6, 5, 3, 6])[[i, j]]
        merge = max(j - 1, 0)
        np.testing.assert_allclose(found[0], np.log(distance[i, j] / scale), atol=1e-5)
        np.testing.assert_allclose(found[1], np.log(distance[i, j]) - local.mean(), atol=1e-5)
        np.testing.assert_allclose(found[4], np.abs(local[0] - local[1]), atol=1e-5)
        np.testing.assert_allclose(found[5], np.log([1, 2, 3][merge]) - local.mean(), atol=1e-5)
        np.testing.assert_allclose(found[8:11], np.log(2 / 4), atol=1e-5)
        np.testing.assert_allclose(found[11], np.log([1, 2.5, 14 / 3][merge] / scale), atol=1e-5)
        np.testing.assert_allclose(found[13], np.log(ward[merge] / scale), atol=1e-5)
        np.testing.assert_allclose(found[[12, 14]], np.log(4 - merge), atol=1e-5)


def test_ranks_are_exact_at_powers_of_two_and_between_them_elsewhere():
    points = np.random.default_rng(0).normal(size=(34, 2)).astype(np.float32)
    edges = on_pairs(FEATURES(points, jnp.ones(34))[1])
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    ranks = distances.argsort(1).argsort(1)
    least, most = (np.exp(edges[at]) * 34 for at in (2, 3))
    for found, expected in ((least, np.minimum(ranks, ranks.T)), (most, np.maximum(ranks, ranks.T))):
        apart = ~np.eye(34, dtype=bool)
        floor = 2.0 ** np.floor(np.log2(np.maximum(expected, 1)))
        exact = apart & (floor == expected)
        np.testing.assert_allclose(found[exact], expected[exact], rtol=1e-3)
        assert np.all((found >= floor * 0.999)[apart])
        assert np.all((found <= floor * 2.001)[apart])


def test_a_weight_is_a_number_of_equal_points():
    points = np.random.default_rng(1).normal(size=(8, 2)).astype(np.float32)
    counts = np.array([3, 1, 2, 1, 1, 2, 1, 1])
    twice = np.repeat(np.arange(8), counts)
    padded = np.concatenate([points, np.full((4, 2), np.nan, np.float32)])
    weights = np.pad(counts, (0, 4)).astype(np.float32)
    found = FEATURES(padded, weights)
    expected = FEATURES(points[twice], np.ones(12, np.float32))
    np.testing.assert_allclose(found[0][twice], expected[0], atol=1e-4)
    apart = twice[:, None] != twice
    mine, theirs = (on_pairs(one[1])[:, :12, :12] for one in (found, expected))
    np.testing.assert_allclose(mine[:, twice][:, :, twice][:, apart], theirs[:, apart], atol=1e-4)
    assert np.all(found[0][8:] == 0)
    assert np.all(on_pairs(found[1])[:, 8:] == 0)


def test_the_derivative_of_features_is_exact(float64):
    points = np.random.default_rng(2).normal(size=(10, 2))
    weights = jnp.array([1.0, 2, 1, 1, 1, 0, 1, 1, 1, 1])

    @jax.jit
    def features(points):
        nodes, edges = pair_features(points, weights)
        return jnp.concatenate([jnp.sum(nodes, 0), jnp.sum(edges * jnp.cos(jnp.arange(5.0)), (1, 2))])

    exact = jax.jit(jax.jacrev(features))(points).reshape(-1, 20).T
    np.testing.assert_allclose(exact, numerical(features, points, 1e-6), rtol=1e-5, atol=1e-6)
