"""Interactive charts of a clustering, as parts of an HTML page that work without a network.

A cluster has the same number and color everywhere. The first eight colors are those of Okabe and Ito (2008),
which the colour-blind can distinguish; further clusters have the same colors with other symbols. Unassigned
rows are grey crosses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from ..errors import InputError

try:
    import plotly.graph_objects as go
    from plotly.offline import get_plotlyjs
except ModuleNotFoundError:
    raise InputError("a page needs plotly; run pip install 'jmeta[tables]'.") from None

COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D00", "#333333")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star")
UNASSIGNED = ("#999999", "x")
MOST_POINTS = 1_000
"""The largest number of rows in a chart."""
DIGITS = 4
"""Significant digits of coordinates, relative to their range."""


class Axes(NamedTuple):
    """The coordinates of rows in a chart.

    Attributes:
        x: [N] across, numbers or dates.
        y: [N] upwards, the same.
        names: of the two axes.
        ratio: units of y over those of x, where these have a fixed relation, as on a map.
    """

    x: np.ndarray
    y: np.ndarray
    names: tuple[str, str]
    ratio: float | None = None


def library() -> str:
    """The library that draws the charts, as a script."""
    return f"<script>{get_plotlyjs()}</script>"


def marker(label: int) -> dict[str, str]:
    """The color and the symbol of a cluster.

    >>> marker(0), marker(-1)["symbol"], marker(8)["symbol"]
    ({'color': '#0072B2', 'symbol': 'circle'}, 'x', 'square')
    """
    if label < 0:
        return dict(zip(("color", "symbol"), UNASSIGNED, strict=True))
    return {
        "color": COLORS[label % len(COLORS)],
        "symbol": SYMBOLS[label // len(COLORS) % len(SYMBOLS)],
    }


def sizes(rows: Mapping[int, int], titles: Mapping[int, str]) -> str:
    """A bar for each cluster, as long as it has rows."""
    figure = go.Figure(
        go.Bar(
            x=list(rows.values()),
            y=[titles[label] for label in rows],
            orientation="h",
            marker_color=[marker(label)["color"] for label in rows],
            text=[f"{count:,}" for count in rows.values()],
            hoverinfo="skip",
        )
    )
    figure.update_yaxes(autorange="reversed", automargin=True, type="category")
    figure.update_xaxes(title="rows", automargin=True)
    return _part(figure, 110 + 28 * len(rows), "Number of rows in each cluster")


def scatter(
    axes: Axes,
    labels: Int[np.ndarray, " N"],
    rows: Int[np.ndarray, " N"],
    titles: Mapping[int, str],
    alt: str,
) -> str:
    """A point for each row, in the color of its cluster; of many rows a random part is drawn.

    Args:
        axes: coordinates.
        labels: [N] clusters.
        rows: [N] numbers of the rows in the table.
        titles: label -> what the legend says.
        alt: what the chart shows, in words.
    """
    figure = go.Figure()
    x, y = _rounded(axes.x), _rounded(axes.y)
    drawn = np.sort(np.random.default_rng(0).permutation(len(labels))[:MOST_POINTS])
    for label, title in titles.items():
        of = drawn[labels[drawn] == label]
        if len(of):
            figure.add_scatter(
                x=x[of],
                y=y[of],
                mode="markers",
                name=title,
                marker={**marker(label), "size": 7, "opacity": 0.75},
                text=rows[of] + 1,
                hovertemplate=f"row %{{text}}<br>{axes.names[0]} %{{x}}<br>{axes.names[1]} %{{y}}",
            )
    figure.update_xaxes(title=axes.names[0], automargin=True)
    figure.update_yaxes(title=axes.names[1], automargin=True)
    if axes.ratio is not None:
        figure.update_yaxes(scaleanchor="x", scaleratio=axes.ratio)
    figure.update_layout(legend={"orientation": "h", "y": -0.18, "yanchor": "top"}, showlegend=True)
    return _part(figure, 520, alt, buttons=True)


def bars(
    values: Sequence[float], names: Sequence[str], axis: str, alt: str, labels: Sequence[int] = ()
) -> str:
    """A horizontal bar for each value; in the colors of clusters where labels are given."""
    colors: Any = [marker(label)["color"] for label in labels] if len(labels) else COLORS[0]
    figure = go.Figure(
        go.Bar(
            x=list(values),
            y=list(names),
            orientation="h",
            marker_color=colors,
            text=[f"{value:.2f}" for value in values],
            hoverinfo="skip",
        )
    )
    figure.update_yaxes(autorange="reversed", automargin=True, type="category")
    figure.update_xaxes(title=axis, automargin=True)
    return _part(figure, 110 + 28 * len(values), alt)


def _rounded(values: np.ndarray) -> np.ndarray:
    """Values with the digits that a chart can show; dates as text."""
    if values.dtype.kind == "M":
        days = np.ptp(values) / np.timedelta64(1, "D") if len(values) else 0
        return np.datetime_as_string(values, "D" if days > 3 else "m")
    spread = float(np.ptp(values)) if len(values) else 0.0
    return np.round(values, DIGITS - int(np.floor(np.log10(spread))) if spread > 0 else DIGITS)


def _part(figure: go.Figure, height: int, alt: str, buttons: bool = False) -> str:
    """The chart as part of a page, with its description for who cannot see it."""
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        font={"size": 13},
        template="plotly_white",
        dragmode="pan",
        hoverlabel={"namelength": -1},
    )
    html = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config={
            "displaylogo": False,
            "displayModeBar": buttons,
            "responsive": True,
            "modeBarButtonsToRemove": ["select2d", "lasso2d"],
        },
    )
    return f'<figure role="img" aria-label="{escape(alt, quote=True)}">{html}</figure>'
