"""The numbers of the results page: filled in from their files, and missed where they have none."""

import json

import pytest

from experiments import results

SUMMARY = {
    "wall_s": 90.0,
    "metrics": {"accuracy/both": {"mean": 0.98885, "ci95": 0.00171, "n": 1000}},
    "rows": [{"rate": 12345.6}],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(SUMMARY))
    return tmp_path


@pytest.mark.parametrize(
    ("old", "title", "new"),
    [
        ("0.000", "accuracy/both", "0.989"),
        ("0.0 ± 0.0", "accuracy/both, %", "98.9 ± 0.2"),
        ("+0.00 ± 0.00", "accuracy/both", "+0.99 ± 0.00"),
        ("0", "rows/0/rate", "12,346"),
        ("0.0", "wall_s, min", "1.5"),
    ],
)
def test_a_number_is_written_as_it_was(folder, old, title, new):
    found, faults = results.filled(f'| [{old}](results/run.json "{title}") |', folder)
    assert (found, faults) == (f'| [{new}](results/run.json "{title}") |', [])


@pytest.mark.parametrize("target", ['gone.json "x"', 'run.json "accuracy/none"', 'run.json "rows/7/rate"'])
def test_what_is_not_there_is_told_by_line(folder, target):
    text = f"first\n[1.0](results/{target})"
    found, faults = results.filled(text, folder)
    assert found == text
    assert [fault[:8] for fault in faults] == ["line 2: "]


def test_an_interval_that_is_not_there_is_told(folder):
    assert "no interval" in results.filled('[1 ± 2](results/run.json "wall_s")', folder)[1][0]


def test_numbers_of_tables_need_a_file():
    table = "| row | ours | published |\n|---|---|---|\n| a | {} | 1.5 |\n"
    for cell, count in {"0.5": 1, "*0.5*": 0, "**0.5**": 1, '[0.5](results/run.json "x")': 0, "7": 0}.items():
        assert len(list(results.without_source(table.format(cell)))) == count


def test_the_page_agrees_with_its_files():
    text = (results.DOCS / "results.md").read_text(encoding="utf-8")
    found, faults = results.filled(text, results.DOCS / "results")
    assert found == text
    assert faults + list(results.without_source(text)) == []
    assert len(results.LINK.findall(text)) > 500
