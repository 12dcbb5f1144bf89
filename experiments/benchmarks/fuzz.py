"""Fuzz test of all clusterers on a million hostile tasks: none may return NaN or crash.

    python -m experiments.benchmarks.fuzz --out FILE    # a million tasks; a thousand per host algorithm
    python -m experiments.benchmarks.fuzz --quick

A task has 16 points, of any scale from 1e-15 to 1e15, near the origin or far from it, and possibly
duplicates, a constant feature, an outlier, points of weight zero that hold 1e20 or NaN, and unused slots.
"""

from __future__ import annotations

import dataclasses
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import tyro
from rich.console import Console
from rich.table import Table

import jmeta as jm
from jmeta.clustering.host.algorithms import HOST_ALGORITHMS

from . import record

N = 16
"""Points of a task."""
D = 3
"""Features of a point."""
K = 4
"""Largest number of clusters."""
BATCH = 4096
"""Tasks of one call on the device."""

DEVICE: dict[str, Callable[[], jm.Clusterer]] = {
    "soft_kmeans": lambda: jm.soft_kmeans(K),
    "soft_kmeans annealed": lambda: jm.soft_kmeans(K, annealing=20.0, mixture_weights=True),
    "soft_kmeans cosine": lambda: jm.soft_kmeans(K, metric="cosine"),
    "soft_kmeans cold": lambda: jm.soft_kmeans(K, inverse_temperature=1e30),
    "soft_kmeans hot": lambda: jm.soft_kmeans(K, inverse_temperature=1e-30),
    "sinkhorn_kmeans": lambda: jm.sinkhorn_kmeans(K),
    "kmeans": lambda: jm.kmeans(K, restarts=2),
    "gaussian_mixture": lambda: jm.gaussian_mixture(K, steps=20),
    "gaussian_mixture tied": lambda: jm.gaussian_mixture(K, steps=20, covariance="tied"),
    "gaussian_mixture diagonal": lambda: jm.gaussian_mixture(K, steps=20, covariance="diagonal"),
    "mean_shift": lambda: jm.mean_shift(K),
    "spectral": lambda: jm.spectral(K, rows=jm.soft_kmeans(K)),
    "dbscan": lambda: jm.dbscan(K, min_points=3),
    "dbscan soft": lambda: jm.dbscan(K, min_points=3, softness=0.1),
    "agglomerative ward": lambda: jm.agglomerative(K),
    "agglomerative single": lambda: jm.agglomerative(K, linkage="single"),
}
"""The clusterers that run on the device."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the run."""

    out: Path | None = None
    """File for the rows, as a JSON list; they are not written unless given."""
    quick: bool = False
    """Use one batch per device algorithm and ten tasks per host algorithm."""
    tasks: int = 1_000_000
    """Total number of tasks of all device algorithms."""
    host_tasks: int = 1000
    """Tasks of each host algorithm."""


def task(key: jax.Array) -> jm.Batch:
    """One hostile task."""
    keys = jax.random.split(key, 10)
    points = jax.random.normal(keys[0], (N, D))
    centers = 5 * jax.random.normal(keys[1], (K, D))
    points = points * jax.random.uniform(keys[2]) + centers[jax.random.randint(keys[3], (N,), 0, K)]
    odds = jax.random.uniform(keys[4], (6,))
    copies = points[jax.random.randint(keys[5], (N,), 0, 1 + jax.random.randint(keys[6], (), 0, N))]
    points = jnp.where(odds[0] < 0.3, copies, points)
    points = jnp.where(odds[1] < 0.2, points.at[:, 0].set(1), points)
    points = jnp.where(odds[2] < 0.2, points.at[0].multiply(1e4), points)
    points = points + jnp.where(odds[3] < 0.3, 1e3, 0)
    points = points * 10 ** jax.random.uniform(keys[7], (), minval=-15, maxval=11)
    weights = jnp.where(odds[4] < 0.3, jax.random.bernoulli(keys[8], 0.7, (N,)), jnp.ones(N, bool))
    junk = jnp.where(odds[4] < 0.1, jnp.nan, 1e20)
    points = jnp.where(weights[:, None], points, junk)
    used = jnp.where(odds[5] < 0.3, jax.random.randint(keys[9], (), 1, K + 1), K)
    return jm.Batch(points, None, weights.astype(points.dtype), used)


def on_device(make: Callable[[], jm.Clusterer], tasks: int) -> int:
    """The number of tasks, out of `tasks`, whose result is not finite or not normalised."""
    clusterer = make()

    def failed(key: jax.Array) -> jax.Array:
        batch = task(key)
        state = clusterer.fit(clusterer.init(key), batch, key)
        real = jnp.asarray(batch.weights)[:, None] > 0
        assignment = clusterer.assign(clusterer.init(key), state, jnp.where(real, batch.inputs, 0))
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((state, assignment))]
        total = jax.nn.logsumexp(assignment.log_probs, 1)
        return ~(jnp.all(jnp.stack(finite)) & jnp.all(jnp.abs(total) < 1e-3))

    run = jm.over_tasks(failed, chunk=64)
    failures = 0
    for start in range(0, tasks, BATCH):
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(start + jnp.arange(BATCH))
        failures += int(jnp.sum(run(keys)[: tasks - start]))
    return failures


def on_host(name: str, tasks: int) -> int:
    """The number of tasks that crash or whose result is not finite; an InputError is not a failure."""
    batches = jax.jit(jax.vmap(lambda i: task(jax.random.fold_in(jax.random.key(1), i))))(jnp.arange(tasks))
    clusterer = jm.host(name, K if HOST_ALGORITHMS[name].clusters_argument else None)
    failures = 0
    warnings.simplefilter("ignore")  # scikit-learn warns about such points
    for i in range(tasks):
        batch = jax.tree.map(lambda leaf, i=i: leaf[i], batches)
        points = jnp.where(batch.weights[:, None] > 0, batch.inputs, 0)
        try:
            result = jm.cluster(clusterer, points, weights=batch.weights, key=jax.random.key(i))
            failures += not all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in result)
        except jm.InputError:
            pass
        except Exception:
            failures += 1
    return failures


def main() -> None:
    """Runs the test from the command line; the exit code is 1 if anything failed."""
    options = tyro.cli(Options, description=__doc__)
    jm.use_all_cores()
    device_tasks = BATCH if options.quick else -(-options.tasks // len(DEVICE))
    host_tasks = 10 if options.quick else options.host_tasks
    names = [name for name in HOST_ALGORITHMS if name != "genie"]
    runs = [
        (name, "device", device_tasks, lambda make=make: on_device(make, device_tasks))
        for name, make in DEVICE.items()
    ]
    runs += [(name, "host", host_tasks, lambda name=name: on_host(name, host_tasks)) for name in names]
    rows: list[dict[str, Any]] = []
    table = Table(title="hostile tasks")
    for column in ("algorithm", "place", "tasks", "failures", "seconds"):
        table.add_column(column)
    for name, place, tasks, run in runs:
        began = time.perf_counter()
        failures = run()
        duration = round(time.perf_counter() - began, 1)
        rows.append(
            {"algorithm": name, "place": place, "tasks": tasks, "failures": failures, "seconds": duration}
        )
        table.add_row(name, place, str(tasks), str(failures), str(duration))
        record.write(rows, options.out)
    Console(width=90).print(table)
    if any(row["failures"] for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
