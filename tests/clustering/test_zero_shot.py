"""Zero-shot clustering with networks whose predictions are given, and the expected score of cuts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_three_ways
from sklearn.metrics import adjusted_rand_score

import jmeta as jm
from jmeta.clustering.zero_shot import expected_ari_of_cuts, zero_shot
from jmeta.graphs.dendrograms import cut, merge_ranks
from jmeta.graphs.linkage import linkage_tree
from jmeta.weights import LOG_ZERO

N, K = 12, 5
GIVEN = jm.Model(lambda key: jnp.zeros((N, N)), lambda params, inputs, weights=None, clusters=0: params)
"""The parameters are the logits."""
BLOCKS = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2])
ONES = np.ones(N, np.float32)
POINTS = np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32)


def of_blocks(labels, size=8.0):
    return np.where(np.equal.outer(labels, labels), size, -size).astype(np.float32)


def program(find):
    """The state and the clusters of points; one program for all tests."""
    clusterer = zero_shot(K, model=GIVEN, find=find)

    @jax.jit
    @jax.vmap
    def run(logits, weights, clusters):
        state = clusterer.fit(logits, jm.Batch(POINTS, None, weights, clusters), jax.random.key(0))
        return state, clusterer.assign(logits, state, POINTS).log_probs

    def call(*cases):
        cases = [*cases, *[cases[-1]] * (6 - len(cases))]
        logits, weights, clusters = (np.stack(part) for part in zip(*cases, strict=True))
        state, log_probs = jax.device_get(run(logits, weights.astype(np.float32), clusters))
        return state, log_probs, log_probs.argmax(-1)

    return call


KNOWN, FOUND = program(False), program(True)


def random_logits(seed):
    logits = np.random.default_rng(seed).normal(size=(N, N)).astype(np.float32)
    return logits + logits.T


def brute_force(together, labels, weights):
    """The expected adjusted Rand index, by sums over all pairs of points, each as often as it is there."""
    at = np.repeat(np.arange(len(labels)), weights.astype(int))
    both = inside = likely = total = 0.0
    for i in range(len(at)):
        for j in range(i):
            p = 1.0 if at[i] == at[j] else together[at[i], at[j]]
            same = labels[at[i]] == labels[at[j]]
            both += p * same
            inside += same
            likely += p
            total += 1
    chance = inside * likely / total
    span = (inside + likely) / 2 - chance
    return (both - chance) / span if span > 1e-6 * total else 0.0


def test_the_expected_score_of_every_cut():
    together = 1 / (1 + np.exp(-np.stack([random_logits(seed) for seed in range(3)])))
    weights = np.stack([ONES, [2, 1, 3, 1, 1, 0, 1, 2, 1, 1, 0, 1], np.arange(N) < 3]).astype(np.float32)

    @jax.jit
    @jax.vmap
    def scores(together, weights):
        tree = linkage_tree("average", jnp.square(1 - together), weights)
        cuts = jax.vmap(cut, (None, 0))(tree, jnp.arange(1, N + 1))
        return expected_ari_of_cuts(together, merge_ranks(tree), weights, N), cuts

    found, cuts = jax.device_get(scores(together.astype(np.float32), weights))
    for at in range(3):
        for clusters in range(1, min(N, (weights[at] > 0).sum()) + 1):
            expected = brute_force(together[at], cuts[at][clusters - 1], weights[at])
            np.testing.assert_allclose(found[at][clusters - 1], expected, atol=1e-5)


def test_blocks_are_found():
    order = np.random.default_rng(1).permutation(N)
    cases = [
        (of_blocks(BLOCKS), ONES, K),
        (of_blocks(BLOCKS[order]), ONES, K),
        (of_blocks(np.zeros(N)), ONES, K),
        (of_blocks(BLOCKS), BLOCKS > 0, K),
        (of_blocks(np.arange(N) % K), ONES, K),
        (of_blocks(np.arange(N) % K), ONES, 2),
    ]
    state, _, labels = FOUND(*cases)
    assert state.clusters.tolist() == [3, 3, 1, 2, 5, 2]
    for at in (0, 1, 4):
        assert adjusted_rand_score(np.where(cases[at][0] > 0, 1, 0).argmax(1), labels[at]) == 1
    assert set(labels[2]) == {0}
    assert adjusted_rand_score(BLOCKS[5:], labels[3][5:]) == 1
    assert np.all(state.scores[5][2:] == LOG_ZERO)
    np.testing.assert_allclose(state.scores[0][:3], [0, state.scores[0][1], 1], atol=1e-2)
    np.testing.assert_allclose(state.scores[2][0], 1, atol=1e-2)


def test_one_cluster_has_the_probability_that_all_belong_together():
    half = np.where(np.equal.outer(np.arange(N) < 4, np.arange(N) < 4), 8, np.log(0.7 / 0.3))
    state, *_ = FOUND((half.astype(np.float32), ONES, K))
    assert state.clusters[0] == 1
    np.testing.assert_allclose(state.scores[0][0], 0.7, atol=1e-3)


def test_clusters_are_numbered_by_their_first_points():
    state, log_probs, labels = KNOWN((of_blocks(BLOCKS), ONES, 3), (of_blocks(BLOCKS[::-1]), ONES, 3))
    np.testing.assert_array_equal(labels[0], BLOCKS)
    np.testing.assert_array_equal(state.labels[:2], labels[:2])
    np.testing.assert_array_equal(labels[1], 2 - BLOCKS[::-1])
    assert np.all(np.exp(log_probs[0][:, 3:]) == 0)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(np.diagonal(state.together, 0, 1, 2), 1)


def test_a_known_number_of_clusters_is_obeyed():
    for clusters in range(1, K + 1):
        cases = [(random_logits(seed), ONES, clusters) for seed in range(3)]
        state, _, labels = KNOWN(*cases, (of_blocks(BLOCKS), ONES, clusters))
        assert np.all(state.clusters == clusters)
        assert {len(set(one)) for one in labels} == {clusters}
        assert {len(set(one)) for one in state.labels} == {clusters}


def test_more_clusters_than_points_or_distinct_points():
    equal = of_blocks(np.zeros(N))
    state, _, labels = KNOWN(
        (equal, ONES, K), (equal, np.arange(N) < 2, K), (equal, np.arange(N) == 7, K), (equal, 0 * ONES, K)
    )
    assert state.clusters[:3].tolist() == [K, 2, 1]
    assert len(set(labels[1][:2])) == 2
    for leaf in jax.tree.leaves(state):
        assert np.all(np.isfinite(leaf))


def test_what_the_network_is_told():
    told = jm.Model(
        lambda key: {},
        lambda params, inputs, weights, clusters: jnp.full([len(inputs)] * 2, 1.0 * jnp.asarray(clusters)),
    )
    for find, used, expected in ((False, None, 3), (False, 2, 2), (True, 2, 0)):
        clusterer = zero_shot(3, model=told, find=find)
        state = clusterer.fit({}, jm.Batch(POINTS[:7], None, None, used), jax.random.key(0))
        np.testing.assert_allclose(state.together[0, 1], 1 / (1 + np.exp(-expected)), rtol=1e-5)
        assert state.together.shape == (7, 7)  # the network saw an even number


def test_new_points_are_as_the_nearest_one():
    weights = np.ones(N, np.float32)
    weights[3] = 0
    clusterer = zero_shot(3, model=GIVEN)
    logits = random_logits(5)
    state = clusterer.fit(logits, jm.Batch(POINTS, None, weights), jax.random.key(0))
    new = np.random.default_rng(3).normal(size=(20, 2)).astype(np.float32)
    distances = np.linalg.norm(new[:, None] - POINTS, axis=-1) + 100 * (weights == 0)
    found = clusterer.assign(logits, state, new)
    np.testing.assert_array_equal(found.log_probs, state.log_probs[distances.argmin(1)])
    assert np.all(found.noise == 0)
    one = KNOWN((logits, weights, 3))[0]
    np.testing.assert_allclose(state.log_probs, one.log_probs[0][:, :3], atol=1e-6)


def test_derivatives_of_memberships(float64):
    smooth = jm.Model(
        lambda key: jnp.asarray(1.0),
        lambda params, inputs, weights, clusters: (
            params - 9 * jnp.sum(jnp.square(inputs[:, None] - inputs), -1) + 0.1 * clusters
        ),
    )
    clusterer = zero_shot(2, model=smooth)
    points = np.random.default_rng(4).normal(size=(6, 2))

    def function(x):
        state = clusterer.fit(x["params"], jm.Batch(x["points"], None, jnp.ones(6)), jax.random.key(0))
        return jnp.sum(jnp.exp(state.log_probs) * jnp.cos(jnp.arange(12.0)).reshape(6, 2))

    check_three_ways(function, {"points": points, "params": jnp.asarray(1.0)})


def test_numbers_out_of_range_are_refused():
    with pytest.raises(jm.InputError, match="clusters of zero_shot is 0; give a whole number"):
        zero_shot(0, model=GIVEN)
