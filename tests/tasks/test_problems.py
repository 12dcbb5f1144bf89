"""Problems with known answers, from battery files and from one's own folder."""

import jax
import numpy as np
import pytest

import jmeta as jm
from jmeta.tasks.problems import batteries, drawn, folder

POINTS = np.arange(12.0).reshape(6, 2)
LABELS = np.array([1, 1, 2, 2, 0, 2], np.int16)


@pytest.fixture
def suite(tmp_path):
    small = {"one/data": POINTS, "one/labels0": LABELS, "one/labels1": np.minimum(LABELS, 1)}
    large = {"two/data": np.zeros((20, 2)), "two/labels0": np.ones(20, int)}
    np.savez(tmp_path / "gagolewski_mine.npz", **small, **large, descriptions_json=np.array("{}"))
    return tmp_path


def test_a_battery_gives_every_set_with_all_its_labellings(suite):
    one, two = batteries(["mine"], data_dir=suite)
    assert (one.name, one.group, two.name) == ("mine/one", "mine", "mine/two")
    np.testing.assert_array_equal(one.points, POINTS)
    np.testing.assert_array_equal(one.labellings[0], [0, 0, 1, 1, -1, 1])
    assert len(one.labellings) == 2
    assert [problem.name for problem in batteries(["mine"], data_dir=suite, fewer_than=20)] == ["mine/one"]


def test_a_folder_of_files_is_read_whatever_their_kind(tmp_path):
    np.savez(tmp_path / "a.npz", data=POINTS, labels=LABELS)
    rows = "\n".join(f"{x},{label},{y}" for (x, y), label in zip(POINTS, LABELS, strict=True))
    (tmp_path / "b.csv").write_text(f"height,label,width\n{rows}\n")
    first, second = folder(tmp_path, group="mine")
    assert (first.name, second.name, second.group) == ("a", "b", "mine")
    np.testing.assert_array_equal(first.points, second.points)
    np.testing.assert_array_equal(first.labellings, second.labellings)


def test_problems_are_drawn_without_what_pads_them():
    sampler = jm.shapes(points=(10, 20), clusters=(2, 3), columns=(2, 4), kinds=["blobs"], noise=0)
    for problem in drawn(sampler, jax.random.key(0), 5, group="blobs"):
        labels = problem.labellings[0]
        assert 10 <= len(problem.points) == len(labels) <= 20
        assert np.all(np.ptp(problem.points, 0) > 0)
        assert set(labels) == set(range(labels.max() + 1))
    with pytest.raises(jm.InputError, match="give a sampler of unlabelled tasks"):
        drawn(jm.sinusoid(), jax.random.key(0), 1)
    with pytest.raises(jm.InputError, match="count is 0; give a whole number >= 1"):
        drawn(sampler, jax.random.key(0), 0)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"data": POINTS}, "is not a clustering problem"),
        ({"labels": LABELS}, "is not a clustering problem"),
        ({"data": POINTS, "labels": LABELS[:4]}, "is not a clustering problem"),
        ({"data": POINTS, "labels": LABELS + 0.5}, "whole numbers"),
        ({"data": POINTS, "labels": np.zeros(6, int)}, "whole numbers"),
        ({"data": POINTS, "labels": LABELS - 1}, "whole numbers"),
        ({"data": POINTS, "labels": np.array(list("aabbab"))}, "is not a clustering problem"),
        ({"data": POINTS * np.nan, "labels": LABELS}, "not finite"),
    ],
)
def test_what_is_no_problem_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(jm.InputError, match=message):
        folder(tmp_path)


def test_missing_and_damaged_files_are_named(tmp_path, suite, monkeypatch):
    monkeypatch.delenv("JMETA_DATA_DIR", raising=False)
    with pytest.raises(jm.InputError, match="no data folder is given"):
        batteries(["mine"])
    with pytest.raises(jm.InputError, match=r"no gagolewski_wut\.npz"):
        batteries(["wut"], data_dir=suite)
    with pytest.raises(jm.InputError, match="holds no"):
        folder(tmp_path / "empty")
    own = tmp_path / "own"
    own.mkdir()
    (own / "b.csv").write_text("x,label\n1,one\n")
    with pytest.raises(jm.InputError, match="cannot be read as numbers"):
        folder(own)
    (own / "b.csv").write_text("x,y,label\n1,1\n")
    with pytest.raises(jm.InputError, match="give one for each"):
        folder(own)
