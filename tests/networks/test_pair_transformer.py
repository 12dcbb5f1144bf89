"""A network of pairs: what changes its logits and what does not, and finite results for any points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm

N, D = 12, 3
MODEL = jm.networks.pair_transformer(width=8, pair_width=4, layers=1, heads=2)
PARAMS = MODEL.init(jax.random.key(0))
POINTS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
ONES = np.ones(N, np.float32)
APPLY = jax.jit(jax.vmap(MODEL.apply, (None, 0, 0, 0)))


def logits(*cases):
    """The logits of six cases, padded by the last one, by one program for all tests."""
    cases = [*cases, *[cases[-1]] * (6 - len(cases))]
    points, weights, clusters = (np.stack(part) for part in zip(*cases, strict=True))
    return np.asarray(APPLY(PARAMS, points.astype(np.float32), weights.astype(np.float32), clusters))


def test_what_does_not_change_the_logits():
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(D, D)))[0]
    order = np.random.default_rng(2).permutation(N)
    found, turned, shifted, scaled, permuted, mirrored = logits(
        (POINTS, ONES, 0),
        (POINTS @ turn, ONES, 0),
        (POINTS + 5, ONES, 0),
        (POINTS * 7, ONES, 0),
        (POINTS[order], ONES, 0),
        (-POINTS, ONES, 0),
    )
    np.testing.assert_array_equal(found, found.T)
    assert np.std(found) > 1e-2
    assert np.all(np.diag(found) == 0)
    for other in (turned, shifted, scaled, mirrored):
        np.testing.assert_allclose(other, found, atol=1e-3)
    np.testing.assert_allclose(permuted, found[order][:, order], atol=1e-3)


def test_padding_and_more_columns_do_not_change_the_logits():
    few = 8
    hidden = np.where(np.arange(N)[:, None] < few, POINTS, np.nan)
    first = np.arange(N) < few
    found, far, last = logits(
        (hidden, first, 0), (np.nan_to_num(hidden, nan=1e6), first, 0), (hidden[::-1], first[::-1], 0)
    )[:3]
    np.testing.assert_array_equal(found, far)
    np.testing.assert_allclose(last[::-1, ::-1][:few, :few], found[:few, :few], atol=1e-3)
    alone = MODEL.apply(PARAMS, np.pad(POINTS[:few], ((0, 0), (0, 2))))
    np.testing.assert_allclose(alone, found[:few, :few], atol=1e-3)


def test_a_known_number_of_clusters_changes_the_logits():
    unknown, two, five = logits((POINTS, ONES, 0), (POINTS, ONES, 2), (POINTS, ONES, 5))[:3]
    assert np.abs(two - unknown).max() > 1e-3
    assert np.abs(two - five).max() > 1e-3


def test_logits_and_derivatives_are_finite_for_any_points():
    two = np.arange(N) < 2
    column = POINTS * [1, 0, 0]
    cases = {
        "general": (POINTS, ONES, 0),
        "duplicates": (np.repeat(POINTS[:4], 3, 0), ONES, 3),
        "one column": (column, ONES, 0),
        "all equal": (np.ones((N, D)), ONES, 2),
        "two points": (POINTS, two, 0),
        "two equal points": (np.ones((N, D)), two, 2),
        "one point": (POINTS, np.arange(N) == 3, 1),
        "none": (POINTS, np.zeros(N), 0),
        "tiny": (POINTS * 1e-30, ONES, 0),
        "outlier": (POINTS + 1e6 * (np.arange(N) == 0)[:, None], ONES, 0),
    }

    @jax.jit
    @jax.vmap
    def gradients(points, weights, clusters):
        def total(points, weights, params):
            return jnp.sum(jnp.sin(MODEL.apply(params, points, weights, clusters)))

        return jax.value_and_grad(total, (0, 1, 2))(points, weights, PARAMS)

    points, weights, clusters = (np.stack(part) for part in zip(*cases.values(), strict=True))
    value, (slopes, _, of_params) = found = gradients(
        points.astype(np.float32), weights.astype(np.float32), clusters
    )
    assert value.shape == (len(cases),)
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        bad = ~np.isfinite(np.asarray(leaf)).reshape(len(cases), -1).all(1)
        assert not bad.any(), (path, np.array(list(cases))[bad])
    assert all(np.any(leaf[0] != 0) for leaf in jax.tree.leaves(of_params) if leaf[0].size > 2)
    scale = np.abs(slopes[0]).max()  # neither a shift nor a change of scale matters
    np.testing.assert_allclose(slopes[0].sum(0), 0, atol=1e-3 * scale)
    np.testing.assert_allclose(np.vdot(slopes[0], POINTS), 0, atol=1e-3 * scale)


@pytest.mark.parametrize("sizes", [{"width": 9, "heads": 2}, {"pair_width": 0}, {"layers": 1.5}])
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(jm.InputError, match=r"^[^.]*\.$|1\.5"):
        jm.networks.pair_transformer(**sizes)


@pytest.mark.parametrize("shape", [(5, 2), (4,), (2, 4, 2)])
def test_points_of_another_shape_are_refused(shape):
    with pytest.raises(jm.InputError, match="N even, padded with weight zero"):
        MODEL.apply(PARAMS, jnp.ones(shape))
