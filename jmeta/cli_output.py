"""What `jmeta cluster` prints and writes: the result as JSON, in words, and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from .estimators import AutoCluster
    from .estimators.reading import Sheet

MAX_SHOWN = 5
"""The maximum number of candidates that are printed."""


def result_of(file: Path, sheet: Sheet, model: AutoCluster, seconds: float) -> dict:
    """The result, for JSON."""
    labels, advice = model.labels_, model.strategy_
    return {
        "file": str(file),
        "rows": len(labels),
        "columns": list(sheet.names),
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
        "notes": list(sheet.notes),
        "labels": labels.tolist(),
        "seconds": round(seconds, 2),
    }


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
    from .report import Summary, clustering_report

    advice = model.strategy_
    explanation = model.explain() if model.candidates_ else None
    sizes = ", ".join(f"{int((model.labels_ == i).sum()):,}" for i in range(model.n_clusters_))
    facts = {
        "rows": f"{len(model.labels_):,}",
        "columns": f"{len(sheet.names):,}",
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
        notes=sheet.notes,
    )
    return clustering_report(summary, model.candidates_, explanation, sheet.columns, model.labels_)
