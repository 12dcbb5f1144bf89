"""The page of `jmeta cluster`: the clusters first, then pictures, and how they were found last."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..metafeatures.separation import principal_axes
from ..search.explanation import Explanation
from ..tables.layout import counted
from . import charts
from .findings import Findings
from .page import page
from .page import table as html_table
from .profile import date_format, is_text, is_words, overall, percent, show_date

if TYPE_CHECKING:
    from ..estimators import AutoCluster

Associations = list[tuple[str, float]]
"""Names of columns and their associations with the clusters, the strongest first."""
STANDARD_INPUT = "standard input"
"""The name of a table that was no file."""
LATITUDE = frozenset({"lat", "latitude"})
LONGITUDE = frozenset({"lon", "lng", "long", "longitude"})
MAX_LABELS = 10_000
"""The largest number of rows whose clusters can be downloaded from the page."""
MAX_CANDIDATES = 8
"""The largest number of candidates in a table."""
MAX_COLUMNS = 12
"""The largest number of columns in a table."""
MAX_CELL = 60
"""The largest number of letters of a cell that are shown."""


def clustering_report(
    name: str,
    model: AutoCluster,
    table: pd.DataFrame,
    found: Findings,
    notes: Sequence[str] = (),
    explanation: Explanation | None = None,
) -> str:
    """The page as HTML, in one file that needs no network.

    Args:
        name: of the table, such as that of its file.
        model: fitted to it.
        table: [N] rows, in the user's columns and units.
        found: what it says, by `findings_of`.
        notes: how the table was read and prepared.
        explanation: of the choice, if there was one.
    """
    associations = overall(table, model.labels_)
    parts = [
        charts.library(),
        f"<h1>{escape(found.headline)} in {escape(name)}</h1>",
        f"<p><strong>{escape(found.certainty)}</strong></p>",
        *_clusters(found),
        *_pictures(found, model, table, associations),
        *_rows(found, table),
        *_alternatives(found),
        *_quality(found, model, explanation),
        *_next(found, model, name),
        *_how(model, table, associations, notes, explanation),
    ]
    return page(f"Clusters of {name}", parts)


def _titles(found: Findings) -> dict[int, str]:
    """Label -> what the charts call it."""
    return {one.label: one.title for one in found.clusters}


def _clusters(found: Findings) -> list[str]:
    """How large the clusters are, and what makes each one different."""
    parts = [charts.sizes({one.label: one.rows for one in found.clusters}, _titles(found))]
    if len(found.clusters) < 2:
        return parts
    parts.append("<h2>What makes each cluster different</h2>")
    for one in found.clusters:
        color = charts.marker(one.label)["color"]
        name = f"{one.title}: {one.name}" if one.name else one.title
        parts.append(
            f"<h3><span class='dot' style='background:{color}'></span>{escape(name)}</h3>"
            f"<p>{one.rows:,} rows, {percent(one.share)}.</p>"
        )
        rows = [[d.column, d.here, d.overall, f"{d.association:.2f}"] for d in one.differences]
        parts.append(
            html_table(["column", "here", "all rows", "association"], rows)
            if rows
            else "<p>No single column distinguishes it from the rest.</p>"
        )
    parts.append(
        "<p class='note'>Medians of numbers and dates, shares of words. Association is the share of the "
        "uncertainty about who is in the cluster that the column removes: 1 separates it exactly.</p>"
    )
    return parts


def _pictures(
    found: Findings, model: AutoCluster, table: pd.DataFrame, associations: Associations
) -> list[str]:
    """The rows in the two columns that separate the clusters best, or on a map, and on principal axes."""
    titles, labels = _titles(found), model.labels_
    parts = ["<h2>The rows</h2>"]
    axes = _own_axes(table, associations)
    best = ", which separate the clusters best" if len(found.clusters) > 1 else ""
    if axes is not None:
        across, up = axes.names
        shown = pd.notna(axes.x) & pd.notna(axes.y)
        axes = axes._replace(x=axes.x[shown], y=axes.y[shown])
        rows = np.flatnonzero(shown)
        parts += [
            charts.scatter(axes, labels[shown], rows, titles, f"Rows by {across} and {up}"),
            f"<p class='note'>Rows by {escape(across)} and {escape(up)}"
            f"{', as on a map' if axes.ratio else best}.</p>",
        ]
    kept, points = model.compared_.rows, model.compared_.points
    if points.shape[1] > 1:
        places, shares = principal_axes(points, 2)
        names = tuple(f"principal axis {i + 1} ({percent(shares[i])} of the variance)" for i in range(2))
        across, up = places.T
        axes = charts.Axes(across, up, names)  # type: ignore[arg-type]
        parts += [
            charts.scatter(axes, labels[kept], kept, titles, "Rows on their first two principal axes"),
            "<p class='note'>Rows by all columns that were used, on their first two principal axes.</p>",
        ]
    return parts


def _own_axes(table: pd.DataFrame, associations: Associations) -> charts.Axes | None:
    """Longitude and latitude, or the two columns of numbers and dates that separate the clusters best."""
    by_name = {str(name).lower(): name for name in table}
    north, east = (next((by_name[n] for n in names if n in by_name), None) for names in (LATITUDE, LONGITUDE))
    if north is not None and east is not None and _within(table[north], 90) and _within(table[east], 180):
        latitude, longitude = _coordinates(table[north]), _coordinates(table[east])
        ratio = 1 / max(float(np.cos(np.radians(np.nanmean(latitude)))), 0.01)
        return charts.Axes(longitude, latitude, (str(east), str(north)), ratio)
    numeric = [name for name, _ in associations if not is_words(table[name])][:2]
    if len(numeric) < 2:
        return None
    return charts.Axes(
        _coordinates(table[numeric[0]]), _coordinates(table[numeric[1]]), (numeric[0], numeric[1])
    )


def _within(column: pd.Series, limit: float) -> bool:
    """Whether a column holds numbers of at most this size."""
    return pd.api.types.is_numeric_dtype(column) and bool(column.abs().max() <= limit)


def _coordinates(column: pd.Series) -> np.ndarray:
    """The values of a column as numbers or dates."""
    return column.to_numpy("datetime64[s]" if pd.api.types.is_datetime64_any_dtype(column) else float)


def _rows(found: Findings, table: pd.DataFrame) -> list[str]:
    """Typical rows of each cluster, and rows that fit theirs least."""
    shown = table.columns[:MAX_COLUMNS]
    formats = {
        name: date_format(table[name]) for name in shown if pd.api.types.is_datetime64_any_dtype(table[name])
    }
    heads = ["", "row", *map(str, shown)]

    def cells(title: str, row: int) -> list[str]:
        return [title, str(row + 1), *(_cell(table[name].iloc[row], formats.get(name, "")) for name in shown)]

    typical = [cells(f"cluster {k}", row) for k, rows in found.typical.items() for row in rows]
    parts = ["<h2>Typical rows</h2>", html_table(heads, typical)]
    if found.odd:
        parts += [
            "<h2>Odd rows</h2>",
            "<p>These rows fit their cluster least: they are nearer to another, or in none.</p>",
            html_table(heads, [cells("", row) for row in found.odd]),
        ]
    return parts


def _cell(value: object, format: str) -> str:
    if isinstance(value, pd.Timestamp):
        return show_date(value, format)
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    text = "" if value is None or value is pd.NaT or value is pd.NA else str(value)
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 3] + "..."


def _alternatives(found: Findings) -> list[str]:
    """What one cluster fewer or more would change."""
    if not found.alternatives:
        return []
    items = "".join(f"<li>With {one.clusters}: {escape(one.change)}.</li>" for one in found.alternatives)
    return ["<h2>One cluster fewer or more</h2>", f"<ul>{items}</ul>"]


def _quality(found: Findings, model: AutoCluster, explanation: Explanation | None) -> list[str]:
    """How well each cluster is separated, and the probable numbers of clusters."""
    parts = []
    if found.silhouettes:
        parts += [
            "<h2>How well the clusters are separated</h2>",
            charts.bars(
                list(found.silhouettes.values()),
                [f"cluster {k}" for k in found.silhouettes],
                "mean silhouette",
                "Mean silhouette of each cluster",
                list(found.silhouettes),
            ),
            "<p class='note'>The silhouette compares distances within a cluster with those to the nearest "
            "other one: 1 is far apart, 0 is on the border. Winding clusters have low values although they "
            "are separated.</p>",
        ]
    if explanation is not None and explanation.stability is not None:
        parts.append(
            f"<p>Clusterings of random parts of the rows by the same algorithm agree by "
            f"{explanation.stability:.2f} on average, where 1 is perfect and 0 is chance.</p>"
        )
    chances = {k: p for k, p in sorted(model.cluster_probabilities_.items()) if p >= 0.01}
    if len(chances) > 1:
        parts += [
            "<h2>Probable numbers of clusters</h2>",
            charts.bars(
                list(chances.values()),
                [counted(k, "cluster") for k in chances],
                "probability",
                "Probability of each number of clusters",
            ),
        ]
    return parts


def _next(found: Findings, model: AutoCluster, name: str) -> list[str]:
    """What to do next, and the clusters to download."""
    file = escape("-" if name == STANDARD_INPUT else shlex.quote(name))
    items = [
        f"Another number of clusters: <code>jmeta cluster {file} --clusters {one.clusters}</code>"
        for one in found.alternatives
    ]
    items += [
        f"Leave columns out that should not count: <code>jmeta cluster {file} --ignore NAME,NAME</code>",
        f"Assign new rows later: <code>jmeta cluster {file} --save clusters.npz</code>, then "
        "<code>jmeta assign clusters.npz NEW.csv</code>",
    ]
    parts = ["<h2>What to do next</h2>", f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"]
    if len(model.labels_) <= MAX_LABELS:
        rows = "\n".join(f"{row},{label}" for row, label in enumerate(model.labels_.tolist(), 1))
        data = base64.b64encode(f"row,cluster\n{rows}\n".encode()).decode()
        link = f"data:text/csv;base64,{data}"
        parts.append(f"<p><a download='clusters.csv' href='{link}'>Download the cluster of every row</a></p>")
    else:
        parts.append(f"<p>Write the cluster of every row: <code>jmeta cluster {file} --out FILE</code></p>")
    return parts


def _how(
    model: AutoCluster,
    table: pd.DataFrame,
    associations: Associations,
    notes: Sequence[str],
    explanation: Explanation | None,
) -> list[str]:
    """How the clusters were found, folded."""
    advice = model.strategy_
    ranking = [
        [row.name, str(row.clusters), f"{row.quality:.2f}", f"{row.width:.2f}"]
        for row in model.candidates_[:MAX_CANDIDATES]
    ]
    columns = [[name, f"{value:.2f}"] for name, value in associations[:MAX_COLUMNS]]
    texts = [str(name) for name in table if is_text(table[name])]
    parts = [f"<p>{escape(advice.why)}.</p>", f"<p>{escape(advice.scaling)}; {escape(advice.rows)}.</p>"]
    if ranking:
        heads = ["candidate", "clusters", "predicted agreement", "+-"]
        parts += ["<h3>The best candidates</h3>", html_table(heads, ranking)]
    if explanation is not None and explanation.reasons:
        reasons = [
            [r.name, f"{r.value:.3g}", f"{r.mean:.3g}", f"{r.effect:+.2f}"] for r in explanation.reasons
        ]
        heads = ["property", "chosen", "mean of all", "effect on the predicted agreement"]
        parts += ["<h3>Reasons for the choice</h3>", html_table(heads, reasons)]
    if model.n_clusters_ > 1 and columns:
        parts += ["<h3>Columns and clusters</h3>", html_table(["column", "association"], columns)]
        if texts:
            parts.append(f"<p class='note'>Without texts: {escape(', '.join(texts))}.</p>")
    if notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in notes)
        parts.append(f"<h3>What was done to the table</h3><ul>{items}</ul>")
    return [f"<details><summary>How this was found</summary>{''.join(parts)}</details>"]
