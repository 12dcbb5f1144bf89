"""Advisors: learned, kept in a file, asked within a time limit, and explained."""

import os
import time
from concurrent.futures import Future

import jax
import numpy as np
import pytest
from problems import made

import jmeta as jm
from jmeta.artifacts.advisors import load_model, save_model
from jmeta.artifacts.archive import checksum
from jmeta.files import read_npz
from jmeta.portfolio import performance_table
from jmeta.portfolio.candidates import candidate
from jmeta.portfolio.running import SHARED_POOL, count_clusters, run_usable
from jmeta.search.explanation import explain
from jmeta.search.ranked import ranked_search
from jmeta.selection.advisor import (
    chosen_scores,
    interval_spread,
    learn_advisor,
    rank_candidates,
    replayed_scores,
)
from jmeta.selection.descriptions import describe_table
from jmeta.selection.examples import Settings
from jmeta.selection.quality import COVERAGE, predict_quality

CANDIDATES = (candidate("kmeans", n_init=2), candidate("genie"), candidate("hdbscan", min_samples=4))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    problems = [made(seed, kind) for seed in range(4) for kind in ("blobs", "moons")]
    folder = tmp_path_factory.mktemp("table")
    return performance_table(problems, CANDIDATES, folder=folder, jobs=1, backend="threading")


@pytest.fixture(scope="module")
def learned(table):
    settings = Settings(steps=100, networks=2, dropout=0.2)
    return learn_advisor(table, jax.random.key(0), settings=settings, thinnings=1)


def test_its_intervals_hold_the_share_that_they_promise(table, learned):
    advisor, scores = learned
    assert scores.shape == table.scores.shape
    assert np.isfinite(advisor.quality.spread)
    random = np.random.default_rng(0)
    true, foretold = random.normal(size=(50, 3)), random.normal(size=(4, 50, 3))
    spread = interval_spread(true, foretold, np.ones((50, 3), bool))
    width = spread * (foretold.std(0) + 0.05)
    assert np.mean(np.abs(true - foretold.mean(0)) <= width) == pytest.approx(COVERAGE, abs=0.01)


def test_moons_are_judged_to_be_well_parted_by_what_follows_gaps(learned):
    problem = made(11, "moons")
    partitions = [run_usable(one, problem.points, 2, 0).labels for one in CANDIDATES]
    judgement = predict_quality(learned[0].quality, problem.points, partitions, 2)
    assert judgement.quality.argmax() != 0
    assert np.all(judgement.width > 0)
    assert (
        predict_quality(learned[0].quality, problem.points, [*partitions[:2], None], 2).quality[2] == -np.inf
    )
    promise = rank_candidates(learned[0], problem.points, 2)
    assert sorted(promise.candidates.tolist()) == [0, 1, 2]


def test_a_search_ranks_what_it_ran_and_says_what_it_did_not(learned):
    points, heard = made(11, "moons").points, []
    found = ranked_search(learned[0], points, 2, max_candidates=2, progress=lambda *told: heard.append(told))
    assert len(found.ranking) == 2
    assert [outcome.failure for outcome in found.outcomes].count("not run") == 1
    assert [told[:2] for told in heard] == [(1, 2), (2, 2)]
    assert np.all(np.diff(found.prediction.quality[found.ranking]) <= 0)
    assert len(found.feature_names) == len(found.features)
    again = ranked_search(learned[0], points, 2, max_candidates=2)
    np.testing.assert_array_equal(again.prediction.quality, found.prediction.quality)


def test_what_a_search_takes_can_be_read_off_a_table(table, learned):
    advisor, _ = learned
    worths = replayed_scores(advisor, table, describe_table(table), (1, 2, None))
    assert worths.shape == (len(table.instances), 3)
    for place, case in enumerate(table.instances[:3]):
        points = table.problems[case.problem].points
        taken = [
            ranked_search(advisor, points, case.clusters, max_candidates=most).ranking[0]
            for most in (1, 2, None)
        ]
        np.testing.assert_allclose(worths[place], table.scores[place, taken])


def test_where_nothing_is_parted_kmeans_stands_in_on_a_table_as_in_a_search(table, learned):
    """Genie and HDBSCAN with one cluster each, which is no answer."""
    advisor, _ = learned
    whole = np.zeros(60, int)
    outcomes = [[row[0], *(one._replace(labels=whole) for one in row[1:])] for row in table.outcomes]
    scores = np.concatenate([table.scores[:, :1], np.full((len(table.instances), 2), 0.9)], 1)
    merged = table._replace(outcomes=outcomes, scores=scores)
    assert merged.partitioned.sum(1).max() == 1
    only = np.arange(3) > 0
    looks, runs = describe_table(merged), np.tile(only, (len(table.instances), 1))
    np.testing.assert_array_equal(chosen_scores(advisor, merged, looks, runs), table.scores[:, 0])
    np.testing.assert_array_equal(chosen_scores(advisor, merged, looks, ~runs), table.scores[:, 0])


def test_what_passes_one_is_still_told_apart(learned):
    advisor, _ = learned
    model = advisor.quality.model
    weights = jax.tree.map(np.array, model.weights)
    weights["head"]["bias"] = weights["head"]["bias"] + 5
    raised = advisor._replace(quality=advisor.quality._replace(model=model._replace(weights=weights)))
    points = made(11, "moons").points
    partitions = [run_usable(one, points, 2, 0).labels for one in CANDIDATES]
    higher, usual = (predict_quality(one.quality, points, partitions, 2).quality for one in (raised, advisor))
    np.testing.assert_allclose(higher, usual + 5, atol=1e-5)


def test_failures_are_put_into_words():
    points = np.zeros((4, 2))
    assert run_usable(candidate("kmeans"), points, 9, 0).failure
    assert run_usable(candidate("kmeans"), points, 1, 0).failure == "found fewer than two clusters"
    assert run_usable(candidate("kmeans", n_clusters=2), points, 2, 0).labels is None


@pytest.mark.parametrize(("rows", "most"), [(2, 2), (3, 2), (4, 2), (5, 2), (6, 3), (7, 3)])
def test_rows_that_are_mostly_alone_are_no_clustering_unless_asked_for(rows, most):
    points = np.random.default_rng(0).normal(size=(rows, 2))
    found = {
        k: run_usable(candidate("kmeans")._replace(clusters=k), points, None, 0) for k in range(2, rows + 1)
    }
    assert [k for k, outcome in found.items() if outcome.labels is not None] == list(range(2, most + 1))
    assert all("half as many" in found[k].failure for k in range(most + 1, rows + 1))
    assert run_usable(candidate("kmeans"), points, rows, 0).labels is not None


def test_an_explanation_names_descriptors(learned):
    points = made(11, "moons").points
    found = ranked_search(learned[0], points, 2)
    said = explain(learned[0].candidates, points, found, 2)
    assert {reason.name for reason in said.reasons} <= set(learned[0].quality.feature_names)
    effects = [abs(reason.effect) for reason in said.reasons]
    assert effects == sorted(effects, reverse=True)
    assert effects[0] > 0
    assert said.stability is None or -1 <= said.stability <= 1


def test_what_is_written_is_read_back_the_same(learned, tmp_path):
    path = tmp_path / "model.npz"
    save_model(path, {"given": learned[0]}, {"problems": 8})
    advisors, card = load_model(path)
    assert card == {"problems": 8}
    points = made(11, "moons").points
    before, after = (rank_candidates(one, points, 2) for one in (learned[0], advisors["given"]))
    np.testing.assert_array_equal(before.candidates, after.candidates)
    assert advisors["given"].candidates == CANDIDATES
    assert advisors["given"].quality.model.settings == learned[0].quality.model.settings


def test_models_that_are_damaged_or_foreign_are_refused(learned, tmp_path):
    path, other = tmp_path / "model.npz", tmp_path / "other.npz"
    save_model(path, {"given": learned[0]}, {})
    arrays = read_npz(path)
    name = next(key for key in arrays if key.endswith("kernel"))
    np.savez(other, **(arrays | {name: arrays[name] + 1}))
    with pytest.raises(jm.InputError, match="its checksum does not hold"):
        load_model(other)
    np.savez(other, data=np.zeros(3))
    with pytest.raises(jm.InputError, match="holds no model"):
        load_model(other)
    for header in (
        '{"kind": "model", "format": 0}',
        '{"kind": "model", "format": 4}',
        '{"kind": "poem", "format": 3}',
        "[",
        '{"kind": "model", "format": 4, "card": {}, "parts": {"record": "os"}}',
    ):
        made_up = {"header": np.array(header)}
        np.savez(other, **made_up, checksum=np.array(checksum(made_up)))
        with pytest.raises(jm.InputError, match=r"is of format 0|holds no model|holds a poem"):
            load_model(other)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(jm.InputError, match="damaged"):
        load_model(path)
    with pytest.raises(jm.InputError, match="there is no model"):
        load_model(tmp_path / "missing.npz")


def test_a_search_after_a_long_pause_starts_processes_again(learned, monkeypatch):
    monkeypatch.setattr("jmeta.portfolio.running.IDLE_SECONDS", 0.2)
    points = made(11, "moons").points
    first = ranked_search(learned[0], points, 2)
    until = time.monotonic() + 2
    while SHARED_POOL._pool is not None and time.monotonic() < until:
        time.sleep(0.02)
    assert SHARED_POOL._pool is None
    np.testing.assert_array_equal(ranked_search(learned[0], points, 2).ranking, first.ranking)


def test_what_hangs_is_given_up_and_kmeans_stands_in(learned, monkeypatch):
    monkeypatch.setattr("jmeta.search.ranked.run_usable", _Hanging())
    began = time.monotonic()
    found = ranked_search(learned[0], made(11, "blobs").points, 2, seconds=2.0)
    assert time.monotonic() - began < 60
    assert found.ranking.tolist() == [0]


class _Hanging:
    """Hangs in other processes, and runs in this one."""

    def __init__(self):
        self.home = os.getpid()

    def __call__(self, one, points, clusters, seed):
        if os.getpid() != self.home:
            time.sleep(600)
        return run_usable(one, points, clusters, seed)


def test_a_search_of_candidates_that_end_at_once_runs_them_all(learned, monkeypatch):
    monkeypatch.setattr("jmeta.search.ranked.SHARED_POOL", _Immediate())
    monkeypatch.setattr("jmeta.search.ranked.QUEUED", 1)
    monkeypatch.setattr("jmeta.search.ranked.worker_count", lambda: 1)
    found = ranked_search(learned[0], made(11, "moons").points, 2)
    assert found.runs == len(CANDIDATES)


class _Immediate:
    """A pool whose runs have ended when they are submitted."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *arguments):
        done = Future()
        done.set_result(function(*arguments))
        return done


@pytest.mark.parametrize("clusters", [2, 3, 5])
def test_a_known_number_of_clusters_is_obeyed(learned, clusters):
    points = np.column_stack([np.arange(120) % 3 == 0, np.arange(120) % 7]).astype(float)
    found = ranked_search(learned[0], points, clusters)
    assert len(found.ranking)
    for place in found.ranking:
        assert count_clusters(found.outcomes[place].labels) == clusters
    hdbscan = found.outcomes[2]
    assert f"where {clusters} were asked for" in hdbscan.failure


def test_an_explanation_uses_the_seed_of_the_search(learned, monkeypatch):
    seen = []
    monkeypatch.setattr("jmeta.search.explanation._stability", lambda *given: seen.append(given[-1]))
    points = made(11, "moons").points
    explain(learned[0].candidates, points, ranked_search(learned[0], points, 2, seed=7), 2)
    assert seen == [7]
