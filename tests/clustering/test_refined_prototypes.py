"""Class means refined by unlabelled points, with and without distractors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_three_ways

import jmeta as jm

KEY = jax.random.key(0)
POINTS = np.float32([[0], [4], [0.5], [4.5], [1]])
LABELS = np.array([0, 1, -1, -1, -1])


def refined(points, labels, **options):
    clusterer = jm.refined_prototypes(2, **options)

    @jax.jit
    def both(points, labels):
        params = clusterer.init(KEY)
        state = clusterer.fit(params, jm.Batch(points, labels), KEY)
        return state, clusterer.assign(params, state, points)

    return both(np.float32(points), labels)


def test_one_refinement_by_hand():
    """Prototypes 0 and 4; point 2.25 is at squared distances 5.0625 and 3.0625."""
    points, labels = [[0.0], [4.0], [2.25]], np.array([0, 1, -1])
    share = 1 / (1 + np.exp(5.0625 - 3.0625))
    state, found = refined(points, labels)
    expected = [[2.25 * share / (1 + share)], [(4 + 2.25 * (1 - share)) / (2 - share)]]
    np.testing.assert_allclose(state.centers, expected, rtol=1e-5)
    np.testing.assert_array_equal(found.noise, 0)
    cold, _ = refined(points, labels, inverse_temperature=2.0)
    share = 1 / (1 + np.exp(4.0))
    np.testing.assert_allclose(cold.centers[0], 2.25 * share / (1 + share), rtol=1e-4)


def test_distractors_cluster_by_hand():
    """The same, with a third prototype at the origin, of radius 2."""
    points, labels = [[1.0], [4.0], [2.25]], np.array([0, 1, -1])
    weights = np.exp([-(1.25**2), -(1.75**2), -(2.25**2) / 4 - np.log(2)])
    share = weights / weights.sum()
    state, found = refined(points, labels, distractors="cluster", radius=2.0)
    expected = [(1 + 2.25 * share[0]) / (1 + share[0]), (4 + 2.25 * share[1]) / (1 + share[1])]
    np.testing.assert_allclose(np.ravel(state.centers), expected, rtol=1e-5)
    distances = np.square(2.25 - np.append(np.array(expected), 0)) / [1, 1, 4]
    weights = np.exp(-distances) / [1, 1, 2]
    np.testing.assert_allclose(found.noise[2], weights[2] / weights.sum(), rtol=1e-4)


def test_a_mask_by_hand():
    """At first the network answers zero: the mask is sigmoid(1 - d / mean d), class by class."""
    points, labels = [[0.0], [4.0], [1.0], [3.0]], np.array([0, 1, -1, -1])
    state, _ = refined(points, labels, distractors="mask")
    share = 1 / (1 + np.exp(-8.0))  # squared distances 1 and 9
    mask = 1 / (1 + np.exp(np.array([1, 9]) / 5 - 1))
    near, far = share * mask[0], (1 - share) * mask[1]
    np.testing.assert_allclose(state.centers[0], (near + 3 * far) / (1 + near + far), rtol=1e-4)


def test_distractors_pull_less_on_what_is_protected():
    """Two classes and, far from both, a crowd of points that belong to neither."""
    random = np.random.default_rng(0)
    crowd = random.normal(size=(30, 2)) * 0.3
    points = np.concatenate([[[-3, 0], [3, 0]], random.normal(size=(6, 2)) * 0.2 + [-3, 0], crowd])
    labels = np.array([0, 1] + [-1] * 36)
    moved = {}
    for distractors in ("none", "cluster", "mask"):
        state, found = refined(points, labels, distractors=distractors, inverse_temperature=0.5)
        moved[distractors] = np.linalg.norm(state.centers[1] - np.array([3.0, 0]))
        np.testing.assert_allclose(np.exp(found.log_probs).sum(1), 1, rtol=1e-5)
    assert moved["cluster"] < 0.5 * moved["none"]
    assert moved["mask"] < moved["none"]


@pytest.mark.parametrize("distractors", ["none", "cluster", "mask"])
def test_weights_count_like_copies_and_zero_like_nothing(distractors):
    weights, copied = np.float32([1, 1, 2, 1, 0]), np.array([0, 1, 2, 2, 3])
    lost = np.where(weights[:, None] > 0, POINTS, np.nan)
    clusterer = jm.refined_prototypes(2, distractors=distractors, steps=3)
    params = clusterer.init(KEY)
    by_weight = clusterer.fit(params, jm.Batch(lost, LABELS, weights), KEY)
    by_copies = clusterer.fit(params, jm.Batch(POINTS[copied], LABELS[copied]), KEY)
    np.testing.assert_allclose(by_weight.centers, by_copies.centers, rtol=1e-5)


@functools.cache
def total_of(distractors):
    """A clusterer, and a number of all that it finds with its gradients."""
    learn = ("radius",) if distractors == "cluster" else ()
    clusterer = jm.refined_prototypes(2, distractors=distractors, learn=learn)

    def total(points, params):
        state = clusterer.fit(params, jm.Batch(points, LABELS), KEY)
        found = clusterer.assign(params, state, points)
        return jnp.sum(jnp.exp(found.log_probs) ** 2) + jnp.sum(found.noise)

    return clusterer, jax.jit(jax.value_and_grad(total, (0, 1)))


@pytest.mark.parametrize("distractors", ["none", "cluster", "mask"])
@pytest.mark.parametrize("case", [0.0, 1e-15, 1.0, 1e15])
def test_degenerate_points_never_give_nan(distractors, case):
    clusterer, total = total_of(distractors)
    params = clusterer.init(KEY)
    for leaf in jax.tree.leaves(total(POINTS * np.float32(case), params)):
        assert np.all(np.isfinite(leaf))
    none_unlabelled = clusterer.fit(params, jm.Batch(POINTS[:2], LABELS[:2]), KEY)
    np.testing.assert_allclose(none_unlabelled.centers, POINTS[:2], atol=1e-6)


@pytest.mark.parametrize("distractors", ["cluster", "mask"])
def test_derivatives_to_points_and_to_what_is_learned(distractors):
    with jax.enable_x64(True):
        learn = ("radius",) if distractors == "cluster" else ()
        clusterer = jm.refined_prototypes(
            2, distractors=distractors, steps=2, inverse_temperature=0.2, learn=learn
        )
        points = np.random.default_rng(0).normal(size=(6, 2)) + 1
        labels = np.array([0, 1, -1, -1, -1, -1])

        def scalar(inputs):
            params, points = inputs
            state = clusterer.fit(params, jm.Batch(points, labels), KEY)
            found = clusterer.assign(params, state, points)
            return jnp.sum(jnp.sin(state.centers)) + jnp.sum(found.log_probs[:, 0]) + jnp.sum(found.noise)

        params = jax.tree.map(lambda leaf: leaf + 0.1, clusterer.init(KEY))
        check_three_ways(scalar, (params, points), rtol=1e-4, atol=1e-6)


def test_a_learner_of_partly_labelled_tasks():
    learner = jm.centroids(jm.networks.mlp([1, 4, 2]), jm.refined_prototypes(2, distractors="mask"))
    task = jm.Task(jm.Batch(POINTS, LABELS), jm.Batch(POINTS, np.array([0, 1, 0, 1, 0])), None, KEY)
    loss = jm.query_loss(learner, jm.cross_entropy)
    gradient = jax.jit(jax.grad(lambda meta: loss(meta, task)[0]))(learner.init(KEY))
    assert np.any(gradient.clusterer["mask"]["out"] != 0)


def test_a_point_on_a_prototype_is_no_nan_to_the_mask():
    clusterer = jm.refined_prototypes(3, distractors="mask")
    params = jax.tree.map(lambda leaf: leaf + 0.1, clusterer.init(KEY))
    labels = np.array([0, 1, 2, -1])

    @jax.jit
    @jax.value_and_grad
    def total(near):
        points = jnp.array([[0.0], [1.0], [-1.0], [0.0]]).at[3].set(near)
        return jnp.sum(clusterer.fit(params, jm.Batch(points, labels), KEY).centers ** 2)

    found = np.array([total(near) for near in (0.0, 1e-10, 1e-6, 1e-3)])
    assert np.all(np.isfinite(found[:, 1]))
    np.testing.assert_allclose(found[2, 0], found[3, 0], rtol=1e-2)


def test_padding_and_batches_of_tasks_change_nothing():
    weights = np.float32([1, 1, 1, 1, 0])
    for distractors in ("none", "cluster", "mask"):
        clusterer = jm.refined_prototypes(3, distractors=distractors)
        params = clusterer.init(KEY)
        alone = clusterer.fit(params, jm.Batch(POINTS[:4], LABELS[:4], None, np.int32(2)), KEY)
        batch = jm.Batch(POINTS, LABELS, weights, np.int32(2))
        batch = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), batch)
        together = jax.jit(jax.vmap(clusterer.fit, in_axes=(None, 0, None)))(params, batch, KEY)
        np.testing.assert_allclose(together.centers[1, :2], alone.centers[:2], atol=1e-5)
        found = clusterer.assign(params, alone, POINTS)
        assert np.all(np.exp(found.log_probs[:, 2]) == 0)


def test_bad_input_is_refused():
    with pytest.raises(jm.InputError, match="only the distractors' cluster has a radius"):
        jm.refined_prototypes(2, learn=("radius",))
    with pytest.raises(jm.InputError, match="no point is labelled"):
        jm.refined_prototypes(2).fit({}, jm.Batch(POINTS), KEY)
    with pytest.raises(jm.InputError, match="distractors"):
        jm.refined_prototypes(2, distractors="all")
    with pytest.raises(jm.InputError, match="radius"):
        jm.refined_prototypes(2, radius=0)
