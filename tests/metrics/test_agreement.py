"""Agreement metrics equal scikit-learn's, under jit, with weights and padding."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
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
def test_labels_on_the_host_are_counted_as_those_inside_jit(name):
    random = np.random.default_rng(1)
    found, truth, weights = random.integers(-1, 3, 30), random.integers(-1, 3, 30), random.integers(0, 2, 30)
    ours = PAIRS[name][0](found, truth, weights)
    np.testing.assert_allclose(ours, COMPILED[name](found, truth, weights, slots=3), atol=2e-5)


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


LABELS = {
    "a list": [1, 1, 0, 0, 2, 2],
    "fractions that are whole": [1.0, 1.0, 0.0, 0.0, 2.0, 2.0],
    "words": list("bbaacc"),
    "Int64": pd.Series([1, 1, 0, 0, 2, 2], dtype="Int64"),
    "category": pd.Series(list("bbaacc"), dtype="category"),
    "boolean": pd.Series([True, True, False, False, True, True], dtype="boolean"),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_of_any_type_are_taken(labels):
    truth = ["x", "x", "y", "y", "z", "x"]
    for ours, expected in PAIRS.values():
        np.testing.assert_allclose(ours(labels, truth), expected(truth, labels), atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.5, 1], "hold 0.5"),
        ([None, 1], "hold None"),
        ([[0], [0, 1]], "unequal length"),
        ([np.nan, 1], "hold nan"),
    ],
)
def test_labels_that_are_neither_numbers_nor_words_are_refused(labels, message):
    with pytest.raises(jm.InputError, match=message):
        jm.adjusted_rand_index(labels, [0, 1])


@pytest.mark.parametrize("name", list(PAIRS))
def test_thousands_of_clusters(name):
    random = np.random.default_rng(0)
    truth = random.integers(0, 2000, 6000)
    found = np.where(random.random(6000) < 0.7, truth, random.integers(0, 2000, 6000))
    np.testing.assert_allclose(PAIRS[name][0](found, truth), PAIRS[name][1](truth, found), rtol=1e-6)


def test_adjusted_information_of_points_nearly_all_alone():
    """By hand: it is 1 for equal partitions, and 0 for two pairs at random places."""
    alone = np.arange(300)
    pair, other_pair = alone.copy(), alone.copy()
    pair[1], other_pair[3] = 0, 2
    assert jm.metrics.adjusted_mutual_information(alone, alone) == 1
    np.testing.assert_allclose(jm.metrics.adjusted_mutual_information(pair, pair), 1, atol=1e-6)
    expected = reference.adjusted_mutual_info_score(pair, other_pair)
    np.testing.assert_allclose(jm.metrics.adjusted_mutual_information(pair, other_pair), expected, atol=1e-6)


def test_adjusted_information_inside_jit_is_at_most_one():
    labels = np.arange(100)
    assert COMPILED["ami"](labels, labels, slots=100) <= 1


@pytest.mark.parametrize("name", list(PAIRS))
@pytest.mark.parametrize("factor", [2, 0.25, 1e-6])
def test_weights_are_relative(name, factor):
    random = np.random.default_rng(4)
    found, truth = random.integers(0, 3, (2, N))
    weights = random.integers(0, 2, N) if name == "ami" else random.uniform(size=N)
    ours = PAIRS[name][0](found, truth, weights)
    np.testing.assert_allclose(PAIRS[name][0](found, truth, factor * weights), ours, rtol=1e-6)
    inside = COMPILED[name](found, truth, np.float32(factor * weights), slots=SLOTS)
    np.testing.assert_allclose(inside, ours, atol=2e-5)
    equal = np.full(N, np.float32(factor))
    np.testing.assert_allclose(PAIRS[name][0](found, truth, equal), PAIRS[name][1](truth, found), atol=1e-6)


def test_adjusted_information_has_no_value_for_points_that_count_differently():
    found, truth, weights = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0]), np.float32([3, 1, 2, 2, 1])
    with pytest.raises(jm.InputError, match="differ; give zeros and ones"):
        jm.metrics.adjusted_mutual_information(found, truth, weights)
    assert np.isnan(COMPILED["ami"](found, truth, weights, slots=3))


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


@pytest.mark.parametrize("name", list(PAIRS))
@pytest.mark.parametrize("weight", [-1, np.nan, np.inf])
def test_weights_that_are_negative_or_not_finite_are_refused(name, weight):
    with pytest.raises(jm.InputError, match="give finite numbers >= 0"):
        PAIRS[name][0](np.array([0, 1]), np.array([0, 1]), np.array([1, weight]))


@pytest.mark.parametrize("name", list(PAIRS))
def test_labels_that_are_all_unknown_or_without_weight_have_a_finite_score(name):
    ours, _ = PAIRS[name]
    assert np.isfinite(ours(np.array([0, 1]), np.array([-1, -1])))
    assert np.isfinite(ours(np.array([0, 1]), np.array([0, 1]), weights=np.zeros(2)))
