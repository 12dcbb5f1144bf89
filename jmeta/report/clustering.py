"""The report of a clustering: one self-contained HTML file that explains the choice."""

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

MAX_COLUMNS = 12
"""The maximum number of columns in the table of clusters."""
MAX_WORDS = 3
"""The maximum number of words shown per column and cluster."""
MAX_CANDIDATES = 8
"""The maximum number of candidates that are shown."""
_COLORS = matplotlib.color_sequences["tab20"]


class Summary(NamedTuple):
    """The text of the report.

    Attributes:
        title: title of the report, such as the name of the file.
        headline: the result in one sentence.
        why: the reason for the choice.
        facts: name -> value, further facts.
        notes: how the table was prepared.
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
        summary: the text of the report.
        ranking: rows with `name`, `clusters`, `quality`, `width` and `seconds`, the best first.
        explanation: the explanation of the choice; None if no candidate was chosen.
        columns: name -> [N] values in the file.
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
                "Rows on their first two principal axes, with "
                f"{explanation.explained_variance:.0%} of the variance; noise is grey.",
            ),
            "<h2>The ranking</h2>",
            figure(
                _bars(ranking),
                "Predicted agreement of each candidate with the true clusters (adjusted Rand index: 1 is "
                "perfect, 0 is chance); the bar contains it for four tables in five.",
            ),
            "<h2>Reasons for the choice</h2>",
            figure(
                _effects(explanation.reasons),
                "Contribution of each property of the chosen partition to its predicted agreement, "
                "relative to the mean of all candidates.",
            ),
            table(
                ["property", "chosen", "mean of all"],
                [[r.name, f"{r.value:.3g}", f"{r.mean:.3g}"] for r in explanation.reasons],
            ),
            "<h2>Comparison with the training problems</h2>",
            figure(
                _percentiles(explanation.features),
                "Percentiles of the table among the problems that the model was trained on; predictions "
                "are less certain for extreme values.",
            ),
        ]
    parts += ["<h2>The clusters in the columns of the table</h2>", profile(columns, labels)]
    if summary.notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in summary.notes)
        parts.append(f"<h2>Preparation of the table</h2><ul>{items}</ul>")
    return page(summary.title, parts)


def profile(columns: Mapping[str, np.ndarray], labels: Int[np.ndarray, " N"]) -> str:
    """An HTML table of cluster sizes, and means or most common words of the columns that differ most.

    >>> "50.0 %" in profile({"x": np.array([1.0, 9.0])}, np.array([0, 1]))
    True
    """
    clusters = np.unique(labels)
    shown = sorted(columns, key=lambda name: -_explained(columns[name], labels))[:MAX_COLUMNS]
    rows = [
        [
            "rows",
            *(f"{np.sum(labels == c):,} ({np.mean(labels == c):.1%})".replace("%)", " %)") for c in clusters),
        ]
    ]
    for name in shown:
        rows.append([name, *(_typical(columns[name][labels == c]) for c in clusters)])
    left = len(columns) - len(shown)
    note = f"<p class='note'>{left} further columns differ less.</p>" if left else ""
    heads = ["", *("noise" if c < 0 else f"cluster {c}" for c in clusters)]
    return table(heads, rows) + note


def _explained(values: np.ndarray, labels: Int[np.ndarray, " N"]) -> float:
    """The share of a column's variance that clusters explain; words are replaced by their sorted index."""
    x = values if values.dtype.kind == "f" else np.unique(values, return_inverse=True)[1].astype(float)
    x = np.where(np.isfinite(x), x, np.nanmedian(x))
    total = np.sum(np.square(x - x.mean()))
    within = sum(np.sum(np.square(x[labels == c] - x[labels == c].mean())) for c in np.unique(labels))
    return 1 - within / total if total > 0 else 0.0


def _typical(values: np.ndarray) -> str:
    """Mean and deviation of numbers, or the most common words and their shares."""
    if values.dtype.kind == "f":
        known = values[np.isfinite(values)]
        return f"{known.mean():.4g} ± {known.std():.2g}" if len(known) else "no value"
    words, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MAX_WORDS]
    return ", ".join(f"{words[i] or 'missing'} {counts[i] / len(values):.0%}" for i in order)


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
    rows = list(ranking[:MAX_CANDIDATES])[::-1]
    figure = Figure(figsize=(8, 0.9 + 0.38 * len(rows)), layout="constrained")
    axes = figure.add_subplot(xlabel="predicted adjusted Rand index")
    quality, width = (np.array([getattr(row, name) for row in rows]) for name in ("quality", "width"))
    within = np.minimum(width, [quality + 1, 1 - quality])  # an index is at most one
    axes.errorbar(quality, range(len(rows)), xerr=within, fmt="o", capsize=3)
    axes.set_yticks(range(len(rows)), [f"{row.name}, {row.clusters} clusters" for row in rows], fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    return figure


def _effects(reasons: Sequence[Reason]) -> Figure:
    rows = list(reasons)[::-1]
    figure = Figure(figsize=(8, 0.9 + 0.38 * len(rows)), layout="constrained")
    axes = figure.add_subplot(xlabel="contribution to the predicted agreement")
    axes.barh(range(len(rows)), [row.effect for row in rows], color="#4878a8")
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=9)
    axes.axvline(0, color="#222", linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)
    return figure


def _percentiles(features: Sequence[FeaturePercentile]) -> Figure:
    rows = list(features)[::-1]
    figure = Figure(figsize=(8, 0.9 + 0.2 * len(rows)), layout="constrained")
    axes = figure.add_subplot(xlabel="training problems with a smaller value, %", xlim=(-3, 103))
    places: Float[np.ndarray, " R"] = np.array([row.percentile for row in rows])
    colors = ["#c44e52" if place <= 1 or place >= 99 else "#4878a8" for place in places]
    axes.scatter(places, range(len(rows)), c=colors, s=22)
    axes.set_yticks(range(len(rows)), [f"{row.name} = {row.value:.3g}" for row in rows], fontsize=7)
    axes.grid(alpha=0.3)
    return figure
