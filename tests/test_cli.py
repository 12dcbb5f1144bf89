"""The command: what it writes and prints, and how it ends."""

import csv
import io
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_blobs

from jmeta import cli
from jmeta.cli.options import Cluster
from jmeta.cli.tables import chosen_columns
from jmeta.doctor import CHECKS
from jmeta.estimators.preparation import BESIDE_WORDS
from jmeta.tables.reading import read_sheet

P = ("--confidence", "--label", "p")
RUNNING = "customer,b\n" + "".join(f"{row},{row % 7}\n" for row in range(30))


@pytest.fixture
def table(tmp_path):
    points, labels = make_blobs(90, centers=3, cluster_std=0.5, random_state=0)
    path = tmp_path / "people.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "income", "city", "name"])
        for place, (x, y) in enumerate(points):
            income = "" if place == 5 else f"{1000 * y:.1f}"
            writer.writerow([f"{x:.3f}", income, "AB"[labels[place] % 2], f"person {place}"])
    return path


def ended(arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(argument) for argument in arguments])
    return stopped.value.code


def test_clusters_are_found_written_and_explained(table, tmp_path, capsys):
    out, report = tmp_path / "labels.csv", tmp_path / "report.html"
    cli.main(["cluster", str(table), "--clusters", "3", "--out", str(out), "--report", str(report)])
    printed = capsys.readouterr()
    assert "3 clusters" in printed.out
    assert "first answer, by the zero-shot network alone: 3 clusters of" in " ".join(printed.err.split())
    said = " ".join(printed.err.split())
    assert "name: left out: 90 different words, which identify rows" in said
    assert "income: number; 1 gap is replaced by the median" in said
    assert BESIDE_WORDS in " ".join(printed.out.split())
    assert "keep their proportions" not in report.read_text()
    lines = out.read_text().splitlines()
    assert lines[0] == "name,cluster"
    assert lines[1].startswith("person 0,")
    assert len(lines) == 91
    page = report.read_text()
    assert "3 clusters in people.csv" in page
    assert page.count('class="plotly-graph-div"') >= 3
    assert len(page) < 5e6
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=.http", page)
    for words in ("age", "income", "city", "Reasons for the choice", "What to do next"):
        assert words in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.csv", "people.csv", "report.html"]


def test_a_trained_agent_searches_from_the_command_line(table, capsys):
    cli.main(["cluster", str(table), "--search", "rl2", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert 1 <= len(found["ranking"]) <= 10
    assert found["ranking"][0]["name"] in found["strategy"]["why"]
    assert len(found["labels"]) == 90


def test_json_is_all_there_is_on_standard_output(table, capsys):
    cli.main(["cluster", str(table), "--clusters", "3", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["clusters"] == 3
    assert sum(found["sizes"]) + found["noise"] == found["rows"] == len(found["labels"]) == 90
    assert found["columns"] == ["age", "income", "city=A", "city=B"]
    assert found["ranking"][0]["name"] in found["strategy"]["why"]
    assert found["cluster_probabilities"] == {"3": 1.0}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, [], "there is no file"),
        ("", [], "is empty"),
        ("a,b\n1,2\n", [], "holds one row"),
        ("a,b\n1,2\n1,2\n", [], "no column of the table can be used"),
        ("a,b\n1,2\n3,4\n", ["--clusters", "0"], "--clusters is 0; give a whole number >= 1"),
        ("a,b\n1,2\n3,4\n", ["--clusters", "abc"], "--clusters is abc; give a whole number >= 1"),
        ("a,b\n1,2\n3,4\n", ["--clusters", "9"], "--clusters is 9, but"),
        ("a,b\n1,2\n1,2\n3,4\n", ["--clusters", "3"], "--clusters is 3, but only 2 rows differ"),
        ("a,b\n1,2\n3,4\n", ["--scaling", "max"], "--scaling is max; give one of auto, standard, none"),
        ("a,b\n1,2\n3,4\n", ["--time-limit", "-1"], "--time-limit is -1; give a positive number"),
        ("a,b\n1,2\n3,4\n", ["--columns", "a,c"], "--columns: there is no column 'c'; did you mean a, b?"),
        ("height\n1\n3\n", ["--ignore", "hight"], "there is no column 'hight'; did you mean height?"),
        ("a,b\n1,2\n3,4\n", ["--decimal", ";"], "--decimal is ;; give one of ., ,"),
        ("a,b\n1,2\n3,4\n", ["--save", "model.bin"], "--save is model.bin; give a name that ends with .npz"),
        ("a,b\n1,2\n3,4\n", ["--json", "--out", "-"], "both write to standard output"),
        ("a,b\n1,2\n3,4\n", ["--out-columns", "all", "--label", "a"], "the table has a column 'a'"),
        ("cluster,b\nx,2\ny,4\n", ["--id", "cluster"], "the table has a column 'cluster'"),
        (RUNNING, ["--label", "customer"], "the table has a column 'customer'"),
        ("p probability,b\n1,2\n3,4\n", [*P, "--id", "p probability"], "has a column 'p probability'"),
        ("a,b\n1,2\n3,4\n", ["--search", "all", "--model", "m.npz"], "leave --model out"),
        ("a,b\n1,2\n3,4\n", ["--out", "/missing/labels.csv"], "cannot be written"),
        ("a,b\n1,2\n3,4\n", ["--model", "missing.npz"], "cannot be read"),
        ("a,b\n1,2\n3,4\n", ["--search", "best"], "--search is best; give one of auto, all, ranked, rl2"),
        ("a,b\n1,2\n3,4\n", ["--search", "rl2", "--clusters", "2"], "leave --clusters out"),
    ],
)
def test_bad_input_ends_with_one_sentence_and_code_2(tmp_path, capsys, content, options, message):
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_text(content)
    assert ended(["cluster", path, *options]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


def test_a_file_without_rows_is_refused(tmp_path, capsys):
    pd.DataFrame({"a": np.zeros(0)}).to_parquet(tmp_path / "a.parquet")
    assert ended(["cluster", tmp_path / "a.parquet"]) == 2
    assert "a.parquet holds no rows" in capsys.readouterr().err


def test_clusters_are_kept_and_new_rows_are_assigned(table, tmp_path, capsys):
    kept, out = tmp_path / "groups.npz", tmp_path / "all.csv"
    options = ("--clusters", "3", "--save", kept, "--out", out, "--out-columns", "all", "--label", "group")
    cli.main([str(word) for word in ("cluster", table, *options, "--confidence", "--id", "city")])
    assert out.read_text().splitlines()[0] == "age,income,city,name,group,group probability"
    capsys.readouterr()
    cli.main(["assign", str(kept), str(table), "--out-columns", "none"])
    printed = capsys.readouterr()
    groups = [row["group"] for row in csv.DictReader(io.StringIO(out.read_text()))]
    assert printed.out.splitlines() == ["cluster", *groups]
    assert "90 rows assigned: " in printed.err
    cli.main(["assign", str(kept), str(table), "--json"])
    assert list(map(str, json.loads(capsys.readouterr().out)["labels"])) == groups
    other = tmp_path / "other.csv"
    other.write_text("age,city\n1,A\n2,B\n")
    for arguments, message in (
        ([kept, other], "the table has no column 'income'"),
        ([tmp_path / "none.npz", table], "there is no file"),
        ([table, table], "is damaged"),
    ):
        assert ended(["assign", *arguments]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_columns_are_chosen_by_options(table):
    sheet = read_sheet(table)
    chosen = Cluster(data=table, columns="age,income,name", ignore="income", id="city", missing="-9, 99")
    frame, roles = chosen_columns(sheet.frame, chosen)
    assert frame.columns.tolist() == ["age", "city", "name"]
    assert roles == {
        "identifiers": ["city"],
        "kept": ["age", "name"],
        "categorical": [],
        "missing": ["-9", "99"],
    }
    everything, _ = chosen_columns(sheet.frame, Cluster(data=table))
    assert everything.columns.tolist() == ["age", "income", "city", "name"]


def test_one_cluster_is_a_note_without_a_source_path(table, capsys):
    cli.main(["cluster", str(table), "--clusters", "1", "--out", "-"])
    printed = capsys.readouterr()
    assert "note: one cluster was requested: every row is put into one cluster." in " ".join(
        printed.err.split()
    )
    assert ".py" not in printed.err
    assert printed.out.splitlines()[:2] == ["name,cluster", "person 0,0"]


def test_options_and_files_are_checked_before_jax_is_imported(tmp_path):
    code = (
        "import sys; from jmeta import cli\n"
        "for words in (['--version'], ['cluster', 'none.csv'], ['cluster', 'none.csv', '--clusters', 'x']):\n"
        "    try: cli.main(words)\n"
        "    except SystemExit as stopped: assert stopped.code == 2\n"
        "assert not {'jax', 'pandas', 'sklearn'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("jmeta ")
    assert len(done.stderr.splitlines()) == 2


def test_an_interrupt_leaves_nothing_behind(table, tmp_path, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("jmeta.estimators.auto_cluster.pooled_search", interrupted)
    assert ended(["cluster", table, "--clusters", "3", "--out", tmp_path / "labels.csv"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert not (tmp_path / "labels.csv").exists()


def test_the_doctor_finds_this_machine_well(capsys, monkeypatch):
    assert ended(["doctor"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("jax", "gradient through soft k-means", "checksum holds"):
        assert words in printed
    monkeypatch.setitem(CHECKS, "model", lambda: 1 / 0)
    assert ended(["doctor"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_help_teaches(capsys):
    assert ended(["cluster", "--help"]) == 0
    printed = capsys.readouterr().out
    for words in ("--clusters", "--report", "jmeta cluster people.csv"):
        assert words in printed


def test_an_output_that_is_a_link_to_what_cannot_be_written_is_refused_before_any_work(
    table, tmp_path, capsys
):
    (tmp_path / "labels.csv").symlink_to(tmp_path)
    assert ended(["cluster", table, "--out", tmp_path / "labels.csv"]) == 2
    assert "cannot be written" in capsys.readouterr().err
