"""The report of a clustering: one HTML file that needs nothing beside it, and explains the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from ..search.explanation import Explanation, FeaturePercentile, Reason
from .page import figure, page, table

LISTED, WORDS = 12, 3
"""Columns of the table, and words of a column, that are shown of a cluster."""
MAX_SHOWN = 8
"""Candidates that are shown."""
_COLORS = matplotlib.color_sequences["tab20"]


class Summary(NamedTuple):
    """What is said in words.

    Attributes:
        title: of the report, such as the name of the file.
        headline: what was found, in one sentence.
        why: the reason for the choice.
        facts: name -> value, further facts.
        notes: what was done to the table.
    """

    title: str
    headline: str
    why: str
    facts: Mapping[str, str]
    notes: Sequence[str]


def clustering_report(
    summary: Summary,
    ranking: Sequence[Any],
    explanation: Explanation | None,
    columns: Mapping[str, np.ndarray],
    labels: Int[np.ndarray, " N"],
) -> str:
    """The report as HTML.

    Args:
        summary: what is said in words.
        ranking: rows with `name`, `clusters`, `quality`, `width` and `seconds`, the best first.
        explanation: of the choice; None where there was none to make.
        columns: name -> [N] of the table, as they were in the file.
        labels: [N] cluster of each row.
    """
    parts = [
        f"<h1>{escape(summary.title)}</h1><p><strong>{escape(summary.headline)}</strong></p>",
        f"<p>{escape(summary.why)}.</p>",
        table(["", ""], [[name, value] for name, value in summary.facts.items()]),
    ]
    if explanation is not None:
        parts += [
            "<h2>The clusters</h2>",
            figure(
                _views(explanation, ranking[0].name),
                "Rows on the two axes along which they differ most, "
                f"{explanation.explained_variance:.0%} of their variance; noise is grey.",
            ),
            "<h2>The ranking</h2>",
            figure(
                _bars(ranking),
                "Agreement with the true clusters (adjusted Rand index, 1 is perfect, 0 is "
                "chance) that is foretold of each candidate; the bar holds it for four tables in five.",
            ),
            "<h2>What the criterion looked at</h2>",
            figure(
                _effects(explanation.reasons),
                "How much of the foretold agreement each property of the "
                "chosen partition accounts for, against the mean of all candidates.",
            ),
            table(
                ["property", "chosen", "mean of all"],
                [[r.name, f"{r.value:.3g}", f"{r.mean:.3g}"] for r in explanation.reasons],
            ),
            "<h2>The table beside those that were learned from</h2>",
            figure(
                _percentiles(explanation.features),
                "Where the table stands among the problems the model "
                "learned from; far to either side its advice is less sure.",
            ),
        ]
    parts += ["<h2>The clusters in the table's own columns</h2>", profile(columns, labels)]
    if summary.notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in summary.notes)
        parts.append(f"<h2>What was done to the table</h2><ul>{items}</ul>")
    return page(summary.title, parts)


def profile(columns: Mapping[str, np.ndarray], labels: Int[np.ndarray, " N"]) -> str:
    """For every cluster its size, and the mean or the commonest words of the columns that tell most.

    >>> "50.0 %" in profile({"x": np.array([1.0, 9.0])}, np.array([0, 1]))
    True
    """
    clusters = np.unique(labels)
    telling = sorted(columns, key=lambda name: -_told(columns[name], labels))[:LISTED]
    rows = [
        [
            "rows",
            *(f"{np.sum(labels == c):,} ({np.mean(labels == c):.1%})".replace("%)", " %)") for c in clusters),
        ]
    ]
    for name in telling:
        rows.append([name, *(_middle(columns[name][labels == c]) for c in clusters)])
    left = len(columns) - len(telling)
    note = f"<p class='note'>{left} further columns differ less.</p>" if left else ""
    heads = ["", *("noise" if c < 0 else f"cluster {c}" for c in clusters)]
    return table(heads, rows) + note


def _told(values: np.ndarray, labels: Int[np.ndarray, " N"]) -> float:
    """The share of a column's variance, or of its commonest word's, that clusters explain."""
    x = values if values.dtype.kind == "f" else np.unique(values, return_inverse=True)[1].astype(float)
    x = np.where(np.isfinite(x), x, np.nanmedian(x))
    total = np.sum(np.square(x - x.mean()))
    within = sum(np.sum(np.square(x[labels == c] - x[labels == c].mean())) for c in np.unique(labels))
    return 1 - within / total if total > 0 else 0.0


def _middle(values: np.ndarray) -> str:
    if values.dtype.kind == "f":
        known = values[np.isfinite(values)]
        return f"{known.mean():.4g} ± {known.std():.2g}" if len(known) else "no value"
    words, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:WORDS]
    return ", ".join(f"{words[at] or 'missing'} {counts[at] / len(values):.0%}" for at in order)


def _views(explanation: Explanation, name: str) -> Figure:
    views = [(f"chosen: {name}", explanation.chosen)]
    if explanation.other is not None:
        views.append((f"runner-up: {explanation.other[0]}", explanation.other[1]))
    figure = Figure(figsize=(5.2 * len(views), 4.6), layout="constrained")
    for place, (title, labels) in enumerate(views, 1):
        axes = figure.add_subplot(1, len(views), place, xticks=[], yticks=[])
        axes.set_title(title, fontsize=10)
        colors = [
            _COLORS[label % len(_COLORS)] if label >= 0 else (0.7, 0.7, 0.7) for label in labels.tolist()
        ]
        axes.scatter(explanation.projection[:, 0], explanation.projection[:, 1], s=9, c=colors, linewidths=0)
    return figure


def _bars(ranking: Sequence[Any]) -> Figure:
    rows = list(ranking[:MAX_SHOWN])[::-1]
    figure = Figure(figsize=(8, 0.9 + 0.38 * len(rows)), layout="constrained")
    axes = figure.add_subplot(xlabel="adjusted Rand index that is foretold")
    quality, width = (np.array([getattr(row, name) for row in rows]) for name in ("quality", "width"))
    within = np.minimum(width, [quality + 1, 1 - quality])  # an index is at most one
    axes.errorbar(quality, range(len(rows)), xerr=within, fmt="o", capsize=3)
    axes.set_yticks(range(len(rows)), [f"{row.name}, {row.clusters} clusters" for row in rows], fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    return figure


def _effects(reasons: Sequence[Reason]) -> Figure:
    rows = list(reasons)[::-1]
    figure = Figure(figsize=(8, 0.9 + 0.38 * len(rows)), layout="constrained")
    axes = figure.add_subplot(xlabel="part of the foretold agreement")
    axes.barh(range(len(rows)), [row.effect for row in rows], color="#4878a8")
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=9)
    axes.axvline(0, color="#222", linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)
    return figure


def _percentiles(features: Sequence[FeaturePercentile]) -> Figure:
    rows = list(features)[::-1]
    figure = Figure(figsize=(8, 0.9 + 0.2 * len(rows)), layout="constrained")
    axes = figure.add_subplot(xlabel="share of the known problems that have less of it, %", xlim=(-3, 103))
    places: Float[np.ndarray, " R"] = np.array([row.percentile for row in rows])
    colors = ["#c44e52" if place <= 1 or place >= 99 else "#4878a8" for place in places]
    axes.scatter(places, range(len(rows)), c=colors, s=22)
    axes.set_yticks(range(len(rows)), [f"{row.name} = {row.value:.3g}" for row in rows], fontsize=7)
    axes.grid(alpha=0.3)
    return figure
