"""Soft and hard k-means: by hand, against scikit-learn, and their derivatives three ways."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import numerical
from sklearn.cluster import KMeans

import jmeta as jm
from jmeta.clustering.means import Means, Rule, Theta, mean_step
from jmeta.clustering.points import Points

KEY, UNROLL = jax.random.key(0), jm.unroll()


def first_points(points, weights, clusters, key):
    """A seeding that can be done by hand."""
    return points[:clusters]


def test_one_step_of_soft_kmeans_by_hand():
    """Points 0, 1 and 3, centres at 0 and 1, inverse temperature log 2: responsibilities are
    2/3 and 1/3 for point 0, 1/3 and 2/3 for 1; for 3, 2^-9 against 2^-4, 1/33 and 32/33."""
    points = jm.Batch(jnp.array([[0.0], [1.0], [3.0]]))
    clusterer = jm.soft_kmeans(2, steps=1, inverse_temperature=float(np.log(2)), seeding=first_points)
    state = clusterer.fit({}, points, KEY)
    first = (1 / 3 + 3 / 33) / (2 / 3 + 1 / 3 + 1 / 33)
    second = (2 / 3 + 3 * 32 / 33) / (1 / 3 + 2 / 3 + 32 / 33)
    np.testing.assert_allclose(state.centers.ravel(), [first, second], rtol=1e-5)
    shares = np.exp(clusterer.assign({}, state, points.inputs).log_probs)
    gap = (0 - first) ** 2 - (0 - second) ** 2
    np.testing.assert_allclose(shares[0, 0], 1 / (1 + 2**gap), rtol=1e-5)


def test_lloyd_by_hand():
    points = jnp.array([[0.0], [1.0], [5.0], [6.0], [7.0]])
    state = jm.kmeans(2, steps=3, seeding=first_points).fit({}, jm.Batch(points), KEY)
    np.testing.assert_allclose(state.centers.ravel(), [0.5, 6.0], atol=1e-6)
    np.testing.assert_allclose(state.inertia, 0.25 + 0.25 + 1 + 0 + 1, atol=1e-5)
    assert state.residual == 0


def test_weights_count_like_copies():
    points = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    copied = np.concatenate([points, points[:3]])
    weights = np.array([2, 2, 2, 1, 1, 1, 1, 1], np.float32)
    for make in (jm.soft_kmeans, jm.kmeans):
        clusterer = make(3, seeding=first_points)
        fit = jax.jit(lambda batch, clusterer=clusterer: clusterer.fit({}, batch, KEY))
        by_weight = fit(jm.Batch(points, weights=weights))
        by_copies = fit(jm.Batch(copied))
        np.testing.assert_allclose(by_weight.centers, by_copies.centers, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_lloyd_equals_scikit_learn(seed):
    random = np.random.default_rng(seed)
    points, weights = random.normal(size=(40, 3)), random.uniform(0.1, 1, 40)
    with jax.enable_x64(True):
        state = jm.kmeans(4, steps=50, seeding=first_points).fit({}, jm.Batch(points, weights=weights), KEY)
        expected = KMeans(4, init=points[:4], n_init=1, algorithm="lloyd", max_iter=50, tol=0)
        expected.fit(points, sample_weight=weights)
        np.testing.assert_allclose(state.centers, expected.cluster_centers_, atol=1e-12)
        np.testing.assert_allclose(state.inertia, expected.inertia_, rtol=1e-12)


def test_soft_kmeans_tends_to_hard_kmeans_as_it_cools():
    points = jm.Batch(np.random.default_rng(3).normal(size=(20, 2)).astype(np.float32))
    hard = jm.kmeans(3, seeding=first_points).fit({}, points, KEY)
    cold = jm.soft_kmeans(3, inverse_temperature=1e4, seeding=first_points).fit({}, points, KEY)
    np.testing.assert_allclose(cold.centers, hard.centers, atol=1e-3)


def test_annealing_in_long_runs_keeps_centres_apart_and_derivatives_finite():
    """Centres that coincide while hot do not separate, and the derivative in their difference overflows."""
    random = np.random.default_rng(0)
    centers = 6 * random.normal(size=(8, 5, 2))
    points = (centers[:, np.arange(40) % 5] + random.normal(size=(8, 40, 2))).astype(np.float32)
    clusterer = jm.soft_kmeans(5, steps=1000, annealing=20.0)
    directions = jnp.cos(jnp.arange(10.0)).reshape(5, 2)

    def value(points, key):
        found = clusterer.fit({}, jm.Batch(points), key).centers
        return jnp.sum(directions * found), found

    keys = jax.random.split(KEY, 8)
    slopes, found = jax.jit(jax.vmap(jax.grad(value, has_aux=True)))(points, keys)
    assert np.all(np.isfinite(slopes))
    apart = np.linalg.norm(found[:, :, None] - found[:, None], axis=-1) + 9 * np.eye(5)
    assert apart.min() > 0.1


def test_every_step_lowers_the_free_energy():
    points = jnp.asarray(np.random.default_rng(4).normal(size=(30, 2)))
    theta = Theta(Points(points, jnp.ones(30), None, jnp.zeros(4)), jnp.asarray(2.0), jnp.zeros(4))
    rule = Rule(None)
    start = Means(points[:4], jnp.zeros(4))
    path = jm.iterate(
        lambda x, t, i: mean_step(rule, x, t, i), start, theta, steps=15, diff=jm.every_step()
    ).centers
    distances = jnp.sum((points[None, :, None] - path[:, None]) ** 2, -1)
    energy = -jnp.sum(jax.nn.logsumexp(-theta.beta * distances, -1), -1) / theta.beta
    assert np.all(np.diff(energy) <= 1e-4)
    options = dict(inverse_temperature=2.0, seeding=first_points)
    fitted = [jm.soft_kmeans(4, steps=n, **options).fit({}, jm.Batch(points), KEY) for n in (0, 15)]
    np.testing.assert_allclose([state.energy for state in fitted], energy[jnp.array([0, 15])], rtol=1e-4)


def test_mixture_weights_are_those_of_em_for_equal_spherical_gaussians():
    """A step reweighs, then moves: with scikit-learn's formulas, written out."""
    points = np.random.default_rng(7).normal(size=(25, 2))
    centers, share, beta = points[:3], np.full(3, 1 / 3), 0.8

    def responsibilities():
        logits = np.log(share) - beta * ((points[:, None] - centers[None]) ** 2).sum(-1)
        return np.exp(logits - np.logaddexp.reduce(logits, 1)[:, None])

    for _ in range(6):
        share = responsibilities().mean(0)
        owned = responsibilities()
        centers = owned.T @ points / owned.sum(0)[:, None]
    with jax.enable_x64(True):
        clusterer = jm.soft_kmeans(
            3, steps=6, inverse_temperature=beta, seeding=first_points, mixture_weights=True
        )
        state = clusterer.fit({}, jm.Batch(jnp.asarray(points)), KEY)
        np.testing.assert_allclose(state.centers, centers, atol=1e-10)
        np.testing.assert_allclose(np.exp(state.log_prior), share, atol=1e-10)


def test_annealing_escapes_bad_seeds_and_ends_at_the_temperature_that_was_asked_for():
    random = np.random.default_rng(8)
    means = np.array([[0, 0], [4, 0], [0, 4], [4, 4], [8, 2]])
    points = (means[:, None] + 0.6 * random.normal(size=(5, 8, 2))).reshape(-1, 2).astype(np.float32)
    truth = np.repeat(np.arange(5), 8)

    def run(annealing):
        clusterer = jm.soft_kmeans(5, steps=60, annealing=annealing, seeding=jm.random_points)

        def one(key):
            state = clusterer.fit({}, jm.Batch(points), key)
            found = clusterer.assign({}, state, points).log_probs.argmax(-1)
            return jm.matched_accuracy(found, truth, slots=5), state.residual

        return jax.jit(jax.vmap(one))(jax.random.split(KEY, 60))

    (annealed, residual), (plain, _) = run(30.0), run(1.0)
    assert residual.max() < 1e-5
    assert annealed.mean() > 0.99
    assert plain.mean() < 0.95


def test_more_restarts_never_end_worse():
    points = jm.Batch(np.random.default_rng(5).normal(size=(40, 2)).astype(np.float32))
    keys = jax.random.split(KEY, 4)

    def inertia(key, restarts):
        clusterer = jm.kmeans(5, seeding=jm.random_points, restarts=restarts)
        return clusterer.fit({}, points, key).inertia

    alone = jax.jit(jax.vmap(lambda key: inertia(key, 1)))(keys)
    assert len(np.unique(alone)) > 1
    np.testing.assert_allclose(jax.jit(lambda: inertia(KEY, 4))(), alone.min(), rtol=1e-5)


def test_hard_kmeans_goes_on_until_nothing_moves():
    """One point far away makes all other moves small, relative to the largest coordinate."""
    points = np.append(np.random.default_rng(0).uniform(size=400), 1e3).astype(np.float32)[:, None]
    start = np.array([[0], [0.02], [0.04], [0.06], [1e3]], np.float32)
    fitted = jm.kmeans(5, steps=200, centers=start).fit({}, jm.Batch(points), KEY)
    expected = KMeans(5, init=start, n_init=1, algorithm="lloyd", max_iter=200, tol=0).fit(np.float64(points))
    np.testing.assert_allclose(fitted.centers, expected.cluster_centers_, atol=2e-3)


def test_directions_in_a_narrow_cone_are_told_apart():
    angles = np.repeat([0, 0.006, 0.012], 8) + 3e-4 * np.random.default_rng(0).normal(size=24)
    points = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    for make in (jm.soft_kmeans, jm.sinkhorn_kmeans):
        found = jm.cluster(make(3, metric="cosine", restarts=4), points, key=KEY)
        assert jm.adjusted_rand_index(found.log_probs.argmax(-1), np.arange(24) // 8) == 1


def test_single_precision_points_in_a_double_precision_program():
    with jax.enable_x64(True):
        points = jnp.asarray(np.random.default_rng(0).normal(size=(9, 2)), jnp.float32)
        for make in (jm.soft_kmeans, jm.sinkhorn_kmeans):
            clusterer = make(2, learn=("temperature",))
            state = clusterer.fit(clusterer.init(KEY), jm.Batch(points), KEY)
            assert state.centers.dtype == jnp.float32


def test_memory_of_the_rules():
    """Flat in the steps for implicit; with remat a quarter of the plain unroll's, or less."""

    def temporary(diff, steps):
        clusterer = jm.soft_kmeans(5, steps=steps, diff=diff, centers=jnp.zeros((5, 16)))
        points = jnp.zeros((100, 16))
        gradient = jax.jit(jax.grad(lambda x: jnp.sum(clusterer.fit({}, jm.Batch(x), KEY).centers ** 2)))
        return gradient.lower(points).compile().memory_analysis().temp_size_in_bytes

    implicit = [temporary(jm.implicit(jm.gmres(5)), steps) for steps in (20, 80)]
    assert implicit[0] == implicit[1]
    plain, remat = (temporary(jm.unroll(remat=remat), 80) for remat in (False, True))
    assert remat <= plain / 4


def test_labelled_points_stay_in_their_cluster():
    points = jnp.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
    batch = jm.Batch(points, jnp.array([1, -1, 0, -1, 1]))
    state = jm.soft_kmeans(2, inverse_temperature=50.0).fit({}, batch, KEY)
    np.testing.assert_allclose(state.centers[1], (0 + 0.1 + 9) / 3, atol=1e-3)
    np.testing.assert_allclose(state.centers[0], (5 + 5.1) / 2, atol=1e-3)


def test_with_every_label_shown_centers_are_class_means():
    points = jnp.asarray(np.random.default_rng(6).normal(size=(9, 4)).astype(np.float32))
    labels = jnp.arange(9) % 3
    for make in (jm.soft_kmeans, jm.kmeans):
        state = jax.jit(lambda make=make: make(3).fit({}, jm.Batch(points, labels), KEY))()
        means = [points[labels == label].mean(0) for label in range(3)]
        np.testing.assert_allclose(state.centers, means, atol=1e-6)


# Derivatives, in float64. The map is run to its fixed point first, which is asserted.

STEPS = 300
RULES = {
    "unroll": UNROLL,
    "unroll_remat": jm.unroll(remat=True),
    "truncate": jm.truncate(200),
    "gmres": jm.implicit(jm.gmres(12, tol=1e-13)),
    "neumann": jm.implicit(jm.neumann(200)),
}


def three_blobs():
    random = np.random.default_rng(0)
    means = np.array([[0, 0], [4, 0], [0, 4]])
    return jnp.asarray((means[:, None] + random.normal(size=(3, 4, 2))).reshape(12, 2))


def seeds_of(empty):
    """Seeds on the blobs, and where asked a fourth so far away that it attracts nothing."""

    def seeding(points, weights, clusters, key):
        far = jnp.full((1, 2), 1e3)
        seeds = points[jnp.array([0, 4, 8])]
        return jnp.concatenate([seeds, far]) if empty else seeds

    return seeding


def outcome(diff, empty):
    """A scalar of the centres, as a function of points, weights and temperature."""
    clusterer = jm.soft_kmeans(
        4 if empty else 3,
        steps=STEPS,
        inverse_temperature=0.7,
        diff=diff,
        seeding=seeds_of(empty),
        learn=("temperature",),
    )

    def scalar(points, weights, log_temperature):
        params = {"temperature": log_temperature}
        state = clusterer.fit(params, jm.Batch(points, weights=weights), KEY)
        return jnp.sum(jnp.sin(state.centers[:3]) * jnp.arange(1.0, 7.0).reshape(3, 2)), state.residual

    return scalar


def inputs():
    return three_blobs(), jnp.linspace(0.5, 1, 12), jnp.asarray(-np.log(0.7))


@functools.cache
def value_and_differences(empty):
    """The same under every rule."""
    scalar = outcome(UNROLL, empty)
    arguments = inputs()
    return scalar(*arguments)[0], numerical(lambda arguments: scalar(*arguments)[0], arguments)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("empty", [False, True], ids=["full", "empty_cluster"])
@pytest.mark.parametrize("rule", list(RULES))
def test_derivatives_three_ways(rule, empty):
    scalar = outcome(RULES[rule], empty)
    (value, residual), gradient = jax.jit(jax.value_and_grad(scalar, (0, 1, 2), has_aux=True))(*inputs())
    assert residual < 1e-12
    expected_value, expected = value_and_differences(empty)
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    np.testing.assert_allclose(np.concatenate([np.ravel(leaf) for leaf in gradient]), expected, atol=2e-8)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("empty", [False, True], ids=["full", "empty_cluster"])
@pytest.mark.parametrize("rule", ["unroll", "gmres"])
def test_second_derivatives_in_both_orders(rule, empty):
    points, weights, temperature = inputs()
    scalar = outcome(RULES[rule], empty)

    @jax.jit
    def slope(direction_size):
        moved = points + direction_size * jnp.cos(jnp.arange(24.0)).reshape(12, 2)
        return jax.grad(lambda t: scalar(moved, weights, t)[0])(temperature)

    reverse, forward = jax.jit(lambda s: (jax.grad(slope)(s), jax.jvp(slope, (s,), (1.0,))[1]))(0.0)
    np.testing.assert_allclose([reverse, forward], np.tile(numerical(slope, np.zeros(())), 2), rtol=1e-6)


@pytest.mark.usefixtures("float64")
def test_kmeans_gradient_is_that_of_the_means():
    points = three_blobs()
    state = jm.kmeans(3, seeding=seeds_of(False)).fit({}, jm.Batch(points), KEY)
    owner = jm.kmeans(3).assign({}, state, points).log_probs.argmax(-1)

    def inertia(points, diff):
        fitted = jm.kmeans(3, seeding=seeds_of(False), diff=diff)
        return jnp.sum(fitted.fit({}, jm.Batch(points), KEY).centers ** 2)

    def of_means(points):
        shares = jax.nn.one_hot(owner, 3)
        return jnp.sum((shares.T @ points / shares.sum(0)[:, None]) ** 2)

    for diff in (None, jm.unroll(), jm.implicit(jm.gmres(3))):
        found = jax.jit(jax.grad(inertia), static_argnums=1)(points, diff)
        np.testing.assert_allclose(found, jax.grad(of_means)(points), atol=1e-10)


@pytest.mark.usefixtures("float64")
def test_clustering_as_the_inner_loss_has_second_derivatives():
    """Descend a clustering objective of a linear map, and differentiate through the descent."""
    points = three_blobs()
    clusterer = jm.soft_kmeans(
        3, steps=200, diff=jm.implicit(jm.gmres(6, tol=1e-13)), seeding=seeds_of(False)
    )

    def inner_loss(matrix):
        embedded = points @ matrix
        state = clusterer.fit({}, jm.Batch(embedded), KEY)
        return state.inertia / jnp.sum(embedded**2)

    def outer(matrix):
        return inner_loss(matrix - 0.1 * jax.grad(inner_loss)(matrix))

    matrix = jnp.array([[1.0, 0.2], [-0.1, 0.8]])
    found = jax.jit(jax.grad(outer))(matrix)
    np.testing.assert_allclose(np.ravel(found), numerical(jax.jit(outer), matrix), atol=1e-7)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("steps", [1, 2])
def test_second_derivatives_are_exact_while_centers_are_still_points(steps):
    """Every seed is a point: its distance to itself is zero, and has a curvature."""
    points = three_blobs()
    clusterer = jm.soft_kmeans(3, steps=steps, inverse_temperature=0.7, seeding=seeds_of(False))

    def scalar(points):
        return jnp.sum(jnp.sin(clusterer.fit({}, jm.Batch(points), KEY).centers))

    @jax.jit
    def slope(points):
        return jax.grad(scalar)(points) @ jnp.array([1.0, -0.5])

    found = jax.jit(jax.jacrev(slope))(points).reshape(12, 24)
    np.testing.assert_allclose(found.T, numerical(slope, points), atol=1e-7)


@pytest.mark.parametrize("option", ["inverse_temperature", "sharpness"])
@pytest.mark.parametrize("value", [1e-50, 1e39])
def test_extreme_temperatures_stay_finite(option, value):
    state = jm.soft_kmeans(2, **{option: value}).fit({}, jm.Batch(jnp.arange(8.0).reshape(4, 2)), KEY)
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state))


def test_annealing_is_not_cut_short():
    with pytest.raises(jm.InputError, match="leave one of them out"):
        jm.soft_kmeans(2, annealing=10.0, tol=1e-3, diff=jm.one_step())
