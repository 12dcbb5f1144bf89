"""Compares the meta-gradient of MAML with implementations in PyTorch, in tasks per second and memory.

    python -m experiments.benchmarks.maml --out FILE       # about fifteen minutes on two cores
    python -m experiments.benchmarks.maml --quick          # seconds; small shapes

The networks are the sinusoid MLP (1-40-40-1, 10 shots, 10 queries, rate 0.01) and Conv4 with 64 filters
(pooled, batch statistics, 28 x 28 images, 5-way 1-shot with one query per class, rate 0.4); meta-gradients
are of second order. All peers use the same weights and tasks in the same process; meta-gradients are compared
before anything is timed, and calls alternate. Memory is the temporary memory of the compiled program on one
device. Peers that are not installed are recorded as such; install them with `pip install '.[bench]'`.

`memory` is the method of differentiating the inner loop: none, remat or mixed; best is the library's default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from rich.console import Console
from rich.table import Table

import jmeta as jm
from jmeta.learners.gradient import Descent
from jmeta.trees import path_name

from . import record
from .maml_peers import PACKAGES, PEERS, Problem
from .timing import Compiled, calls_of, compiled, race, seconds

MEMORY: dict[str, dict[str, Any]] = {
    "none": {"gradient": jax.grad, "diff": jm.unroll()},
    "remat": {"gradient": jax.grad, "diff": jm.unroll(remat=True)},
    "mixed": {"gradient": jm.mixed_mode, "diff": jm.unroll()},
    "best": {},
}
"""Options of `maml` for each method of differentiation."""
TOLERANCE = 1e-6
"""Peers whose meta-gradients in float64 differ by more, relative to the largest number, are not timed."""
ALL = ("torch_func", "loop", "higher", "torchopt")
"""The names of all peers."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    out: Path | None = None
    """File for the rows, as a JSON list; they are not written unless given."""
    quick: bool = False
    """Use small shapes and few repeats."""
    repeats: int = 5
    """Timed calls of each function."""
    networks: tuple[Literal["mlp", "conv4"], ...] = ("mlp", "conv4")
    """Which networks to measure."""


class Case(NamedTuple):
    """One line of the table for each peer, or one line if there is none.

    Attributes:
        network: "mlp" or "conv4".
        memory: a name of `MEMORY`.
        tasks: tasks per meta-update.
        steps: inner steps.
        peers: the peers to compare with.
    """

    network: str
    memory: str
    tasks: int
    steps: int
    peers: tuple[str, ...]


def cases(quick: bool, networks: tuple[str, ...]) -> Iterator[Case]:
    """All cases: numbers of steps and tasks with their peers, and methods of differentiation."""
    if quick:
        for network in networks:
            yield Case(network=network, memory="best", tasks=4, steps=1, peers=ALL[:2])
            yield Case(network=network, memory="none", tasks=4, steps=2, peers=())
        return
    for network in networks:
        for steps in (1, 5, 10):
            for tasks in (4, 32, 256):
                largest = tasks == 256 and network == "conv4"
                peers = ALL if tasks == 32 else () if largest else ALL[:2]
                yield Case(network=network, memory="best", tasks=tasks, steps=steps, peers=peers)
            for memory in ("none", "remat", "mixed"):
                yield Case(network=network, memory=memory, tasks=32, steps=steps, peers=())


def problem(case: Case, width: int, dtype: Any = np.float32) -> tuple[Problem, Any, jm.Task]:
    """The problem for PyTorch, and the initial weights and the tasks for JAX."""
    random = np.random.default_rng(0)
    if case.network == "mlp":
        tasks = jax.device_get(jax.vmap(jm.sinusoid())(jax.random.split(jax.random.key(0), case.tasks)))
        support, query = (np.asarray(part.inputs, dtype) for part in (tasks.support, tasks.query))
        targets = [np.asarray(part.targets, dtype) for part in (tasks.support, tasks.query)]
        rate = 0.01
    else:
        support, query = random.normal(size=(2, case.tasks, 5, 28, 28, 1)).astype(dtype)
        targets = [np.tile(np.arange(5), (case.tasks, 1))] * 2
        rate = 0.4
    start = jax.tree.map(lambda leaf: leaf.astype(dtype), network(case, width).init(jax.random.key(1)))
    paths = jax.tree_util.tree_leaves_with_path(start)
    weights = {path_name(path): np.asarray(leaf) for path, leaf in paths}
    support_batch, query_batch = (
        jm.Batch(jnp.asarray(x), jnp.asarray(y)) for x, y in zip((support, query), targets, strict=True)
    )
    task = jm.Task(support_batch, query_batch, None, jax.random.split(jax.random.key(2), case.tasks))
    torch_problem = Problem(
        network=case.network,
        weights=weights,
        support=(support, targets[0]),
        query=(query, targets[1]),
        rate=rate,
        steps=case.steps,
    )
    return torch_problem, start, task


def network(case: Case, width: int) -> jm.Model:
    """The network of a case."""
    return jm.networks.mlp([1, 40, 40, 1]) if case.network == "mlp" else jm.networks.conv4(width, outputs=5)


def products(case: Case, width: int) -> float:
    """Operations of all matrix products of one task: 9 forward passes per inner step, and 3 for the query."""
    if case.network == "mlp":
        forward = 2.0 * (40 + 40 * 40 + 40)
        images = 10
    else:
        pixels = (28, 14, 7, 3)
        channels = (1, width, width, width)
        forward = sum(2.0 * size**2 * 9 * c * width for size, c in zip(pixels, channels, strict=True))
        images = 5
    return forward * images * (9 * case.steps + 3)


def ours(case: Case, width: int, data: Problem, start: Any, tasks: jm.Task) -> Compiled:
    """A meta-update by gradient descent with rate one, which subtracts the meta-gradient."""
    loss = jm.squared_error if case.network == "mlp" else jm.cross_entropy
    learner = jm.maml(
        network(case, width),
        loss,
        steps=case.steps,
        numbers={"learning_rate": data.rate},
        **MEMORY[case.memory],
    )
    step = jm.meta_step(jm.query_loss(learner, loss), optax.sgd(1.0))
    state = step.init(Descent(start, {}))
    program = compiled(step.update, state, tasks)
    return program._replace(call=lambda: program.call(state, tasks)[0].meta.start)


def measure(case: Case, rate: float, repeats: int, width: int) -> Iterator[dict[str, Any]]:
    """A row for each peer, or one row if there is none."""
    data, start, tasks = problem(case, width)
    program = ours(case, width, data, start, tasks)
    base = {
        "network": case.network,
        "method": "maml",
        "memory": case.memory,
        "T": case.tasks,
        "steps": case.steps,
        "jmeta_bytes": program.bytes,
        "compile_s": round(program.seconds, 2),
    }

    def row(peer: str | None, ours_s: float, theirs_s: float | None, ratio: float | None, note: str) -> dict:
        speed = case.tasks / ours_s
        return base | {
            "peer": peer,
            "jmeta_tasks_per_s": speed,
            "peer_tasks_per_s": theirs_s and case.tasks / theirs_s,
            "ratio": ratio,
            "fraction_of_matmul": speed * products(case, width) / rate,
            "note": note,
        }

    if not case.peers:
        calls = calls_of(program.call)
        times = sorted(seconds(program.call, calls) for _ in range(repeats))
        yield row(None, times[len(times) // 2], None, None, "")
    for peer in case.peers:
        note = "not installed" if record.version(PACKAGES[peer]) is None else ""
        if not note:
            theirs = PEERS[peer](data)
            note = disagreement(case.network, case.steps, width, peer)
        if note:
            yield row(peer, seconds(program.call, calls_of(program.call)), None, None, note)
        else:
            result = race(program.call, theirs, repeats)
            yield row(peer, result.ours, result.theirs, result.ratio, "")


def disagreement(network: str, steps: int, width: int, peer: str) -> str:
    """A message if the meta-gradients of jmeta and a peer differ; empty if they agree.

    They are compared on two tasks in float64: in float32, rounding sometimes changes the choice of a pool or
    a ReLU, which changes a number by a hundredth.
    """
    with jax.enable_x64(True):
        data, gradient = float64_gradient(network, steps, width)
        theirs = PEERS[peer](data)()
    largest = max(np.abs(g).max() for g in theirs)
    worst = max(np.abs(a - b).max() for a, b in zip(gradient, theirs, strict=True)) / largest
    return "" if worst <= TOLERANCE else f"meta-gradients differ by {worst:.0e}"


@cache
def float64_gradient(network: str, steps: int, width: int) -> tuple[Problem, list[np.ndarray]]:
    """A problem of two tasks in float64, and jmeta's meta-gradient."""
    case = Case(network=network, memory="best", tasks=2, steps=steps, peers=())
    data, start, tasks = problem(case, width, np.float64)
    meta = ours(case, width, data, start, tasks).call()
    return data, jax.tree.leaves(jax.tree.map(lambda a, b: np.asarray(a - b), start, meta))


def show(rows: list[dict[str, Any]], rate: float) -> None:
    """Prints the table, with the lines where jmeta is slower in red."""
    table = Table(title=f"MAML ({rate / 1e9:.0f} GFLOP/s in large matrix products)")
    for column in ("network", "memory", "T", "steps", "tasks/s", "peer", "ratio", "matmul", "MiB", "compile"):
        table.add_column(column)
    for row in rows:
        ratio, style = record.verdict(row)
        table.add_row(
            row["network"],
            row["memory"],
            str(row["T"]),
            str(row["steps"]),
            f"{row['jmeta_tasks_per_s']:.1f}",
            row["peer"] or "",
            ratio,
            f"{row['fraction_of_matmul']:.0%}",
            f"{row['jmeta_bytes'] / 2**20:.1f}",
            f"{row['compile_s']:.1f} s",
            style=style,
        )
    Console(width=120).print(table)


def main() -> None:
    """Runs the benchmark from the command line."""
    options = tyro.cli(Options, description=__doc__)
    rate = record.begin(options.quick, options.repeats)
    machine = record.machine(PACKAGES, rate)
    rows: list[record.Row] = []
    for case in cases(options.quick, options.networks):
        repeats, width = (1, 4) if options.quick else (options.repeats, 64)
        rows += [row | {"machine": machine} for row in measure(case, rate, repeats, width)]
        record.write(rows, options.out)
    show(rows, rate)


if __name__ == "__main__":
    main()
