"""Stability: one for what is there, less for what is not; on the device and on the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm

KEY = jax.random.key(0)


@pytest.mark.parametrize("make", [lambda k: jm.kmeans(k, restarts=3), lambda k: jm.host("ward", k)])
def test_the_right_number_of_clusters_is_the_most_stable(make):
    random = np.random.default_rng(0)
    centers = np.array([[0, 0], [8, 0], [0, 8]])
    points = jnp.asarray(centers[np.arange(45) % 3] + random.normal(size=(45, 2)), jnp.float32)
    right, wrong = (jm.metrics.stability(make(k), points, key=KEY, resamples=5) for k in (3, 5))
    assert right == 1
    assert wrong < 0.95


def test_points_of_weight_zero_do_not_count():
    points = jnp.asarray(np.random.default_rng(1).normal(size=(20, 2)), jnp.float32)
    weights = jnp.asarray(np.arange(20) < 16, jnp.float32)
    values = [
        jm.metrics.stability(jm.kmeans(3), points.at[16:].set(junk), weights, key=KEY) for junk in (0, 1e9)
    ]
    assert values[0] == values[1] < 1


def test_noise_is_one_more_cluster():
    points = jnp.arange(10.0)[:, None] * 5
    nothing = jm.dbscan(2, radius=1.0, min_points=3)
    assert jm.metrics.stability(nothing, points, key=KEY, resamples=3) == 1


def test_slots_that_are_not_used_change_nothing():
    points = jnp.asarray(np.random.default_rng(2).normal(size=(12, 2)), jnp.float32)
    values = [
        jm.metrics.stability(jm.dbscan(k, radius=0.5, min_points=2), points, key=KEY, resamples=4)
        for k in (12, 13, 50)
    ]
    assert values[0] == values[1] == values[2]
    for part in (0.01, 0.99):
        with pytest.raises(jm.InputError, match="none or all of"):
            jm.metrics.stability(jm.kmeans(2), points, key=KEY, part=part)


@pytest.mark.parametrize("options", [{"resamples": 1}, {"part": 0.0}, {"part": 1.0}])
def test_no_parts_are_refused(options):
    with pytest.raises(jm.InputError, match="two subsamples or more"):
        jm.metrics.stability(jm.kmeans(2), jnp.ones((5, 1)), key=KEY, **options)
