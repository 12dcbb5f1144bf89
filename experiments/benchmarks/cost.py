"""Measures how the cost of each clusterer grows with steps, points, features and clusters.

    python -m experiments.benchmarks.cost --out FILE --picture FILE    # about four minutes on two cores
    python -m experiments.benchmarks.cost --quick

The forward pass of 16 tasks is timed while one number grows and the others are fixed. The picture has a panel
for each number, on logarithmic axes, with a dashed line of the theoretical slope for each algorithm.
"""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import jmeta as jm

from . import record
from .timing import compiled, seconds

TASKS = 16
"""Tasks in a batch."""
BASE = {"steps": 10, "N": 200, "D": 16, "K": 5}
"""The numbers that are fixed."""
GROWTH = {
    "steps": (5, 10, 20, 40, 80),
    "N": (50, 100, 200, 400),
    "D": (4, 16, 64, 256),
    "K": (2, 5, 10, 20, 40),
}
"""The values of each number that grows."""


class Entry(NamedTuple):
    """An algorithm and its theoretical cost.

    Attributes:
        make: (clusters, steps) -> the clusterer.
        exponents: number -> the exponent of the cost, in the limit of large numbers.
    """

    make: Callable[[int, int], jm.Clusterer]
    exponents: dict[str, int]


LINEAR = {"steps": 1, "N": 1, "D": 1, "K": 1}
"""The exponents of a cost that is linear in all numbers."""

ENTRIES = {
    "kmeans": Entry(
        lambda clusters, steps: jm.kmeans(clusters, steps=steps, diff=jm.one_step()),
        LINEAR,
    ),
    "soft_kmeans": Entry(
        lambda clusters, steps: jm.soft_kmeans(clusters, steps=steps),
        LINEAR,
    ),
    "sinkhorn_kmeans": Entry(
        lambda clusters, steps: jm.sinkhorn_kmeans(clusters, steps=steps),
        LINEAR,
    ),
    "gaussian_mixture": Entry(
        lambda clusters, steps: jm.gaussian_mixture(clusters, steps=steps),
        {"steps": 1, "N": 1, "D": 2, "K": 1},
    ),
    "mean_shift": Entry(
        lambda clusters, steps: jm.mean_shift(clusters, steps=steps),
        {"steps": 1, "N": 2, "D": 1, "K": 0},
    ),
    "spectral": Entry(
        lambda clusters, steps: jm.spectral(clusters, rows=jm.soft_kmeans(clusters, steps=steps)),
        {"steps": 0, "N": 3, "D": 0, "K": 0},
    ),
    "dbscan": Entry(lambda clusters, steps: jm.dbscan(clusters), {"steps": 0, "N": 2, "D": 1, "K": 0}),
    "agglomerative": Entry(
        lambda clusters, steps: jm.agglomerative(clusters), {"steps": 0, "N": 2, "D": 0, "K": 0}
    ),
}
"""The algorithms by name."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    out: Path | None = None
    """File for the rows, as a JSON list; they are not written unless given."""
    picture: Path | None = None
    """File for the picture; it is not drawn unless given."""
    quick: bool = False
    """Use two values of each number and one repeat."""


def milliseconds(name: str, sizes: dict[str, int], repeats: int) -> float:
    """The median time of one batch of tasks."""
    clusterer = ENTRIES[name].make(sizes["K"], sizes["steps"])
    random = np.random.default_rng(0)
    centers = 3 * random.normal(size=(TASKS, sizes["K"], sizes["D"]))
    labels = np.arange(sizes["N"]) % sizes["K"]
    points = centers[:, labels] + random.normal(size=(TASKS, sizes["N"], sizes["D"]))

    def run(x: jax.Array, key: jax.Array) -> Any:
        state = clusterer.fit({}, jm.Batch(x), key)
        return clusterer.assign({}, state, x)

    inputs = points.astype(np.float32), jax.random.split(jax.random.key(0), TASKS)
    program = compiled(jm.over_tasks(run), *inputs)
    program.call(*inputs)
    return 1e3 * statistics.median(seconds(lambda: program.call(*inputs)) for _ in range(repeats))


def slope(sizes: list[int], times: list[float]) -> float:
    """The exponent between the two largest sizes, which is closest to its limit."""
    return math.log(times[-1] / times[-2]) / math.log(sizes[-1] / sizes[-2])


def picture(rows: list[dict[str, Any]]) -> Figure:
    """A panel for each number; dashed lines of theoretical slope pass through the last measurement."""
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    for panel, number in enumerate(GROWTH, 1):
        axes = figure.add_subplot(1, len(GROWTH), panel, xscale="log", yscale="log", xlabel=number)
        for row in (row for row in rows if row["number"] == number):
            sizes = np.array(row["sizes"], float)
            times = row["milliseconds"]
            (line,) = axes.plot(sizes, times, marker="o", markersize=3, label=row["algorithm"])
            theory = times[-1] * (sizes / sizes[-1]) ** row["theory"]
            axes.plot(sizes, theory, linestyle="--", linewidth=0.8, color=line.get_color())
        axes.set_xticks(GROWTH[number], [str(size) for size in GROWTH[number]])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel(f"milliseconds for {TASKS} tasks")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=8)
    return figure


def main() -> None:
    """Runs the measurement from the command line."""
    options = tyro.cli(Options, description=__doc__)
    jm.use_all_cores()
    rows: list[dict[str, Any]] = []
    for name, entry in ENTRIES.items():
        for number, values in GROWTH.items():
            sizes = list(values[:2] if options.quick else values)
            times = [milliseconds(name, BASE | {number: size}, 1 if options.quick else 5) for size in sizes]
            rows.append(
                {
                    "algorithm": name,
                    "number": number,
                    "sizes": sizes,
                    "milliseconds": [round(value, 3) for value in times],
                    "slope": round(slope(sizes, times), 2),
                    "theory": entry.exponents[number],
                    "tasks": TASKS,
                    "base": BASE,
                    "device": jax.devices()[0].device_kind,
                    "cores": os.cpu_count(),
                    "jax": jax.__version__,
                }
            )
            record.write(rows, options.out)
    table = Table(title="slope of the cost between the two largest sizes (and in theory)")
    for column in ("algorithm", *GROWTH):
        table.add_column(column)
    for name in ENTRIES:
        cells = [f"{row['slope']:.2f} ({row['theory']})" for row in rows if row["algorithm"] == name]
        table.add_row(name, *cells)
    Console(width=110).print(table)
    if options.picture:
        picture(rows).savefig(options.picture, dpi=110)


if __name__ == "__main__":
    main()
