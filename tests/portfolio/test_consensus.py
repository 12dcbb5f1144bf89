"""The consensus of partitions: by hand, then SciPy's linkage of the co-association matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

import jmeta as jm
from jmeta.portfolio.consensus import consensus


def test_the_majority_wins():
    labels = np.array([[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 0]])
    assert consensus(labels, 2).tolist() == [0, 0, 0, 1, 1, 1]
    assert consensus(labels, 1).tolist() == [0] * 6
    assert len(set(consensus(labels, 6).tolist())) == 4  # points that no partition parts stay together


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_it_equals_average_linkage_of_the_share_that_parts_two_points(seed):
    random = np.random.default_rng(seed)
    truth = np.repeat([0, 1, 2], 8)
    labels = np.where(random.uniform(size=(9, 24)) < 0.15, random.integers(0, 3, (9, 24)), truth)
    parted = np.mean(labels[:, :, None] != labels[:, None, :], 0)
    theirs = fcluster(linkage(parted[np.triu_indices(24, 1)], "average"), 3, "maxclust")
    assert adjusted_rand_score(theirs, consensus(labels, 3)) == pytest.approx(1)


def test_names_of_clusters_do_not_matter():
    labels = np.array([[0, 0, 1, 1, 2], [5, 5, 3, 3, 3]])
    renamed = np.array([[2, 2, 0, 0, 1], [1, 1, 2, 2, 2]])
    assert adjusted_rand_score(consensus(labels, 2), consensus(renamed, 2)) == 1


@pytest.mark.faults
def test_nothing_has_no_consensus():
    with pytest.raises(jm.InputError, match="labels has shape"):
        consensus(np.zeros((0, 3), int), 2)
    for labels, clusters in ((np.zeros((2, 3), int), 0), ([[0, 1]], 1.5)):
        with pytest.raises(jm.InputError, match=f"clusters is {clusters}; give a whole number >= 1"):
            consensus(labels, clusters)
