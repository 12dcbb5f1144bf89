"""Meta-features of a thousand tasks beside pymfe, for what both compute.

    python -m experiments.benchmarks.features --out FILE       # about three minutes on two cores
    python -m experiments.benchmarks.features --quick          # seconds; a few small tasks

"marginals" are numbers of points and columns, skewness, kurtosis, correlation and the spectrum of the
covariance; "indices" are the silhouette and the indices of Calinski & Harabasz and of Davies & Bouldin, of
labels that are given; Dunn's is defined otherwise there. Both sides compute all of them, and are compared,
before they are timed, turn by turn.
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
CLASSES = 3
FARTHEST_APART = 1e-2
"""Results that differ by more, relative to the larger of theirs and 0.01, are not timed."""


def main(options: record.Options) -> None:
    """Compare, time, print and write."""
    machine = record.machine({"pymfe": "pymfe"}, record.begin(options.quick, options.repeats))
    tasks, count, columns = (4, 30, 3) if options.quick else (1000, 300, 5)
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, (tasks, count))
    x = (random.gamma(2, size=(tasks, count, columns)) + 2 * labels[..., None]).astype(np.float32)
    table = Table("features", "ours, s", "pymfe, s", "ratio", title=f"{tasks} tasks of {count} x {columns}")
    rows = []
    for kind, (ours, theirs, differ) in {"marginals": _marginals(x), "indices": _indices(x, labels)}.items():
        row = {
            "features": kind,
            "tasks": tasks,
            "points": count,
            "columns": columns,
            "note": "",
            "ratio": None,
        }
        if record.version("pymfe") is None:
            row["note"] = "pymfe is not installed"
        elif (difference := differ()) > FARTHEST_APART:
            row["note"] = f"results differ by {difference:.2g}"
        else:
            found = race(ours, theirs, 1 if options.quick else options.repeats)
            row |= {"ours_s": found.ours, "theirs_s": found.theirs, "ratio": found.ratio}
        rows.append(row | machine)
        text, style = record.verdict(row)
        times = [f"{row[side]:.4f}" if side in row else "" for side in ("ours_s", "theirs_s")]
        table.add_row(kind, *times, text, style=style)
    Console().print(table)
    record.write(rows, options.out)


Side = tuple[Callable[[], object], Callable[[], object], Callable[[], float]]


def _marginals(x: np.ndarray) -> Side:
    """Ours, theirs, and the largest relative difference of what the two have in common, on one task."""

    def of(points: jax.Array) -> jax.Array:
        return meta_features(points, None, jax.random.key(0), clusters=1, groups=GROUPS)

    names = ["nr_inst", "nr_attr", "inst_to_attr", "skewness", "kurtosis", "cor", "eigenvalues"]
    ours, halves = compiled(jm.over_tasks(of), x).call, np.arange(len(x[0])) % 2

    def differ() -> float:
        return max(_difference(ours(x)[place], _pymfe(names, x[place], halves)) for place in (0, -1))

    return partial(ours, x), lambda: [_pymfe(names, points, halves) for points in x], differ


def _difference(own: jax.Array, other: dict[str, float]) -> float:
    """Of everything that both compute, on one task: theirs divide by the deviation of n - 1."""
    found = dict(zip(feature_names(GROUPS), np.asarray(own, float), strict=True))
    count, columns = other["nr_inst"], other["nr_attr"]
    shrunk, pairs = 1 - 1 / count, columns * (columns - 1) / 2
    spread = {name: np.sqrt(1 - 1 / size) for name, size in (("column", columns), ("pair", pairs))}
    mean, deviation = other["eigenvalues.mean"], other["eigenvalues.sd"] * spread["column"]
    both = [
        (np.exp(found["log points"]), count),
        (np.exp(found["log columns"]), columns),
        (np.exp(found["log points per column"]), other["inst_to_attr"]),
        (found["mean skewness"] * shrunk**1.5, other["skewness.mean"]),
        (found["spread of skewness"] * shrunk**1.5, other["skewness.sd"] * spread["column"]),
        ((found["mean kurtosis"] + 3) * shrunk**2 - 3, other["kurtosis.mean"]),
        (found["spread of kurtosis"] * shrunk**2, other["kurtosis.sd"] * spread["column"]),
        (found["mean correlation"], other["cor.mean"]),
        (found["spread of correlation"], other["cor.sd"] * spread["pair"]),
        (found["effective columns"], mean**2 / (mean**2 + deviation**2)),
    ]
    return max(abs(a - b) / max(abs(b), 1e-2) for a, b in both)


def _indices(x: np.ndarray, labels: np.ndarray) -> Side:
    def of(points: jax.Array, labels: jax.Array) -> jax.Array:
        kinds = (silhouette, calinski_harabasz, davies_bouldin)
        return jnp.stack([kind(points, labels, slots=CLASSES) for kind in kinds])

    names = ["sil", "ch", "vdb"]
    ours = compiled(jm.over_tasks(of), x, labels).call

    def differ() -> float:
        other = _pymfe(names, x[0], labels[0])
        pairs = zip(np.asarray(ours(x, labels)[0], float), (other[name] for name in names), strict=True)
        return max(abs(a - b) / max(abs(b), 1e-2) for a, b in pairs)

    def theirs() -> list[dict[str, float]]:
        return [_pymfe(names, *pair) for pair in zip(x, labels, strict=True)]

    return partial(ours, x, labels), theirs, differ


def _pymfe(names: list[str], points: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    from pymfe.mfe import MFE

    groups = ["general", "statistical", "clustering"]
    mfe = MFE(groups=groups, features=names, summary=["mean", "sd"], suppress_warnings=True)
    mfe.fit(points.astype(float), labels, transform_num=False)
    return dict(zip(*mfe.extract(suppress_warnings=True), strict=True))


if __name__ == "__main__":
    main(tyro.cli(record.Options, description=__doc__))
