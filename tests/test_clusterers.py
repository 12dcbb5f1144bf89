"""What every clusterer promises, whatever its algorithm."""

import functools

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from algorithms import CLUSTERERS
from blobs import TRUTH, D, K, N, blobs
from scipy.special import logsumexp

import jmeta as jm
from jmeta.weights import cleared

EVERY = np.ones(N, bool)


@functools.cache
def made(name, clusters=K):
    return CLUSTERERS[name](clusters)


@functools.cache
def compiled(name):
    """Fit and assign, and the gradient of a sum of what they give: one program for all tests."""
    clusterer = made(name)

    @jax.jit
    def run(points, weights, clusters, key, shown):
        def total(points, weights, params):
            state = clusterer.fit(params, jm.Batch(points, None, weights, clusters), key)
            assignment = clusterer.assign(params, state, points)
            places = [leaf for leaf in jax.tree.leaves(state) if leaf.shape == (K, D)]
            squares = [cleared(jnp.exp(assignment.log_probs), shown), *places]
            noise = jnp.sum(cleared(assignment.noise, shown))
            return noise + sum(jnp.sum(leaf**2) for leaf in squares), (state, assignment)

        gradient, found = jax.grad(total, (0, 1, 2), has_aux=True)(points, weights, clusterer.init(key))
        return *found, gradient

    return run


@pytest.fixture(params=list(CLUSTERERS))
def name(request):
    return request.param


@pytest.fixture
def run(name):
    """Points, and some of weights, clusters, key and who is shown -> state, assignment and gradient.

    The gradient is of the places of the state and of the assignment of the points that are shown.
    """

    def call(points, weights=None, clusters=K, key=0, shown=EVERY):
        weights = np.ones(len(points), np.float32) if weights is None else weights
        return compiled(name)(points, weights, np.int32(clusters), jax.random.key(key), shown)

    return call


def labels(assignment):
    return np.asarray(assignment.log_probs).argmax(-1)


def test_separated_clusters_are_found(run):
    assignment = run(blobs())[1]
    assert jm.adjusted_rand_index(labels(assignment), TRUTH) == 1
    np.testing.assert_allclose(logsumexp(assignment.log_probs, -1), 0, atol=1e-5)
    np.testing.assert_allclose(assignment.noise, 0, atol=1e-3)
    assert assignment.log_probs.shape == (N, K)


def test_equal_keys_give_equal_results(run):
    again = [run(blobs(spread=3.0), key=5) for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, *again)


def test_points_of_weight_zero_have_no_influence(run):
    weights = np.ones(N, np.float32)
    weights[[0, 4]] = 0
    lost, garbage, large = blobs(), blobs(), blobs()
    garbage[[0, 4]] = [[np.nan, np.inf], [1e20, -1e20]]
    large[[0, 4]] = [[1e30, -1e30], [-np.inf, 0]]
    expected, *found = (run(points, weights, shown=weights > 0) for points in (lost, garbage, large))
    for state, assignment, gradient in found:
        jax.tree.map(np.testing.assert_array_equal, (state, gradient), (expected[0], expected[2]))
        for leaf, other in zip(assignment, expected[1], strict=True):
            np.testing.assert_array_equal(leaf[weights > 0], other[weights > 0])
            assert np.all(np.isnan(leaf[weights == 0]))  # what cannot be assigned is not hidden
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(expected[2]))


def test_unused_slots_stay_empty(run):
    points = blobs()[: 2 * N // K]
    padded = np.concatenate([points, np.zeros((N - len(points), D), np.float32)])
    weights = (np.arange(N) < len(points)).astype(np.float32)
    assignment = run(padded, weights, clusters=2)[1]
    assert np.all(np.exp(assignment.log_probs[:, 2:]) == 0)
    assert jm.adjusted_rand_index(labels(assignment), TRUTH, weights) == 1


def test_partition_does_not_depend_on_place_or_scale(name, run):
    for changed in (blobs() * 3, *([] if "translation" in CLUSTERERS[name].lacks else [blobs() + 100])):
        assert jm.adjusted_rand_index(labels(run(changed)[1]), TRUTH) == 1


def test_unseen_points_join_the_nearest_cluster(name):
    clusterer = made(name)
    params = clusterer.init(jax.random.key(0))
    state, assignment, _ = compiled(name)(
        blobs(), np.ones(N, np.float32), np.int32(K), jax.random.key(0), EVERY
    )
    unseen = clusterer.assign(params, state, jnp.asarray(blobs(seed=7)[::4]))
    np.testing.assert_array_equal(labels(unseen), labels(assignment)[::4])


DEGENERATE = {
    "all_equal": np.ones((N, D), np.float32),
    "constant_feature": np.stack([np.arange(N), np.zeros(N)], 1).astype(np.float32),
    "fewer_distinct_points_than_clusters": np.repeat([[0.0, 0], [1, 1]], N // 2, 0).astype(np.float32),
    "tiny": blobs() * 1e-15,
    "vanishing": blobs() * 1e-30,
    "huge": blobs() * 1e15,
    "pairs_a_hair_apart": np.repeat([[-2e-18, 0], [2e-18, 0]], N // 2, 0).astype(np.float32),
    "far_from_origin": blobs() + 1e4,
}


@pytest.mark.parametrize("case", list(DEGENERATE))
@pytest.mark.parametrize("weights", [np.ones(N), np.eye(N)[0], np.zeros(N)], ids=["full", "one", "none"])
def test_degenerate_points_never_give_nan(name, run, case, weights):
    points, weights = DEGENERATE[case], weights.astype(np.float32)
    for leaf in jax.tree.leaves(run(points, weights)):  # the gradient among them
        assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize("scale", [1e-20, 1e-12, 1e16])
def test_points_of_any_scale_are_told_apart(name, run, scale):
    row = CLUSTERERS[name]
    if row.powers:
        pytest.skip("its lengths are given in units of the points")
    state, assignment, gradient = run((blobs() * scale).astype(np.float32))
    assert jm.adjusted_rand_index(labels(assignment), TRUTH) == 1
    for leaf in jax.tree.leaves((state, assignment, gradient)):
        assert np.all(np.isfinite(leaf))


def test_points_that_count_as_equal_are_warned_of():
    with pytest.warns(UserWarning, match="differ by .*counts as nothing in float32; multiply them"):
        jm.cluster(made("kmeans", 2), np.float32(1e-30) * blobs(), key=jax.random.key(0))


@pytest.mark.parametrize("weight", [1e-19, 1e-25, 1e-30])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_tiny_weights_have_finite_derivatives(run, weight, spread):
    for leaf in jax.tree.leaves(run(blobs(spread=spread), np.full(N, weight, np.float32))):
        assert np.all(np.isfinite(leaf))


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    points=hypothesis.extra.numpy.arrays(
        np.float32, (N, D), elements=st.floats(-100, 100, width=32, allow_subnormal=False)
    ),
    seed=st.integers(0, 2**31 - 1),
)
@pytest.mark.parametrize("name", ["soft_kmeans", "kmeans"])
def test_any_points_give_probabilities_and_centers_among_them(name, points, seed):
    state, assignment, _ = compiled(name)(
        points, np.ones(N, np.float32), np.int32(K), jax.random.key(seed), EVERY
    )
    np.testing.assert_allclose(np.exp(assignment.log_probs).sum(-1), 1, atol=1e-4)
    slack = 1e-3 * (1 + np.abs(points).max())
    assert np.all(state.centers >= points.min(0) - slack)
    assert np.all(state.centers <= points.max(0) + slack)


@pytest.mark.parametrize("kind", [np.int32, np.uint8, bool, np.float16, np.float64, jnp.bfloat16])
def test_the_door_takes_any_real_type(name, kind):
    points = np.maximum(blobs(), 0).astype(kind)
    assignment = jm.cluster(made(name, 2), points, key=jax.random.key(0))
    assert assignment.log_probs.dtype == jnp.float32
    assert np.all(np.isfinite(assignment.log_probs))


def test_large_points_of_many_features_do_not_overflow(name):
    points = 1e15 * np.random.default_rng(0).normal(size=(8, 500))
    assignment = jm.cluster(made(name, 2), points, key=jax.random.key(0))
    np.testing.assert_allclose(logsumexp(assignment.log_probs, -1), 0, atol=1e-5)


def test_one_point_is_one_cluster(name):
    assignment = jm.cluster(made(name, 1), np.array([[3.0, 4.0]]), key=jax.random.key(0))
    np.testing.assert_allclose(assignment.log_probs, 0, atol=1e-6)


def test_the_door_traces_once_per_shape():
    traces = []

    def counted(points, weights, clusters, key):
        traces.append(1)
        return jm.random_points(points, weights, clusters, key)

    clusterer = jm.soft_kmeans(K, seeding=counted)
    jm.cluster(clusterer, blobs(), key=jax.random.key(0))
    first = len(traces)
    for seed in range(3):
        jm.cluster(clusterer, blobs(seed), key=jax.random.key(seed))
    assert len(traces) == first
    jm.cluster(clusterer, blobs()[:10], key=jax.random.key(0))
    assert len(traces) > first


REFUSED = {
    "NaN": (dict(points=np.full((5, 2), np.nan)), "5 of 5 points hold NaN or infinity"),
    "infinite": (dict(points=np.array([[0.0], [np.inf], [1], [2]])), "1 of 4 points"),
    "too few": (dict(points=np.zeros((2, 2))), "2 points cannot form 3 clusters"),
    "one point": (dict(points=np.zeros((1, 2))), "1 points cannot form 3 clusters"),
    "no rows": (dict(points=np.zeros((0, 2))), "at least one point and one feature"),
    "no columns": (dict(points=np.zeros((4, 0))), "at least one point and one feature"),
    "a vector": (dict(points=np.zeros(4)), r"give a table \[points, features\]"),
    "a cube": (dict(points=np.zeros((4, 2, 2))), "give a table"),
    "complex": (dict(points=np.zeros((4, 2), complex)), "give real numbers"),
    "text": (dict(points=np.array([["a"], ["b"], ["c"]])), "give real numbers"),
    "zero weights": (dict(points=np.zeros((4, 2)), weights=np.zeros(4)), "all weights are zero"),
    "huge": (dict(points=np.eye(4) * 1e25), "rescale them"),
    "names": (dict(points=[["a"], ["b"], ["c"]]), "points are of type"),
    "ragged": (dict(points=[[1.0], [2.0, 3.0], [4.0]]), "rows of unequal length"),
    "weights of text": (dict(points=np.eye(4), weights=np.array(list("abcd"))), "weights are of type"),
    "vanishing weights": (dict(points=np.eye(4), weights=np.full(4, 1e-300)), "all weights are zero"),
    "a seed": (dict(points=np.eye(4), key=0), "give a typed key"),
    "a raw key": (dict(points=np.eye(4), key=jax.random.PRNGKey(0)), "give a typed key"),
    "few weights": (dict(points=np.eye(4), weights=np.array([1.0, 1, 0, 0])), "2 points cannot form 3"),
    "negative weights": (
        dict(points=np.eye(4), weights=np.array([1.0, -1, 1, 1])),
        "give finite numbers >= 0",
    ),
    "NaN weights": (dict(points=np.eye(4), weights=np.array([1.0, np.nan, 1, 1])), "finite"),
    "short weights": (dict(points=np.eye(4), weights=np.ones(3)), "give one per point"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_the_door_refuses_with_one_sentence(case):
    arguments, message = REFUSED[case]
    with pytest.raises(jm.InputError, match=message):
        jm.cluster(jm.soft_kmeans(K), **{"key": jax.random.key(0), **arguments})


@pytest.mark.parametrize("make", [jm.soft_kmeans, jm.kmeans])
@pytest.mark.parametrize("options", [{"clusters": 0}, {"clusters": 2.5}, {"steps": -1}, {"restarts": 0}])
def test_numbers_out_of_range_are_refused(make, options):
    with pytest.raises(jm.InputError, match="give a whole number"):
        make(**{"clusters": 2, **options})


@pytest.mark.parametrize("value", [0, -1.0, np.inf, "hot"])
def test_temperatures_out_of_range_are_refused(value):
    with pytest.raises(jm.InputError, match="inverse temperature"):
        jm.soft_kmeans(2, inverse_temperature=value)
    with pytest.raises(jm.InputError, match="sharpness of soft_kmeans"):
        jm.soft_kmeans(2, sharpness=0)
    jm.soft_kmeans(2, inverse_temperature=np.float32(2))
    with pytest.raises(jm.InputError, match="cannot learn"):
        jm.soft_kmeans(2, learn=("metric",))
