"""Genie: by hand, by its definition, and beside scipy's tree and linkage and its authors' package."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

import jmeta as jm
from jmeta.clustering.host.genie import Genie, genie_partitions, merge_order, spanning_tree


def cloud(seed, count):
    return np.random.default_rng(seed).normal(size=(count, 2))


def same(a, b):
    """Whether two labellings part the points alike."""
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


def gini(sizes):
    """The Gini index of the sizes of clusters, by its definition."""
    pairs = sum(abs(a - b) for a, b in itertools.combinations(sizes, 2))
    return pairs / (max(len(sizes) - 1, 1) * sum(sizes))


@given(st.integers(0, 1000), st.integers(2, 40))
def test_the_tree_is_as_short_as_scipys(seed, count):
    points = cloud(seed, count)
    apart = cdist(points, points)
    first, second = spanning_tree(points)
    assert np.all(np.diff(apart[first, second]) >= 0)
    assert apart[first, second].sum() == pytest.approx(minimum_spanning_tree(apart).sum())


@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 6))
def test_without_a_threshold_it_is_single_linkage(seed, count, clusters):
    points, clusters = cloud(seed, count), min(clusters, count)
    found = Genie(clusters, gini_threshold=1.0).fit(points).labels_
    assert same(found, fcluster(linkage(points), clusters, "maxclust"))


@settings(deadline=None)  # theirs is slow to import
@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 6), st.sampled_from([0.0, 0.1, 0.3, 0.7]))
def test_it_finds_what_its_authors_package_finds(seed, count, clusters, threshold):
    genieclust = pytest.importorskip("genieclust")
    points, clusters = cloud(seed, count), min(clusters, count - 1)
    theirs = genieclust.Genie(clusters, gini_threshold=threshold).fit(points).labels_
    assert same(Genie(clusters, gini_threshold=threshold).fit(points).labels_, theirs)


@given(st.integers(0, 1000), st.integers(2, 30), st.sampled_from([0.0, 0.1, 0.3, 0.7]))
def test_smallest_clusters_merge_first_where_the_gini_index_is_above_the_threshold(seed, count, threshold):
    first, second = spanning_tree(cloud(seed, count))
    cluster = np.arange(count)
    waiting = list(range(count - 1))
    for edge in merge_order(first, second, threshold):
        sizes = np.unique(cluster, return_counts=True)[1].tolist()
        allowed = [
            one
            for one in waiting
            if gini(sizes) <= threshold
            or min(np.sum(cluster == cluster[end[one]]) for end in (first, second)) == min(sizes)
        ]
        assert edge == allowed[0]
        waiting.remove(edge)
        cluster[cluster == cluster[second[edge]]] = cluster[first[edge]]


def test_one_tree_and_one_pass_of_merges_give_every_number_of_clusters():
    points = cloud(0, 30)
    for threshold, partitions in genie_partitions(points, range(1, 31), [0.1, 0.6]).items():
        for count, labels in zip(range(1, 31), partitions, strict=True):
            assert len(set(labels.tolist())) == count
            np.testing.assert_array_equal(Genie(count, gini_threshold=threshold).fit(points).labels_, labels)


def test_duplicates_are_parted_as_asked_and_bad_numbers_refused():
    assert len(set(Genie(3).fit(np.zeros((5, 2))).labels_)) == 3
    assert Genie(1).fit(np.zeros((1, 2))).labels_.tolist() == [0]
    with pytest.raises(jm.InputError, match="from 0 to 1"):
        Genie(2, gini_threshold=1.5).fit(cloud(0, 5))
    with pytest.raises(jm.InputError, match="give a whole number from 1 to"):
        Genie(6).fit(cloud(0, 5))
    with pytest.raises(jm.InputError, match="overflow"):
        Genie(2).fit(cloud(0, 30) * 1e200)
