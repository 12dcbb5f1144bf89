"""Sinkhorn k-means: the plan by hand, its marginals, and its derivatives three ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import numerical

import jmeta as jm
from jmeta.clustering.transport.rounding import balanced_labels

KEY = jax.random.key(0)


def first_points(points, weights, clusters, key):
    return points[:clusters]


def plan_by_scaling(distances, row, column, beta, rounds=2000):
    """Sinkhorn's own form: scale rows and columns of exp(-beta d) in turn."""
    kernel = np.exp(-beta * distances)
    v = np.ones(len(column))
    for _ in range(rounds):
        u = row / (kernel @ v)
        v = column / (kernel.T @ u)
    return u[:, None] * kernel * v[None]


@pytest.mark.usefixtures("float64")
def test_a_step_moves_centers_to_the_means_of_the_exact_plan():
    random = np.random.default_rng(0)
    points, weights = random.normal(size=(12, 2)), random.uniform(0.2, 1, 12)
    column = np.array([0.5, 0.3, 0.2])
    distances = ((points[:, None] - points[None, :3]) ** 2).sum(-1)
    plan = plan_by_scaling(distances, weights / weights.sum(), column, beta=0.7)
    clusterer = jm.sinkhorn_kmeans(
        3, steps=1, shares=10 * column, inverse_temperature=0.7, seeding=first_points
    )
    state = clusterer.fit({}, jm.Batch(jnp.asarray(points), weights=jnp.asarray(weights)), KEY)
    np.testing.assert_allclose(state.centers, plan.T @ points / column[:, None], atol=1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shares", [None, [1.0, 2.0, 3.0]])
def test_clusters_get_the_share_of_the_weight_that_they_should(shares):
    random = np.random.default_rng(1)
    points, weights = jnp.asarray(random.normal(size=(40, 3))), jnp.asarray(random.uniform(0, 1, 40))
    clusterer = jm.sinkhorn_kmeans(3, steps=200, shares=shares)
    state = clusterer.fit({}, jm.Batch(points, weights=weights), KEY)
    owned = weights @ jnp.exp(clusterer.assign({}, state, points).log_probs) / weights.sum()
    expected = np.ones(3) / 3 if shares is None else np.array(shares) / 6
    np.testing.assert_allclose(owned, expected, atol=1e-6)
    assert jnp.abs(state.log_prior.mean()) < 1e-12


def test_unused_slots_get_nothing_and_the_others_all():
    points = jax.random.normal(KEY, (20, 2))
    clusterer = jm.sinkhorn_kmeans(5, steps=100)
    state = clusterer.fit({}, jm.Batch(points, clusters=jnp.asarray(2)), KEY)
    owned = jnp.exp(clusterer.assign({}, state, points).log_probs).sum(0)
    np.testing.assert_allclose(owned, [10, 10, 0, 0, 0], atol=1e-2)


def test_unequal_groups_are_cut_and_soft_kmeans_leaves_them():
    groups = jnp.concatenate([jnp.linspace(0, 1, 9), jnp.array([3.0, 3.1, 3.2])])[:, None]
    sizes = {}
    for make in (jm.soft_kmeans, jm.sinkhorn_kmeans):
        clusterer = make(2, steps=200, inverse_temperature=4.0)
        found = jm.cluster(clusterer, groups, key=KEY).log_probs.argmax(-1)
        sizes[make.__name__] = sorted(np.bincount(found))
    assert sizes == {"soft_kmeans": [3, 9], "sinkhorn_kmeans": [6, 6]}


RULES = {
    "unroll": jm.unroll(),
    "gmres": jm.implicit(jm.gmres(12, tol=1e-13)),
    "neumann": jm.implicit(jm.neumann(300)),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("rule", list(RULES))
def test_derivatives_three_ways(rule):
    random = np.random.default_rng(2)
    means = np.array([[0, 0], [4, 0], [0, 4]])
    points = jnp.asarray((means[:, None] + random.normal(size=(3, 4, 2))).reshape(12, 2))
    clusterer = jm.sinkhorn_kmeans(
        3,
        steps=300,
        inverse_temperature=0.5,
        diff=RULES[rule],
        learn=("temperature",),
        seeding=lambda points, weights, clusters, key: points[jnp.array([0, 4, 8])],
    )

    def scalar(arguments):
        points, weights, temperature = arguments
        params = {"temperature": temperature}
        state = clusterer.fit(params, jm.Batch(points, weights=weights), KEY)
        value = jnp.sum(jnp.sin(state.centers) * jnp.arange(1.0, 7.0).reshape(3, 2))
        return value + jnp.sum(state.log_prior * jnp.arange(3.0)), state.residual

    arguments = (points, jnp.linspace(0.5, 1, 12), jnp.asarray(0.7))
    gradient, residual = jax.jit(jax.grad(scalar, has_aux=True))(arguments)
    assert residual < 1e-12
    found = jnp.concatenate([jnp.ravel(leaf) for leaf in gradient])
    expected = numerical(jax.jit(lambda x: scalar(x)[0]), arguments)
    np.testing.assert_allclose(found, expected, atol=3e-8)


REFUSED = {
    "shares": (dict(shares=[1.0, 2.0]), "give 3 positive numbers"),
    "no share": (dict(shares=[1.0, 0.0, 2.0]), "give 3 positive numbers"),
    "rounds": (dict(rounds=0), "rounds of sinkhorn_kmeans is 0"),
    "temperature": (dict(inverse_temperature=-1.0), "inverse temperature of sinkhorn_kmeans"),
    "learn": (dict(learn=("shares",)), "cannot learn"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_numbers_out_of_range_are_refused(case):
    options, message = REFUSED[case]
    with pytest.raises(jm.InputError, match=message):
        jm.sinkhorn_kmeans(3, **options)


def test_a_class_without_a_label_attracts_nothing_when_all_points_are_labelled():
    points = jax.random.normal(KEY, (20, 2))
    clusterer = jm.sinkhorn_kmeans(3)
    state = clusterer.fit({}, jm.Batch(points, jnp.arange(20) % 2), KEY)
    assert jnp.abs(state.log_prior).max() < 100


@pytest.mark.parametrize("gap", [4, 8, 20])
def test_clusters_are_balanced_at_the_defaults(gap):
    """Sixty points here and forty there, which one cluster has to cut through."""
    random = np.random.default_rng(0)
    points = random.normal(size=(100, 2))
    points[60:, 0] += gap
    for restarts in (1, 4):
        found = jm.cluster(jm.sinkhorn_kmeans(2, restarts=restarts), points, key=KEY)
        np.testing.assert_allclose(jnp.exp(found.log_probs).sum(0), 50, rtol=1e-4)


@pytest.mark.usefixtures("float64")
def test_more_restarts_do_not_raise_the_transport_cost():
    points = jm.Batch(jax.random.normal(KEY, (40, 2)))
    costs = [jm.sinkhorn_kmeans(4, steps=50, restarts=r).fit({}, points, KEY).energy for r in (2, 8)]
    assert costs[1] <= costs[0] * (1 + 1e-9)


@pytest.mark.usefixtures("float64")
def test_the_energy_is_the_transport_cost():
    points = jax.random.normal(KEY, (20, 2))
    clusterer = jm.sinkhorn_kmeans(3, inverse_temperature=0.7)
    state = clusterer.fit({}, jm.Batch(points), KEY)
    log_probs = clusterer.assign({}, state, points).log_probs
    distances = ((points[:, None] - state.centers) ** 2).sum(-1)
    expected = jnp.sum(jnp.exp(log_probs) * (distances + log_probs / 0.7))
    np.testing.assert_allclose(state.energy, expected, rtol=1e-9)


def test_labels_are_rounded_to_equal_sizes():
    random = np.random.default_rng(0)
    log_probs = np.log(random.dirichlet(np.full(3, 0.3), 31))
    labels = balanced_labels(log_probs, np.ones(31), np.full(3, 1 / 3))
    assert sorted(np.bincount(labels)) == [10, 10, 11]
    assert np.all(balanced_labels(log_probs, np.zeros(31), np.full(3, 1 / 3)) == log_probs.argmax(1))


def test_of_two_clusters_the_cheapest_points_change():
    """The optimum by hand: with two clusters it cuts the sorted differences of the logarithms."""
    random = np.random.default_rng(1)
    log_probs = np.log(random.dirichlet([3.0, 1.0], 20))
    labels = balanced_labels(log_probs, np.ones(20), np.array([0.5, 0.5]))
    rank = np.argsort(np.argsort(log_probs[:, 1] - log_probs[:, 0]))
    np.testing.assert_array_equal(labels, rank >= 10)


def test_weights_and_shares_set_the_sizes():
    random = np.random.default_rng(2)
    log_probs, weights = np.log(random.dirichlet(np.ones(3), 200)), random.uniform(0.5, 1, 200)
    shares = np.array([0.5, 0.3, 0.2])
    labels = balanced_labels(log_probs, weights, shares)
    np.testing.assert_allclose(np.bincount(labels, weights), shares * weights.sum(), atol=1)
