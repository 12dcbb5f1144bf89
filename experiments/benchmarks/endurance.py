"""Measures the cost of saving states, and the memory and the compilations of a long run.

    python -m experiments.benchmarks.endurance --out FILE     # 22 minutes
    python -m experiments.benchmarks.endurance --quick        # seconds

Both measurements are of MAML on images by a convolutional network. The first runs the same steps with and
without saving states, alternately, and gives the cost of a state, also as a share of a loop that saves one
every minute. The second is one long run of `jm.loop`, with a log, saved states and an evaluation for every
row, ended by SIGTERM after `--minutes`; it gives the memory of the process and the number of compiled
programs at ten moments.
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

TASKS = 8
"""Tasks per step."""
PORTION = 1.0
"""Seconds of training between two states when their cost is measured."""
SAVE_EVERY = 60.0
"""Seconds of training between two states of a loop."""


@dataclasses.dataclass(frozen=True)
class Options(record.Options):
    """Options of this benchmark."""

    minutes: float = 20.0
    """Duration of the long run."""


def main(options: Options) -> None:
    """Runs both measurements, writes their rows and prints the table."""
    machine = record.machine({}, record.begin(options.quick, options.repeats))
    minutes = 0.1 if options.quick else options.minutes
    rows = [{"what": "a saved state"} | saving_cost(options.quick, options.repeats) | machine]
    record.write(rows, options.out)
    rows.append({"what": "a long run", "minutes": minutes} | long_run(60 * minutes, options.quick) | machine)
    record.write(rows, options.out)
    table = Table("measurement", "value", title="endurance")
    for row in rows:
        for name in row.keys() - machine.keys() - {"what"}:
            table.add_row(f"{row['what']}: {name}", str(row[name]))
    Console().print(table)


def saving_cost(quick: bool, repeats: int) -> dict[str, Any]:
    """The seconds that saving a state takes, and their share if one is saved every minute."""
    learner, sampler, step = _setting(quick)
    key = jax.random.key(1)
    start = step.init(learner.init(jax.random.key(0)))
    states_each = 2 if quick else 10

    def training(steps: int) -> Callable[[MetaState], MetaState]:
        return jax.jit(lambda state: jm.train(step, sampler, state, key, steps=steps, tasks=TASKS))

    two_steps = training(2)
    two_steps(start)
    steps = max(1, round((0.1 if quick else PORTION) / (seconds_of(lambda: two_steps(start)) / 2)))
    train = training(steps)

    def without_saving(state: MetaState) -> float:
        began = time.perf_counter()
        for _ in range(states_each):
            state = jax.block_until_ready(train(state))
        return time.perf_counter() - began

    def with_saving(state: MetaState) -> float:
        with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder), {}) as states:
            began = time.perf_counter()
            for _ in range(states_each):
                state = jax.block_until_ready(train(state))
                states.save(state, {})
            states.wait()
            return time.perf_counter() - began

    without_saving(start)
    with_saving(start)
    pairs = [(without_saving(start), with_saving(start)) for _ in range(1 if quick else repeats)]
    each = statistics.median((saved - plain) / states_each for plain, saved in pairs)
    return {
        "bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(start)),
        "steps_between": steps,
        "seconds_between": statistics.median(plain / states_each for plain, _ in pairs),
        "seconds_a_state": each,
        "share_at_one_a_minute": each / SAVE_EVERY,
    }


def long_run(seconds: float, quick: bool) -> dict[str, Any]:
    """The memory in MiB and the number of compiled programs at ten moments of one run."""
    learner, sampler, step = _setting(quick)
    began = 0.0
    moments: list[tuple[int, float, int]] = []

    class Watch(jm.Hook):
        def on_row(self, training: Any, row: dict[str, float]) -> None:
            nonlocal began
            began = began or time.monotonic()  # everything is compiled by the first row
            elapsed = time.monotonic() - began
            if elapsed >= (len(moments) + 1) * seconds / 10:
                moments.append((int(row["step"]), resident_memory(), len(compilations)))
            if elapsed >= seconds:
                signal.raise_signal(signal.SIGTERM)

    def evaluate(meta: Any) -> dict[str, float]:
        evaluation = jm.evaluate(learner, sampler, meta, jax.random.key(2), tasks=TASKS)
        return {name: value.mean for name, value in evaluation.intervals().items()}

    with (
        compile_times() as compilations,
        tempfile.TemporaryDirectory() as folder,
        suppress(SystemExit),  # which `loop` raises after the signal
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
    steps, memory, programs = zip(*moments, strict=True)
    return {
        "steps": steps,
        "resident_mib": memory,
        "compilations": programs,
        "memory_growth_mib": memory[-1] - memory[min(1, len(memory) - 1)],
        "compilations_after_the_first_tenth": programs[-1] - programs[0],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def resident_memory() -> float:
    """The resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


@contextmanager
def compile_times() -> Iterator[list[float]]:
    """Collects the seconds of every compilation within the block."""
    times: list[float] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            times.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield times
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def _setting(quick: bool) -> tuple[Learner, Sampler, MetaStep]:
    if quick:
        waves = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
        return waves, jm.sinusoid(), jm.meta_step(jm.query_loss(waves, jm.squared_error), optax.adam(1e-3))
    learner = jm.maml(jm.networks.conv4(16, shape=(8, 8, 1), outputs=5), jm.cross_entropy)
    sampler = jm.episodes(jm.load("digits", "train"), ways=5, shots=1, queries=5)
    return learner, sampler, jm.meta_step(jm.query_loss(learner, jm.cross_entropy), optax.adam(1e-3))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
