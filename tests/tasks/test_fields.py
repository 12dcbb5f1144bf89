"""Problems of five fields, from small files of the same form."""

import numpy as np
import pytest

import jmeta as jm
from jmeta.tasks import fields
from jmeta.tasks.fields import CORPORA, FIELDS, bundled_tables, field, reduced

RANDOM = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    texts = {}
    for corpus in CORPORA:
        texts[f"{corpus}/lsa64"] = RANDOM.normal(size=(200, 6)).astype(np.float16)
        texts[f"{corpus}/labels0"] = np.arange(200, dtype=np.int16) % 8
    np.savez(tmp_path / "text_clustering_intents.npz", **texts)
    cells = {f"{name}/data": RANDOM.normal(size=(80, 90)) for name in ("mECS", "Pollen")}
    cells["pbmc68k_reduced/pca50"] = RANDOM.normal(size=(80, 50))
    for name in ("mECS", "Pollen", "pbmc68k_reduced"):
        cells[f"{name}/labels0"] = 1 + np.arange(80, dtype=np.int16) % 5
    np.savez(tmp_path / "scrnaseq_small.npz", **cells)
    for battery in ("wut", "sipu", "fcps", "graves", "uci", "other"):
        arrays = {"one/data": RANDOM.normal(size=(9, 2)), "one/labels0": np.arange(9) % 3 + 1}
        np.savez(tmp_path / f"gagolewski_{battery}.npz", **arrays)

    def load(name, split="all", *, data_dir=None):
        names = tuple(f"{'AB'[place % 2] if name == 'omniglot' else name}/{place}" for place in range(20))
        examples = RANDOM.integers(0, 255, (20, 30, 8, 8, 1)).astype(np.uint8)
        return jm.ClassImages(examples, np.full(20, 30), names, name)

    monkeypatch.setattr(fields, "load", load)
    return tmp_path


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_has_problems_with_answers_that_follow_from_the_seed(name, folder):
    found, again = (field(name, data_dir=folder, count=3, seed=1) for _ in range(2))
    assert len(found) >= 2
    assert len({problem.name for problem in found}) == len(found)
    for problem, same in zip(found, again, strict=True):
        labels = problem.labellings[0]
        assert problem.group == name
        assert problem.points.ndim == 2
        assert problem.points.shape[1] <= 64
        assert np.all(np.isfinite(problem.points))
        assert len(labels) == len(problem.points)
        assert set(labels) == set(range(labels.max() + 1))
        assert problem.source
        np.testing.assert_array_equal(labels, same.labellings[0])
    if name in ("text", "biology", "images"):
        other = field(name, data_dir=folder, count=3, seed=2)
        assert any(len(a.points) != len(b.points) for a, b in zip(found, other, strict=True))


def test_an_embedding_makes_problems_of_its_own_beside_the_pixels(folder):
    embeds = {"cifar": lambda images: images.reshape(len(images), -1)[:, :2] / 255.0}
    found = field("images", data_dir=folder, count=1, embeds=embeds)
    assert [problem.name.split(" ")[1] for problem in found].count("embedded") == 2
    widths = {problem.points.shape[1] for problem in found if problem.name.endswith("embedded")}
    assert widths == {2}


def test_no_two_fields_hold_the_same_points(folder):
    for battery in ("uci", "other"):
        iris, labels = RANDOM.normal(size=(9, 4)), np.arange(9) % 3 + 1
        arrays = {"iris/data": iris, "iris/labels0": labels, "one/data": 2 * iris, "one/labels0": labels}
        np.savez(folder / f"gagolewski_{battery}.npz", **arrays)
    names = {name: {p.name for p in field(name, data_dir=folder, count=1)} for name in ("shapes", "tables")}
    assert {"uci/iris", "uci/one", "other/iris", "sklearn/digits"} == names["tables"]
    assert "other/one" in names["shapes"]


def test_tables_of_scikit_learn_need_no_file():
    names = {problem.name: problem.points.shape for problem in bundled_tables()}
    assert names["sklearn/iris"] == (150, 4)
    assert names["sklearn/wine"] == (178, 13)


def test_wide_data_keep_their_largest_axes():
    wide = RANDOM.normal(size=(40, 3)) @ RANDOM.normal(size=(3, 90))
    found = reduced(wide, axes=5)
    assert found.shape == (40, 5)
    np.testing.assert_allclose(np.square(found).sum(), np.square(wide - wide.mean(0)).sum(), rtol=1e-6)


@pytest.mark.faults
def test_missing_fields_and_files_are_named(tmp_path):
    with pytest.raises(jm.InputError, match="no field"):
        field("music")
    with pytest.raises(jm.InputError, match="count is 0; give a whole number >= 1"):
        field("text", count=0)
    with pytest.raises(jm.InputError, match="text_clustering_intents"):
        field("text", data_dir=tmp_path)
    np.savez(tmp_path / "text_clustering_intents.npz", other=np.zeros(3))
    with pytest.raises(jm.InputError, match="lacks banking77"):
        field("text", data_dir=tmp_path)
