"""Descriptors see no label, know a good partition from a bad one, and do not care for units or order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import make_moons

from jmeta.metafeatures.partitions import NAMES, SLOTS, by_size, describe, landmarks
from jmeta.metrics import adjusted_rand_index

POINTS, TRUTH = make_moons(60, noise=0.05, random_state=0)
HALVES = (POINTS[:, 0] > 0.5).astype(int)
ONE = np.zeros(60, int)
COUNT = 64


def described(points, partitions):
    found = landmarks(points, partitions, count=COUNT)
    own, agreement = jax.device_get(describe(*map(jnp.asarray, found[:3])))
    return {name: own[:, i] for i, name in enumerate(NAMES)}, agreement


def test_every_number_has_a_name_and_is_finite_whatever_the_partition():
    noise, alone = np.full(60, -1), np.arange(60)
    found, agreement = described(POINTS, [TRUTH, ONE, noise, alone, None])
    assert all(np.all(np.isfinite(column)) for column in found.values())
    assert np.all(np.isfinite(agreement))
    constant, _ = described(np.ones((60, 2)), [TRUTH, ONE, noise, alone, None])
    assert all(np.all(np.isfinite(column)) for column in constant.values())


def test_the_moons_themselves_follow_the_gaps_and_halves_do_not():
    found, agreement = described(POINTS, [TRUTH, HALVES])
    assert found["10 alike"][0] > found["10 alike"][1]
    assert found["gap"][0] > found["gap"][1]
    assert found["density validity"][0] > found["density validity"][1]
    assert found["silhouette"][0] < found["silhouette"][1]  # which is why indices alone choose badly
    np.testing.assert_allclose(agreement[0, 1], adjusted_rand_index(TRUTH, HALVES), atol=1e-6)
    np.testing.assert_allclose(np.diag(agreement), 1)


def test_by_hand():
    found, _ = described(np.array([[0.0], [1.0], [8.0], [9.0]]), [np.array([7, 7, 2, 2])])
    assert found["log clusters"] == pytest.approx(np.log(2))
    assert found["evenness"] == pytest.approx(1)
    assert found["noise"] == pytest.approx(0, abs=1e-6)
    assert found["silhouette"] == pytest.approx(0.8745, abs=1e-4)
    assert found["log Calinski-Harabasz"] == pytest.approx(np.log1p(128), rel=1e-4)
    # Edges 1, 1, 7: the long one is cut, sqrt(2) deviations above the mean of the logarithms.
    assert found["shortest cut edge"] == pytest.approx(np.sqrt(2), rel=1e-4)
    assert found["longest edge kept"] == pytest.approx(-np.sqrt(0.5), rel=1e-4)


def test_names_of_clusters_units_and_order_do_not_matter():
    first, _ = described(POINTS, [TRUTH])
    order = np.random.default_rng(0).permutation(60)
    second, _ = described(1000 * POINTS[order] + 5, [1 - TRUTH[order]])
    for name in NAMES:
        np.testing.assert_allclose(first[name], second[name], rtol=2e-3, atol=2e-3, err_msg=name)


def test_large_problems_are_sampled_and_small_clusters_beyond_the_slots_are_noise():
    points = np.random.default_rng(0).normal(size=(500, 2))
    found = landmarks(points, [np.arange(500), None], count=256)
    assert found.points.shape == (256, 2)
    ranks = by_size(jnp.asarray(found.labels[0]))
    assert ranks.max() == SLOTS - 1
    assert np.sum(ranks < 0) == 256 - SLOTS
    assert np.all(found.labels[1] == -1)
