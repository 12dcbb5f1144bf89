"""What `jmeta cluster` prints and writes: the result as JSON, in words, and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from ..estimators import AutoCluster
    from ..tables.reading import Sheet

MAX_SHOWN = 5
"""The maximum number of candidates that are printed."""
MAX_NAMES = 8
"""The maximum number of columns named in a printed line."""
MAX_LINES = 30
"""The maximum number of printed lines on columns."""


def result_of(file: Path, sheet: Sheet, model: AutoCluster, seconds: float) -> dict:
    """The result, for JSON."""
    labels, advice = model.labels_, model.strategy_
    return {
        "file": str(file),
        "rows": len(labels),
        "columns": model.encoder_.get_feature_names_out().tolist(),
        "clusters": model.n_clusters_,
        "sizes": [int((labels == place).sum()) for place in range(model.n_clusters_)],
        "noise": int((labels < 0).sum()),
        "strategy": {
            "algorithm": None if advice.candidate is None else advice.candidate.name,
            "criterion": advice.criterion,
            "quality": round(advice.quality, 4),
            "width": round(advice.width, 4),
            "scaling": advice.scaling,
            "rows": advice.rows,
            "why": advice.why,
        },
        "ranking": [row._asdict() for row in model.candidates_],
        "cluster_probabilities": {str(k): round(p, 4) for k, p in model.cluster_probabilities_.items()},
        "notes": [*sheet.notes, *column_notes(model).values()],
        "labels": labels.tolist(),
        "seconds": round(seconds, 2),
    }


def column_notes(model: AutoCluster) -> dict[str, str]:
    """The name of every column of the table, and a line that says what was done to it."""
    return {column.name: f"{column.name}: {column.note}" for column in model.encoder_.columns_}


def column_lines(model: AutoCluster) -> list[str]:
    """The same for printing: columns that were treated alike share a line."""
    alike: dict[str, list[str]] = {}
    for column in model.encoder_.columns_:
        alike.setdefault(column.note, []).append(column.name)
    lines = []
    for note, names in alike.items():
        more = f" and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else ""
        lines.append(f"{', '.join(names[:MAX_NAMES])}{more}: {note}")
    hidden = len(lines) - MAX_LINES
    return (
        lines
        if hidden <= 0
        else [*lines[:MAX_LINES], f"{hidden:,} more lines are in the report and in --json"]
    )


def describe_first(labels: Int[np.ndarray, " N"], expected: float) -> str:
    """The sizes of the clusters of the first answer, and its expected agreement with the true clusters."""
    sizes = sorted(np.unique(labels, return_counts=True)[1].tolist(), reverse=True)
    shown = ", ".join(f"{size:,}" for size in sizes[:MAX_SHOWN]) + (", ..." if len(sizes) > MAX_SHOWN else "")
    clusters = "1 cluster" if len(sizes) == 1 else f"{len(sizes)} clusters"
    return f"{clusters} of {shown} rows, expected adjusted Rand index {expected:.2f}"


def print_result(result: dict, model: AutoCluster, console: Console) -> None:
    """Prints the clusters, the reason for the choice, and the best candidates."""
    sizes = ", ".join(f"{size:,}" for size in result["sizes"])
    noise = f", and {result['noise']:,} rows of noise" if result["noise"] else ""
    console.print(f"\n[bold]{_headline(model)}[/bold] of {sizes} rows{noise}")
    console.print(result["strategy"]["why"], markup=False, highlight=False)
    console.print(
        f"{result['strategy']['scaling']}; {result['strategy']['rows']}", markup=False, highlight=False
    )
    timed = any(row.seconds for row in model.candidates_)
    pooled = any(row.agreement is not None for row in model.candidates_)
    head = ["agreement"] * pooled + ["predicted", "+-"] + ["seconds"] * timed
    table = Table("candidate", "clusters", *head, box=None)
    table.caption = "*: columns scaled first; / 3: run with three clusters"
    table.caption_justify = "left"
    for row in model.candidates_[:MAX_SHOWN]:
        numbers = [f"{row.agreement:.2f}"] * pooled + [f"{row.quality:.2f}", f"{row.width:.2f}"]
        numbers += [f"{row.seconds:.2f}"] * timed
        table.add_row(row.name, str(row.clusters), *numbers)
    console.print(table)
    console.print(f"{result['seconds']:.1f} s", highlight=False)


def _headline(model: AutoCluster) -> str:
    """The number of clusters, in words."""
    if model.n_clusters_ == 1:
        return "no clusters: one group" if model.candidates_ else "1 cluster"
    return f"{model.n_clusters_} clusters"


def report_of(name: str, sheet: Sheet, model: AutoCluster) -> str:
    """The page that explains the clustering of the file of this name."""
    from ..report import Summary, clustering_report

    advice = model.strategy_
    explanation = model.explain() if model.candidates_ else None
    sizes = ", ".join(f"{int((model.labels_ == i).sum()):,}" for i in range(model.n_clusters_))
    facts = {
        "rows": f"{len(model.labels_):,}",
        "columns": f"{sheet.frame.shape[1]:,}, of which {len(model.encoder_.used_):,} are used",
        "algorithm": "none" if advice.candidate is None else advice.candidate.name,
        "sizes of clusters": sizes,
        "rows of noise": f"{int((model.labels_ < 0).sum()):,}",
        "criterion to trust most": advice.criterion.replace("_", " "),
        "scaling": advice.scaling,
        "labels": advice.rows,
    }
    if explanation is not None and explanation.stability is not None:
        facts["stability"] = (
            f"{explanation.stability:.2f} (agreement of clusterings of random parts; 1 is perfect)"
        )
    summary = Summary(
        title=f"Clusters of {name}",
        headline=f"{_headline(model)} in {name}",
        why=advice.why,
        facts=facts,
        notes=[*sheet.notes, *column_notes(model).values()],
    )
    return clustering_report(summary, model.candidates_, explanation, _columns(model), model.labels_)


def _columns(model: AutoCluster) -> dict[str, np.ndarray]:
    """The values of the columns that are used: numbers, words, and dates as years."""
    columns = {}
    for column in model.encoder_.used_:
        values = model.table_[column.name]
        if values.dtype.kind == "M":
            values = values.dt.year + values.dt.dayofyear / 366
        columns[column.name] = (
            values.to_numpy(float) if column.numeric else values.fillna("missing").to_numpy(str)
        )
    return columns
