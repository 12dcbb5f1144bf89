"""Trees of linkage: a case by hand, SciPy's trees, and derivatives of the heights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_three_ways
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score

from jmeta.distances import exact_squared_distances, square_root
from jmeta.graphs.dendrograms import cut, merge_ranks, parts_of_merges, smaller_parts
from jmeta.graphs.linkage import linkage_tree, single_linkage

N, REAL = 12, 9
LINKAGES = ("ward", "average", "complete", "single")
EVERY = (*LINKAGES, "prim")
"""All linkages, and single linkage by Prim's algorithm."""
POINTS = np.random.default_rng(0).normal(size=(4, N, 3)).astype(np.float32)
PADDING = (np.arange(N) < REAL).astype(np.float32)


def tree_of(linkage, points, weights):
    squared = exact_squared_distances(points, points)
    if linkage == "prim":
        return single_linkage(square_root(squared), weights)
    return linkage_tree(linkage, squared, weights)


def described(linkage, points, weights):
    """A tree, the height that joins each pair, smaller parts, and all cuts."""
    tree = tree_of(linkage, points, weights)
    ranks = merge_ranks(tree)
    cuts = jax.vmap(cut, (None, 0))(tree, jnp.arange(1, N + 1))
    return tree, tree.heights[tree.by_rank][ranks], ranks, smaller_parts(tree, weights), cuts


@functools.cache
def program(linkage):
    """One program for all tests of a linkage."""
    return jax.jit(jax.vmap(functools.partial(described, linkage)))


@functools.cache
def found(linkage):
    """Four sets of points: all points count, points of weight zero last and first, one point counts."""
    weights = np.stack([np.ones(N, np.float32), PADDING, PADDING[::-1], np.eye(N, dtype=np.float32)[4]])
    return weights, jax.device_get(program(linkage)(POINTS, weights))


def theirs(linkage, points):
    method = "single" if linkage == "prim" else linkage
    tree = hierarchy.linkage(points.astype(np.float64), method)
    joined = squareform(hierarchy.cophenet(tree))
    return tree, joined**2 if linkage == "ward" else joined


def test_by_hand():
    line = jnp.array([[0.0], [7.0], [1.0], [4.0]])
    tree = jax.jit(functools.partial(tree_of, "ward"))(line, jnp.ones(4))
    # {0, 1} at 1, {7, 4} at 9, then 2 * 2 * 2 / 4 * (5.5 - 0.5)^2
    np.testing.assert_allclose(np.sort(tree.heights), [1, 9, 50, np.inf])
    assert tree.order.tolist() == [0, 2, 3, 1]
    assert tree.heights.tolist() == [1, 50, 9, np.inf]
    assert tree.ranks.tolist() == [0, 2, 1, 3]
    assert tree.position.tolist() == [0, 3, 1, 2]
    assert tree.by_rank.tolist() == [0, 2, 1, 3]
    assert np.stack(parts_of_merges(tree)).T.tolist() == [[-1, 1], [-1, 3], [1, 3], [-1, 3]]


@pytest.mark.parametrize("linkage", EVERY)
def test_heights_are_those_of_scipy(linkage):
    weights, (tree, joined, ranks, _, _) = found(linkage)
    for at, alive in enumerate(weights > 0):
        if alive.sum() > 1:
            expected, between = theirs(linkage, POINTS[at][alive])
            apart = ~np.eye(alive.sum(), dtype=bool)
            np.testing.assert_allclose(joined[at][alive][:, alive][apart], between[apart], rtol=1e-5)
            heights = expected[:, 2] ** (2 if linkage == "ward" else 1)
            merged = np.sort(tree.heights[at])[: alive.sum() - 1]
            np.testing.assert_allclose(merged, heights, rtol=1e-5)
            assert np.all(np.diff(tree.heights[at][np.argsort(tree.ranks[at])][: alive.sum() - 1]) >= 0)
        assert np.isinf(tree.heights[at]).sum() == N - alive.sum() + 1
        assert set(tree.order[at][: alive.sum()]) == set(np.flatnonzero(alive))
        assert sorted(tree.order[at]) == sorted(tree.ranks[at]) == list(range(N))
        np.testing.assert_array_equal(ranks[at], ranks[at].T)


@pytest.mark.parametrize("linkage", EVERY)
def test_the_smaller_parts_are_those_of_scipy(linkage):
    weights, (*_, parts, _) = found(linkage)
    for at, alive in enumerate(weights[:3] > 0):
        count = alive.sum()
        merges = theirs(linkage, POINTS[at][alive])[0]
        sizes = np.concatenate([np.ones(count), merges[:, 3]])
        expected = sizes[merges[:, :2].astype(int)].min(1)
        np.testing.assert_array_equal(parts[at][: count - 1], expected)


@pytest.mark.parametrize("linkage", EVERY)
def test_cuts_are_those_of_scipy(linkage):
    weights, (*_, cuts) = found(linkage)
    for at, alive in enumerate(weights[:3] > 0):
        merges = theirs(linkage, POINTS[at][alive])[0]
        for clusters in range(1, N + 1):
            roots = cuts[at][clusters - 1][alive]
            expected = hierarchy.fcluster(merges, min(clusters, alive.sum()), "maxclust")
            assert adjusted_rand_score(expected, roots) == 1
            assert len(set(roots)) == min(clusters, alive.sum())
            assert np.all(alive[roots])


@pytest.mark.parametrize("linkage", EVERY)
def test_one_tree_is_the_same_as_in_a_batch(linkage):
    weights, many = found(linkage)
    one = jax.jit(functools.partial(described, linkage))(POINTS[1], weights[1])
    for mine, batched in zip(jax.tree.leaves(one), jax.tree.leaves(many), strict=True):
        np.testing.assert_allclose(mine, batched[1], rtol=1e-6)


@pytest.mark.parametrize("linkage", EVERY)
def test_a_weight_is_a_number_of_equal_points(linkage):
    counts = np.array([3, 1, 2, 1, 1, 2, 1, 1, 0])
    distinct = np.pad(POINTS[0][:9], ((0, 3), (0, 0)))
    repeated = np.repeat(np.arange(9), counts)
    points = np.stack([distinct, POINTS[0][repeated]] * 2)
    weights = np.stack([np.pad(counts, (0, 3)), np.ones(N)] * 2).astype(np.float32)
    _, joined, _, parts, cuts = jax.device_get(program(linkage)(points, weights))
    alive = np.flatnonzero(counts)
    apart = repeated[:, None] != repeated
    np.testing.assert_allclose(joined[0][repeated][:, repeated][apart], joined[1][apart], rtol=1e-5)
    np.testing.assert_array_equal(parts[0][: len(alive) - 1], parts[1][N - len(alive) : N - 1])
    for clusters in range(1, len(alive) + 1):
        mine, other = (cuts[at][clusters - 1] for at in (0, 1))
        assert adjusted_rand_score(mine[repeated], other) == 1


def test_equal_points_and_equal_distances_make_a_tree():
    grid = np.stack(np.meshgrid(range(4), range(3)), -1).reshape(1, N, 2).astype(np.float32)
    points = np.concatenate([np.pad(grid, ((0, 0), (0, 0), (0, 1))), np.zeros((1, N, 3), np.float32)] * 2)
    for linkage in EVERY:
        tree, _, _, _, cuts = jax.device_get(program(linkage)(points, np.ones((4, N), np.float32)))
        assert np.all(tree.heights[1][:-1] == 0)
        assert (
            [len(set(one)) for one in cuts[0]] == [len(set(one)) for one in cuts[1]] == list(range(1, N + 1))
        )


def test_weights_of_any_size_give_the_same_tree():
    points = jnp.asarray(POINTS[0])
    tree = jax.jit(jax.vmap(lambda weights: tree_of("ward", points, weights)))
    found = tree(jnp.ones((3, N)) * jnp.array([[1.0], [1e-30], [1e30]]))
    for at in (1, 2):
        np.testing.assert_array_equal(found.order[at], found.order[0])
        np.testing.assert_array_equal(found.ranks[at], found.ranks[0])
    np.testing.assert_allclose(found.heights[1] * 1e30, found.heights[0], rtol=1e-5)


@pytest.mark.parametrize("linkage", EVERY)
def test_derivatives_of_heights(float64, linkage):
    points = np.random.default_rng(3).normal(size=(7, 2))
    weights = np.array([1.0, 2.0, 1.0, 0.5, 0.0, 1.5, 1.0])

    def function(x):
        tree = tree_of(linkage, x["points"], jnp.pad(x["weights"], (0, 1)) if "weights" in x else weights)
        ordered = tree.heights[tree.by_rank]
        heights = jnp.where(jnp.isfinite(ordered), ordered, 0)
        return jnp.sin(heights) @ jnp.arange(1.0, 8)

    check_three_ways(function, {"points": points})
    if linkage in ("ward", "average"):
        check_three_ways(function, {"points": points, "weights": weights[[0, 1, 2, 3, 5, 6]]})


@pytest.mark.parametrize("linkage", ["ward", "average", "prim"])
def test_derivatives_are_finite_at_equal_points(linkage):
    points = jnp.zeros((6, 2)).at[3:].set(1)

    @jax.jit
    @jax.grad
    def gradient(points):
        heights = tree_of(linkage, points, jnp.ones(6).at[0].set(0)).heights
        return jnp.sum(jnp.where(jnp.isfinite(heights), heights, 0))

    assert np.all(np.isfinite(gradient(points)))
