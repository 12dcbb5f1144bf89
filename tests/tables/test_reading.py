"""Tables from files: every kind, every rule that is stated, and a sentence for what cannot be read."""

import builtins

import numpy as np
import pytest
from jmeta.estimators.reading import beside_words, encoded, read_sheet

import jmeta as jm


@pytest.fixture
def written(tmp_path):
    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_delimiters_and_encodings_are_found(written, delimiter, encoding):
    text = "größe;weight\n1;2.5\n3;4\n".replace(";", delimiter)
    sheet = read_sheet(written(text.encode(encoding)))
    assert sheet.names == ("größe", "weight")
    np.testing.assert_array_equal(sheet.points, [[1, 2.5], [3, 4]])


def test_words_gaps_and_constants_follow_the_stated_rules(written):
    lines = ["id,age,color,note,same,empty"]
    lines += [
        f"name{place},{place if place != 3 else '?'},{'red' if place % 2 else ''},x,7," for place in range(25)
    ]
    sheet = read_sheet(written("\n".join(lines)))
    assert sheet.names == ("age", "color=missing", "color=red")
    ages = np.array([place for place in range(25) if place != 3])
    assert sheet.points[3, 0] == np.median(ages)
    rows = sheet.points[:, 1:]
    assert np.linalg.norm(rows[0] - rows[1]) == pytest.approx(1)
    assert set(sheet.columns) == {"age", "color"}
    said = " ".join(sheet.notes)
    read = ("25 different words", "1 missing values of column 'age'", "one word", "one value")
    for words in (*read, "holds no value", "its 13 missing values are one of the words"):
        assert words in said


def test_beside_words_a_number_weighs_by_its_deviation(written):
    lines = [f"{1000 * (place % 2)},{'red' if place < 2 else 'blue'}" for place in range(40)]
    sheet = read_sheet(written("\n".join(["income,color", *lines])))
    both = beside_words(sheet)
    np.testing.assert_array_equal(both.points[:, 1:], sheet.points[:, 1:])
    np.testing.assert_allclose(both.points[:, 0].std(), 1)


@pytest.mark.parametrize(("numbers", "width"), [((0.3, 0.1 + 0.2), 1e-15), ((0.0, 1e-200), 1e-15)])
def test_rounding_is_no_deviation(numbers, width):
    sheet = encoded({"x": np.array([*numbers, *numbers]), "color": np.array([*"rrbb"])})
    assert np.ptp(beside_words(sheet).points[:, 0]) < width


def test_numbers_that_would_overflow_are_refused():
    sheet = encoded({"x": np.array([0.0, 1e301]), "color": np.array([*"rb"])})
    with pytest.raises(jm.InputError, match="beyond"):
        beside_words(sheet)


def test_a_first_line_with_a_number_is_no_header_and_names_are_told_apart(written):
    assert read_sheet(written("1,2\n3,4\n")).names == ("column 1", "column 2")
    assert read_sheet(written("a,a,\n1,2,3\n4,5,6\n")).names == ("a", "a 2", "column 3")


def test_quoted_fields_may_hold_the_delimiter(written):
    assert read_sheet(written('"a, b",c\n1,2\n3,4\n')).names == ("a, b", "c")


def test_arrays_are_read_from_npy_npz_and_parquet(tmp_path):
    points = np.arange(6.0).reshape(3, 2)
    np.save(tmp_path / "a.npy", points)
    np.savez(tmp_path / "a.npz", data=points, labels0=np.zeros(3))
    for name in ("a.npy", "a.npz"):
        np.testing.assert_array_equal(read_sheet(tmp_path / name).points, points)
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(
        arrow.table({"x": [1.0, None, 3.0], "kind": ["a", "b", None]}), tmp_path / "a.parquet"
    )
    sheet = read_sheet(tmp_path / "a.parquet")
    assert sheet.names == ("x", "kind=a", "kind=b", "kind=missing")
    np.testing.assert_array_equal(sheet.points[:, 0], [1, 2, 3])


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "a.csv", "is empty"),
        ("\n\n", "a.csv", "is empty"),
        ("a,b\n", "a.csv", "a header and no rows"),
        ("a,b\n1,2\n3\n4,5\n", "a.csv", "line 3 of a.csv has 1 fields"),
        ("a\n\x00\n", "a.csv", "is not a text file"),
        (b"\xff\xfe\x00", "a.csv", "byte order mark is UTF-16"),
        ("a,b\n,\n,\n", "a.csv", "no column of the table can be used"),
        ("a,b\n1,2\n1,2\n", "a.csv", "no column of the table can be used"),
        (b"\x93NUMPY", "a.npy", "damaged"),
        (b"PK", "a.npz", "damaged"),
        ("x", "a.xlsx", "is of an unknown type"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(written, content, name, message):
    with pytest.raises(jm.InputError, match=message):
        read_sheet(written(content, name))


def test_arrays_that_are_no_tables_are_refused(tmp_path):
    np.save(tmp_path / "flat.npy", np.arange(3.0))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "flat.npz", a=np.arange(3.0))
    for name, message in {"flat": r"shape \(3,\)", "objects": "damaged or holds objects"}.items():
        with pytest.raises(jm.InputError, match=message):
            read_sheet(tmp_path / f"{name}.npy")
    with pytest.raises(jm.InputError, match="holds no table"):
        read_sheet(tmp_path / "flat.npz")
    with pytest.raises(jm.InputError, match="there is no file"):
        read_sheet(tmp_path / "missing.csv")


def test_parquet_without_its_package_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(jm.InputError, match="install it with pip install pyarrow"):
        read_sheet(tmp_path / "a.parquet")
