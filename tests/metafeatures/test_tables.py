"""Meta-features: by hand, then what must not change them, then pymfe and SciPy where definitions coincide."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import pdist

import jmeta as jm
from jmeta.metafeatures.images import image_features
from jmeta.metafeatures.partitions import landmarks
from jmeta.metafeatures.problems import problem_features
from jmeta.metafeatures.tables import FEATURES, estimated_clusters, feature_names, meta_features

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)
CLOUD = (RANDOM.gamma(2, size=(60, 4)) @ RANDOM.normal(size=(4, 4)) + 3).astype(np.float32)
QUIET = ("size", "marginals", "spectrum", "distances", "neighbours")
"""Groups that draw nothing at random, save for Hopkins' statistic."""


@cache
def compiled(groups=tuple(FEATURES)):
    return jax.jit(partial(meta_features, groups=groups))


def features(points, weights=None, clusters=3, groups=tuple(FEATURES)):
    weights = np.ones(len(points), np.float32) if weights is None else weights
    found = compiled(groups)(points, weights, KEY, clusters=jnp.asarray(clusters))
    return dict(zip(feature_names(groups), np.asarray(found), strict=True))


def test_a_line_by_hand():
    found = features(np.array([[0.0], [1.0], [3.0], [3.0]], np.float32), clusters=2, groups=QUIET)
    assert found["log points"] == pytest.approx(np.log(4))
    assert found["log columns"] == 0
    assert found["log clusters"] == pytest.approx(np.log(2))
    assert found["first share"] == pytest.approx(1)
    # Distances 1, 3, 3, 2, 2, 0 in units of the largest, 3.
    assert found["mean distance"] == pytest.approx(11 / 18, abs=1e-5)
    assert [found[f"distances in tenth {tenth}"] * 6 for tenth in (1, 4, 7, 10)] == pytest.approx(
        [1, 1, 2, 2], abs=1e-4
    )


def test_moments_and_spectrum_equal_scipy_and_numpy():
    found = features(CLOUD, groups=QUIET)
    skewness, kurtosis = scipy.stats.skew(CLOUD), scipy.stats.kurtosis(CLOUD)
    correlation = np.abs(np.corrcoef(CLOUD.T)[np.triu_indices(4, 1)])
    values = np.linalg.eigvalsh(np.cov(CLOUD.T))[::-1]
    shares, apart = values / values.sum(), pdist(CLOUD) / pdist(CLOUD).max()
    assert found["mean skewness"] == pytest.approx(skewness.mean(), rel=1e-3)
    assert found["spread of kurtosis"] == pytest.approx(kurtosis.std(), rel=1e-3)
    assert found["mean correlation"] == pytest.approx(correlation.mean(), rel=1e-3)
    assert found["first two"] == pytest.approx(shares[:2].sum(), rel=1e-4)
    assert found["effective columns"] == pytest.approx(1 / np.sum(shares**2) / 4, rel=1e-4)
    assert found["skewness of distance"] == pytest.approx(scipy.stats.skew(apart), rel=1e-3)


def test_pymfe_agrees_where_it_computes_the_same():
    mfe = pytest.importorskip("pymfe.mfe").MFE(
        groups=["general", "statistical"],
        features=["nr_inst", "nr_attr", "inst_to_attr", "skewness", "kurtosis", "cor", "eigenvalues"],
        summary=["mean"],
        suppress_warnings=True,
    )
    mfe.fit(CLOUD.astype(float), np.arange(60) % 2, transform_num=False)
    theirs = dict(zip(*mfe.extract(suppress_warnings=True), strict=True))
    found = features(CLOUD, groups=QUIET)
    assert np.exp(found["log points"]) == pytest.approx(theirs["nr_inst"])
    assert np.exp(found["log columns"]) == pytest.approx(theirs["nr_attr"])
    assert np.exp(found["log points per column"]) == pytest.approx(theirs["inst_to_attr"])
    shrunk = 59 / 60  # theirs divide by the deviation of n - 1
    assert found["mean skewness"] * shrunk**1.5 == pytest.approx(theirs["skewness.mean"], rel=1e-3)
    assert (found["mean kurtosis"] + 3) * shrunk**2 - 3 == pytest.approx(theirs["kurtosis.mean"], rel=1e-3)
    assert found["mean correlation"] == pytest.approx(theirs["cor.mean"], rel=1e-3)
    total = np.var(CLOUD, 0, ddof=1).sum()
    assert total / 4 == pytest.approx(theirs["eigenvalues.mean"], rel=1e-4)


def test_nothing_changes_when_points_are_moved_scaled_and_shuffled():
    order = RANDOM.permutation(60)
    found, moved = (features(points, groups=QUIET) for points in (CLOUD, 40 * CLOUD[order] + 7))
    for name in set(found) - {"Hopkins"}:  # which looks from random points
        assert moved[name] == pytest.approx(found[name], abs=2e-2), name


@pytest.mark.parametrize("count", [8, 60])
def test_padding_and_constant_columns_do_not_count(count):
    """Of the landmarks those of single linkage, which draws nothing: also by volume and by density."""
    columns, shape = {8: (2, (60, 4)), 60: (4, (80, 6))}[count]
    points, wide = CLOUD[:count, :columns], np.full(shape, 9.0, np.float32)
    wide[:count, :columns] = points
    weights = np.where(np.arange(shape[0]) < count, 1, 0).astype(np.float32)
    found, padded = features(points), features(wide, weights)
    for name in set(found) - {*FEATURES["noise"], "Hopkins"}:
        if not name.startswith(("k-means", "agreement")):
            assert padded[name] == pytest.approx(found[name], abs=5e-3), name


def test_tables_of_all_widths_share_a_program_and_have_their_own_values(compilations):
    """Columns of padding do not change random draws either."""
    narrow, wide = CLOUD[:, :3], np.concatenate([CLOUD, CLOUD**2], 1)
    with compilations() as made:
        found = problem_features([narrow, wide], [3, 3], groups=("noise", "neighbours"))
    assert len([one for one in made if "_compute" in one.get("fun_name", "_compute")]) <= 3
    for table, row, width in zip((narrow, wide), found, (4, 8), strict=True):
        drawn = landmarks(table, [])
        padded = np.pad(drawn.points, ((0, 0), (0, width - table.shape[1])))
        expected = meta_features(
            padded, drawn.weights, jax.random.key(0), clusters=3, groups=("noise", "neighbours")
        )
        np.testing.assert_allclose(row, expected, atol=1e-4)


def test_two_threads_compute_at_once():
    """Without a lock their eigenvalues, which are computed on one pool of threads, wait for each other."""
    random = np.random.default_rng(0)
    tables = [random.normal(size=(count, 2)) for count in (120, 40)]
    alone = [problem_features([table]) for table in tables]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda table: problem_features([table]), tables * 5))
    np.testing.assert_array_equal(together, alone * 5)


def test_turning_the_points_changes_only_marginals():
    turn = np.linalg.qr(RANDOM.normal(size=(4, 4)))[0].astype(np.float32)
    found, turned = features(CLOUD, groups=QUIET), features(CLOUD @ turn, groups=QUIET)
    for name in set(found) - {*FEATURES["marginals"], "Hopkins"}:
        assert turned[name] == pytest.approx(found[name], abs=2e-2), name


def test_noise_is_no_signal():
    tasks = RANDOM.normal(size=(100, 60, 4)).astype(np.float32)
    one = partial(meta_features, weights=None, key=KEY, clusters=1, groups=["spectrum"])
    seen = jax.jit(jax.vmap(one))(tasks)
    place = feature_names(["spectrum"]).index("columns above noise")
    assert np.mean(np.asarray(seen)[:, place] > 0) < 0.1


def test_intrinsic_dimension_of_a_surface_in_space():
    flat = RANDOM.uniform(size=(1000, 2)) @ RANDOM.normal(size=(2, 5))
    found = features(flat.astype(np.float32), groups=("neighbours",))
    for name in ("dimension of two neighbours", "dimension of ten"):
        assert np.exp(found[name]) == pytest.approx(2, abs=0.25)


def test_what_features_are_for():
    """Clusters, their number, intrinsic dimension and noise are seen in the numbers that speak of them."""
    plane = RANDOM.uniform(size=(60, 2)) @ RANDOM.normal(size=(2, 4))
    blobs = np.repeat([[0, 0, 0, 0], [9, 0, 0, 0], [0, 9, 0, 0]], 20, 0) + RANDOM.normal(size=(60, 4)) / 3
    noise = RANDOM.normal(size=(60, 4))
    flat, tight, shapeless = (features(points.astype(np.float32)) for points in (plane, blobs, noise))
    assert tight["Hopkins"] > 0.8 > shapeless["Hopkins"]
    assert abs(np.exp(flat["dimension of two neighbours"]) - 2) < 0.6
    assert tight["columns above noise"] == 0.5
    assert flat["signal to noise"] > 5 > tight["signal to noise"] > shapeless["signal to noise"]
    assert tight["gap below it"] > 5 * shapeless["gap below it"]
    assert tight["k-means: silhouette"] > 0.8
    assert tight["agreement of k-means and single linkage"] == pytest.approx(1)
    assert shapeless["agreement of k-means and single linkage"] < 0.5
    assert 0 < tight["neighbours kept"] < 1
    assert int(estimated_clusters(jnp.asarray(blobs), jnp.ones(60), KEY, max_clusters=5)) == 3


@pytest.mark.parametrize(
    "points",
    [np.zeros((4, 2)), np.array([[1e-20], [2e-20]]), np.array([[1e20, 0], [-1e20, 1], [1, 1]]), np.eye(2)],
)
def test_degenerate_points_have_finite_features(points):
    found = meta_features(jnp.asarray(points, jnp.float32), None, KEY, clusters=2)
    assert np.all(np.isfinite(found))


def test_one_program_for_many_tasks_and_a_gradient():
    """A vmap equals the single tasks, and what has a derivative has a finite one."""
    tasks = np.stack([CLOUD[:40], CLOUD[20:]])
    groups = ("size", "marginals", "spectrum", "distances")
    one = partial(meta_features, weights=None, key=KEY, clusters=2)
    batched = jax.jit(jax.vmap(partial(one, groups=groups)))(tasks)
    for points, found in zip(tasks, batched, strict=True):
        np.testing.assert_allclose(found, list(features(points, None, 2, groups).values()), atol=1e-4)
    constant = np.where(np.arange(4) < 3, CLOUD, 1)
    slope = jax.jit(jax.grad(lambda x: one(x, groups=("marginals", "distances")).sum()))
    for points in (CLOUD, constant):
        assert np.all(np.isfinite(slope(points)))


def test_images_by_hand():
    black_and_white = np.array([[[0.0, 1.0]], [[0.0, 1.0]]])
    density, dispersion, decibels = image_features(black_and_white, None, KEY, bins=4)
    assert density == pytest.approx(2)  # half of all in each of two bins out of four
    assert dispersion == pytest.approx(0.5)
    louder = image_features(black_and_white, None, KEY, deviation=0.3, bins=4)[2]
    assert decibels > louder
    dark = image_features(black_and_white, np.array([1.0, 0.0]), KEY, bins=4)
    assert dark[1] == pytest.approx(0.5)


@pytest.mark.faults
def test_what_has_no_features_is_refused():
    for points in (np.zeros(3), np.zeros((1, 2)), np.zeros((3, 0))):
        with pytest.raises(jm.InputError, match="points have shape"):
            meta_features(points, None, KEY)
    with pytest.raises(jm.InputError, match="unknown names"):
        meta_features(CLOUD, None, KEY, groups=["colour"])
    with pytest.raises(jm.InputError, match="groups is empty"):
        meta_features(CLOUD, None, KEY, groups=[])
    with pytest.raises(jm.InputError, match="have weights of shape"):
        meta_features(CLOUD, np.ones(3), KEY)
    for images in (np.zeros((2, 3), np.uint8), np.zeros((0, 3)), np.zeros(3)):
        with pytest.raises(jm.InputError, match="intensities in"):
            image_features(images, None, KEY)
