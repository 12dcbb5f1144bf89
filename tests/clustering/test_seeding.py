"""Seedings: which points they choose, and how often."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm
from jmeta.clustering.seeding import weighted_sample

POINTS = jnp.asarray(np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32))
SEEDINGS = [jm.random_points, jm.kmeans_plus_plus, jm.farthest_first]


def draw(seeding, points, weights, clusters, count=200):
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: seeding(points, weights, clusters, key)))(keys))


@pytest.mark.parametrize("seeding", SEEDINGS)
def test_seeds_are_distinct_points_of_positive_weight(seeding):
    weights = jnp.ones(10).at[jnp.array([2, 5])].set(0)
    for seeds in draw(seeding, POINTS, weights, 4):
        places = [int(np.argmin(np.sum((POINTS - seed) ** 2, 1))) for seed in seeds]
        assert len(set(places)) == 4
        assert not {2, 5} & set(places)
        np.testing.assert_array_equal(POINTS[np.array(places)], seeds)


@pytest.mark.parametrize("seeding", SEEDINGS)
def test_fewer_points_than_clusters_are_chosen_again(seeding):
    weights = jnp.zeros(10).at[3].set(1)
    seeds = draw(seeding, POINTS, weights, 3, count=3)
    np.testing.assert_array_equal(seeds, np.broadcast_to(POINTS[3], seeds.shape))


def test_random_points_are_drawn_by_weight():
    line = jnp.arange(3.0)[:, None]
    seeds = draw(jm.random_points, line, jnp.array([1.0, 2.0, 1.0]), 1, count=4000)
    np.testing.assert_allclose(np.bincount(seeds.ravel().astype(int)) / 4000, [0.25, 0.5, 0.25], atol=0.03)


def test_farthest_first_takes_the_farthest_by_hand():
    line = jnp.array([[0.0], [1.0], [4.0], [10.0]])
    weights = jnp.array([1.0, 0, 1, 1])
    order = {0: [0, 10, 4], 10: [10, 0, 4], 4: [4, 10, 0]}
    for seeds in draw(jm.farthest_first, line, weights, 3, count=20):
        np.testing.assert_array_equal(seeds.ravel(), order[int(seeds[0, 0])])


def test_a_weighted_sample_represents_all_points_and_holds_the_distant_ones():
    line = np.random.default_rng(0).normal(size=(500, 1))
    line[7], weights = 50, np.ones(500)
    weights[:3] = 0
    one = partial(weighted_sample, jnp.asarray(line), jnp.asarray(weights), 60)
    places, mass = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 200))
    assert np.all(np.any(places == 7, 1))
    assert not np.isin(places, [0, 1, 2]).any()
    np.testing.assert_allclose(mass.sum(1), 497, rtol=1e-5)
    means = np.sum(mass * line[places, 0], 1) / 497
    np.testing.assert_allclose(means.mean(), line[3:].mean(), atol=0.02)


def test_kmeans_plus_plus_finds_far_groups_where_random_does_not():
    groups = jnp.repeat(jnp.array([[0.0], [100.0], [200.0]]), 4, 0) + jnp.arange(12.0)[:, None] / 100
    weights = jnp.ones(12)

    def found(seeding):
        return np.mean([len(set(np.round(s.ravel() / 100))) == 3 for s in draw(seeding, groups, weights, 3)])

    assert found(jm.kmeans_plus_plus) == 1
    assert found(jm.random_points) < 0.6


@pytest.mark.parametrize("seeding", SEEDINGS)
def test_seeds_pass_derivatives_to_their_points(seeding):
    slope = jax.jit(jax.grad(lambda points: seeding(points, jnp.ones(10), 4, jax.random.key(0)).sum()))
    gradient = np.asarray(slope(POINTS))
    assert set(np.unique(gradient)) == {0.0, 1.0}
    assert gradient.sum() == 8
