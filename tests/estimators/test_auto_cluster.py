"""AutoCluster: scikit-learn's own checks, what it promises of its attributes, budgets, and hostile tables."""

import pickle
import re
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_circles, make_moons
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import jmeta as jm
from jmeta.artifacts.advisors import load_model, save_model
from jmeta.estimators.choice import DEFAULT_MAX_ROWS
from jmeta.estimators.preparation import AXES, prepare
from jmeta.search.pooled import CRITERIA

FEW = dict(n_candidates=4)
SETS = {
    "blobs": make_blobs(90, centers=3, cluster_std=0.6, random_state=0),
    "moons": make_moons(120, noise=0.04, random_state=0),
    "circles": make_circles(120, noise=0.03, factor=0.3, random_state=0),
}


SPARSE = dict.fromkeys(
    ("check_estimator_sparse_array", "check_estimator_sparse_matrix"),
    "the check takes every estimator with predict_proba for a classifier; test_tables.py tests sparse input",
)


@parametrize_with_checks(
    [jm.AutoCluster(n_clusters=3, **FEW)], expected_failed_checks=lambda estimator: SPARSE
)
@pytest.mark.filterwarnings("ignore:.*every row is put into one cluster")
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


@parametrize_with_checks([jm.AutoCluster()], expected_failed_checks=lambda estimator: SPARSE)
@pytest.mark.filterwarnings("ignore:.*every row is put into one cluster")
def test_scikit_learns_checks_pass_with_nothing_given(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", SETS)
def test_with_the_number_given_shapes_of_every_kind_are_found(name):
    points, labels = SETS[name]
    model = jm.AutoCluster(len(set(labels))).fit(points)
    assert adjusted_rand_score(labels, model.labels_) > 0.95
    assert model.n_clusters_ == len(set(labels))
    assert model.strategy_.candidate.clusters is None
    assert model.strategy_.criterion in CRITERIA
    assert model.strategy_.quality == model.candidates_[0].quality
    assert model.candidates_[0].name in model.strategy_.why
    np.testing.assert_array_equal(model.predict(points), model.labels_)
    rows = model.candidates_
    assert [row.agreement for row in rows] == sorted((row.agreement for row in rows), reverse=True)
    assert set(model.features_) >= {"log points", "Hopkins"}


def test_the_number_of_clusters_is_found_and_a_strategy_named_with_it():
    points, labels = make_blobs(120, centers=4, cluster_std=0.5, random_state=1)
    model = jm.AutoCluster().fit(points)
    assert model.n_clusters_ == 4
    assert adjusted_rand_score(labels, model.labels_) > 0.95


def test_a_trained_agent_searches_within_its_budget():
    points, _ = SETS["blobs"]
    heard = []
    model = jm.AutoCluster(search="rl2", n_candidates=3)
    model.fit(points, progress=lambda *told: heard.append(told[:2]))
    assert 1 <= len(model.candidates_) <= 3
    assert 1 <= len(heard) <= 3
    assert all(count == 3 for _, count in heard)
    assert model.explain().reasons
    again = jm.AutoCluster(search="rl2", n_candidates=3).fit(points)
    np.testing.assert_array_equal(again.labels_, model.labels_)


def test_ten_candidates_of_a_trained_agent_find_clear_clusters():
    points, labels = make_blobs(120, centers=4, cluster_std=0.5, random_state=1)
    assert adjusted_rand_score(labels, jm.AutoCluster(search="rl2").fit_predict(points)) > 0.9


def test_a_search_whose_time_is_over_still_gives_labels():
    model = jm.AutoCluster(search="rl2", time_limit=1e-6).fit(SETS["blobs"][0])
    assert model.n_clusters_ > 1
    assert [row.name.split("(")[0] for row in model.candidates_] == ["kmeans"]


def test_a_pass_over_all_candidates_whose_time_is_over_still_gives_labels_and_says_so():
    points, truth = SETS["blobs"]
    model = jm.AutoCluster(time_limit=1e-6).fit(points)
    assert adjusted_rand_score(truth, model.labels_) > 0.9
    assert {row.name.split("(")[0].split(" ")[0] for row in model.candidates_} <= {"zero_shot", "one_cluster"}
    ended = re.search(r"the time limit ended the search after (\d+) of (\d+) candidates", model.strategy_.why)
    assert int(ended[2]) - int(ended[1]) > 100
    assert "time limit" not in jm.AutoCluster().fit(points).strategy_.why


def test_what_a_model_lacks_is_taken_from_those_that_come_along(tmp_path):
    parts, card = load_model(shipped="search")
    save_model(tmp_path / "own.npz", parts, card)
    points = SETS["blobs"][0]
    own = jm.AutoCluster(search="rl2", n_candidates=2, model=tmp_path / "own.npz").fit(points)
    np.testing.assert_array_equal(
        own.labels_, jm.AutoCluster(search="rl2", n_candidates=2).fit(points).labels_
    )
    save_model(tmp_path / "other.npz", {"embedding": np.zeros(1)}, card)
    with pytest.raises(jm.InputError, match="holds embedding; AutoCluster needs"):
        jm.AutoCluster(model=tmp_path / "other.npz").fit(points)


def test_an_interrupt_ends_a_search_and_the_next_one_is_whole():
    points = SETS["blobs"][0]

    def cancel(done, count, one):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jm.AutoCluster(search="rl2", n_candidates=3).fit(points, progress=cancel)
    assert jm.AutoCluster(search="rl2", n_candidates=3).fit(points).n_clusters_ > 1


def test_compilation_takes_no_time_from_a_search():
    """Of a table of other columns than any before."""
    points = make_blobs(120, centers=3, n_features=7, random_state=0)[0]
    model = jm.AutoCluster(search="rl2", n_candidates=3, time_limit=5.0)
    first, second = (clone(model).fit(points) for _ in range(2))
    assert len(first.candidates_) == len(second.candidates_)
    np.testing.assert_array_equal(first.labels_, second.labels_)


def test_it_is_cloned_pickled_and_used_in_a_pipeline_and_with_a_data_frame():
    points, labels = SETS["blobs"]
    model = jm.AutoCluster(3, **FEW)
    assert clone(model).get_params() == model.get_params()
    first = make_pipeline(StandardScaler(), model).fit_predict(points)
    assert adjusted_rand_score(labels, first) > 0.9
    again = pickle.loads(pickle.dumps(model.fit(points)))
    np.testing.assert_array_equal(again.predict(points), model.labels_)
    assert again.explain().stability == model.explain().stability
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(points, columns=["a", "b"])
    model.fit(frame)
    assert model.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"a": "z"}))


def test_units_are_made_alike_where_they_differ_and_what_was_done_is_said():
    points, labels = SETS["blobs"]
    model = jm.AutoCluster(3, **FEW).fit(points * [1, 1000])
    assert adjusted_rand_score(labels, model.labels_) > 0.9
    assert "divided by its standard deviation" in model.strategy_.scaling
    assert "keep their proportions" in prepare(points, "none").description
    wide = np.random.default_rng(0).normal(size=(80, AXES + 5))
    made = prepare(wide, "standard")
    assert made(wide).shape == (80, AXES)
    assert "principal axes" in made.description


def test_large_tables_are_chosen_for_by_a_sample():
    points, labels = make_blobs(DEFAULT_MAX_ROWS + 500, centers=3, cluster_std=0.5, random_state=0)
    model = jm.AutoCluster(3, sample_size=100, **FEW).fit(points)
    assert adjusted_rand_score(labels, model.labels_) > 0.95
    assert model.labels_.shape == (len(points),)
    assert "100 rows" in model.strategy_.rows
    small = jm.AutoCluster(3, sample_size=60, **FEW).fit(points[:90])
    assert small.strategy_.rows.startswith("chosen on 60 rows")


def test_a_second_fit_of_another_size_compiles_nothing(caplog):
    """Within a power of two of rows, and of columns."""
    jm.AutoCluster(3, **FEW).fit(make_blobs(70, random_state=0)[0])
    import jax

    with jax.log_compiles(), caplog.at_level("WARNING", logger="jax"):
        jm.AutoCluster(3, **FEW).fit(make_blobs(120, random_state=1)[0])
    compiled = [record.message for record in caplog.records if "Finished XLA compilation" in record.message]
    assert not compiled


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_clusters": 0}, "n_clusters is 0"),
        ({"n_clusters": 2.5}, "n_clusters is 2.5"),
        ({"n_candidates": 0}, "n_candidates is 0"),
        ({"time_limit": 0}, "time_limit is 0"),
        ({"sample_size": 3}, "sample_size is 3"),
        ({"scaling": "max"}, "scaling is 'max'"),
        ({"n_clusters": 50}, "only 10 rows differ"),
        ({"model": "missing.npz"}, "cannot be read"),
        ({"search": "best"}, "search is 'best'; choose one of auto, all, ranked, rl2"),
        ({"search": "rl2", "n_clusters": 2}, "leave n_clusters out"),
        ({"search": "all", "n_candidates": 2}, "leave n_candidates and model out"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(change, message):
    points = np.random.default_rng(0).normal(size=(10, 2))
    with pytest.raises(jm.InputError, match=message):
        jm.AutoCluster(**change).fit(points)


def test_tables_without_clusters_are_one_cluster_with_a_warning():
    for points, clusters in ((np.ones((20, 3)), None), (SETS["blobs"][0], 1)):
        with pytest.warns(UserWarning, match="every row is put into one cluster"):
            model = jm.AutoCluster(clusters).fit(points)
        assert set(model.labels_) == {0}
        assert model.candidates_ == []
        with pytest.raises(jm.InputError, match="cannot be explained: "):
            model.explain()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_hostile_tables_give_labels(scale):
    random = np.random.default_rng(0)
    duplicated = np.repeat(random.normal(size=(4, 2)), 10, 0)
    column = random.normal(size=(30, 1))
    outlier = np.concatenate([random.normal(size=(30, 2)), [[1e6, 1e6]]])
    for points in (duplicated, column, outlier):
        labels = jm.AutoCluster(3, **FEW).fit_predict(points * scale)
        assert labels.shape == (len(points),)
        assert len(set(labels.tolist())) > 1


def test_the_model_that_ships_says_where_it_is_from():
    advisors, card = load_model()
    assert set(advisors) == {"given", "unknown"}
    assert advisors["given"].selector.known_k
    assert not advisors["unknown"].selector.known_k
    assert card["problems"] > 300
    assert {"blobs", "tables"} <= set(card["groups"])
    assert all(np.isfinite(one.quality.spread) for one in advisors.values())


def test_a_known_number_is_reached_though_the_sample_has_fewer_different_rows():
    rows = np.repeat(np.arange(20.0), 30)[:, None]
    rows = np.concatenate([np.zeros((400, 1)), rows])
    model = jm.AutoCluster(n_clusters=20, sample_size=20, n_candidates=1, random_state=0).fit(rows)
    assert model.n_clusters_ == 20


def test_more_clusters_than_the_sample_has_rows_are_found():
    points = np.random.default_rng(0).normal(size=(120, 2))
    model = jm.AutoCluster(20, sample_size=10).fit(points)
    assert model.n_clusters_ == len(set(model.labels_)) == 20


@pytest.mark.parametrize("count", [29, 30])
def test_clusters_of_one_row_give_no_warnings(count):
    points = np.random.default_rng(0).normal(size=(30, 2))
    model = jm.AutoCluster(count).fit(points)
    assert len(set(model.labels_)) == count
    np.testing.assert_array_equal(model.predict(points), model.labels_)


def test_noise_with_a_known_number_has_a_low_predicted_index():
    points = np.random.default_rng(0).normal(size=(300, 4))
    model = jm.AutoCluster(5).fit(points)
    assert model.strategy_.quality < 0.5
    assert model.strategy_.quality == model.candidates_[0].quality


def test_a_table_without_clusters_is_one_cluster_with_a_reason():
    answers = []
    model = jm.AutoCluster().fit(
        np.random.default_rng(0).uniform(size=(300, 3)),
        first_answer=lambda labels, expected: answers.append((labels, expected)),
    )
    assert model.n_clusters_ == 1
    assert model.strategy_.candidate is None
    assert "no clusters" in model.strategy_.why
    assert model.cluster_probabilities_[1] == max(model.cluster_probabilities_.values())
    [(labels, expected)] = answers
    assert labels.shape == (300,)
    assert -1 <= expected <= 1


def test_fits_in_threads_leave_warnings_as_they_were():
    before = list(warnings.filters)
    tables = [np.random.default_rng(seed).normal(size=(40, 2)) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        counts = list(pool.map(lambda table: jm.AutoCluster(2).fit(table).n_clusters_, tables))
    assert counts == [2] * 6
    assert warnings.filters == before
