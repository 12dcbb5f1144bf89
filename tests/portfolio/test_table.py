"""The table of candidates: right scores, nothing run twice, and failures that are recorded, not fatal."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

import jmeta as jm
from jmeta.portfolio import candidate, performance_table, portfolio, table
from jmeta.portfolio.running import candidate_labels
from jmeta.tasks.problems import Problem


def blobs(seed, count=40):
    points, labels = make_blobs(count, centers=[[0, 0], [9, 0], [0, 9]], random_state=seed)
    return Problem(f"blobs{seed}", "blobs", points, (labels, np.minimum(labels, 1)), "made here")


PROBLEMS = [blobs(0), blobs(1)]
FEW = (candidate("ward"), candidate("hdbscan", min_samples=4))


def run(folder, problems=PROBLEMS, candidates=FEW, **options):
    return performance_table(problems, candidates, folder=folder, jobs=1, backend="threading", **options)


def test_a_case_for_every_labelling_and_its_number_of_clusters(tmp_path):
    found = run(tmp_path)
    assert [(case.problem, case.clusters) for case in found.instances] == [(0, 3), (0, 2), (1, 3), (1, 2)]
    assert found.scores.shape == (4, 2)
    np.testing.assert_allclose(found.scores[[0, 2], 0], 1)
    assert found.groups == ["blobs"] * 4
    assert not any(outcome.failure for row in found.outcomes for outcome in row)
    assert all(len(outcome.labels) == 40 for row in found.outcomes for outcome in row)


def test_what_is_there_is_not_run_again_and_damage_is_made_good(tmp_path, monkeypatch):
    first = run(tmp_path)
    files = sorted(tmp_path.glob("*.npz"))
    assert len(files) == 4 + 2  # hdbscan does not depend on the number of clusters
    files[0].write_bytes(b"PK")
    again = run(tmp_path)
    np.testing.assert_array_equal(first.scores, again.scores)
    monkeypatch.setattr(table, "_run_and_write", lambda *arguments: pytest.fail("it was there already"))
    run(tmp_path)
    with pytest.raises(pytest.fail.Exception):
        run(tmp_path, seed=1)


@pytest.mark.faults
def test_a_candidate_that_fails_or_takes_too_long_is_recorded_and_counts_as_nothing(tmp_path):
    tiny = Problem("tiny", "mine", np.zeros((2, 2)), (np.array([0, 1]),), "made here")
    found = run(tmp_path / "a", [tiny, PROBLEMS[0]], (candidate("gaussian_mixture", covariance_type="odd"),))
    assert all("gaussian_mixture" in row[0].failure for row in found.outcomes)
    assert np.all(found.scores == 0)
    slow = blobs(2, 3000)
    found = run(tmp_path / "b", [slow], (candidate("affinity_propagation"), FEW[0]), seconds=0.2)
    assert "more than 0.2 seconds" in found.outcomes[0][0].failure
    assert found.outcomes[0][0].labels is None
    assert found.scores[0, 0] == 0


def test_noise_of_the_answer_does_not_count_and_noise_that_is_found_is_one_cluster():
    truth = np.array([0, 0, 1, 1, -1])
    assert table.score(truth, np.array([5, 5, 2, 2, 2])) == 1
    assert table.score(truth, np.array([0, 0, -1, -1, 0])) == 1
    assert table.score(truth, np.zeros(5, int)) == 0


def test_scaled_candidates_do_not_see_units():
    points = PROBLEMS[0].points
    stretched = points * [1, 1000]
    same = [candidate_labels(candidate("kmeans", scaled=True), x, 3, 0) for x in (points, stretched)]
    np.testing.assert_array_equal(*same)


def test_portfolios_hold_distinct_candidates_that_exist():
    for name in ("seven", "genie", "grid", "all"):
        names = [one.name for one in portfolio(name)]
        assert len(names) == len(set(names))
    assert set(portfolio("seven")) < set(portfolio("grid")) < set(portfolio("all"))
    with pytest.raises(jm.InputError, match="there is no portfolio"):
        portfolio("eight")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"problems": []}, "make no table"),
        ({"candidates": ()}, "make no table"),
        ({"seconds": 0.0}, "give a positive time limit"),
        ({"seconds": float("nan")}, "give a positive time limit"),
    ],
)
def test_what_makes_no_table_is_refused(tmp_path, options, message):
    with pytest.raises(jm.InputError, match=message):
        run(tmp_path, **options)


@pytest.mark.faults
def test_a_backend_that_joblib_lacks_is_refused(tmp_path):
    with pytest.raises(jm.InputError, match="joblib cannot run the table"):
        performance_table(PROBLEMS, FEW, folder=tmp_path, backend="nowhere")


def test_blobs_far_from_the_origin_are_found_on_the_device_as_on_the_host():
    random = np.random.default_rng(0)
    truth = np.repeat([0, 1], 30)
    points = random.normal(size=(60, 2)) + 10.0 * truth[:, None] + 1e8
    for device in (False, True):
        labels = candidate_labels(candidate("kmeans", device=device), points, 2, 0)
        assert adjusted_rand_score(truth, labels) == 1
