"""The page of a clustering and its printed summary: what they say of a table whose clusters are known."""

import base64
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

from jmeta.estimators.choice import Compared
from jmeta.report import charts
from jmeta.report.clustering import clustering_report
from jmeta.report.findings import findings_of, lines_of
from jmeta.report.profile import association, codes, contingency, date_format, overall, percent, profiles
from jmeta.search.explanation import Explanation, Reason

N = 300
RANDOM = np.random.default_rng(0)
LABELS = np.arange(N) % 3
TABLE = pd.DataFrame(
    {
        "income": np.array([20.0, 40.0, 90.0])[LABELS] + RANDOM.normal(0, 1, N),
        "kind": np.array(["<b>", "red", "blue"])[LABELS],
        "joined": pd.Timestamp("2020-01-01") + pd.to_timedelta(400 * LABELS + np.arange(N) % 7, "D"),
        "height": RANDOM.normal(170, 8, N),
        "notes": [
            f"{('refund wanted', 'happy customer', 'late parcel')[k]} number {i}"
            for i, k in enumerate(LABELS)
        ],
    }
)
TABLE.loc[::20, "income"] = np.nan


def fitted(labels=LABELS, quality=0.9, partitions=None, chances=None, table=TABLE):
    """What the page reads of a fitted AutoCluster."""
    points = np.stack([np.nan_to_num(table["income"] / 10), RANDOM.normal(0, 0.1, len(table))], 1)
    count = len(np.unique(labels[labels >= 0]))
    row = SimpleNamespace(name="ward / 3", clusters=count, quality=quality, width=0.2)
    return SimpleNamespace(
        labels_=labels,
        n_clusters=None,
        n_clusters_=count,
        candidates_=[row],
        cluster_probabilities_=chances or {count: 0.8, count + 1: 0.2},
        compared_=Compared(np.arange(len(table)), points, partitions or [labels]),
        encoder_=SimpleNamespace(used_=[SimpleNamespace(name="income", unit="kEUR")]),
        strategy_=SimpleNamespace(quality=quality, why="ward agrees best", scaling="scaled", rows="all rows"),
    )


def test_a_column_that_decides_is_one_and_one_that_does_not_is_zero():
    strengths = dict(overall(TABLE, LABELS))
    assert list(strengths) == ["kind", "joined", "income", "height"]
    assert strengths["kind"] == pytest.approx(1, abs=0.02)
    assert strengths["income"] > 0.7
    assert strengths["height"] < 0.02
    mixed = np.where(np.arange(N) % 2 == 0, LABELS, 0)
    assert 0.2 < association(contingency(mixed, LABELS)) < 0.6
    assert association(contingency(LABELS, 0 * LABELS)) == 0


def test_the_association_is_the_mutual_information_of_scikit_learn_less_chance():
    values, labels = RANDOM.integers(-1, 4, N), RANDOM.integers(0, 3, N)
    labels[values == 2] = 1
    expected = mutual_info_score(values, labels) - 4 * 2 / (2 * N)
    expected /= entropy(np.bincount(labels))
    assert association(contingency(values, labels)) == pytest.approx(expected)


def test_numbers_become_quantiles_and_words_become_places_with_gaps_apart():
    assert np.bincount(codes(pd.Series(np.arange(80.0)))).tolist() == [10] * 8
    assert codes(pd.Series([3.0, np.nan, 1.0, 3.0])).tolist() == [1, -1, 0, 1]
    assert codes(pd.Series(["a", None, "a", "b"])).tolist() == [0, -1, 0, 1]


def test_clusters_are_described_in_the_units_and_words_of_the_table():
    low, middle, high = profiles(TABLE, LABELS, {"income": "kEUR"})
    assert (low.label, low.rows, percent(low.share)) == (0, 100, "33 %")
    by_column = {one.column: one for one in high.differences}
    assert set(by_column) == {"income", "kind", "joined", "notes"}
    assert by_column["income"].here.endswith("kEUR")
    assert float(by_column["income"].here.split()[0]) == pytest.approx(90, abs=0.5)
    assert by_column["income"].words == "high income"
    assert (by_column["kind"].here, by_column["kind"].overall) == ("blue 100 %", "blue 33 %")
    assert by_column["joined"].words == "joined late"
    assert by_column["notes"].here in ("'late' in 100 %", "'parcel' in 100 %")
    assert middle.name
    assert low.name
    assert len({low.name, middle.name, high.name}) == 3


def test_unassigned_rows_come_last_and_one_cluster_has_no_differences():
    labels = np.where(np.arange(N) < 30, -1, LABELS)
    assert [one.title for one in profiles(TABLE, labels, {})] == [
        "cluster 0",
        "cluster 1",
        "cluster 2",
        "unassigned",
    ]
    (alone,) = profiles(TABLE, 0 * LABELS, {})
    assert alone.differences == ()
    assert alone.name == ""


@pytest.mark.parametrize(
    ("quality", "word"), [(0.9, "Strong"), (0.6, "Moderate"), (0.2, "do not rely on it")]
)
def test_the_summary_says_how_sure_it_is_and_what_another_number_would_change(quality, word):
    more = np.where(np.arange(N) < 60, 3, LABELS) * (LABELS == 0) + LABELS * (LABELS != 0)
    fewer = np.minimum(LABELS, 1)
    found = findings_of(fitted(quality=quality, partitions=[LABELS, more, fewer]), TABLE)
    lines = lines_of(found)
    assert lines[0] == "3 clusters"
    assert word in lines[1]
    assert "80 %, 4 clusters have 20 %" in lines[1]
    assert lines[-2:] == [
        "with 2 instead: clusters 1 and 2 are joined",
        "with 4 instead: cluster 0 is divided",
    ]
    assert len(lines) <= 10
    assert all(LABELS[row] == k for k, rows in found.typical.items() for row in rows)
    assert min(found.silhouettes.values()) > 0.7


def test_one_group_is_said_to_be_no_clusters():
    found = findings_of(fitted(0 * LABELS, quality=0.8, chances={1: 0.87, 2: 0.1}), TABLE)
    assert found.headline == "No clusters: one group"
    assert "87 %" in found.certainty
    assert not found.silhouettes
    assert not found.odd
    assert not found.alternatives


@pytest.fixture(scope="module")
def page():
    labels = np.where(np.arange(N) % 50 == 0, -1, LABELS)
    reasons = [Reason("silhouette", 0.9, 0.4, 0.1)]
    model = fitted(labels)
    found = findings_of(model, TABLE)
    return clustering_report(
        "people.csv", model, TABLE, found, ["height: number"], Explanation(0.93, reasons)
    )


def test_the_page_has_everything_in_one_file_in_the_order_of_a_reader(page):
    assert len(page) < 5e6
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=.http", page)
    places = [
        page.index(words)
        for words in (
            "3 clusters in people.csv",
            "Strong",
            "What makes each cluster different",
            "The rows",
            "Typical rows",
            "Odd rows",
            "How well the clusters are separated",
            "What to do next",
            "<details><summary>How this was found",
        )
    ]
    assert places == sorted(places)
    assert "by 0.93" in page
    assert "&lt;b&gt;" in page
    assert "<td><b>" not in page


def test_the_cluster_of_every_row_can_be_downloaded(page):
    data = re.search(r"data:text/csv;base64,([^']+)'", page)
    rows = base64.b64decode(data[1]).decode().split()
    assert rows[:3] == ["row,cluster", "1,-1", "2,1"]
    assert len(rows) == N + 1


def test_a_cluster_has_one_color_everywhere_and_unassigned_rows_are_apart(page):
    for label in range(3):
        assert page.count(charts.marker(label)["color"]) >= 3  # its name, its bar and its points
    assert charts.UNASSIGNED[0] not in charts.COLORS
    first = [tuple(charts.marker(label).values()) for label in range(40)]
    assert len(set(first)) == 40


def test_positions_are_drawn_as_on_a_map():
    table = pd.DataFrame({"Lat": 60 + RANDOM.normal(size=N), "lon": 10 + LABELS + RANDOM.normal(0, 0.1, N)})
    model = fitted(table=table.assign(income=1.0))
    html = clustering_report("places.csv", model, table, findings_of(model, table))
    assert "as on a map" in html
    ratio = float(re.search(r'"scaleratio":([\d.]+)', html)[1])
    assert ratio == pytest.approx(2, abs=0.1)  # a degree of longitude is half as long at 60 degrees north


def test_words_called_lat_and_long_are_no_positions():
    table = pd.DataFrame({"lat": ["a", "b", "c"] * 100, "long": RANDOM.normal(size=N)})
    model = fitted(table=table.assign(income=1.0))
    assert "as on a map" not in clustering_report("words.csv", model, table, findings_of(model, table))


def test_times_of_one_day_are_shown_as_times():
    day = pd.Timestamp("1900-01-01") + pd.to_timedelta(60 * (5 * LABELS + np.arange(N) % 3), "min")
    table = pd.DataFrame({"at": day})
    assert date_format(table["at"]) == "%H:%M"
    assert [one.differences[0].here for one in profiles(table, LABELS, {})] == ["00:00", "06:00", "12:00"]
    model = fitted(table=table.assign(income=1.0))
    assert (
        "1900"
        not in clustering_report("log.csv", model, table, findings_of(model, table)).split("</script>", 1)[1]
    )


def test_many_rows_are_described_by_a_part_of_them_with_sizes_of_all():
    labels = np.repeat(np.arange(2), 30_000)
    table = pd.DataFrame(
        {"x": labels + RANDOM.normal(0, 0.1, len(labels)), "text": [f"row {i}" for i in range(60_000)]}
    )
    low, high = profiles(table, labels, {})
    assert (low.rows, high.rows) == (30_000, 30_000)
    assert low.name == "low x"
