"""Advisors: learned, kept in a file, asked within a time limit, and explained."""

import os
import time

import jax
import numpy as np
import pytest
from problems import made

import jmeta as jm
from jmeta.selection import performance_table
from jmeta.selection.advisor import (
    SURE,
    judge,
    learn_advisor,
    measured_spread,
    order,
    replayed,
    worth_of_runs,
)
from jmeta.selection.choice import Settings
from jmeta.selection.criterion import all_looks
from jmeta.selection.explanation import SEEN, explain
from jmeta.selection.portfolio import candidate
from jmeta.selection.saved import load_model, save_model
from jmeta.selection.search import POOL, run, search
from jmeta.tasks.datasets import read_npz
from jmeta.training.archive import checksum

CANDIDATES = (candidate("kmeans", n_init=2), candidate("genie"), candidate("hdbscan", min_samples=4))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    problems = [made(seed, kind) for seed in range(4) for kind in ("blobs", "moons")]
    folder = tmp_path_factory.mktemp("table")
    return performance_table(problems, CANDIDATES, folder=folder, jobs=1, backend="threading")


@pytest.fixture(scope="module")
def learned(table):
    settings = Settings(steps=100, networks=2, hidden=0.2)
    return learn_advisor(table, jax.random.key(0), settings=settings, thinnings=1)


def test_its_intervals_hold_the_share_that_they_promise(table, learned):
    advisor, scores = learned
    assert scores.shape == table.scores.shape
    assert np.isfinite(advisor.spread)
    random = np.random.default_rng(0)
    true, foretold = random.normal(size=(50, 3)), random.normal(size=(4, 50, 3))
    spread = measured_spread(true, foretold, np.ones((50, 3), bool))
    width = spread * (foretold.std(0) + 0.05)
    assert np.mean(np.abs(true - foretold.mean(0)) <= width) == pytest.approx(SURE, abs=0.01)


def test_moons_are_judged_to_be_well_parted_by_what_follows_gaps(learned):
    problem = made(11, "moons")
    partitions = [run(one, problem.points, 2, 0).labels for one in CANDIDATES]
    judgement = judge(learned[0], problem.points, partitions, 2)
    assert judgement.quality.argmax() != 0
    assert np.all(judgement.width > 0)
    assert judge(learned[0], problem.points, [*partitions[:2], None], 2).quality[2] == -np.inf
    promise = order(learned[0], problem.points, 2)
    assert sorted(promise.candidates.tolist()) == [0, 1, 2]


def test_a_search_ranks_what_it_ran_and_says_what_it_did_not(learned):
    points, heard = made(11, "moons").points, []
    found = search(learned[0], points, 2, most=2, progress=lambda *told: heard.append(told))
    assert len(found.ranking) == 2
    assert [outcome.failure for outcome in found.outcomes].count("not run") == 1
    assert [told[:2] for told in heard] == [(1, 2), (2, 2)]
    assert np.all(np.diff(found.judgement.quality[found.ranking]) <= 0)
    assert len(found.names) == len(found.features)
    again = search(learned[0], points, 2, most=2)
    np.testing.assert_array_equal(again.judgement.quality, found.judgement.quality)


def test_what_a_search_takes_can_be_read_off_a_table(table, learned):
    advisor, _ = learned
    worths = replayed(advisor, table, all_looks(table), (1, 2, None))
    assert worths.shape == (len(table.cases), 3)
    for place, case in enumerate(table.cases[:3]):
        points = table.problems[case.problem].points
        taken = [search(advisor, points, case.clusters, most=most).ranking[0] for most in (1, 2, None)]
        np.testing.assert_allclose(worths[place], table.scores[place, taken])


def test_where_nothing_is_parted_kmeans_stands_in_on_a_table_as_in_a_search(table, learned):
    """Genie and HDBSCAN with one cluster each, which is no answer."""
    advisor, _ = learned
    whole = np.zeros(60, int)
    outcomes = [[row[0], *(one._replace(labels=whole) for one in row[1:])] for row in table.outcomes]
    scores = np.concatenate([table.scores[:, :1], np.full((len(table.cases), 2), 0.9)], 1)
    merged = table._replace(outcomes=outcomes, scores=scores)
    assert merged.parted.sum(1).max() == 1
    only = np.arange(3) > 0
    looks, runs = all_looks(merged), np.tile(only, (len(table.cases), 1))
    np.testing.assert_array_equal(worth_of_runs(advisor, merged, looks, runs), table.scores[:, 0])
    np.testing.assert_array_equal(worth_of_runs(advisor, merged, looks, ~runs), table.scores[:, 0])


def test_what_passes_one_is_still_told_apart(learned):
    advisor, _ = learned
    weights = jax.tree.map(np.array, advisor.criterion.choice.weights)
    weights["head"]["bias"] = weights["head"]["bias"] + 5
    raised = advisor._replace(
        criterion=advisor.criterion._replace(choice=advisor.criterion.choice._replace(weights=weights))
    )
    points = made(11, "moons").points
    partitions = [run(one, points, 2, 0).labels for one in CANDIDATES]
    higher, usual = (judge(one, points, partitions, 2).quality for one in (raised, advisor))
    np.testing.assert_allclose(higher, usual + 5, atol=1e-5)


def test_failures_are_put_into_words():
    points = np.zeros((4, 2))
    assert run(candidate("kmeans"), points, 9, 0).failure
    assert run(candidate("kmeans"), points, 1, 0).failure == "found fewer than two clusters"
    assert run(candidate("kmeans", n_clusters=2), points, 2, 0).labels is None


@pytest.mark.parametrize(("rows", "most"), [(2, 2), (3, 2), (4, 2), (5, 2), (6, 3), (7, 3)])
def test_rows_that_are_mostly_alone_are_no_clustering_unless_asked_for(rows, most):
    points = np.random.default_rng(0).normal(size=(rows, 2))
    found = {k: run(candidate("kmeans")._replace(clusters=k), points, None, 0) for k in range(2, rows + 1)}
    assert [k for k, outcome in found.items() if outcome.labels is not None] == list(range(2, most + 1))
    assert all("half as many" in found[k].failure for k in range(most + 1, rows + 1))
    assert run(candidate("kmeans"), points, rows, 0).labels is not None


def test_an_explanation_names_descriptors_and_meta_features(learned):
    points = made(11, "moons").points
    found = search(learned[0], points, 2)
    said = explain(learned[0], points, found, 2)
    assert said.flat.shape == (60, 2)
    assert 0 < said.kept <= 1 + 1e-6
    assert {reason.name for reason in said.reasons} <= set(SEEN)
    effects = [abs(reason.effect) for reason in said.reasons]
    assert effects == sorted(effects, reverse=True)
    assert effects[0] > 0
    assert all(0 <= placed.percentile <= 100 for placed in said.features)
    assert said.stability is None or -1 <= said.stability <= 1


def test_what_is_written_is_read_back_the_same(learned, tmp_path):
    path = tmp_path / "model.npz"
    save_model(path, {"given": learned[0]}, {"problems": 8})
    advisors, card = load_model(path)
    assert card == {"problems": 8}
    points = made(11, "moons").points
    before, after = (order(one, points, 2) for one in (learned[0], advisors["given"]))
    np.testing.assert_array_equal(before.candidates, after.candidates)
    assert advisors["given"].candidates == CANDIDATES
    assert advisors["given"].criterion.choice.settings == learned[0].criterion.choice.settings


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
        '{"kind": "model", "format": 3}',
        '{"kind": "poem", "format": 3}',
        "[",
        '{"kind": "model", "format": 3, "card": {}, "parts": {"record": "os"}}',
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
    monkeypatch.setattr("jmeta.selection.search.IDLE", 0.2)
    points = made(11, "moons").points
    first = search(learned[0], points, 2)
    until = time.monotonic() + 2
    while POOL._pool is not None and time.monotonic() < until:
        time.sleep(0.02)
    assert POOL._pool is None
    np.testing.assert_array_equal(search(learned[0], points, 2).ranking, first.ranking)


def test_what_hangs_is_given_up_and_kmeans_stands_in(learned, monkeypatch):
    monkeypatch.setattr("jmeta.selection.search.run", _Hanging())
    began = time.monotonic()
    found = search(learned[0], made(11, "blobs").points, 2, seconds=2.0)
    assert time.monotonic() - began < 60
    assert found.ranking.tolist() == [0]


class _Hanging:
    """Hangs in other processes, and runs in this one."""

    def __init__(self):
        self.home = os.getpid()

    def __call__(self, one, points, clusters, seed):
        if os.getpid() != self.home:
            time.sleep(600)
        return run(one, points, clusters, seed)
