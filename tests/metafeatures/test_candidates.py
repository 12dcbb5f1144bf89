"""Descriptors of partitions: cases by hand, scikit-learn's scores, sums over pairs, and invariances."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import adjusted_rand_score, calinski_harabasz_score, silhouette_score

from jmeta.metafeatures import candidates
from jmeta.metafeatures.expected import adjusted_rand, cuts_of_p, expected_ari

N = 40
TRUTH = np.arange(N) % 3
POINTS = np.random.default_rng(0).normal(size=(N, 3)) + 2 * np.eye(3)[TRUTH]
SAMPLE = np.sort(np.random.default_rng(1).permutation(N)[:30])


def probabilities(points):
    """P that falls with the distance."""
    return np.exp(-cdist(points, points) / 2)


def describe_candidates(points, sample, together, partitions):
    return candidates.describe_candidates(points, sample, together, cuts_of_p(together), partitions)


def drawn(clusters, seed, least=0):
    return np.random.default_rng(seed).integers(least, clusters, N)


TOGETHER = probabilities(POINTS[SAMPLE])
PARTITIONS = [TRUTH, drawn(2, 2), drawn(6, 3), drawn(3, 4, -1), np.zeros(N, int), np.arange(N)]
COLUMNS = describe_candidates(POINTS, SAMPLE, TOGETHER, PARTITIONS)


def close(found, expected, **tolerance):
    assert list(found) == list(expected)
    for name, values in found.items():
        if name.endswith("rank"):  # equal ones, up to rounding, are ranked by their order
            continue
        np.testing.assert_allclose(values, expected[name], err_msg=name, **{"atol": 2e-5, **tolerance})


def test_the_expected_index_by_hand():
    together = np.array([[1, 0.9, 0.1], [0.9, 1, 0.1], [0.1, 0.1, 1]])
    chance = 1.1 / 3
    for labels, both in (([0, 0, 1], 0.9), ([0, -1, 0], 0.1)):
        found = expected_ari(together, np.array(labels))
        assert found == pytest.approx((both - chance) / (1.05 - chance))
    assert expected_ari(together, np.array([-1, 0, -1])) == 0


@pytest.mark.parametrize("clusters", [1, 2, 5, 90])
def test_the_index_is_that_of_scikit_learn(clusters):
    for seed in range(20):
        first, second = drawn(clusters, seed, -1), drawn(3, seed + 1, -1)
        for one, other in ((first, second), (second, first), (first, first), (first, 0 * first)):
            assert adjusted_rand(one, other) == pytest.approx(adjusted_rand_score(one, other))
        alone = np.where(first < 0, 100 + np.arange(N), first)  # noise is with nobody
        expected = adjusted_rand_score(alone, second) if clusters > 1 else None
        if expected is not None:
            assert expected_ari(np.equal.outer(second, second) * 1.0, first) == pytest.approx(expected)
    singles = np.arange(N)
    assert adjusted_rand(singles, singles) == 1
    assert adjusted_rand(singles, 0 * singles) == 0


def test_pairs_under_p_and_under_the_other_partitions():
    labels = np.stack(PARTITIONS)[:, SAMPLE]
    joined = (labels[:, :, None] == labels[:, None]) & (labels >= 0)[:, :, None]
    agreed = joined.mean(0)
    np.fill_diagonal(agreed, 1)
    upper = np.triu(np.ones((30, 30)), 1)
    for at, one in enumerate(labels):
        assert COLUMNS["expected ARI"][at] == pytest.approx(expected_ari(TOGETHER, one), abs=1e-5)
        assert COLUMNS["agreement"][at] == pytest.approx(expected_ari(agreed, one), abs=1e-5)
        both, inside = (upper * TOGETHER * joined[at]).sum(), (upper * joined[at]).sum()
        assert COLUMNS["precision"][at] == pytest.approx(both / max(inside, 1), rel=1e-5)
        assert COLUMNS["recall"][at] == pytest.approx(both / (upper * TOGETHER).sum(), rel=1e-5)
        logits = np.log(TOGETHER[upper * joined[at] > 0]) - np.log1p(-TOGETHER[upper * joined[at] > 0])
        assert COLUMNS["log-likelihood"][at] == pytest.approx(logits.sum() / upper.sum(), rel=1e-4)


def test_scores_are_those_of_scikit_learn_without_noise():
    for at, one in enumerate(PARTITIONS[:4]):
        labels = one[SAMPLE]
        owned = labels >= 0
        x = POINTS[SAMPLE][owned]
        assert COLUMNS["silhouette"][at] == pytest.approx(silhouette_score(x, labels[owned]), abs=1e-5)
        if owned.all():
            expected = np.log(calinski_harabasz_score(x, labels) / 30)
            assert COLUMNS["log variance ratio"][at] == pytest.approx(expected, abs=1e-4)
    assert COLUMNS["silhouette"][4] == -1  # one cluster
    assert COLUMNS["silhouette"][5] == 0  # clusters of one point


def test_neighbours_and_clusters_by_brute_force():
    nearest = np.argsort(cdist(POINTS, POINTS), 1)[:, 1:11]
    for at, one in enumerate(PARTITIONS):
        cut = [one[i] != one[j] for i in range(N) if one[i] >= 0 for j in nearest[i]]
        assert COLUMNS["neighbours cut"][at] == pytest.approx(np.mean(cut))
        labels = one[SAMPLE]
        groups = [np.flatnonzero(labels == k) for k in range(N) if (labels == k).any()]
        share = np.array([len(group) for group in groups]) / (labels >= 0).sum()
        within = [
            np.mean([TOGETHER[i, j] for i in group for j in group if i != j]) if len(group) > 1 else 1
            for group in groups
        ]
        between = [
            max((TOGETHER[np.ix_(group, other)].mean() for other in groups if other is not group), default=0)
            for group in groups
        ]
        assert COLUMNS["least cohesion"][at] == pytest.approx(min(within), abs=1e-5)
        assert COLUMNS["cohesion"][at] == pytest.approx(share @ within, abs=1e-5)
        assert COLUMNS["greatest confusion"][at] == pytest.approx(max(between), abs=1e-5)
        assert COLUMNS["confusion"][at] == pytest.approx(share @ between, abs=1e-5)


def test_edges_by_hand():
    """Two lines of six points, ten apart; five neighbours of a point are 5, 4, 3, 3, 4 and 5 away."""
    points = np.array([*range(6), *range(15, 21)], float)[:, None]
    truth = np.repeat([0, 1], 6)
    halves = np.where(np.arange(12) < 3, -1, truth)
    found = describe_candidates(points, np.arange(12), probabilities(points), [truth, halves])
    inner = np.log(np.array([3, 3, 4, 4, 4, 4, 5, 5, 5, 5]) / 4)
    for name in ("edge gap", "least margin", "margin", "median margin"):
        assert found[name][0] == pytest.approx(np.log(2))
    assert found["mean edge gap"][0] == pytest.approx(np.log(2.5) - inner.mean())
    assert found["extra edges cut"][0] == pytest.approx(-np.log(12))
    assert found["longest edge"][0] == pytest.approx(np.log(2.5))
    assert found["edge quantile 0.1"][0] == pytest.approx(np.log(3 / 4))
    # Half of the first line is noise: the edge to it, of length 3, is shorter than those within.
    assert found["least margin"][1] == pytest.approx(np.log(3 / 5))
    assert found["margin"][1] == pytest.approx((np.log(3 / 5) + 2 * np.log(2)) / 3)
    assert found["noise"].tolist() == [0, 0.25]


def test_sizes_by_hand():
    labels = np.array([0] * 8 + [1] * 2 + [3] * 10 + [-1] * 20)
    found = describe_candidates(POINTS, SAMPLE, TOGETHER, [labels])
    shares = np.array([0.4, 0.1, 0.5])
    expected = {
        "log clusters": np.log(3),
        "log smallest share": np.log(2 / 40),
        "log largest share": np.log(10 / 40),
        "evenness": -(shares @ np.log(shares)) / np.log(3),
        "noise": 0.5,
        "log rows": np.log(40),
        "log columns": np.log(3),
        "log sample": np.log(30),
    }
    for name, value in expected.items():
        assert found[name].tolist() == pytest.approx([value]), name


def test_the_best_cut_of_p_and_the_probability_of_one_cluster():
    blocks = np.where(np.equal.outer(TRUTH, TRUTH), 1, 0.3)
    found = describe_candidates(POINTS, np.arange(N), blocks, PARTITIONS)
    assert found["probability of one cluster"] == pytest.approx(0.3)
    assert found["own score"] == pytest.approx(expected_ari(blocks, TRUTH))
    assert found["log own clusters"] == pytest.approx(np.log(3))
    assert found["clusters less own"].tolist() == pytest.approx([0, -1, 3, 0, -2, 37])
    scores = [adjusted_rand_score(one, TRUTH) for one in PARTITIONS]
    assert found["like own"].tolist() == pytest.approx(scores)
    assert found["like own of equal clusters"][[0, 3, 4]].tolist() == pytest.approx([1, scores[3], 1])
    whole = describe_candidates(POINTS, np.arange(N), np.full((N, N), 0.9) + 0.1 * np.eye(N), PARTITIONS)
    assert whole["log own clusters"] == pytest.approx(0)
    assert whole["own score"] == pytest.approx(0.9)
    assert whole["like own"].tolist() == [0, 0, 0, 0, 1, 0]


def test_descriptors_relative_to_those_of_the_other_partitions():
    quality = COLUMNS["expected ARI"]
    assert quality.argmax() == 0
    np.testing.assert_allclose(COLUMNS["expected ARI less best"], quality - quality[0])
    np.testing.assert_allclose(COLUMNS["expected ARI less median"], quality - np.median(quality))
    assert set(COLUMNS["greatest expected ARI"]) == {quality[0]}
    assert sorted(COLUMNS["expected ARI rank"]) == pytest.approx(np.arange(6) / 6)
    assert COLUMNS["expected ARI rank"][0] == 0


def test_every_descriptor_has_one_value_for_every_partition():
    assert {values.shape for values in COLUMNS.values()} == {(6,)}
    assert len(COLUMNS) == len(describe_candidates(POINTS, SAMPLE, TOGETHER, PARTITIONS[:1]))


def test_numbers_of_clusters_do_not_matter():
    random = np.random.default_rng(5)
    renamed = [np.append(random.permutation(N + 5), -1)[one] for one in PARTITIONS]
    close(describe_candidates(POINTS, SAMPLE, TOGETHER, renamed), COLUMNS)


def test_the_order_of_rows_does_not_matter():
    order, within = np.random.default_rng(6).permutation(N), np.random.default_rng(7).permutation(30)
    sample = np.argsort(order)[SAMPLE][within]
    permuted = [one[order] for one in PARTITIONS]
    close(describe_candidates(POINTS[order], sample, TOGETHER[within][:, within], permuted), COLUMNS)


def test_the_order_of_partitions_permutes_the_descriptors():
    found = describe_candidates(POINTS, SAMPLE, TOGETHER, PARTITIONS[::-1])
    close({name: values[::-1] for name, values in found.items()}, COLUMNS)


@pytest.mark.parametrize("change", ["scale", "shift", "rotation", "far"])
def test_place_and_scale_do_not_matter(change):
    turn = np.linalg.qr(np.random.default_rng(8).normal(size=(3, 3)))[0]
    changed = {"scale": POINTS * 30, "shift": POINTS + 5, "rotation": POINTS @ turn, "far": POINTS + 1e6}
    close(describe_candidates(changed[change], SAMPLE, TOGETHER, PARTITIONS), COLUMNS, atol=1e-4)


HOSTILE = {
    "all equal": np.ones((N, 2)),
    "duplicates": np.repeat(POINTS[:8], 5, 0),
    "two values": np.repeat([[0.0], [1.0]], N // 2, 0),
    "an outlier": POINTS + 1e6 * (np.arange(N) == 0)[:, None],
    "wide": np.random.default_rng(9).normal(size=(N, 250)),
    "twelve": POINTS[:12],
    "ten": POINTS[:10],
}


@pytest.mark.faults
@pytest.mark.parametrize("case", list(HOSTILE))
@pytest.mark.parametrize("p", ["distance", "zero", "half", "one"])
def test_unusual_points_and_partitions_have_finite_descriptors(case, p):
    points = HOSTILE[case]
    rows = len(points)
    sample = np.arange(0, rows, 2) if rows > 12 else np.arange(rows)
    together = {
        "distance": probabilities(points[sample]),
        "zero": np.eye(len(sample)),
        "half": np.full([len(sample)] * 2, 0.5) + np.eye(len(sample)) / 2,
        "one": np.ones([len(sample)] * 2),
    }[p]
    at = np.arange(rows)
    partitions = [
        *(one[:rows] for one in PARTITIONS),
        np.where(at == 3, 0, -1),  # a cluster of one point outside the sample
        np.where(at == 4, 0, -1),
        np.where(at == 4, 1, 0),
        np.where(at < 2, at, -1),
    ]
    for chosen in (partitions, partitions[4:5], partitions[5:6]):
        found = describe_candidates(points, sample, together, chosen)
        assert len(found) == len(COLUMNS)
        for name, values in found.items():
            assert values.shape == (len(chosen),)
            assert np.all(np.isfinite(values)), name
