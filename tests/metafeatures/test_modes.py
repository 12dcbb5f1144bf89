"""The modes of the density: hand-computed cases, invariance, and clusters that everybody sees."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs, make_moons
from sklearn.neighbors import NearestNeighbors

from jmeta.clustering.host.cuts import cuts
from jmeta.metafeatures.modes import CLEAR, LARGEST, SCALES, mode_columns, modes
from jmeta.metrics import adjusted_rand_index

LINE = np.array([0.0, 1.0, 2.0, 3.0, 5.5, 8.0, 9.0, 10.1, 11.1])[:, None]


def neighbours(points, count=40):
    return NearestNeighbors(n_neighbors=min(count, len(points) - 1)).fit(points).kneighbors()


def described(points, *partitions):
    return mode_columns(*neighbours(points), np.stack(partitions))


def test_two_modes_on_a_line_meet_at_their_saddle():
    # The second distances are 2, 1, 1, 2, 2.5, 2.1, 1.1, 1.1 and 2.1: the modes meet in the middle.
    distances, rows = neighbours(LINE, 2)
    found = modes(distances, rows)
    assert np.isclose(found.dimension, 1 / np.median(np.log(distances[:, 1] / distances[:, 0])).clip(1e-3))
    expected = found.dimension * np.sqrt(2) * np.log(2.5 / 1.1)
    np.testing.assert_allclose(found.prominence, [0] * 7 + [min(expected, LARGEST)], atol=1e-9)
    assert found.share[-1] == 4 / 9
    labels = cuts(found.first, found.second, [2])[0]
    assert len(set(labels[:4])) == len(set(labels[5:])) == 1
    assert labels[0] != labels[-1]


def test_weights_are_those_of_prominence_and_share():
    found = modes(*neighbours(make_moons(80, noise=0.05, random_state=0)[0], 10))
    assert (np.diff(found.weights) >= 0).all()
    np.testing.assert_allclose(found.weights, found.prominence * np.sqrt(found.share))
    assert found.heaviest()[0] == found.weights[-1]
    assert found.heaviest(0.5).sum() <= found.prominence.sum()
    assert found.prominence.max() <= LARGEST
    assert found.share.max() <= 0.5


@pytest.mark.parametrize(
    "change", [lambda x: 100 * x + 3, lambda x: x[:, ::-1], lambda x: x @ [[0.6, 0.8], [-0.8, 0.6]]]
)
def test_units_places_and_rotations_do_not_matter(change):
    x, _ = make_moons(90, noise=0.06, random_state=1)
    truth = np.arange(90) % 3
    (columns, table), (others, other_table) = described(x, truth), described(change(x), truth)
    assert table == pytest.approx(other_table, rel=1e-6)
    for name, values in columns.items():
        np.testing.assert_allclose(values, others[name], rtol=1e-6, err_msg=name)


def test_three_blobs_have_three_clear_modes_that_are_the_blobs():
    x, truth = make_blobs(240, centers=[[0, 0], [9, 0], [0, 9]], random_state=0)
    two, four = np.minimum(truth, 1), np.where((truth == 2) & (x[:, 0] > 0), 3, truth)
    columns, table = described(x, truth, two, four)
    for scale in SCALES:
        np.testing.assert_array_equal(columns[f"clusters less modes {scale}"], [0, -1, 1])
        np.testing.assert_allclose(columns[f"mode weight {scale}"][:2] > 10, True)
        assert columns[f"next mode weight {scale}"][0] < CLEAR < columns[f"next mode weight {scale}"][1]
        assert columns[f"like modes {scale}"][0] == 1 > columns[f"like modes {scale}"].tolist()[2]
        assert np.isclose(table[f"log modes {scale}"], np.log(3))
        assert abs(np.exp(table[f"log dimension {scale}"]) - 2) < 0.6


@pytest.mark.parametrize("columns", [2, 5])
def test_one_gaussian_has_no_second_mode(columns):
    x = np.random.default_rng(0).normal(size=(300, columns))
    table = described(x, np.arange(300) % 2)[1]
    assert [table[f"log modes {scale}"] for scale in SCALES[1:]] == [0.0, 0.0]
    assert table["large prominence of mode 2, 20"] < 2


def test_equal_points_are_finite():
    for x in (np.repeat(LINE, 9, 0), np.zeros((20, 2)), np.repeat([[0.0], [1.0]], [30, 2], 0)):
        columns, table = described(x, np.arange(len(x)) % 2)
        assert np.isfinite([*table.values(), *np.concatenate([*columns.values()])]).all()


def test_noise_and_many_clusters_are_taken():
    x = np.random.default_rng(1).normal(size=(70, 2))
    columns, _ = described(x, np.full(70, -1), np.arange(70), np.where(np.arange(70) < 5, -1, 0))
    assert all(np.isfinite(values).all() for values in columns.values())
    assert columns["mode weight 10"][2] == LARGEST  # the densest mode is always there
    labels = cuts(*modes(*neighbours(x, 10))[:2], [1])[0]
    assert adjusted_rand_index(labels, np.zeros(70, int)) == 1
