"""The report of a run: one HTML file with its curves, figures, tables and options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .page import figure, image, page, table
from .pictures import learning_curves

CAPTIONS = {
    "task": "One task before and after training: every image at its position in the embedding, in a frame of "
    "its cluster's colour; a frame of the wrong colour is a mistake.",
}
"""Captions of the figures that experiments draw, by file name."""
CURVES = "learning_curve"
"""Prefix of figures that are left out, as the curves are drawn from the logs."""
SCORES = ("validation_accuracy", "accuracy", "return", "loss")
"""The metrics of a log that are plotted if present."""


def run_report(
    description: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, Any]],
    logs: Mapping[str, Sequence[Mapping[str, float]]],
    pictures: Sequence[Path],
    again: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The report as HTML.

    Args:
        description: of the run, as `harness` writes.
        metrics: name -> mean, ci95 and n; empty if the run has not ended.
        logs: name of each training -> the rows of its log.
        pictures: PNG files that the experiment drew.
        again: metrics of a later evaluation, if any.
    """
    title = f"{description['experiment']}, {description['preset']} preset, seed {description['seed']}"
    wall = f"{description['wall_s']:,.0f} s" if "wall_s" in description else "not ended"
    device = description["device"]
    facts = {
        "command": description["command"],
        "wall time": wall,
        "device": f"{device['count']} x {device['kind']}, {device['cores']} cores",
        "versions": ", ".join(f"{name} {version}" for name, version in description["versions"].items()),
    }
    parts = [f"<h1>{escape(title)}</h1>", table(["", ""], list(facts.items()))]
    parts += ["<h2>Results</h2>", _results(metrics, again)]
    if curves := _curves(logs):
        parts += ["<h2>Training</h2>", *curves]
    shown = [path for path in pictures if not path.stem.startswith(CURVES)]
    if shown:
        parts.append("<h2>Embeddings and tasks</h2>")
        parts += [image(path.read_bytes(), CAPTIONS.get(path.stem, path.stem)) for path in shown]
    options = [[name.replace("_", " "), str(value)] for name, value in description["config"].items()]
    parts += ["<h2>Configuration</h2>", table(["option", "value"], options)]
    return page(title, parts)


def _results(metrics: Mapping[str, Any], again: Mapping[str, Any] | None) -> str:
    """The metrics METRIC/ROW as a table with one line per row; gains are in a separate table."""
    if not metrics:
        return "<p class='note'>The run has not ended; there are no results yet.</p>"
    gains = {name.removeprefix("gain/"): one for name, one in metrics.items() if name.startswith("gain/")}
    parts = [_pivot({name: one for name, one in metrics.items() if not name.startswith("gain/")})]
    if gains:
        parts += ["<h3>Paired gains on the same tasks</h3>", _pivot(gains)]
    if again:
        parts += ["<h3>Later evaluation</h3>", _pivot(again)]
    return "".join(parts)


def _pivot(metrics: Mapping[str, Any]) -> str:
    split = {name: name.partition("/")[::2] for name in metrics}
    columns = list(dict.fromkeys(metric for metric, _ in split.values()))
    cells: dict[str, dict[str, str]] = {}
    for name, (metric, row) in split.items():
        cells.setdefault(row, {})[metric] = _formatted(metrics[name])
    rows = [[row, *(values.get(column, "") for column in columns)] for row, values in cells.items()]
    counts = sorted({one["n"] for one in metrics.values()})
    note = f"Means and 95 % intervals over {' or '.join(f'{count:,}' for count in counts)} tasks or seeds."
    return table(["", *columns], rows) + f"<p class='note'>{note}</p>"


def _formatted(one: Mapping[str, Any]) -> str:
    if one["mean"] is None:
        return "not finite"
    return f"{one['mean']:.4f}" + ("" if one["ci95"] is None else f" ± {one['ci95']:.4f}")


def _curves(logs: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """A plot of every metric that a log has in more than one row."""
    drawn = []
    for score in SCORES:
        lines = {name: rows for name, rows in logs.items() if sum(score in row for row in rows) > 1}
        if lines:
            drawn.append(figure(learning_curves(lines, score), score.replace("_", " ")))
    return drawn
