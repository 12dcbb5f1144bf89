"""Agreement metrics equal scikit-learn's, under jit, with weights and padding."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from sklearn import metrics as reference

import jmeta as jm


def matched_by_scipy(truth, found):
    table = reference.cluster.contingency_matrix(truth, found)
    return table[scipy.optimize.linear_sum_assignment(-table)].sum() / len(truth)


def purity_by_counting(truth, found):
    return reference.cluster.contingency_matrix(truth, found).max(0).sum() / len(truth)


PAIRS = {
    "purity": (jm.metrics.purity, purity_by_counting),
    "fowlkes_mallows": (jm.metrics.fowlkes_mallows, reference.fowlkes_mallows_score),
    "homogeneity": (jm.metrics.homogeneity, reference.homogeneity_score),
    "completeness": (jm.metrics.completeness, reference.completeness_score),
    "ami": (jm.metrics.adjusted_mutual_information, reference.adjusted_mutual_info_score),
    "accuracy": (jm.matched_accuracy, matched_by_scipy),
    "ari": (jm.adjusted_rand_index, reference.adjusted_rand_score),
    "nmi": (jm.normalized_mutual_information, reference.normalized_mutual_info_score),
}
SLOTS, N = 5, 20
COMPILED = {name: jax.jit(ours, static_argnames="slots") for name, (ours, _) in PAIRS.items()}
labels = st.lists(st.integers(0, SLOTS - 1), min_size=N, max_size=N).map(np.array)


@pytest.mark.parametrize("name", list(PAIRS))
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(found=labels, truth=labels)
def test_equal_to_the_reference(name, found, truth):
    ours = COMPILED[name](found, truth, slots=SLOTS)
    np.testing.assert_allclose(ours, PAIRS[name][1](truth, found), atol=2e-5)


@pytest.mark.parametrize("name", list(PAIRS))
@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(found=labels, truth=labels, kept=st.lists(st.booleans(), min_size=N, max_size=N))
def test_weights_of_zero_and_hidden_truth_leave_points_out(name, found, truth, kept):
    kept = np.array(kept)
    hypothesis.assume(kept.any())
    expected = PAIRS[name][1](truth[kept], found[kept])
    masked = COMPILED[name](found, truth, kept.astype(np.float32), slots=SLOTS)
    hidden = COMPILED[name](found, np.where(kept, truth, -1), slots=SLOTS)
    np.testing.assert_allclose([masked, hidden], expected, atol=2e-5)


@pytest.mark.parametrize("name", list(PAIRS))
def test_noise_is_one_more_cluster(name):
    truth, found = np.array([0, 0, 0, 1, 1, 1]), np.array([-1, -1, 0, 1, 1, -1])
    ours = COMPILED[name](found, truth, slots=2)
    np.testing.assert_allclose(ours, PAIRS[name][1](truth, found), atol=1e-6)


def test_float64_is_exact():
    random = np.random.default_rng(0)
    found, truth = random.integers(0, 4, 500), random.integers(0, 5, 500)
    with jax.enable_x64(True):
        for ours, expected in PAIRS.values():
            np.testing.assert_allclose(ours(found, truth), expected(truth, found), atol=1e-11)


@pytest.mark.parametrize("name", list(PAIRS))
def test_bad_input_is_refused_with_one_sentence(name):
    metric = PAIRS[name][0]
    with pytest.raises(jm.InputError, match="two lists of equal length"):
        metric(jnp.zeros(3, int), jnp.zeros(4, int))
    with pytest.raises(jm.InputError, match="pass slots="):
        jax.jit(metric)(jnp.zeros(3, int), jnp.zeros(3, int))


def test_batches_of_tasks_are_vmapped():
    random = np.random.default_rng(1)
    found, truth = random.integers(0, 3, (2, 4, 9))
    for metric, expected in PAIRS.values():
        together = jax.vmap(lambda f, t, metric=metric: metric(f, t, slots=3))(found, truth)
        each = [expected(t, f) for f, t in zip(found, truth, strict=True)]
        np.testing.assert_allclose(together, each, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in PAIRS if name != "ami"])
def test_whole_number_weights_and_sparse_labels_are_taken_as_they_are(name):
    random = np.random.default_rng(2)
    found, truth = random.integers(0, 3, (2, 60_000))
    metric, expected = PAIRS[name]
    ones = metric(1000 * found, 1000 * truth, np.ones(60_000, int))
    np.testing.assert_allclose(ones, expected(truth, found), atol=1e-4)


def test_names_in_the_place_of_labels_are_refused():
    with pytest.raises(jm.InputError, match="number them"):
        jm.adjusted_rand_index(np.array(["a", "b"]), np.array(["a", "b"]))


def test_nearly_all_points_alone_are_scored_as_they_are():
    first, second = np.arange(3000), np.arange(3000)
    first[[0, 2]], second[[4, 6]] = first[[1, 3]], second[[5, 7]]
    np.testing.assert_allclose(jm.adjusted_rand_index(first, second), 0, atol=1e-5)
    np.testing.assert_allclose(jm.metrics.fowlkes_mallows(first, first), 1, atol=1e-5)


@pytest.mark.parametrize("count", [22, 23, 25, 31, 38])
def test_a_single_class_is_whole_and_every_cluster_of_it_pure(count):
    for clusters in (3, 5, 7):
        found, one = np.arange(count) % clusters, np.zeros(count, int)
        assert jm.metrics.homogeneity(found, one) == 1
        assert jm.metrics.completeness(one, found) == 1


def test_weights_of_another_length_are_refused():
    with pytest.raises(jm.InputError, match="give one for each"):
        jm.adjusted_rand_index(np.array([0, 1]), np.array([0, 1]), np.ones(1))
