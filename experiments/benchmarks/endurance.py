"""What it costs to be saved, and whether a run stays as it began: seconds a state, memory and compilations.

    python -m experiments.benchmarks.endurance --out FILE     # 22 minutes
    python -m experiments.benchmarks.endurance --quick        # seconds

Two measurements of MAML on images by a convolutional network. First the same steps with and without saved
states, turn by turn: what a state costs, of a loop that saves one a minute. Then one long run of `jm.loop`,
with a log, states and an evaluation a row, ended by SIGTERM after `--minutes`: what the process holds in
memory, and how many programs it has compiled, ten times on the way.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import optax
import tyro
from rich.console import Console
from rich.table import Table

import jmeta as jm
from jmeta.records import Learner, MetaState, MetaStep, Sampler
from jmeta.training.checkpoint import Checkpoints

from . import record
from .timing import seconds as seconds_of

TASKS, PORTION, SAVE_EVERY = 8, 1.0, 60.0
"""Per step; seconds of training between two states where their price is measured; between two of a loop."""


@dataclasses.dataclass(frozen=True)
class Options(record.Options):
    """Options of this benchmark."""

    minutes: float = 20.0
    """How long the run is."""


def main(options: Options) -> None:
    """Measure, print and write."""
    machine = record.machine({}, record.begin(options.quick, options.repeats))
    minutes = 0.1 if options.quick else options.minutes
    rows = [{"what": "a saved state"} | price(options.quick, options.repeats) | machine]
    record.write(rows, options.out)
    rows.append({"what": "a long run", "minutes": minutes} | soak(60 * minutes, options.quick) | machine)
    record.write(rows, options.out)
    table = Table("measurement", "value", title="endurance")
    for row in rows:
        for name in row.keys() - machine.keys() - {"what"}:
            table.add_row(f"{row['what']}: {name}", str(row[name]))
    Console().print(table)


def price(quick: bool, repeats: int) -> dict[str, Any]:
    """Seconds that a state costs its run, and their share where one is saved a minute."""
    learner, sampler, step = _run(quick)
    key, start = jax.random.key(1), step.init(learner.init(jax.random.key(0)))
    states_each = 2 if quick else 10

    def portion(steps: int) -> Callable[[MetaState], MetaState]:
        return jax.jit(lambda state: jm.train(step, sampler, state, key, steps=steps, tasks=TASKS))

    one = portion(2)
    one(start)
    steps = max(1, round((0.1 if quick else PORTION) / (seconds_of(lambda: one(start)) / 2)))
    some = portion(steps)

    def plain(state: MetaState) -> float:
        began = time.perf_counter()
        for _ in range(states_each):
            state = jax.block_until_ready(some(state))
        return time.perf_counter() - began

    def saved(state: MetaState) -> float:
        with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder), {}) as states:
            began = time.perf_counter()
            for _ in range(states_each):
                state = jax.block_until_ready(some(state))
                states.save(state, {})
            states.wait()
            return time.perf_counter() - began

    plain(start), saved(start)
    turns = [(plain(start), saved(start)) for _ in range(1 if quick else repeats)]
    each = statistics.median((with_states - without) / states_each for without, with_states in turns)
    return {
        "bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(start)),
        "steps_between": steps,
        "seconds_between": statistics.median(without / states_each for without, _ in turns),
        "seconds_a_state": each,
        "share_at_one_a_minute": each / SAVE_EVERY,
    }


def soak(seconds: float, quick: bool) -> dict[str, Any]:
    """One run of so many seconds: memory in MiB and compiled programs, at ten moments."""
    learner, sampler, step = _run(quick)
    began, seen = 0.0, list[tuple[int, float, int]]()

    class Watch(jm.Hook):
        def on_row(self, training: Any, row: dict[str, float]) -> None:
            nonlocal began
            began = began or time.monotonic()  # compiled by now
            passed = time.monotonic() - began
            if passed >= (len(seen) + 1) * seconds / 10:
                seen.append((int(row["step"]), resident(), len(compilations)))
            if passed >= seconds:
                signal.raise_signal(signal.SIGTERM)

    def evaluate(meta: Any) -> dict[str, float]:
        found = jm.evaluate(learner, sampler, meta, jax.random.key(2), tasks=TASKS)
        return {name: value.mean for name, value in found.intervals().items()}

    with (
        counted() as compilations,
        tempfile.TemporaryDirectory() as folder,
        suppress(SystemExit),  # which the signal asks for
    ):
        jm.loop(
            step,
            sampler,
            step.init(learner.init(jax.random.key(0))),
            jax.random.key(1),
            steps=2**30,
            tasks=TASKS,
            every=20,
            hooks=[
                jm.Validate(evaluate),
                jm.JSONLog(Path(folder) / "log.jsonl"),
                Watch(),
                jm.SaveStates(Path(folder) / "states", every_seconds=min(SAVE_EVERY, seconds / 20)),
            ],
        )
    steps, memory, programs = zip(*seen, strict=True)
    return {
        "steps": steps,
        "resident_mib": memory,
        "compilations": programs,
        "memory_growth_mib": memory[-1] - memory[min(1, len(memory) - 1)],
        "compilations_after_the_first_tenth": programs[-1] - programs[0],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def resident() -> float:
    """MiB of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


@contextmanager
def counted() -> Iterator[list[float]]:
    """The seconds of every compilation within the block."""
    found: list[float] = []

    def note(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def _run(quick: bool) -> tuple[Learner, Sampler, MetaStep]:
    if quick:
        waves = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
        return waves, jm.sinusoid(), jm.meta_step(jm.query_loss(waves, jm.squared_error), optax.adam(1e-3))
    learner = jm.maml(jm.networks.conv4(16, shape=(8, 8, 1), outputs=5), jm.cross_entropy)
    sampler = jm.episodes(jm.load("digits", "train"), ways=5, shots=1, queries=5)
    return learner, sampler, jm.meta_step(jm.query_loss(learner, jm.cross_entropy), optax.adam(1e-3))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
