"""Latent classes: found in words and numbers, blind to what is unrelated, and no finer than the words."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.datasets import make_moons
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from jmeta.clustering.host.latent_classes import latent_classes

N = 300
GROUP = np.arange(N) % 3
NONE = np.zeros((N, 0))


def draw(random, *columns):
    """Words as columns of zeros and ones, and the column of each, from shares of words [groups, words]."""
    parts = [
        np.eye(len(shares[0]))[[random.choice(len(shares[0]), p=shares[k]) for k in GROUP % len(shares)]]
        for shares in columns
    ]
    return np.hstack(parts), np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts])


PAIRS = 0.9 * np.repeat(np.eye(3), 2, axis=1) / 2 + 0.1 / 6
STRONG = 0.8 * np.eye(3) + 0.2 / 3
EVEN = np.full((1, 4), 0.25)


def test_words_of_equal_meaning_are_one_class_and_an_unrelated_column_does_not_count():
    words, columns = draw(np.random.default_rng(0), PAIRS, STRONG, EVEN)
    found = latent_classes(words, columns, NONE)
    shares = found.probabilities(words, NONE)
    assert shares.shape[1] == 3
    assert adjusted_rand_score(GROUP, shares.argmax(1)) > 0.6
    assert found.log_words.any(0).tolist() == [True] * 9 + [False] * 4


def test_unrelated_columns_are_one_group_whatever_the_numbers():
    words, columns = draw(np.random.default_rng(1), EVEN, EVEN)
    for numbers in (NONE, GROUP[:, None] - 1.0 + np.random.default_rng(2).normal(0, 0.1, (N, 1))):
        shares = latent_classes(words, columns, numbers).probabilities(words, numbers)
        np.testing.assert_allclose(shares, np.ones((N, 1)))


def test_numbers_that_are_not_normal_are_divided_no_further_than_their_words():
    numbers, group = make_moons(N, noise=0.05, random_state=0)
    words = np.eye(2)[np.where(np.random.default_rng(0).random(N) < 0.95, group, 1 - group)]
    numbers = (numbers - numbers.mean(0)) / numbers.std(0)
    found = latent_classes(words, np.array([0, 0]), numbers)
    shares = found.probabilities(words, numbers)
    assert shares.shape[1] < len(found.groups)
    assert adjusted_rand_score(group, shares.argmax(1)) > 0.8


def test_densities_are_those_of_the_definition_and_shares_add_up_to_one():
    random = np.random.default_rng(3)
    words, columns = draw(random, PAIRS, STRONG)
    numbers = random.normal(size=(N, 2)) + GROUP[:, None]
    found = latent_classes(words, columns, numbers)
    row = found.log_joint(words[:1], numbers[:1])[0]
    for k, log_joint in enumerate(row):
        normal = norm.logpdf(numbers[0], found.means[k], np.sqrt(found.variances[k])).sum()
        np.testing.assert_allclose(log_joint, found.log_shares[k] + words[0] @ found.log_words[k] + normal)
    np.testing.assert_allclose(np.exp(found.log_words) @ (columns[:, None] == [0, 1]), 1)
    np.testing.assert_allclose(np.exp(found.log_shares).sum(), 1)


def test_without_words_to_tell_it_is_the_mixture_of_scikit_learn():
    numbers = np.random.default_rng(6).normal(size=(N, 2)) / 5 + GROUP[:, None] - 1
    words = np.ones((N, 1))
    found = latent_classes(words, np.array([0]), numbers)
    theirs = GaussianMixture(3, covariance_type="diag", random_state=0).fit(numbers)
    np.testing.assert_allclose(
        logsumexp(found.log_joint(words, numbers), 1).mean(), theirs.score(numbers), rtol=1e-3
    )
    np.testing.assert_allclose(np.sort(found.means[:, 0]), np.sort(theirs.means_[:, 0]), atol=1e-3)


@pytest.mark.parametrize("unknown", [0, 1])
def test_a_row_of_unknown_words_has_probabilities(unknown):
    words, columns = draw(np.random.default_rng(4), PAIRS, STRONG)
    found = latent_classes(words, columns, NONE)
    row = words[:1] * (columns != unknown)
    shares = found.probabilities(row, NONE[:1])
    assert np.isfinite(shares).all()
    np.testing.assert_allclose(shares.sum(1), 1)


def test_the_seed_alone_decides():
    words, columns = draw(np.random.default_rng(5), PAIRS, STRONG)
    first, second = (latent_classes(words, columns, NONE, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.log_words, second.log_words)
