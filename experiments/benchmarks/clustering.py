"""Compares batched k-means with its peers: forward pass, gradient and second-order gradient, for every rule.

    python -m experiments.benchmarks.clustering --out FILE       # about ten minutes on two cores
    python -m experiments.benchmarks.clustering --quick          # seconds; small shapes

Every peer takes the same number of steps from the same start in the same process; outputs are compared
before anything is timed, and calls alternate. Peers that are not installed are recorded as such. Install them
with `pip install '.[bench]'`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

import jmeta as jm

from . import peers, record
from .timing import Compiled, compiled, race, seconds

RULES = {
    "unroll": lambda: None,
    "unroll remat": lambda: jm.unroll(remat=True),
    "truncate 5": lambda: jm.truncate(5),
    "one_step": lambda: jm.one_step(),
    "implicit gmres": lambda: jm.implicit(jm.gmres(5)),
    "implicit neumann": lambda: jm.implicit(jm.neumann(5)),
    "straight_through": lambda: jm.straight_through(),
}
"""Differentiation rules by name."""
STEPS = 20
"""Steps of soft k-means."""
HARD_STEPS = 10
"""Steps of hard k-means."""
TOLERANCE = 1e-2
"""Peers whose outputs differ by more, relative to the largest number, are not timed; an implicit gradient
may differ by 0.5 % where 20 steps have not quite converged."""
COST = {"forward": 1, "grad": 3, "grad2": 9}
"""Matrix products of each pass, unrolled, as multiples of those of the forward pass."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    out: Path | None = None
    """File for the rows, as a JSON list; they are not written unless given."""
    quick: bool = False
    """Use small shapes and few repeats."""
    repeats: int = 9
    """Timed calls of each function, after one warm-up call."""


class Shape(NamedTuple):
    """The size of a problem: T tasks of N points in D dimensions and K clusters."""

    T: int
    N: int
    D: int
    K: int


class Case(NamedTuple):
    """One line of the table.

    Attributes:
        algorithm: "soft_kmeans" or "kmeans".
        mode: "forward" for centres, "grad" for a gradient, "grad2" for the gradient of a gradient.
        rule: a name of `RULES`.
        shape: the size of the problem.
        steps: number of iterations.
        peer: a name of `peers.PACKAGES`; None for no comparison.
    """

    algorithm: str
    mode: str
    rule: str
    shape: Shape
    steps: int
    peer: str | None


HEADLINE = (Shape(256, 100, 64, 5), Shape(64, 1000, 64, 10))
"""Shapes for which every rule is measured."""
OTHERS = (
    Shape(1024, 25, 64, 5),
    Shape(256, 100, 2, 5),
    Shape(64, 100, 512, 20),
    Shape(1, 10000, 64, 20),
    Shape(1, 1000, 64, 100),
)
"""Further shapes."""
SMALL = (Shape(8, 25, 2, 5), Shape(4, 100, 64, 5))
"""Shapes of a quick run."""


def cases(quick: bool) -> Iterator[Case]:
    """All lines of the table."""
    headline, others = (SMALL[:1], SMALL[1:]) if quick else (HEADLINE, OTHERS)
    soft = partial(Case, algorithm="soft_kmeans", steps=STEPS)
    hard = partial(Case, algorithm="kmeans", steps=HARD_STEPS)
    for shape in headline:
        for rule in RULES:
            yield soft(mode="grad", rule=rule, shape=shape, peer="torch_batched")
        yield soft(mode="grad", rule="unroll", shape=shape, peer="torch_compiled")
        yield soft(mode="grad", rule="one_step", shape=shape, peer="torch_kmeans")
        for rule in ("unroll", "implicit gmres"):
            yield soft(mode="grad2", rule=rule, shape=shape, peer="torch_batched")
    for shape in (*headline, *others):
        yield soft(mode="forward", rule="unroll", shape=shape, peer="torch_batched")
        for peer in ("sklearn", "ott", "faiss", *["flash_kmeans"] * (jax.default_backend() == "gpu")):
            yield hard(mode="forward", rule="one_step", shape=shape, peer=peer)
    for shape in others:
        for rule in ("unroll", "implicit gmres"):
            yield soft(mode="grad", rule=rule, shape=shape, peer="torch_batched")
    for rule in ("unroll", "unroll remat", "implicit gmres"):
        for steps in (5, 20, 80):
            yield soft(mode="grad", rule=rule, shape=headline[0], steps=steps, peer=None)


class Problem(NamedTuple):
    """The data of a benchmark.

    Attributes:
        x: [T, N, D] points in clusters.
        start: [T, K, D] initial centres, slightly shifted points.
        beta: inverse temperature of soft k-means.
    """

    x: np.ndarray
    start: np.ndarray
    beta: float


def problem(algorithm: str, shape: Shape) -> Problem:
    """Separated clusters with one initial centre in each, so that soft k-means converges in 20 steps.

    For hard k-means clusters overlap and initial centres are random, so that it has not converged after 10.
    """
    random = np.random.default_rng(0)
    T, N, D, K = shape
    hard = algorithm == "kmeans"
    centers = random.normal(size=(T, K, D)) * (1 if hard else 24 / D**0.5 if D < 64 else 3)
    x = (centers[:, np.arange(N) % K] + random.normal(size=(T, N, D))).astype(np.float32)
    first = np.stack([random.permutation(N)[:K] if hard else np.arange(K) for _ in range(T)])
    start = np.take_along_axis(x, first[:, :, None], 1) + np.float32(0.01)
    return Problem(x, start, 0.5 if D < 64 else 0.05)


def ours(case: Case, data: Problem) -> Compiled:
    """The compiled program of jmeta, which chooses chunks, layout and devices."""

    def centers(x: jax.Array, start: jax.Array) -> jax.Array:
        if case.algorithm == "kmeans":
            clusterer = jm.kmeans(case.shape.K, steps=case.steps, centers=start)
        else:
            clusterer = jm.soft_kmeans(
                case.shape.K,
                steps=case.steps,
                diff=RULES[case.rule](),
                inverse_temperature=data.beta,
                centers=start,
            )
        return clusterer.fit({}, jm.Batch(x), jax.random.key(0)).centers

    def loss(x: jax.Array, start: jax.Array) -> jax.Array:
        return jnp.sum(centers(x, start) ** 2)

    def projected_gradient(x: jax.Array, start: jax.Array, probe: jax.Array) -> jax.Array:
        return jnp.sum(jax.grad(loss)(x, start) * probe)

    inputs = [jnp.asarray(data.x), jnp.asarray(data.start)]
    if case.mode == "grad2":
        inputs.append(jnp.asarray(peers.probe_of(data.x)))
    function = {"forward": centers, "grad": jax.grad(loss), "grad2": jax.grad(projected_gradient)}[case.mode]
    program = compiled(jm.over_tasks(function), *inputs)
    return program._replace(call=partial(program.call, *inputs))


def theirs(case: Case, data: Problem) -> Callable[[], Any]:
    """The peer's call."""
    x, start, beta = data
    if case.peer in ("torch_batched", "torch_compiled"):
        return peers.torch_soft(x, start, beta, case.steps, case.mode, case.peer == "torch_compiled")
    if case.peer == "torch_kmeans":
        return peers.torch_kmeans_soft(x, start, beta, case.steps, case.mode)
    hard = {
        "sklearn": peers.sklearn_hard,
        "faiss": peers.faiss_hard,
        "flash_kmeans": peers.flash_hard,
        "ott": peers.ott_hard,
    }
    return hard[str(case.peer)](x, start, case.steps)


def difference(case: Case, own: np.ndarray, other: np.ndarray) -> float:
    """The largest difference relative to the largest number."""
    if case.rule == "straight_through":  # its derivative with respect to the points is zero by definition
        return float(np.abs(own).max())
    return float(np.abs(own - other).max() / np.abs(other).max())


def measure(case: Case, rate: float, repeats: int) -> dict[str, Any]:
    """One row of the table."""
    data = problem(case.algorithm, case.shape)
    program = ours(case, data)
    row: dict[str, Any] = {
        "algorithm": case.algorithm,
        "pass": case.mode,
        "rule": case.rule,
        **case.shape._asdict(),
        "steps": case.steps,
        "peer": case.peer,
        "jmeta_bytes": program.bytes,
        "compile_s": round(program.seconds, 3),
    }
    tasks = case.shape.T
    duration = None
    note = None
    if case.peer is None or record.version(peers.PACKAGES[case.peer]) is None:
        note = case.peer and f"{case.peer} is not installed"
    else:
        try:
            peer = theirs(case, data)
            row["difference"] = difference(case, np.asarray(program.call()), peers.on_host(peer()))
            if row["difference"] > TOLERANCE:
                raise ValueError("outputs differ")
            result = race(program.call, peer, repeats)
            duration = result.ours
            row |= {"peer_tasks_per_s": tasks / result.theirs, "ratio": result.ratio}
        except Exception as error:  # any failure of a peer is recorded, and the benchmark continues
            note = f"{case.peer} failed: {type(error).__name__}: {str(error)[:60]}"
    duration = duration or min(seconds(program.call) for _ in range(repeats + 1))
    operations = COST[case.mode] * 4 * case.shape.N * case.shape.K * case.shape.D * case.steps * tasks
    row |= {"jmeta_tasks_per_s": tasks / duration, "fraction_of_matmul": operations / duration / rate}
    return {"peer_tasks_per_s": None, "ratio": None, "note": note} | row


def show(rows: list[dict[str, Any]], rate: float) -> None:
    """Prints the table, with the lines where jmeta is slower in red."""
    table = Table(title=f"{jax.devices()[0].device_kind}, matrix products at {rate / 1e9:.0f} GFLOP/s")
    for column in (
        "algorithm",
        "pass",
        "rule",
        "T, N, D, K",
        "steps",
        "tasks/s",
        "peer",
        "ratio",
        "matmul",
        "MiB",
    ):
        table.add_column(column)
    for row in rows:
        ratio, style = record.verdict(row)
        table.add_row(
            row["algorithm"],
            row["pass"],
            row["rule"],
            ", ".join(str(row[letter]) for letter in "TNDK"),
            str(row["steps"]),
            f"{row['jmeta_tasks_per_s']:.0f}",
            row["peer"] or "",
            ratio,
            f"{row['fraction_of_matmul']:.0%}",
            f"{row['jmeta_bytes'] / 2**20:.1f}",
            style=style,
        )
    Console(width=130).print(table)


def main() -> None:
    """Runs the benchmark from the command line."""
    options = tyro.cli(Options, description=__doc__)
    rate = record.begin(options.quick, options.repeats)
    machine = record.machine(peers.PACKAGES, rate)
    rows = []
    for case in cases(options.quick):
        rows.append(measure(case, rate, 1 if options.quick else options.repeats) | {"machine": machine})
        record.write(rows, options.out)
    show(rows, rate)


if __name__ == "__main__":
    main()
