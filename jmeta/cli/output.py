"""What `jmeta cluster` prints and writes: the result as JSON, in words, and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    import pandas as pd

    from ..estimators import AutoCluster
    from ..report.findings import Findings
    from ..tables.reading import Sheet

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


def print_result(result: dict, found: Findings, console: Console) -> None:
    """Prints the clusters and what makes each one different."""
    from ..report.findings import lines_of

    first, *others = lines_of(found)
    console.print(f"\n[bold]{first}[/bold]")
    strategy = result["strategy"]
    for line in (*others, f"{strategy['algorithm'] or 'one group'}; {strategy['scaling']}"):
        console.print(line, markup=False, highlight=False)
    console.print(f"{result['seconds']:.1f} s", highlight=False)


def report_of(name: str, sheet: Sheet, model: AutoCluster, found: Findings) -> str:
    """The page that explains the clustering of the file of this name."""
    from ..report.clustering import clustering_report

    notes = [*sheet.notes, *column_notes(model).values()]
    explanation = model.explain() if model.candidates_ else None
    return clustering_report(name, model, used_table(model), found, notes, explanation)


def findings_of_used(model: AutoCluster) -> Findings:
    """What the clustering says of the columns that were used."""
    from ..report.findings import findings_of

    return findings_of(model, used_table(model))


def used_table(model: AutoCluster) -> pd.DataFrame:
    """The columns that were used, in the user's own terms."""
    return model.table_[[column.name for column in model.encoder_.used_]]
