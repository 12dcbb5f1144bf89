"""Explanations of a choice: the stability of what was chosen, and no warnings."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from jmeta.estimators.models import pair_network, pool_quality
from jmeta.portfolio.candidates import candidate
from jmeta.search.explanation import _stability, explain_pooled
from jmeta.search.pooled import pooled_search

POINTS = make_blobs(90, centers=3, cluster_std=0.3, random_state=0)[0]


@pytest.fixture(scope="module")
def found():
    network = pair_network()
    return pooled_search((network.made, network.params), pool_quality(True), POINTS, 3)


def explained(result, algorithm):
    """The explanation as if a candidate of this algorithm had been chosen."""
    choice = result.choice
    names = [one.algorithm for one in result.pool.candidates]
    place = names.index(algorithm)
    expected = choice.expected.copy()
    expected[place] = 2.0
    chosen = choice._replace(ranking=np.argsort(-expected), expected=expected)
    changed = result._replace(choice=chosen)
    return explain_pooled(POINTS, changed, 3)


def test_a_pooled_spectral_clustering_has_no_stability_and_warns_of_nothing(found):
    assert explained(found, "spectral").stability is None


def test_other_algorithms_have_one(found):
    assert explained(found, "ward").stability == pytest.approx(1)


def test_warnings_of_unconnected_graphs_are_dropped():
    one = candidate("spectral", affinity="nearest_neighbors", n_neighbors=10, assign_labels="cluster_qr")
    assert 0 < _stability(one, POINTS, 3, 0) <= 1
