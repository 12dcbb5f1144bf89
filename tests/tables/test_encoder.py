"""Columns of tables: what they are taken for, their encoding by hand, and the state as data."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

import jmeta as jm
from jmeta.tables.cells import as_cells, as_numbers
from jmeta.tables.recognition import recognise

N = 60
RANDOM = np.random.default_rng(0)
GROUP = np.arange(N) % 3
SIZES = RANDOM.integers(1, 90, N)


def column(cells, **options):
    """What a column of these cells is taken for."""
    (found,) = jm.TableEncoder(**options).fit(pd.DataFrame({"x": cells})).columns_
    return found


def column_beside_numbers(cells, name="x"):
    """What a column of these cells is taken for beside one of numbers."""
    return recognise(pd.DataFrame({name: cells, "beside": np.sin(np.arange(len(cells)))}))[0]


def kind(cells, name="x"):
    """The kind of a column beside one of numbers."""
    return type(column_beside_numbers(cells, name)).__name__


@pytest.mark.parametrize(
    ("cells", "values", "unit"),
    [
        (["1,234", "12,345.5", "7"], [1234, 12345.5, 7], ""),
        (["1.200.492,06", "3,5", "7"], [1200492.06, 3.5, 7], ""),
        (["1,5", "2,25", "1.234"], [1.5, 2.25, 1234], ""),
        (["$1,234.50", "($8.00)", "-$7"], [1234.5, -8, -7], "$"),
        (["8,76 €", "1.200,5 €", "3 €"], [8.76, 1200.5, 3], "€"),
        (["12.3%", "4 %", "5.5%"], [12.3, 4, 5.5], "%"),
        (["8 kg", "9.5 kg", "10 kg"], [8, 9.5, 10], "kg"),
        (["1 200 492.5", "1'200.5", "\u22123"], [1200492.5, 1200.5, -3], ""),
        (["12,34,567", "1e3", "+5"], [1234567, 1000, 5], ""),
        (["EUR 5.5", "EUR 6.5", "EUR 7"], [5.5, 6.5, 7], "EUR"),
    ],
)
def test_numbers_as_people_write_them(cells, values, unit):
    found = column(cells)
    assert found.read(pd.Series(cells)).tolist() == values
    assert found.unit == unit


def test_a_column_takes_the_decimal_separator_of_the_others():
    encoder = jm.TableEncoder().fit(pd.DataFrame({"a": ["1,5", "2,5"], "b": ["1.234", "2.345"]}))
    assert encoder.transform(pd.DataFrame({"a": ["3,5"], "b": ["1.000"]})).tolist() == [[3.5, 1000]]
    assert column(["1,234", "2,345"], decimal=",").fill == pytest.approx(1.7895)


@pytest.mark.parametrize(
    "gap", ["", "NA", "#N/A", "<NA>", ".", "?", "n/a", "null", "-", None, np.nan, np.inf]
)
def test_words_for_gaps_leave_a_column_of_numbers(gap):
    found = column([1.0, 2.0, gap, 9.0])
    assert type(found).__name__ == "Number"
    assert found.fill == 2.0
    assert "1 gap is replaced by the median 2" in found.note


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([1, 5, 3, -999], (-999,)),
        ([1, 5, 3, 99, 98], (98, 99)),
        ([60, 80, 99], ()),
        ([0.5, 0.7, 9999], (9999,)),
        ([100, 900, 999], ()),
    ],
)
def test_a_code_far_from_all_numbers_is_a_gap(values, codes):
    found = column(values)
    assert found.codes == codes
    assert np.isnan(found.read(pd.Series(values)).to_numpy()).sum() == len(codes)


def test_values_said_to_be_missing_take_the_place_of_codes():
    assert column([1, 2, 3, 9, -999], missing=["9"]).codes == ()
    assert column(["1", "2", "9", "4"], missing=["9"]).read(pd.Series(["1"])).tolist() == [1]
    frame = pd.DataFrame({"x": [1, 2, 9, 3]})
    assert jm.TableEncoder(missing=["9"]).fit_transform(frame)[:, 0].tolist() == [1, 2, 2, 3]


def test_values_said_to_be_missing_are_numbers_where_cells_are_and_must_occur():
    frame = pd.DataFrame({"x": ["1.0", "2.0", "-9.0", "3.0"]})
    assert jm.TableEncoder(missing=["-9"]).fit_transform(frame)[:, 0].tolist() == [1, 2, 2, 3]
    with pytest.warns(jm.InputWarning, match="no cell of the table is '-8'"):
        jm.TableEncoder(missing=["-9", "-8"]).fit(frame)


def test_unreadable_cells_of_new_rows_are_gaps_with_a_warning():
    frame = pd.DataFrame({"x": ["1", "2", "4"], "day": ["2022-01-01", "2022-01-02", "2022-01-04"]})
    encoder = jm.TableEncoder().fit(frame)
    new = pd.DataFrame({"x": ["7", "old", "n/a", "new"], "day": ["2022-01-05", "", "May", "2022-01-07"]})
    with pytest.warns(jm.InputWarning) as caught:
        assert encoder.transform(new)[:3, 0].tolist() == [7, 2, 2]
    assert [str(warning.message).split(";")[0] for warning in caught] == [
        "2 cells of column 'x' cannot be read as numbers, such as 'old'",
        "1 cell of column 'day' cannot be read as dates, such as 'May'",
    ]


def test_words_that_are_whole_numbers_have_no_decimals():
    encoder = jm.TableEncoder(categorical=["x"]).fit(pd.DataFrame({"x": [1, 2, 3]}))
    rows = encoder.transform(pd.DataFrame({"x": [1.0, 3.0, 2.0]}))
    np.testing.assert_allclose(rows * np.sqrt(2), np.eye(3)[[0, 2, 1]])


def test_a_mistyped_cell_is_a_gap_and_is_reported():
    cells = [*map(str, range(0, 90, 3)), "12o"]
    found = column(cells)
    assert type(found).__name__ == "Number"
    assert "'12o' is not a number" in found.note
    assert np.isnan(found.read(pd.Series(["12o"])).to_numpy()).all()
    assert "'refused' is not a number" in column(["1", "7", "refused", "3", "refused", "4"]).note


@pytest.mark.parametrize(
    ("cells", "name", "expected"),
    [
        (RANDOM.permutation(N), "x", "LeftOut"),  # running numbers in any order
        (RANDOM.permutation(9000)[:N], "customer_id", "LeftOut"),
        (RANDOM.permutation(9000)[:N], "CustomerID", "LeftOut"),
        (RANDOM.permutation(9000)[:N], "visits", "Number"),
        (RANDOM.permutation(9000)[:N] / 7, "customer_id", "Number"),
        ([f"{place:08x}-17ab" for place in range(N)], "x", "LeftOut"),
        ([f"Al{place} Smith" for place in range(N)], "x", "LeftOut"),
        ([f"the parcel {place} was late again" for place in range(N)], "x", "Text"),
        ([f"town {place % 25}" for place in range(N)], "x", "Text"),
        (["01067", "04109"] * (N // 2), "zip", "Category"),
        ([*map(str, SIZES), "05", "007"], "x", "Number"),  # padded by mistake
        ([f"{place % 24:02d}" for place in range(N)], "x", "Number"),
        ([f"{place % 7 + 8:03d}" for place in range(N)], "x", "Category"),
        (np.array(["red", "blue", ""])[GROUP], "x", "Category"),
        (GROUP, "x", "Number"),
        (GROUP > 0, "x", "Number"),
        ([7] * N, "x", "LeftOut"),
        (["red"] * N, "x", "LeftOut"),
        ([""] * (N - 2) + ["1", "2"], "x", "LeftOut"),
        ([[1, 2]] * N, "x", "LeftOut"),
        (np.exp(1j * np.arange(N)), "x", "LeftOut"),
        ([f"{place % 24:02d}:{place:02d}" for place in range(N)], "x", "Date"),
        (["May", "June", "July"] * (N // 3), "x", "Category"),
        (["1-2", "3-4", "5+"] * (N // 3), "x", "Category"),
        (["2010_01", "2010_02", "2011_01"] * (N // 3), "x", "Category"),
        ([1, 2.5, "12o", None] * (N // 4), "x", "Number"),
        (pd.Categorical(GROUP), "x", "Category"),
        (pd.array([1, None, 3] * (N // 3), dtype="Int64"), "x", "Number"),
    ],
)
def test_columns_are_taken_for_what_they_are(cells, name, expected):
    assert kind(cells, name) == expected


@pytest.mark.parametrize(
    "format", ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y-%m-%d %H:%M:%S", "%B %d, %Y", "%Y%m%d"]
)
def test_dates_are_days(format):
    dates = pd.Series(pd.Timestamp("2020-01-05") + pd.to_timedelta(17 * np.arange(40), unit="D"))
    cells = dates.dt.strftime(format)
    found = column([*cells, None])
    assert type(found).__name__ == "Date"
    np.testing.assert_array_equal(found.encode(found.read(cells))[:, 0], 18266 + 17 * np.arange(40))
    assert column(dates).encode(dates)[0, 0] == 18266
    assert "1 gap is replaced by the median 2020" in found.note


@pytest.mark.parametrize(
    ("cells", "beside", "days"),
    [
        (["01.01.2022", "01.02.2022"], "1.5", [18993, 19024]),
        (["01.02.22", "03.04.22"], "1.5", [19024, 19085]),
        (["01/02/2022", "03/04/2022"], "1,5", [19024, 19085]),
        (["01/02/2022", "03/04/2022"], "1.5", [18994, 19055]),
        (["01/02/22", "03/04/22"], "1,5", [19024, 19085]),
        (["01/02/22", "03/04/22"], "1.5", [18994, 19055]),
        (["31/01/22", "03/04/22"], "1.5", [19023, 19085]),
    ],
)
def test_the_day_is_first_in_dates_with_dots_or_beside_decimal_commas(cells, beside, days):
    table = pd.DataFrame({"x": cells, "beside": [beside, "2"]})
    assert jm.TableEncoder(kept=["x"]).fit(table).transform(table)[:, 0].tolist() == days


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (["2022-01-01", "2022-01-02", "9999-12-31", "2022-01-03"], [18993, 18994, 18994, 18995]),
        (np.array(["2022-01-01", "9999-12-31", "2022-01-03"], "datetime64[us]"), [18993, 18994, 18995]),
        (["1500-01-01", "1500-01-02", None, "1500-01-03"], [-171664, -171663, -171663, -171662]),
        (np.array(["1500-01-01", "NaT", "1500-01-03"], "datetime64[us]"), [-171664, -171663, -171662]),
        (["20220101.0", "20220103.0"] * 12 + ["inf"], [18993, 18995] * 12 + [18994]),
        ([20220101, 20220103] * 12 + [np.inf], [18993, 18995] * 12 + [18994]),
        ([20220101, 20220103] * 12 + [99991231], [18993, 18995] * 12 + [18994]),
    ],
)
def test_dates_of_any_year_are_days_and_open_ends_are_gaps(cells, days):
    table = pd.DataFrame({"x": cells})
    encoder = jm.TableEncoder().fit(table)
    assert type(encoder.columns_[0]).__name__ == "Date"
    assert encoder.encode(encoder.read(table))[:, 0].tolist() == days


@pytest.mark.parametrize(
    ("cells", "kinds"),
    [
        ({"name": list("abcdef"), "x": [1, 5, 2, 2, 7, 9]}, ["LeftOut", "Number"]),
        ({"row": range(6), "x": [1, 5, 2, 2, 7, 9]}, ["LeftOut", "Number"]),
        ({"rank": [3, 1, 2, 6, 5, 4], "x": [1, 5, 2, 2, 7, 9]}, ["Number", "Number"]),
        ({"name": list("abcd"), "x": [1, 5, 2, 2]}, ["Category", "Number"]),
        ({"row": range(6), "same": 1}, ["Number", "LeftOut"]),  # where no other column remains
    ],
)
def test_names_and_numbers_of_few_rows_are_left_out_where_others_remain(cells, kinds):
    assert [type(column).__name__ for column in recognise(pd.DataFrame(cells))] == kinds


def test_texts_that_differ_only_in_case_are_left_out():
    cells = ["".join(np.where(bits, list("ABCDEF"), list("abcdef"))) for bits in np.ndindex(*[2] * 6)]
    assert "differ only in case" in column_beside_numbers(cells * 2).note


@pytest.mark.parametrize("option", ["identifiers", "kept", "categorical", "missing"])
def test_an_option_that_is_no_list_is_refused(option):
    with pytest.raises(jm.InputError, match=rf"{option} is 'x'; give a list, such as \['x'\]"):
        column([1, 2], **{option: "x"})


def test_words_are_at_distance_one_and_gaps_are_a_word():
    encoder = jm.TableEncoder().fit(pd.DataFrame({"x": ["a", "b", "", "a"], "y": [1.0, 2, 3, 4]}))
    assert encoder.get_feature_names_out().tolist() == ["x=a", "x=b", "x=missing", "y"]
    assert encoder.numeric_.tolist() == [False, False, False, True]
    rows = encoder.transform(pd.DataFrame({"x": ["a", "b", ""], "y": [0.0, 0, 0]}))
    distances = np.linalg.norm(rows[:, None] - rows, axis=-1)
    np.testing.assert_allclose(distances, 1 - np.eye(3), atol=1e-12)
    assert type(column([1, 2, 2, 1], categorical=["x"])).__name__ == "Category"


def test_texts_of_one_subject_are_near_each_other():
    subjects = ["the courier lost my parcel", "please refund my card payment"]
    frame = pd.DataFrame({"text": [f"{subjects[place % 2]} {place}" for place in range(N)]})
    encoder = jm.TableEncoder().fit(frame)
    rows = encoder.transform(frame)
    assert rows.var(0).sum() == pytest.approx(0.5, rel=0.05)
    near = np.linalg.norm(rows[0::2] - rows[0::2].mean(0), axis=1).max()
    assert near < np.linalg.norm(rows[0::2].mean(0) - rows[1::2].mean(0))
    assert not encoder.transform(pd.DataFrame({"text": [None]})).any()


def test_names_are_text_where_there_is_nothing_else():
    frame = pd.DataFrame({"name": [f"Al{place} Smith" for place in range(N)]})
    assert type(jm.TableEncoder().fit(frame).columns_[0]).__name__ == "Text"


def test_identifiers_can_be_named_and_kept():
    frame = pd.DataFrame({"no": np.arange(N), "x": np.sin(np.arange(N)), "y": np.cos(np.arange(N))})
    encoder = jm.TableEncoder(kept=["no"], identifiers=["y"]).fit(frame)
    assert encoder.get_feature_names_out().tolist() == ["no", "x"]
    assert [column.note for column in encoder.columns_][2] == "left out: it identifies the rows"


def table():
    """Every kind of column."""
    return pd.DataFrame(
        {
            "id": np.arange(N),
            "size": [f"{place},5 kg" for place in SIZES],
            "answer": np.where(GROUP == 1, 999, GROUP + 1),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(N) * 3, unit="D"),
            "color": np.array(["red", "blue", ""])[GROUP],
            "said": [f"the parcel {place} was late again" for place in range(N)],
        }
    )


def test_the_state_is_data_and_encodes_new_rows_the_same():
    encoder = jm.TableEncoder().fit(table())
    header, arrays = encoder.state()
    again = jm.TableEncoder.from_state(json.loads(json.dumps(header)), arrays)
    np.testing.assert_array_equal(again.transform(table()), encoder.transform(table()))
    assert [column.note for column in again.columns_] == [column.note for column in encoder.columns_]
    assert encoder.read(table())["size"].max() > 50
    new = table().drop(columns="id").iloc[:, ::-1]
    np.testing.assert_array_equal(encoder.transform(new), encoder.transform(table()))


def test_what_new_rows_lack_is_said_in_a_sentence():
    encoder = jm.TableEncoder().fit(table())
    with pytest.raises(jm.InputError, match="has no column 'size', 'color'; give a table with the columns"):
        encoder.transform(table().drop(columns=["size", "color"]))
    with pytest.raises(jm.InputError, match="column 'size' holds no number, but did"):
        encoder.transform(table().assign(size="large"))
    with pytest.warns(jm.InputWarning, match="column 'color' holds 'green', which"):
        rows = encoder.transform(table().assign(color="green"))
    assert not rows[:, 3:6].any()


def test_a_new_row_may_hold_gaps_and_codes_only():
    encoder = jm.TableEncoder().fit(table())
    rows = encoder.transform(table().iloc[[1]].assign(answer=999, size="", color=None))
    assert rows[0, 1] == encoder.columns_[2].fill


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (pd.DataFrame({"a": [1, 1], "b": ["x", "x"]}), {}, "no column of the table can be used .a: left out"),
        (pd.DataFrame({"a": []}), {}, "the table has no rows"),
        (pd.DataFrame({"a": [1, 2]}), {"identifiers": ["b"]}, "there is no column 'b'; the table has 'a'"),
        (pd.DataFrame({"a": [1, 2]}), {"decimal": ";"}, "decimal is ';'"),
    ],
)
def test_tables_that_cannot_be_encoded_are_refused(frame, options, message):
    with pytest.raises(jm.InputError, match=message):
        jm.TableEncoder(**options).fit(frame)


def test_the_decimal_of_a_cell_is_never_guessed_apart():
    assert as_numbers(as_cells(pd.Series(["1.2.3", "1,2,3", "10-20", "2024-01-05", "a1"]))).odd_count == 5


def test_without_pandas_the_package_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("jmeta.tables")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(jm.InputError, match=r"pip install 'jmeta\[tables\]'"):
        import jmeta.tables  # noqa: F401
