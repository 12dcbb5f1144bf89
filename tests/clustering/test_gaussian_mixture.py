"""EM for Gaussians: against scikit-learn step for step, its likelihood, its prior, its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from algorithms import taking
from derivatives import numerical
from sklearn.mixture import GaussianMixture

import jmeta as jm

KEY = jax.random.key(0)
NAMES = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}
RIDGE = 1e-14


def first_points(points, weights, clusters, key):
    return points[:clusters]


def draw(seed=0, spread=1.0):
    random = np.random.default_rng(seed)
    means = np.array([[0, 0], [4, 1], [1, 5]])
    return (means[np.arange(30) % 3] + spread * random.normal(size=(30, 2))) * [3.0, 1.0]


def matrices(covariances):
    """Covariances of any shape as matrices."""
    return covariances if covariances.ndim == 3 else np.asarray(covariances)[:, :, None] * np.eye(2)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("covariance", list(NAMES))
def test_equal_to_scikit_learn_from_the_same_start(covariance):
    points = draw()
    near = ((points[:, None] - points[None, :3]) ** 2).sum(-1).min(1).mean()
    variance = near / 2
    precision = np.eye(2) / variance
    start = {"full": np.stack([precision] * 3), "tied": precision, "diagonal": np.full((3, 2), 1 / variance)}
    reference = GaussianMixture(
        3,
        covariance_type=NAMES[covariance],
        max_iter=15,
        tol=0,
        reg_covar=RIDGE * near,
        weights_init=np.ones(3) / 3,
        means_init=points[:3],
        precisions_init=start.get(covariance, np.full(3, 1 / variance)),
    ).fit(points)
    clusterer = jm.gaussian_mixture(3, covariance=covariance, steps=15, ridge=RIDGE, seeding=first_points)
    state = clusterer.fit({}, jm.Batch(points), KEY)
    np.testing.assert_allclose(state.means, reference.means_, rtol=1e-8)
    np.testing.assert_allclose(np.exp(state.log_share), reference.weights_, rtol=1e-8)
    found = matrices(state.covariances) * state.scale**2
    expected = np.asarray(reference.covariances_)
    if covariance in ("tied", "spherical"):
        expected = expected[None] if covariance == "tied" else expected[:, None, None] * np.eye(2)
    elif covariance == "diagonal":
        expected = matrices(expected)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(state.log_likelihood, 30 * reference.score(points), rtol=1e-9)
    np.testing.assert_allclose(state.bic, reference.bic(points), rtol=1e-9)
    log_probs = clusterer.assign({}, state, points).log_probs
    np.testing.assert_allclose(np.exp(log_probs), reference.predict_proba(points), atol=1e-8)


@pytest.mark.usefixtures("float64")
def test_the_ridge_is_a_part_of_the_variance_of_each_column():
    """By hand: with one component its covariance is that of the points, and the seed is the first point."""
    points = draw()
    state = jm.gaussian_mixture(1, ridge=0.1, seeding=first_points).fit({}, jm.Batch(points), KEY)
    ridge = 0.1 * np.mean((points - points[0]) ** 2, 0)
    expected = np.cov(points.T, bias=True) + np.diag(ridge)
    np.testing.assert_allclose(state.covariances[0] * state.scale**2, expected, rtol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("covariance", list(NAMES))
def test_every_step_raises_the_likelihood(covariance):
    points = jm.Batch(draw(1, spread=2.0), weights=np.linspace(0.2, 1, 30))
    options = dict(covariance=covariance, ridge=1e-12, seeding=first_points)

    @jax.jit
    def likelihood(steps):
        return jm.gaussian_mixture(3, diff=taking(steps), **options).fit({}, points, KEY).log_likelihood

    path = [likelihood(steps) for steps in range(8)]
    assert np.all(np.diff(path) > -1e-9)


@pytest.mark.usefixtures("float64")
def test_a_whole_number_weight_is_a_point_given_that_often():
    points, counts = draw(2), 1 + np.arange(30) % 3
    options = dict(steps=10, seeding=first_points)
    given = jm.Batch(points, weights=counts.astype(float))
    repeated = np.repeat(np.arange(30), counts)
    order = np.concatenate([[0, 1, 3], np.setdiff1d(np.arange(len(repeated)), [0, 1, 3])])
    again = jm.Batch(points[repeated][order])
    states = [jm.gaussian_mixture(3, **options).fit({}, batch, KEY) for batch in (given, again)]
    for field in ("means", "log_share", "log_likelihood", "bic"):
        np.testing.assert_allclose(*(getattr(state, field) for state in states), rtol=1e-8)


def test_pseudo_points_keep_a_component_on_two_points_from_collapsing():
    points = np.append(np.random.default_rng(0).normal(size=(30, 2)), np.full((2, 2), 20.0), 0)
    seeding = lambda x, weights, clusters, key: x[::31]  # noqa: E731
    smallest = {}
    for prior in (0.0, 1.0):
        clusterer = jm.gaussian_mixture(2, pseudo_points=prior, seeding=seeding, ridge=1e-6)
        state = clusterer.fit({}, jm.Batch(points), KEY)
        smallest[prior] = np.linalg.eigvalsh(np.asarray(state.covariances) * state.scale**2).min()
    assert smallest[0.0] < 1e-2
    assert smallest[1.0] > 0.1


def test_the_bic_finds_how_many_components_there_are():
    random = np.random.default_rng(3)
    means = np.array([[0, 0], [8, 0], [0, 8]])
    points = jm.Batch(np.float32(means[:, None] + random.normal(size=(3, 40, 2))).reshape(-1, 2))
    fit = jm.gaussian_mixture(5, covariance="spherical", restarts=4).fit
    scores = [fit({}, points._replace(clusters=np.int32(k)), KEY).bic for k in (1, 2, 3, 4, 5)]
    assert int(np.argmin(scores)) == 2


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("rule", ["unroll", "gmres"])
def test_derivatives_three_ways(covariance, rule):
    points, weights = draw(4), np.linspace(0.5, 1, 30)
    diff = {"unroll": jm.unroll(), "gmres": jm.implicit(jm.gmres(24, tol=1e-13))}[rule]
    clusterer = jm.gaussian_mixture(
        3, covariance=covariance, steps=400, diff=diff, ridge=1e-2, seeding=first_points
    )

    @jax.jit
    def scalar(arguments):
        state = clusterer.fit({}, jm.Batch(arguments[0], weights=arguments[1]), KEY)
        value = jnp.sum(jnp.sin(state.means) * jnp.arange(6.0).reshape(3, 2)) + state.covariances.sum()
        return value + state.log_share @ jnp.arange(3.0), state.residual

    gradient, residual = jax.jit(jax.grad(scalar, has_aux=True))((points, weights))
    assert residual < 1e-12
    found = np.concatenate([np.ravel(leaf) for leaf in gradient])
    expected = numerical(lambda x: scalar(x)[0], (points, weights))
    np.testing.assert_allclose(found, expected, atol=1e-6)


REFUSED = {
    "covariance": (dict(covariance="round"), "choose one of"),
    "pseudo": (dict(pseudo_points=-1.0), "give zero or more"),
    "ridge": (dict(ridge=0.0), "ridge of gaussian_mixture"),
    "clusters": (dict(steps=-1), "give a whole number"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_numbers_out_of_range_are_refused(case):
    options, message = REFUSED[case]
    with pytest.raises(jm.InputError, match=message):
        jm.gaussian_mixture(3, **options)


def test_the_unit_of_the_weights_does_not_matter():
    clusterer = jm.gaussian_mixture(3, seeding=first_points)
    weights = np.ones(30, np.float32), np.full(30, 1e-9, np.float32)
    one, small = (clusterer.fit({}, jm.Batch(np.float32(draw(5)), None, each), KEY) for each in weights)
    np.testing.assert_allclose(small.covariances, one.covariances, rtol=1e-2, atol=1e-4)


def test_slots_that_are_not_used_do_not_pull_a_tied_covariance():
    points = np.float32(draw(6))
    options = dict(covariance="tied", pseudo_points=5.0, seeding=first_points)
    two = jm.gaussian_mixture(2, **options).fit({}, jm.Batch(points), KEY)
    many = jm.gaussian_mixture(9, **options).fit({}, jm.Batch(points, clusters=np.int32(2)), KEY)
    np.testing.assert_allclose(many.covariances[0], two.covariances[0], rtol=1e-3)


def test_a_ridge_that_is_too_small_is_raised():
    points = np.repeat(np.random.default_rng(0).normal(size=(4, 5)), 10, 0)
    found = jm.cluster(jm.gaussian_mixture(3, ridge=1e-12), points, key=KEY)
    assert np.all(np.isfinite(found.log_probs))


def test_short_trials_choose_the_start_that_goes_on():
    points = jm.Batch(np.float32(draw(spread=0.3)))
    full, short = (
        jm.gaussian_mixture(3, steps=30, restarts=6, trial_steps=trial).fit({}, points, KEY)
        for trial in (None, 2)
    )
    np.testing.assert_allclose(short.log_likelihood, full.log_likelihood, rtol=1e-4)
    with pytest.raises(
        jm.InputError, match="trial_steps of gaussian_mixture is 31; give a whole number from 0 to 30"
    ):
        jm.gaussian_mixture(3, steps=30, trial_steps=31)
