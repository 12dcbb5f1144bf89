"""The training of the choice among candidates: scores and tasks, files, and what is measured."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

import jmeta as jm
from experiments import pool_choices, pool_quality, pools
from experiments.pool_choices import HDBSCAN, TEMPERATURES, Example, Prediction
from experiments.pools import PRESETS
from jmeta.portfolio.candidates import ONE_CLUSTER, candidate
from jmeta.selection.boosted import boosted_trees
from jmeta.selection.pool import Pool
from jmeta.selection.pool_quality import PoolQuality, choose, pool_inputs

CONFIG = dataclasses.replace(PRESETS["quick"], points=(8, 20))
TRUTH = np.array([0, 0, 0, 1, 1, 1, -1, -1])
HALVES, ALMOST = [0, 0, 0, 1, 1, 1, 0, 1], [0, 0, 1, 1, 1, 1, 0, 0]
POOL = Pool(
    (candidate("ward")._replace(clusters=2), candidate("genie")._replace(clusters=2), ONE_CLUSTER),
    np.array([ALMOST, HALVES, [0] * 8]),
    {"expected ARI": np.array([0.9, 0.4, 0.0]), "noise": np.zeros(3)},
)


def example(clusters=2, known=False, family="clouds", scores=(0.4, 1.0, 0.0)):
    names = sorted(POOL.columns)
    inputs = np.stack([POOL.columns[name] for name in names], 1).astype(np.float32)
    methods = ["ward", HDBSCAN, "one_cluster"]
    return Example(family, clusters, known, methods, inputs, np.array(scores), POOL.partitions)


def test_noise_does_not_count_in_the_score():
    for labels in (HALVES, ALMOST, [0, -1, 0, 1, 1, -1, 0, 2]):
        labels = np.array(labels)
        expected = adjusted_rand_score(TRUTH[:6], labels[:6])
        assert pools.score_of(labels, TRUTH) == pytest.approx(expected)
    assert pools.score_of(np.array(HALVES), TRUTH * 7 + 3 * (TRUTH >= 0)) == 1
    assert pools.score_of(np.zeros(8, int), np.full(8, -1)) == 0


@pytest.mark.parametrize(
    ("labels", "score"), [([0] * 6 + [1, 2], 1), ([0] * 5 + [1] * 3, 0), ([-1] + [0] * 7, 0)]
)
def test_of_one_true_cluster_the_score_is_whether_one_was_found(labels, score):
    assert pools.score_of(np.array(labels), np.where(TRUTH < 0, -1, 4)) == score


def drawn(points, clusters, columns, families):
    """A stand-in for `synthetic`, whose second column is constant and whose last four rows are padding."""

    def sampler(key):
        inputs = jax.random.normal(key, (points[1], 3)).at[:, 1].set(7)
        weights = jnp.arange(points[1]) < points[1] - 4
        truth = jnp.where(weights, jnp.arange(points[1]) % 3 - 1, -1)
        return jm.Task(jm.Batch(inputs, None, 1.0 * weights), jm.Batch(inputs), truth, key)

    return sampler


def test_tasks_are_the_same_every_time_and_of_all_sizes(monkeypatch):
    monkeypatch.setattr(pools, "synthetic", drawn)
    sizes = set()
    for number in range(12):
        points, truth = pools.task_of(CONFIG, "rings", number)
        again, same = pools.task_of(CONFIG, "rings", number)
        np.testing.assert_array_equal(again, points)
        np.testing.assert_array_equal(same, truth)
        assert points.shape == (len(truth), 2)
        assert np.all(np.ptp(points, 0) > 0)
        assert 8 <= len(points) <= 16
        sizes.add(len(points))
    assert len(sizes) > 3
    other, _ = pools.task_of(CONFIG, "moons", 0)
    assert not np.isin(other, pools.task_of(CONFIG, "rings", 0)[0]).any()


def test_what_is_written_is_read_back_the_same(tmp_path):
    pools._write_pool(tmp_path / "pool.npz", "rings", 2, True, POOL, TRUTH)
    found = pools.read_example(tmp_path / "pool.npz")
    assert found[:4] == ("rings", 2, True, ["ward", "genie", "one_cluster"])
    np.testing.assert_array_equal(found.inputs, [[np.float32(0.9), 0], [np.float32(0.4), 0], [0, 0]])
    scores = [adjusted_rand_score(TRUTH[:6], labels[:6]) for labels in POOL.partitions]
    np.testing.assert_allclose(found.scores, scores, rtol=1e-6)
    np.testing.assert_array_equal(found.partitions, POOL.partitions)
    pools._write_pool(tmp_path / "none.npz", "rings", 9, True, Pool((), np.zeros((0, 8), int), {}), TRUTH)
    assert len(pools.read_example(tmp_path / "none.npz").scores) == 0


def test_the_inputs_of_the_trees_are_those_of_the_library(tmp_path):
    pools._write_pool(tmp_path / "pool.npz", "rings", 2, False, POOL, TRUTH)
    methods = ("genie", "kmeans", "ward")
    found = pool_quality.inputs_of(pools.read_example(tmp_path / "pool.npz"), methods)
    np.testing.assert_array_equal(found, pool_inputs(POOL, ("expected ARI", "noise"), methods))


def test_what_is_chosen_from_a_pool_by_hand():
    names = sorted(POOL.columns)
    predicted = Prediction(np.array([0.5, 0.6, 0.1]), np.array([-0.1, -0.3, -0.8]))
    found = pool_choices.scored(example(), predicted, names)
    assert found.scores["best_quality"] == 0.4
    assert found.scores["expected_ari"] == 0.4
    assert found.scores["oracle"] == found.scores["hdbscan"] == 1
    assert found.scores[f"choice_{TEMPERATURES[0]}"] == 0.4
    assert found.clusters_of["oracle"] == 2
    assert found.errors["best_quality"] == pytest.approx(0.1)
    assert found.errors["oracle"] == pytest.approx(0.4)
    known = pool_choices.scored(example(known=True), Prediction(np.zeros(3), np.array([0.0, 1, 0])), names)
    assert "hdbscan" not in known.scores
    assert known.scores["best_quality"] == 1
    certain = pool_choices.scored(example(), predicted._replace(single=0.9), names)
    assert certain.clusters_of[f"choice_{TEMPERATURES[0]}"] == 1
    assert certain.errors[f"choice_{TEMPERATURES[0]}"] == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_choice_is_that_of_the_library(temperature):
    random = np.random.default_rng(0)
    partitions = random.integers(0, 3, (90, 20))
    columns = {"expected ARI": random.normal(size=90), "noise": random.normal(size=90)}
    pool = Pool((candidate("ward"),) * 89 + (ONE_CLUSTER,), partitions, columns)
    trees = [
        boosted_trees(
            [
                {
                    "split_feature": feature,
                    "threshold": 0.3 * at - 1,
                    "left_child": {"leaf_value": 0.0},
                    "right_child": {"leaf_value": 0.03},
                }
                for at in range(7)
            ]
        )
        for feature in (0, 1)
    ]
    even = boosted_trees([{"leaf_value": 0.0}])
    model = PoolQuality(("expected ARI", "noise"), (), *trees, temperature, 0.1, even)
    inputs = pool_inputs(pool, model.features, ())
    made = Example("rings", 3, False, pool.methods, inputs, np.arange(90.0), partitions)
    predicted = Prediction(*(one.predict(inputs) for one in trees), 0.5)
    found = pool_choices.scored(made, predicted, sorted(columns))
    assert found.scores[f"choice_{temperature}"] == choose(model, pool).ranking[0]


def test_the_summary_by_hand():
    names = sorted(POOL.columns)
    first, second = np.array([[1, 0.2, 0.1], [0.2, 1, 0.1]])
    found = [
        pool_choices.scored(
            one, Prediction(first if quality is None else quality, np.zeros(3), float(quality is None)), names
        )
        for one, quality in (
            (example(), second),  # right
            (example(family="rings"), first),
            (example(), None),  # wrongly one cluster
            (example(clusters=1, scores=(0.0, 0.0, 1.0)), None),
            (example(clusters=1, scores=(0.0, 0.0, 1.0)), second),
        )
    ]
    metrics, temperature = pool_choices.summary("unknown", found)
    assert temperature in TEMPERATURES
    means = {name: value.mean for name, value in metrics.items()}
    assert means["ari/unknown/choice"] == pytest.approx((1 + 0.4 + 0) / 3)
    assert means["ari/unknown/expected_ari"] == pytest.approx(0.4)
    assert means["ari/unknown/oracle"] == means["ari/unknown/hdbscan"] == 1
    assert means["regret/unknown/clouds"] == pytest.approx(0.5)
    assert means["regret/unknown/rings"] == pytest.approx(0.6)
    assert means["one_cluster/found"] == 0.5
    assert means["one_cluster/wrong"] == pytest.approx(1 / 3)
    assert means["exact_clusters"] == pytest.approx(2 / 3)
    known, _ = pool_choices.summary("known", found)
    assert not {"one_cluster/found", "exact_clusters"} & set(known)
    assert known["ari/known/oracle"].n == 3


def test_families_are_left_out_once():
    seen = []

    def train(config, examples, methods):
        seen.append({one.family for one in examples})
        return lambda example: Prediction(example.inputs[:, 0], np.zeros(3))

    config = dataclasses.replace(CONFIG, families=("clouds", "rings", "moons"), folds=2)
    examples = [example(family=family) for family in ("clouds", "rings", "moons", "clouds")]
    found = pool_quality.leave_families_out(config, examples, ("ward",), sorted(POOL.columns), [], train)
    assert sorted(one.example.family for one in found) == ["clouds", "clouds", "moons", "rings"]
    assert seen == [{"rings"}, {"clouds", "moons"}]
    assert pool_choices.choice_of(found) == (pytest.approx(0.4), 0, 4)


def test_a_network_sees_pools_of_one_size(monkeypatch):
    sizes = []
    monkeypatch.setattr(pool_quality, "fit_scoring_model", lambda known, key, settings: known)

    def mean_scores(model, inputs):
        sizes.append((model.inputs.shape[:2], inputs.shape[:2]))
        return inputs[..., 0]

    monkeypatch.setattr(pool_quality, "mean_scores", mean_scores)
    small = example()._replace(inputs=np.ones((2, 2)), methods=["ward"] * 2, scores=np.ones(2))
    predict = pool_quality.by_network(CONFIG, [small, example()], ("ward",))
    for count in (1, 3, 5):  # five are more than in any pool that it was trained on
        inputs = np.arange(2.0 * count).reshape(count, 2)
        found = predict(example()._replace(inputs=inputs, methods=["ward"] * count))
        np.testing.assert_array_equal(found.quality, 2 * np.arange(count))
        np.testing.assert_array_equal(found.shortfall, 2 * np.arange(count) - 2 * (count - 1))
    assert sizes == [((2, 3), (1, 3))] * 4  # the five in two parts


def test_pools_where_nothing_shows_the_number_of_clusters_are_left_out():
    good, poor = example(scores=(0.4, 0.8, 0.0)), example(scores=(0.4, 0.7, 0.0))
    one, known = example(clusters=1, scores=(0.0, 0.0, 1.0)), example(known=True, scores=(0.4, 0.7, 0.0))
    assert [
        any(kept is given for kept in pool_quality.instructive([good, poor, one, known]))
        for given in (good, poor, one, known)
    ] == [
        True,
        False,
        True,
        True,
    ]
    assert pool_quality.instructive([poor]) == [poor]


def test_trees_learn_which_descriptor_matters():
    pytest.importorskip("lightgbm")
    random = np.random.default_rng(0)
    examples = []
    for _ in range(20):
        inputs = random.normal(size=(30, 2)).astype(np.float32)
        scores = (inputs[:, 0] > 0).astype(float)
        examples.append(Example("rings", 2, False, ["ward"] * 30, inputs, scores, np.zeros((30, 8), int)))
    config = dataclasses.replace(CONFIG, rounds=60)
    predict = pool_quality.by_trees(config, examples, ("ward",))
    inputs = np.array([[-2, 0], [2, 0]], np.float32)
    found = predict(examples[0]._replace(inputs=inputs, methods=["ward"] * 2))
    np.testing.assert_allclose(found.quality, [0, 1], atol=0.2)
    np.testing.assert_allclose(found.shortfall, [-1, 0], atol=0.2)


def test_trees_learn_when_there_is_one_cluster():
    pytest.importorskip("lightgbm")
    random = np.random.default_rng(0)
    methods, partitions = ["ward"] * 5 + ["one_cluster"], np.zeros((6, 8), int)
    examples = []
    for number in range(60):
        inputs = np.concatenate([random.normal(size=(5, 2)) + 6 * (number % 3 > 0), [[99, 99]]])
        examples.append(
            Example("rings", 1 + (number % 3 > 0), False, methods, inputs, np.zeros(6), partitions)
        )
    names = ["first", "second"]
    trees = pool_quality.fit_single(dataclasses.replace(CONFIG, rounds=60), examples, names)
    logits = [trees.predict(pool_quality.single_inputs(one, names))[0] for one in examples]
    chances = [1 / (1 + np.exp(-logit)) for logit in logits]
    assert min(chances[::3]) > 0.7
    assert max(chances[1::3] + chances[2::3]) < 0.3
    assert pool_quality.fit_single(CONFIG, examples[::3], names) is None
