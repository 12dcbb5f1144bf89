"""Compares the meta-features of a thousand tasks with pymfe, for those that both compute.

    python -m experiments.benchmarks.features --out FILE       # about three minutes on two cores
    python -m experiments.benchmarks.features --quick          # seconds; a few small tasks

"marginals" are the numbers of points and columns, skewness, kurtosis, correlation and the spectrum of the
covariance; "indices" are the silhouette and the indices of Calinski & Harabasz and of Davies & Bouldin of
given labels; pymfe defines Dunn's index differently. Both libraries compute all of them, and the results are
compared, before they are timed alternately.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

import jmeta as jm
from jmeta.metafeatures.tables import feature_names, meta_features
from jmeta.metrics import calinski_harabasz, davies_bouldin, silhouette

from . import record
from .timing import compiled, race

GROUPS = ("size", "marginals", "spectrum")
"""Groups of meta-features that both libraries compute."""
CLASSES = 3
"""Number of classes of a task."""
TOLERANCE = 1e-2
"""Results that differ by more, relative to the larger of pymfe's value and 0.01, are not timed."""


def main(options: record.Options) -> None:
    """Runs the benchmark, prints its table and writes its rows."""
    machine = record.machine({"pymfe": "pymfe"}, record.begin(options.quick, options.repeats))
    tasks, count, columns = (4, 30, 3) if options.quick else (1000, 300, 5)
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, (tasks, count))
    x = (random.gamma(2, size=(tasks, count, columns)) + 2 * labels[..., None]).astype(np.float32)
    table = Table("features", "ours, s", "pymfe, s", "ratio", title=f"{tasks} tasks of {count} x {columns}")
    rows = []
    comparisons = {"marginals": _marginals(x), "indices": _indices(x, labels)}
    for name, (ours, theirs, difference) in comparisons.items():
        row = {
            "features": name,
            "tasks": tasks,
            "points": count,
            "columns": columns,
            "note": "",
            "ratio": None,
        }
        if record.version("pymfe") is None:
            row["note"] = "pymfe is not installed"
        elif (largest := difference()) > TOLERANCE:
            row["note"] = f"results differ by {largest:.2g}"
        else:
            result = race(ours, theirs, 1 if options.quick else options.repeats)
            row |= {"ours_s": result.ours, "theirs_s": result.theirs, "ratio": result.ratio}
        rows.append(row | machine)
        text, style = record.verdict(row)
        times = [f"{row[side]:.4f}" if side in row else "" for side in ("ours_s", "theirs_s")]
        table.add_row(name, *times, text, style=style)
    Console().print(table)
    record.write(rows, options.out)


Comparison = tuple[Callable[[], object], Callable[[], object], Callable[[], float]]
"""Our call, pymfe's call, and the largest relative difference of their results."""


def _marginals(x: np.ndarray) -> Comparison:
    def features(points: jax.Array) -> jax.Array:
        return meta_features(points, None, jax.random.key(0), clusters=1, groups=GROUPS)

    names = ["nr_inst", "nr_attr", "inst_to_attr", "skewness", "kurtosis", "cor", "eigenvalues"]
    ours = compiled(jm.over_tasks(features), x).call
    halves = np.arange(len(x[0])) % 2

    def difference() -> float:
        return max(_difference(ours(x)[task], _pymfe(names, x[task], halves)) for task in (0, -1))

    return partial(ours, x), lambda: [_pymfe(names, points, halves) for points in x], difference


def _difference(own: jax.Array, other: dict[str, float]) -> float:
    """The largest relative difference on one task; pymfe's deviations divide by n - 1."""
    features = dict(zip(feature_names(GROUPS), np.asarray(own, float), strict=True))
    count = other["nr_inst"]
    columns = other["nr_attr"]
    pairs = columns * (columns - 1) / 2
    shrunk = 1 - 1 / count
    spread = {name: np.sqrt(1 - 1 / size) for name, size in (("column", columns), ("pair", pairs))}
    mean = other["eigenvalues.mean"]
    deviation = other["eigenvalues.sd"] * spread["column"]
    both = [
        (np.exp(features["log points"]), count),
        (np.exp(features["log columns"]), columns),
        (np.exp(features["log points per column"]), other["inst_to_attr"]),
        (features["mean skewness"] * shrunk**1.5, other["skewness.mean"]),
        (features["spread of skewness"] * shrunk**1.5, other["skewness.sd"] * spread["column"]),
        ((features["mean kurtosis"] + 3) * shrunk**2 - 3, other["kurtosis.mean"]),
        (features["spread of kurtosis"] * shrunk**2, other["kurtosis.sd"] * spread["column"]),
        (features["mean correlation"], other["cor.mean"]),
        (features["spread of correlation"], other["cor.sd"] * spread["pair"]),
        (features["effective columns"], mean**2 / (mean**2 + deviation**2)),
    ]
    return max(abs(a - b) / max(abs(b), 1e-2) for a, b in both)


def _indices(x: np.ndarray, labels: np.ndarray) -> Comparison:
    def indices(points: jax.Array, labels: jax.Array) -> jax.Array:
        functions = (silhouette, calinski_harabasz, davies_bouldin)
        return jnp.stack([index(points, labels, slots=CLASSES) for index in functions])

    names = ["sil", "ch", "vdb"]
    ours = compiled(jm.over_tasks(indices), x, labels).call

    def difference() -> float:
        other = _pymfe(names, x[0], labels[0])
        pairs = zip(np.asarray(ours(x, labels)[0], float), (other[name] for name in names), strict=True)
        return max(abs(a - b) / max(abs(b), 1e-2) for a, b in pairs)

    def theirs() -> list[dict[str, float]]:
        return [_pymfe(names, *pair) for pair in zip(x, labels, strict=True)]

    return partial(ours, x, labels), theirs, difference


def _pymfe(names: list[str], points: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    from pymfe.mfe import MFE

    groups = ["general", "statistical", "clustering"]
    mfe = MFE(groups=groups, features=names, summary=["mean", "sd"], suppress_warnings=True)
    mfe.fit(points.astype(float), labels, transform_num=False)
    return dict(zip(*mfe.extract(suppress_warnings=True), strict=True))


if __name__ == "__main__":
    main(tyro.cli(record.Options, description=__doc__))
