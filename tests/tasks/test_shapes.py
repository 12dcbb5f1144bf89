"""The generator of shapes: every kind is what its name says, and a task uses no more than it was given."""

from functools import cache

import jax
import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import KNeighborsClassifier

import jmeta as jm
from jmeta.tasks.shapes import KINDS

COUNT = 32


@cache
def program(points, columns):
    """Draws of every sampler of such ranges: their kinds, and the share of noise, are arguments."""
    sampler = jm.shapes(points=points, clusters=(2, 3), columns=columns)
    return jax.jit(jax.vmap(sampler.func, (None, None, 0)))


@cache
def tasks(kind, points=(80, 120), columns=(2, 4), noise=0.0):
    kinds = [kind] if kind else KINDS
    sampler = jm.shapes(points=points, clusters=(2, 3), columns=columns, kinds=kinds, noise=noise)
    drawn = program(points, columns)(*sampler.args, jax.random.split(jax.random.key(0), COUNT))
    return jax.device_get(drawn)


def support(drawn, place):
    kept = drawn.support.weights[place] > 0
    return drawn.support.inputs[place][kept], drawn.truth[place][kept]


@pytest.mark.parametrize("kind", KINDS)
def test_points_clusters_and_columns_are_within_their_ranges(kind):
    drawn = tasks(kind)
    assert np.all(np.isfinite(drawn.support.inputs))
    sizes = (drawn.support.weights > 0).sum(1)
    assert 80 <= sizes.min() < sizes.max() <= 120
    columns = (np.ptp(drawn.support.inputs, 1) > 0).sum(1)
    assert columns.min() == 2
    assert columns.max() == 4
    for place in range(COUNT):
        labels = support(drawn, place)[1]
        assert labels.min() >= 0
        assert labels.max() < drawn.support.clusters[place] <= 3
        assert np.all(drawn.support.inputs[place][drawn.support.weights[place] == 0] == 0)


def test_rings_are_nested_and_not_told_apart_by_means():
    """Each ring has its own distance to the common middle; single linkage follows rings, Ward does not."""
    drawn = tasks("rings", points=(300, 400), columns=(2, 2))
    found = {"single": [], "ward": []}
    for place in range(COUNT):
        points, truth = support(drawn, place)
        for linkage, scores in found.items():
            labels = AgglomerativeClustering(len(set(truth)), linkage=linkage).fit_predict(points)
            scores.append(adjusted_rand_score(truth, labels))
    assert np.mean(found["single"]) > np.mean(found["ward"]) + 0.1


def test_clouds_are_told_apart_by_means():
    drawn = tasks("blobs")
    scores = []
    for place in range(COUNT):
        points, truth = support(drawn, place)
        labels = AgglomerativeClustering(len(set(truth))).fit_predict(points)
        scores.append(adjusted_rand_score(truth, labels))
    assert np.mean(scores) > 0.5


def test_some_points_belong_to_no_cluster():
    shares = [np.mean(support(tasks(None, noise=0.4), place)[1] < 0) for place in range(COUNT)]
    assert min(shares) == 0  # half of the tasks have none
    assert 0.2 < max(shares) < 0.6
    assert 0.05 < np.mean(shares) < 0.2


def test_support_and_query_are_of_one_distribution():
    drawn, scores = tasks("blobs"), []
    for place in range(COUNT):
        points, truth = support(drawn, place)
        kept = drawn.query.weights[place] > 0
        others, asked = drawn.query.inputs[place][kept], drawn.query.targets[place][kept]
        assert not np.array_equal(points, others)
        near = KNeighborsClassifier(5).fit(points, truth)
        scores.append(near.score(others, asked))
    assert np.mean(scores) > 0.9


@pytest.mark.faults
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": (9, 3)}, "points range is"),
        ({"points": 20}, "points range is"),
        ({"columns": (1, 3)}, "columns range is"),
        ({"clusters": (0, 3)}, "clusters range is"),
        ({"kinds": ["squares"]}, "choose among"),
        ({"noise": 1.0}, "noise is 1.0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(jm.InputError, match=message):
        jm.shapes(**options)


def test_equal_samplers_are_compiled_once(compilations):
    same = dict(points=(20, 24), clusters=(2, 2), columns=(2, 2))
    batch = jax.jit(lambda sampler, keys: jax.vmap(sampler)(keys))
    keys = jax.random.split(jax.random.key(0), 2)
    batch(jm.shapes(**same), keys)
    with compilations() as made:
        batch(jm.shapes(**same), keys)
    assert not made
