"""What a clusterer can learn: its metric, its start, its temperature; and the cosine metric."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_three_ways

import jmeta as jm
from jmeta.distances import unit_length

KEY = jax.random.key(0)
TRUTH = np.arange(12) % 3
UNIT_LENGTH = jax.jit(unit_length)


def cloud(features=2):
    random = np.random.default_rng(0)
    centers = 4 * random.normal(size=(3, features))
    return centers[TRUTH] + 0.8 * random.normal(size=(12, features))


def scalar_of(clusterer, params, points):
    state = clusterer.fit(params, jm.Batch(points), KEY)
    shares = jnp.exp(clusterer.assign(params, state, points).log_probs)
    return jnp.sum(jnp.sin(state.centers)) + jnp.sum(shares * jnp.cos(jnp.arange(36.0)).reshape(12, 3))


LEARNED = {
    "temperature": lambda: jm.soft_kmeans(3, steps=4, sharpness=1.0, learn=("temperature",)),
    "centers": lambda: jm.soft_kmeans(
        3, steps=2, inverse_temperature=0.1, centers=cloud()[:3] + 0.3, learn=("centers",)
    ),
    "both, balanced": lambda: jm.sinkhorn_kmeans(
        3,
        steps=2,
        inverse_temperature=0.1,
        centers=cloud()[:3] + 0.3,
        learn=("temperature", "centers"),
    ),
    "diagonal metric": lambda: jm.embedded(
        jm.networks.diagonal(2), jm.soft_kmeans(3, steps=3, sharpness=1.0, seeding=jm.farthest_first)
    ),
    "metric of low rank": lambda: jm.embedded(
        jm.networks.low_rank(2, 1),
        jm.soft_kmeans(3, steps=30, sharpness=1.0, seeding=jm.farthest_first, diff=jm.implicit(jm.gmres(9))),
    ),
    "cosine": lambda: jm.soft_kmeans(
        3, steps=3, metric="cosine", sharpness=1.0, learn=("temperature",), seeding=jm.farthest_first
    ),
}


@pytest.mark.parametrize("name", list(LEARNED))
def test_what_is_learned_receives_the_right_gradient(name):
    with jax.enable_x64(True):
        clusterer = LEARNED[name]()
        inputs = clusterer.init(KEY), cloud()
        check_three_ways(lambda inputs: scalar_of(clusterer, *inputs), inputs, rtol=1e-4, atol=1e-6)


def test_descent_on_a_metric_hides_a_useless_feature():
    """Two blobs in the first feature, wide noise in the second: only a learned metric finds them."""
    random = np.random.default_rng(1)
    truth = np.arange(40) % 2
    points = np.float32(np.stack([4 * truth + 0.3 * random.normal(size=40), 3 * random.normal(size=40)], 1))
    clusterer = jm.embedded(
        jm.networks.diagonal(2), jm.soft_kmeans(2, seeding=jm.farthest_first, sharpness=3.0)
    )

    def loss(params):
        state = clusterer.fit(params, jm.Batch(points), KEY)
        return jm.soft_ari(clusterer.assign(params, state, points).log_probs, truth)[0]

    @jax.jit
    def step(params):
        value, slope = jax.value_and_grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.3 * g, params, slope), value

    params, before = step(clusterer.init(KEY))
    for _ in range(120):
        params, after = step(params)
    assert before > 0.7
    assert after < 0.01


def test_a_start_is_taken_as_it_is_given():
    points, start = np.float32(cloud()), np.float32(cloud()[:3])
    for make in (jm.soft_kmeans, jm.kmeans, jm.sinkhorn_kmeans):
        state = make(3, steps=0, centers=start).fit({}, jm.Batch(points), KEY)
        np.testing.assert_allclose(state.centers, start, atol=1e-5)
    with pytest.raises(jm.InputError, match=r"real numbers \[clusters, features\]"):
        jm.kmeans(2, centers=start)
    with pytest.raises(jm.InputError, match="NaN or infinity"):
        jm.kmeans(3, centers=np.full((3, 2), np.nan))
    with pytest.raises(jm.InputError, match="rows of unequal length"):
        jm.kmeans(2, centers=[[1.0], [2.0, 3.0]])
    with pytest.raises(jm.InputError, match="centers have 1 features and points 2"):
        jm.cluster(jm.kmeans(2, centers=[[-1.0], [1.0]]), points, key=KEY)
    with pytest.raises(jm.InputError, match="no centers to learn"):
        jm.soft_kmeans(2, learn=("centers",))


def test_spherical_kmeans_by_hand():
    """Directions at 0, 20, 90 and 130 degrees, of any length: the centres bisect each pair."""
    angles, lengths = np.radians([0, 20, 90, 130]), np.array([1, 5, 0.1, 30])
    points = np.float32(lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1))
    state = jm.kmeans(2, metric="cosine", centers=points[::2]).fit({}, jm.Batch(points), KEY)
    found = np.degrees(np.arctan2(state.centers[:, 1], state.centers[:, 0]))
    np.testing.assert_allclose(found, [10, 110], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(state.centers, axis=1), 1, atol=1e-6)
    expected = 2 * (2 - 2 * np.cos(np.radians(10))) + 2 * (2 - 2 * np.cos(np.radians(20)))
    np.testing.assert_allclose(state.inertia, expected, rtol=1e-4)
    with pytest.raises(jm.InputError, match="metric of kmeans is 'manhattan'"):
        jm.kmeans(2, metric="manhattan")


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_directions_of_any_length(scale):
    given = np.float32(scale * np.array([[3.0, -4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(UNIT_LENGTH(given), [[0.6, -0.8], [0, 0]], rtol=1e-6)


def test_a_host_clusterer_in_another_space():
    points = np.array([[0.0, 0], [9, 1], [0, 1.1], [9, 0.1]], np.float32)
    clusterer = jm.embedded(jm.networks.diagonal(2), jm.host("kmeans", 2))
    assert not clusterer.traceable
    labels = jm.cluster(clusterer, points, key=KEY).log_probs.argmax(-1)
    assert labels[0] == labels[2] != labels[1] == labels[3]
