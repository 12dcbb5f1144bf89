"""The report of a run: one HTML file with its curves, its pictures, its table and its options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .page import figure, image, page, table
from .pictures import learning_curves

CAPTIONS = {
    "task": "One task, before training and after: every image where the embedding puts it, framed by its "
    "cluster; a frame of the wrong colour is a mistake.",
}
"""Of pictures that experiments draw, by the name of the file."""
DRAWN_ANEW = "learning_curve"
"""Pictures whose name begins so are left out, as curves are drawn from the logs."""
SCORES = ("validation_accuracy", "accuracy", "return", "loss")
"""Of the numbers of a log, what is drawn, as far as it is there."""


def run_report(
    told: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, Any]],
    logs: Mapping[str, Sequence[Mapping[str, float]]],
    pictures: Sequence[Path],
    again: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The report as HTML.

    Args:
        told: what was asked for, as `harness` writes it.
        metrics: name -> mean, ci95 and n; empty where the run has not ended.
        logs: what was trained -> the rows of its log.
        pictures: PNG files that the experiment drew.
        again: metrics that were measured again, if any.
    """
    title = f"{told['experiment']}, {told['preset']} preset, seed {told['seed']}"
    wall = f"{told['wall_s']:,.0f} s" if "wall_s" in told else "not ended"
    device = told["device"]
    facts = {
        "command": told["command"],
        "wall time": wall,
        "device": f"{device['count']} x {device['kind']}, {device['cores']} cores",
        "versions": ", ".join(f"{name} {version}" for name, version in told["versions"].items()),
    }
    parts = [f"<h1>{escape(title)}</h1>", table(["", ""], list(facts.items()))]
    parts += ["<h2>Results</h2>", _results(metrics, again)]
    if curves := _curves(logs):
        parts += ["<h2>Training</h2>", *curves]
    shown = [path for path in pictures if not path.stem.startswith(DRAWN_ANEW)]
    if shown:
        parts.append("<h2>Embeddings and tasks</h2>")
        parts += [image(path.read_bytes(), CAPTIONS.get(path.stem, path.stem)) for path in shown]
    options = [[name.replace("_", " "), str(value)] for name, value in told["config"].items()]
    parts += ["<h2>Configuration</h2>", table(["option", "value"], options)]
    return page(title, parts)


def _results(metrics: Mapping[str, Any], again: Mapping[str, Any] | None) -> str:
    """What was measured, METRIC/ROW of all rows under each other; gains in a table of their own."""
    if not metrics:
        return "<p class='note'>The run has not ended; there is nothing measured yet.</p>"
    gains = {name.removeprefix("gain/"): one for name, one in metrics.items() if name.startswith("gain/")}
    parts = [_pivot({name: one for name, one in metrics.items() if not name.startswith("gain/")})]
    if gains:
        parts += ["<h3>Gains in pairs, on the same tasks</h3>", _pivot(gains)]
    if again:
        parts += ["<h3>Measured again</h3>", _pivot(again)]
    return "".join(parts)


def _pivot(metrics: Mapping[str, Any]) -> str:
    parted = {name: name.partition("/")[::2] for name in metrics}
    columns = list(dict.fromkeys(metric for metric, _ in parted.values()))
    found: dict[str, dict[str, str]] = {}
    for name, (metric, row) in parted.items():
        found.setdefault(row, {})[metric] = _spelled(metrics[name])
    rows = [[row, *(cells.get(column, "") for column in columns)] for row, cells in found.items()]
    counts = sorted({one["n"] for one in metrics.values()})
    said = f"Means and 95 % intervals over {' or '.join(f'{count:,}' for count in counts)} tasks or seeds."
    return table(["", *columns], rows) + f"<p class='note'>{said}</p>"


def _spelled(one: Mapping[str, Any]) -> str:
    if one["mean"] is None:
        return "not finite"
    return f"{one['mean']:.4f}" + ("" if one["ci95"] is None else f" ± {one['ci95']:.4f}")


def _curves(logs: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """A picture for every number that logs have; of one row no line can be drawn."""
    drawn = []
    for score in SCORES:
        lines = {name: rows for name, rows in logs.items() if sum(score in row for row in rows) > 1}
        if lines:
            drawn.append(figure(learning_curves(lines, score), score.replace("_", " ")))
    return drawn
