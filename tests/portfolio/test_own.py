"""Candidates of one's own: run as all others, kept under a name, and what does not fit is said."""

import re

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.datasets import make_blobs

import jmeta as jm
from jmeta.artifacts.advisors import load_model, save_model
from jmeta.portfolio import candidate, performance_table
from jmeta.portfolio.candidates import canonical_name
from jmeta.portfolio.on_device import clusterer_of
from jmeta.portfolio.running import run_candidate
from jmeta.tasks.problems import Problem

POINTS, TRUTH = make_blobs(30, centers=[[0, 0], [20, 0], [0, 20]], random_state=0)


class Slices(ClusterMixin, BaseEstimator):
    """Equal slices of the sum of the columns; the first row is noise."""

    def __init__(self, n_clusters=2, noise=True, random_state=None):
        self.n_clusters, self.noise, self.random_state = n_clusters, noise, random_state

    def fit(self, points, y=None):
        order = np.argsort(np.argsort(points.sum(1)))
        self.labels_ = order * self.n_clusters // len(points)
        self.labels_[0] = -1 if self.noise else self.labels_[0]
        self.seed_ = self.random_state
        return self


class Sign:
    def fit(self, points):
        self.labels_ = 7 * (points[:, 0] > 10)


SLICES = candidate("slices", make=Slices, noise=False)
OWN = (SLICES, candidate("sign", make=Sign), candidate("soft", make=jm.soft_kmeans, steps=5, annealing=10.0))


def test_estimators_and_clusterers_of_ones_own_return_labels():
    assert [one.needs_clusters for one in OWN] == [True, False, True]
    outcomes = [run_candidate(one, POINTS, 3, seed=0) for one in OWN]
    assert [outcome.failure for outcome in outcomes] == [""] * 3
    np.testing.assert_array_equal(np.bincount(outcomes[0].labels), [10, 10, 10])
    np.testing.assert_array_equal(outcomes[1].labels, POINTS[:, 0] > 10)
    assert jm.adjusted_rand_index(outcomes[2].labels, TRUTH) == 1
    noisy = run_candidate(candidate("slices", make=Slices), POINTS, 3, seed=0)
    assert noisy.labels[0] == -1
    assert SLICES._replace(clusters=4).name == "slices(noise=False) / 4"


def test_a_table_is_made_of_them_in_processes_of_their_own(tmp_path):
    class Local:
        """Defined where no other process could import it, and so sent with its code."""

        def fit(self, points):
            self.labels_ = points[:, 0] > 10

    problem = Problem("blobs", "mine", POINTS, (TRUTH,), "made here")
    candidates = (candidate("local", make=Local), candidate("ward"))
    found = performance_table([problem], candidates, folder=tmp_path, jobs=1, backend="threading")
    assert not any(outcome.failure for outcome in found.outcomes[0])
    np.testing.assert_array_equal(found.outcomes[0][0].labels, POINTS[:, 0] > 10)
    assert found.scores[0, 0] < found.scores[0, 1] == 1


def test_outcomes_depend_on_the_source_of_what_is_ones_own():
    first = canonical_name(candidate("mine", make=lambda n_clusters: Slices(n_clusters)))
    other = canonical_name(candidate("mine", make=lambda n_clusters: Slices(n_clusters, noise=False)))
    assert first != other
    assert canonical_name(candidate("ward")) == '["ward", {}, false]'


def test_a_file_holds_their_names(tmp_path):
    save_model(tmp_path / "a.npz", {"portfolio": (*OWN, candidate("ward"))}, {})
    makes = {"slices": Slices, "sign": Sign, "soft": jm.soft_kmeans}
    assert load_model(tmp_path / "a.npz", own=makes)[0]["portfolio"] == (*OWN, candidate("ward"))
    with pytest.raises(jm.InputError, match=r"of your own, 'sign'; give own=\{'sign': its make\}"):
        load_model(tmp_path / "a.npz", own={"slices": Slices})


def test_a_clusterer_is_differentiable_where_an_estimator_is_not():
    assert clusterer_of(OWN[2]._replace(clusters=3)).traceable
    with pytest.raises(jm.InputError, match="is no Clusterer"):
        clusterer_of(SLICES._replace(clusters=3))


class Short:
    def fit(self, points):
        self.labels_ = [0, 1]


REFUSED = {
    "needs the number of clusters": (SLICES, None),
    "cannot be made": (candidate("odd", make=Slices, colour="red"), 3),
    "give what makes an estimator with fit": (candidate("three", make=lambda: 3), 3),
    r"returns labels of shape \(2,\) for 30 points": (candidate("short", make=Short), 3),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_does_not_fit_is_the_failure_of_the_candidate(sentence):
    one, clusters = REFUSED[sentence]
    outcome = run_candidate(one, POINTS, clusters, seed=0)
    assert outcome.labels is None
    assert re.search(sentence, outcome.failure)


def test_names_are_known_or_given_with_what_makes_them():
    with pytest.raises(jm.InputError, match=r"there is no algorithm 'mine'; .* or give make"):
        candidate("mine")
    with pytest.raises(jm.InputError, match="ward is an algorithm of jmeta's; give yours another name"):
        candidate("ward", make=Slices)
