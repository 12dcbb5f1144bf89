"""Descriptors under Gaussian clusters: cases by hand, SciPy's densities, and invariances."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, ortho_group

from jmeta.metafeatures.separation import NAMES, RIDGE, separation

N = 600
RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(-1, 3, N)
POINTS = RANDOM.normal(size=(N, 3)) @ RANDOM.normal(size=(3, 3)) + 4 * np.eye(3)[LABELS]


def gain(points, labels):
    """The gain in the criterion, from densities by SciPy and covariances by NumPy."""
    x = (points - points.mean(0)) / np.sqrt(points.var(0).mean())
    count, width = x.shape
    ridge = RIDGE * np.eye(width)
    whole = np.cov(x.T, bias=True).reshape(width, width) + ridge
    clusters = [x[labels == one] for one in range(labels.max() + 1)]
    own = [np.cov(one.T, bias=True).reshape(width, width) for one in clusters]
    within = sum(len(one) * s for one, s in zip(clusters, own, strict=True)) / (labels >= 0).sum() + ridge

    def criterion(groups, parameters):
        fit = sum(
            len(one) * np.log(len(one) / count)
            + multivariate_normal(one.mean(0), covariance).logpdf(one).sum()
            for one, covariance in groups
        )
        return fit - parameters * np.log(count) / 2

    each = 1 + width + width * (width + 1) / 2
    shrunk = [(len(o) * s + width * within) / (len(o) + width) for o, s in zip(clusters, own, strict=True)]
    several = criterion(zip(clusters, shrunk, strict=True), len(clusters) * each - 1)
    shrunk_whole = (count * (whole - ridge) + width * whole) / (count + width)
    noise = (labels < 0).sum()
    if noise:  # it has the density of all points on average, whatever its own points are
        entropy = (np.linalg.slogdet(whole)[1] + width * (1 + np.log(2 * np.pi))) / 2
        several += noise * (np.log(noise / count) - entropy)
    return (several - criterion([(x, shrunk_whole)], each - 1)) / count


@pytest.mark.parametrize("labels", [np.maximum(LABELS, 0), LABELS, np.arange(N) % 5, 0 * LABELS])
def test_the_gain_is_that_of_densities_by_scipy(labels):
    found = separation(POINTS, labels[None])["gaussian gain"][0]
    assert found == pytest.approx(gain(POINTS, labels), abs=1e-9)


def test_the_density_at_the_border_tells_a_cut_from_a_gap():
    line = np.linspace(0, 1, 1000)[:, None]
    halves = (np.arange(1000) >= 500).astype(int)
    gap = line + halves[:, None]
    cut, apart = (separation(x, halves[None]) for x in (line, gap))
    assert cut["border density"][0] == pytest.approx(1, abs=0.03)
    assert cut["separation"][0] == pytest.approx(0.5 * np.sqrt(48), abs=0.01)  # of halves of variance 1 / 48
    assert apart["border density"][0] == 0
    assert apart["separation"][0] == pytest.approx(1.5 * np.sqrt(48), abs=0.02)


def test_descriptors_do_not_depend_on_coordinates_order_or_names():
    expected = separation(POINTS, np.stack([LABELS, np.arange(N) % 4]))
    turned = 1e3 * POINTS @ ortho_group.rvs(3, random_state=0) + 1e5
    order = RANDOM.permutation(N)
    renamed = np.where(LABELS >= 0, 2 * ((LABELS + 1) % 3), -1)  # with gaps between the numbers
    found = separation(turned[order], np.stack([renamed, (np.arange(N) + 1) % 4])[:, order])
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 30])
def test_unusual_points_have_finite_descriptors(width):
    partitions = np.stack([np.arange(12) // 6, np.full(12, -1), np.arange(12), np.zeros(12, int)])
    for points in (np.zeros((12, width)), np.repeat(np.eye(2, width), 6, 0), RANDOM.normal(size=(12, width))):
        for values in separation(points, partitions).values():
            assert np.isfinite(values).all()
