"""Tables from files: every type, text as programs write it, and a sentence for what cannot be read."""

import gzip
import io
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest

import jmeta as jm
from jmeta.files import TABLE_ENDINGS, check_table_file
from jmeta.tables.reading import READERS, read_sheet

ROWS = "\n".join(f"{place / 7:.3f}{{0}}{place * 37 % 11}" for place in range(30)) + "\n"
COMMAS = ROWS.format(",")


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
    frame = read_sheet(written(text.encode(encoding))).frame
    assert frame.columns.tolist() == ["größe", "weight"]
    assert frame.to_numpy().tolist() == [["1", "2.5"], ["3", "4"]]


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("a,b\n" + COMMAS, ["a", "b"], 30),
        (COMMAS, ["column 1", "column 2"], 30),
        ("Na,K\n" + COMMAS, ["Na", "K"], 30),  # sodium, which is a word for a gap elsewhere
        ("2001,2002\n" + COMMAS, ["2001", "2002"], 30),
        ("0,1\n" + COMMAS, ["0", "1"], 30),  # as pandas writes an array
        ("1,2\n3,4\n", ["column 1", "column 2"], 2),
        (",0,1\n" + "\n".join(f"{i},{i * i},{i % 7}" for i in range(30)), ["column 1", "0", "1"], 30),
        ("id,2024-01,2024-02\n1,5,6\n2,7,9\n", ["id", "2024-01", "2024-02"], 2),
        ("2024-01-01,5\n2024-01-02,9\n", ["column 1", "column 2"], 2),
        ("red,x\nblue,y\nred,y\nblue,x\n", ["column 1", "column 2"], 4),  # words that recur below
        ("color,shape\nred,x\nblue,y\nred,x\n", ["color", "shape"], 3),
        ("12o,5\n" + COMMAS, ["column 1", "column 2"], 31),  # a mistyped number
        ("a,a,\n1,2,3\n4,5,6\n", ["a", "a 2", "column 3"], 2),
        ('"a, b",c\n1,2\n3,4\n', ["a, b", "c"], 2),
        ("# of a logger, 2024\na,b\n" + COMMAS, ["a", "b"], 30),
        ("# x y\n" + ROWS.format(" "), ["x", "y"], 30),  # as numpy.savetxt writes a header
        ("Report of March\n\na,b\n" + COMMAS, ["a", "b"], 30),
        ('h\tw\n"1"\t0.5\t2\n"2"\t1.5\t3\n', ["column 1", "h", "w"], 2),  # as R writes row names
        ("  1.0   2.5\n 10.0   3.5\n", ["column 1", "column 2"], 2),
        ('"a" "b c"\n"x y" 2\n"z" 3\n', ["a", "b c"], 2),
        ("size;kind\n1,5;a\n2,25;b\n", ["size", "kind"], 2),
        ("size\n1,5\n2,25\n", ["size"], 2),
        ("said\nit is good, I think\nit was bad\n", ["said"], 2),
        ("a,b\r\n1,2\r\n3,4\r\n", ["a", "b"], 2),
        ("a,b\n1,2\n\n3,4\n", ["a", "b"], 2),
        ("a,b\n1,2,\n3,4,\n", ["a", "b", "column 3"], 2),  # a delimiter at the end of rows only
        ("#name,city\nAnn,Rome\nBen,Paris\n", ["name", "city"], 2),  # a comment that is the header
        ("sep=;\na;b\n1,5;2\n3;4\n", ["a", "b"], 2),  # for Excel
        ("sep=,\n1,5\n2,7\n", ["column 1", "column 2"], 2),
        ("sep=|\r\na,5|b\r\nx,y|z\r\nu,v|w\r\n", ["a,5", "b"], 2),
        ('"a\n(kg)",b\n1,2\n3,4\n', ["a\n(kg)", "b"], 2),  # a line break in the header
    ],
)
def test_headers_and_rows_are_found(written, text, names, rows):
    frame = read_sheet(written(text)).frame
    assert (frame.columns.tolist(), len(frame)) == (names, rows)


def test_a_row_of_units_is_no_data(written):
    sheet = read_sheet(written("time,name,speed\n[s],,m/s\n1,a,2\n3,b,4\n"))
    assert sheet.units == {"time": "s", "speed": "m/s"}
    assert len(sheet.frame) == 2
    assert "the row below the header holds units" in sheet.notes[0]
    assert len(read_sheet(written("age,name\nn/a,a\n1,b\n2,c\n")).frame) == 3


def test_rows_of_several_lines_are_read(written):
    cell = '"one\ntwo, three"'
    frame = read_sheet(written("a,b\n" + f"{cell},1\n" * 150)).frame
    assert frame.shape == (150, 2)
    assert frame["a"][149] == "one\ntwo, three"


def test_a_comma_that_is_the_decimal_separator_is_no_delimiter(written):
    path = written("1,5\n2,25\n")
    assert read_sheet(path).frame.shape == (2, 2)
    assert read_sheet(path, decimal=",").frame.shape == (2, 1)


def test_every_type_of_file_gives_the_same_table(tmp_path):
    table = pd.DataFrame({"x": [1.5, np.nan, 3.0], "kind": ["a", "b", None]})
    table.to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    table.to_excel(tmp_path / "a.xlsx", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    table.to_feather(tmp_path / "a.feather")
    table.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    table.to_json(tmp_path / "a.json", orient="records")
    for path in sorted(tmp_path.iterdir()):
        encoder = jm.TableEncoder().fit(read_sheet(path).frame)
        assert encoder.get_feature_names_out().tolist() == ["x", "kind=a", "kind=b", "kind=missing"], path
        assert encoder.transform(read_sheet(path).frame)[:, 0].tolist() == [1.5, 2.25, 3.0], path


def test_arrays_are_read_from_npy_and_npz(tmp_path):
    points = np.arange(6.0).reshape(3, 2)
    np.save(tmp_path / "a.npy", points)
    np.savez(tmp_path / "a.npz", data=points, labels0=np.zeros(3))
    for name in ("a.npy", "a.npz"):
        np.testing.assert_array_equal(read_sheet(tmp_path / name).frame.to_numpy(), points)


def test_parquet_with_repeated_names_or_an_index_is_read(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(arrow.table([[1.0], [2.0]], names=["v", "v"]), tmp_path / "twice.parquet")
    assert read_sheet(tmp_path / "twice.parquet").frame.columns.tolist() == ["v", "v 2"]
    pd.DataFrame({"v": [1.0, 2.0]}, index=[7, 8]).to_parquet(tmp_path / "index.parquet")
    assert read_sheet(tmp_path / "index.parquet").frame.columns.tolist() == ["v", "index"]


def test_excel_with_a_title_and_units_is_read(tmp_path):
    rows = [["Report of March", None], [None, None], ["size", "kind"], ["mm", None], [1.5, "a"], [2, "b"]]
    pd.DataFrame(rows).to_excel(tmp_path / "a.xlsx", index=False, header=False)
    sheet = read_sheet(tmp_path / "a.xlsx")
    assert sheet.units == {"size": "mm"}
    assert sheet.frame["size"].tolist() == [1.5, 2]


def test_excel_of_mostly_empty_cells_is_read(tmp_path):
    rows = [["a", None, None], [1, None, None], [None, "x", None], [None, None, 3.5]]
    pd.DataFrame(rows).to_excel(tmp_path / "a.xlsx", index=False, header=False)
    sheet = read_sheet(tmp_path / "a.xlsx")
    assert sheet.frame.columns.tolist() == ["a", "column 2", "column 3"]
    assert len(sheet.frame) == 3


def test_excel_with_damaged_xml_is_refused(tmp_path):
    pd.DataFrame({"a": [1, 2]}).to_excel(tmp_path / "a.xlsx", index=False)
    with zipfile.ZipFile(tmp_path / "a.xlsx") as whole, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as damaged:
        for name in whole.namelist():
            damaged.writestr(name, whole.read(name)[: 90 if "sheet1" in name else None])
    with pytest.raises(jm.InputError, match=r"b\.xlsx is damaged"):
        read_sheet(tmp_path / "b.xlsx")


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,2\n3,4\n")))
    assert read_sheet("-").frame.columns.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "a.csv", "is empty"),
        ("\n\n", "a.csv", "is empty"),
        ("a,b\n", "a.csv", "a header and no rows"),
        ("a,b\n1,2\n3\n4,5\n", "a.csv", "line 3 of a.csv has 1 fields"),
        ("a,b\n" + "1,2\n" * 300 + "3\n", "a.csv", "line 302 of a.csv has 1 fields"),
        ("a,b\n" + "1,2\n" * 300 + "3,4,5\n", "a.csv", "line 302 of a.csv has 3 fields"),
        ('a,b\n1,"x\n2,y\n3,z\n', "a.csv", "cannot be read as CSV"),
        ("a\n\x00\n", "a.csv", "is not a text file"),
        (b"\xff\xfe\x00", "a.csv", "byte order mark is UTF-16"),
        (b"\x1f\x8babc", "a.csv.gz", "is damaged"),
        (b"\x93NUMPY", "a.npy", "damaged"),
        (b"PK", "a.npz", "damaged"),
        (b"PK", "a.xlsx", "damaged"),
        (b"PAR1", "a.parquet", "damaged"),
        (b"ARROW1", "a.feather", "damaged"),
        ("{", "a.jsonl", "damaged"),
        ("x", "a.doc", "is of an unknown type"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(written, content, name, message):
    with pytest.raises(jm.InputError, match=message):
        read_sheet(written(content, name))


def test_paths_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(jm.InputError, match="there is no file"):
        check_table_file(tmp_path / "missing.csv")
    with pytest.raises(jm.InputError, match="is a folder"):
        check_table_file(tmp_path)
    assert set(READERS) <= set(TABLE_ENDINGS)


def test_arrays_that_are_no_tables_are_refused(tmp_path):
    np.save(tmp_path / "flat.npy", np.arange(3.0))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "flat.npz", a=np.arange(3.0))
    for name, message in {"flat": r"shape \(3,\)", "objects": "damaged"}.items():
        with pytest.raises(jm.InputError, match=message):
            read_sheet(tmp_path / f"{name}.npy")
    with pytest.raises(jm.InputError, match="holds no table"):
        read_sheet(tmp_path / "flat.npz")


@pytest.mark.parametrize(("missing", "ending"), [("pyarrow", "parquet"), ("openpyxl", "xlsx")])
def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, missing, ending):
    path = tmp_path / f"a.{ending}"
    getattr(pd.DataFrame({"a": [1, 2]}), {"parquet": "to_parquet", "xlsx": "to_excel"}[ending])(path)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(jm.InputError, match=r"needs a package .* pip install 'jmeta\[tables\]'"):
        read_sheet(path)
