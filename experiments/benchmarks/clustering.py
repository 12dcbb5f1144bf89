"""Batched k-means against its peers: forward, gradient, and gradient of the gradient, by every rule.

    python -m experiments.benchmarks.clustering --out FILE       # about ten minutes on two cores
    python -m experiments.benchmarks.clustering --quick          # seconds; small shapes

Every peer takes the same number of steps from the same start in the same process; outputs are compared
before anything is timed, and calls take turns. Peers that are not installed are recorded as such. Install
them with `pip install '.[bench]'`.
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
STEPS = 20
HARD_STEPS = 10
FARTHEST_APART = 1e-2
"""Outputs that differ by more, relative to the largest, are not timed: an implicit gradient may be 0.5 % off
where 20 steps have not quite converged."""
COST = {"forward": 1, "grad": 3, "grad2": 9}
"""Matrix products of a pass, as multiples of the forward pass's, if it is unrolled."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    out: Path | None = None
    """Where the rows are written, as a JSON list; nowhere unless given."""
    quick: bool = False
    """Small shapes and few repeats."""
    repeats: int = 9
    """How often each is timed, after one call that is not counted."""


class Shape(NamedTuple):
    """How large a problem is."""

    T: int
    N: int
    D: int
    K: int


class Case(NamedTuple):
    """One line of the table before it is timed; `peer` may be empty."""

    algorithm: str
    kind: str
    rule: str
    shape: Shape
    steps: int
    peer: str | None


HEADLINE = (Shape(256, 100, 64, 5), Shape(64, 1000, 64, 10))
OTHERS = (
    Shape(1024, 25, 64, 5),
    Shape(256, 100, 2, 5),
    Shape(64, 100, 512, 20),
    Shape(1, 10000, 64, 20),
    Shape(1, 1000, 64, 100),
)
SMALL = (Shape(8, 25, 2, 5), Shape(4, 100, 64, 5))


def cases(quick: bool) -> Iterator[Case]:
    """All lines of the table."""
    headline, others = (SMALL[:1], SMALL[1:]) if quick else (HEADLINE, OTHERS)
    for shape in headline:
        for rule in RULES:
            yield Case("soft_kmeans", "grad", rule, shape, STEPS, "torch_batched")
        yield Case("soft_kmeans", "grad", "unroll", shape, STEPS, "torch_compiled")
        yield Case("soft_kmeans", "grad", "one_step", shape, STEPS, "torch_kmeans")
        for rule in ("unroll", "implicit gmres"):
            yield Case("soft_kmeans", "grad2", rule, shape, STEPS, "torch_batched")
    for shape in (*headline, *others):
        yield Case("soft_kmeans", "forward", "unroll", shape, STEPS, "torch_batched")
        for peer in ("sklearn", "ott", "faiss"):
            yield Case("kmeans", "forward", "one_step", shape, HARD_STEPS, peer)
    for shape in others:
        for rule in ("unroll", "implicit gmres"):
            yield Case("soft_kmeans", "grad", rule, shape, STEPS, "torch_batched")
    for rule in ("unroll", "unroll remat", "implicit gmres"):
        for steps in (5, 20, 80):
            yield Case("soft_kmeans", "grad", rule, headline[0], steps, None)


class Problem(NamedTuple):
    """Points in clusters, and where centres start: at some of the points, moved a little."""

    x: np.ndarray
    start: np.ndarray
    beta: float


def problem(algorithm: str, shape: Shape) -> Problem:
    """Separated clusters and one start in each, so that soft k-means converges in 20 steps.

    Hard k-means gets clusters that overlap and starts drawn at random: it is still moving after 10.
    """
    random = np.random.default_rng(0)
    T, N, D, K = shape
    hard = algorithm == "kmeans"
    centers = random.normal(size=(T, K, D)) * (1 if hard else 24 / D**0.5 if D < 64 else 3)
    x = (centers[:, np.arange(N) % K] + random.normal(size=(T, N, D))).astype(np.float32)
    first = np.stack([random.permutation(N)[:K] if hard else np.arange(K) for _ in range(T)])
    start = np.take_along_axis(x, first[:, :, None], 1) + np.float32(0.01)
    return Problem(x, start, 0.5 if D < 64 else 0.05)


def ours(case: Case, given: Problem) -> Compiled:
    """Jmeta's own call: the library chooses chunks, layout and devices."""

    def centers(x: jax.Array, start: jax.Array) -> jax.Array:
        if case.algorithm == "kmeans":
            clusterer = jm.kmeans(case.shape.K, steps=case.steps, centers=start)
        else:
            clusterer = jm.soft_kmeans(
                case.shape.K,
                steps=case.steps,
                diff=RULES[case.rule](),
                inverse_temperature=given.beta,
                centers=start,
            )
        return clusterer.fit({}, jm.Batch(x), jax.random.key(0)).centers

    def loss(x: jax.Array, start: jax.Array) -> jax.Array:
        return jnp.sum(centers(x, start) ** 2)

    def slope(x: jax.Array, start: jax.Array, probe: jax.Array) -> jax.Array:
        return jnp.sum(jax.grad(loss)(x, start) * probe)

    inputs = [jnp.asarray(given.x), jnp.asarray(given.start)]
    if case.kind == "grad2":
        inputs.append(jnp.asarray(peers.probe_of(given.x)))
    function = {"forward": centers, "grad": jax.grad(loss), "grad2": jax.grad(slope)}[case.kind]
    program = compiled(jm.over_tasks(function), *inputs)
    return program._replace(call=partial(program.call, *inputs))


def theirs(case: Case, given: Problem) -> Callable[[], Any]:
    """The peer's call."""
    x, start, beta = given
    if case.peer in ("torch_batched", "torch_compiled"):
        return peers.torch_soft(x, start, beta, case.steps, case.kind, case.peer == "torch_compiled")
    if case.peer == "torch_kmeans":
        return peers.torch_kmeans_soft(x, start, beta, case.steps, case.kind)
    hard = {"sklearn": peers.sklearn_hard, "faiss": peers.faiss_hard, "ott": peers.ott_hard}
    return hard[str(case.peer)](x, start, case.steps)


def agree(case: Case, mine: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, as a part of the largest number."""
    if case.rule == "straight_through":  # its derivative to the points is zero by definition
        return float(np.abs(mine).max())
    return float(np.abs(mine - other).max() / np.abs(other).max())


def measured(case: Case, rate: float, repeats: int) -> dict[str, Any]:
    """One row."""
    given = problem(case.algorithm, case.shape)
    program = ours(case, given)
    row: dict[str, Any] = {
        "algorithm": case.algorithm,
        "pass": case.kind,
        "rule": case.rule,
        **case.shape._asdict(),
        "steps": case.steps,
        "peer": case.peer,
        "jmeta_bytes": program.bytes,
        "compile_s": round(program.seconds, 3),
    }
    tasks = case.shape.T
    took, note = None, None
    if case.peer is None or record.version(peers.PACKAGES[case.peer]) is None:
        note = case.peer and f"{case.peer} is not installed"
    else:
        try:
            peer = theirs(case, given)
            row["difference"] = agree(case, np.asarray(program.call()), np.asarray(peer()))
            if row["difference"] > FARTHEST_APART:
                raise ValueError("outputs differ")
            found = race(program.call, peer, repeats)
            took = found.ours
            row |= {"peer_tasks_per_s": tasks / found.theirs, "ratio": found.ratio}
        except Exception as error:  # a peer may fail in any way; it is recorded, and the others go on
            note = f"{case.peer} failed: {type(error).__name__}: {str(error)[:60]}"
    took = took or min(seconds(program.call) for _ in range(repeats + 1))
    operations = COST[case.kind] * 4 * case.shape.N * case.shape.K * case.shape.D * case.steps * tasks
    row |= {"jmeta_tasks_per_s": tasks / took, "fraction_of_matmul": operations / took / rate}
    return {"peer_tasks_per_s": None, "ratio": None, "note": note} | row


def show(rows: list[dict[str, Any]], rate: float) -> None:
    """Print the table; where we lose, the ratio is below one and stands out."""
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
    """Run the benchmark from the command line."""
    options = tyro.cli(Options, description=__doc__)
    rate = record.begin(options.quick, options.repeats)
    about = record.machine(peers.PACKAGES, rate)
    rows = []
    for case in cases(options.quick):
        rows.append(measured(case, rate, 1 if options.quick else options.repeats) | {"machine": about})
        record.write(rows, options.out)
    show(rows, rate)


if __name__ == "__main__":
    main()
