"""The cost of training on many devices: collectives and bytes of a meta-step, compile time and step time.

    python -m experiments.benchmarks.scaling --out FILE       # about three minutes on two cores
    python -m experiments.benchmarks.scaling --quick          # seconds

One meta-step of MAML on sine waves, and of MAML on images by a convolutional network, is compiled for 1, 2, 4
and 8 devices of this machine, emulated by its cores if it has fewer. The collectives are read from the
compiled program: there should be one all-reduce of the meta-parameters, metrics and two counts. The step time
is that of the whole step; devices that share two cores do not make it faster.
"""

from __future__ import annotations

import math
import re
import statistics
from functools import partial
from typing import Any

import jax
import optax
import tyro
from rich.console import Console
from rich.table import Table

import jmeta as jm
from jmeta.records import Learner, MetaStep, Sampler
from jmeta.training.loop import draw_tasks

from . import record
from .timing import compiled, seconds

COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
"""Names of collectives in a compiled program."""
SHAPE = re.compile(r"(pred|[a-z]+(\d+))\[([\d,]*)\]")
"""The type and shape of an array in a compiled program."""
DEVICES = (1, 2, 4, 8)
"""Numbers of devices."""


def main(options: record.Options) -> None:
    """Runs the benchmark, prints its table and writes its rows."""
    jax.config.update("jax_num_cpu_devices", 2 if options.quick else max(DEVICES))
    machine = record.machine({}, record.begin(options.quick, options.repeats))
    columns = (
        "model",
        "devices",
        "tasks",
        "collectives",
        "KiB",
        "compile, s",
        "step, ms",
        "tasks/s",
    )
    table = Table(*columns, title="one meta-step")
    rows = []
    for model, (learner, sampler, tasks) in _models(options.quick).items():
        for devices in (count for count in DEVICES if count <= jax.device_count()):
            for count in tasks:
                row = _measure(learner, sampler, devices, count, options)
                rows.append(machine | {"model": model, "devices": devices, "tasks": count} | row)
                counts = (str(devices), str(count), str(row["collectives"]))
                numbers = (row["bytes"] / 1024, row["compile_s"], 1e3 * row["step_s"])
                table.add_row(
                    model, *counts, *(f"{value:,.1f}" for value in numbers), f"{count / row['step_s']:,.0f}"
                )
    Console().print(table)
    record.write(rows, options.out)


def _models(quick: bool) -> dict[str, tuple[Learner, Sampler, tuple[int, ...]]]:
    waves = jm.maml(jm.networks.mlp([1, 40, 40, 1]), jm.squared_error)
    models: dict[str, tuple[Learner, Sampler, tuple[int, ...]]] = {
        "sine waves": (waves, jm.sinusoid(), (8,) if quick else (32, 256, 2048))
    }
    if quick:
        return models
    net = jm.networks.conv4(32, shape=(8, 8, 1), outputs=5)
    digits = jm.episodes(jm.load("digits", "train"), ways=5, shots=1, queries=5)
    return models | {"images": (jm.maml(net, jm.cross_entropy), digits, (32, 128))}


def _measure(
    learner: Learner, sampler: Sampler, devices: int, tasks: int, options: record.Options
) -> record.Row:
    mesh = jm.task_mesh(devices)
    step = _step(learner, sampler, mesh)
    state = step.init(learner.init(jax.random.key(0)))

    def update(state: jm.MetaState, key: jax.Array) -> tuple:
        return step.update(state, draw_tasks(sampler, key, state.step, tasks, mesh=mesh))

    program: Any = compiled(update, state, jax.random.key(1))
    found = collectives(program.call.as_text())
    call = partial(program.call, state, jax.random.key(1))
    seconds(call)
    times = [seconds(call) for _ in range(1 if options.quick else options.repeats)]
    return {
        "collectives": sum(count for count, _ in found.values()),
        "kinds": {name: count for name, (count, _) in found.items() if count},
        "bytes": sum(size for _, size in found.values()),
        "parameters_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(state.meta)),
        "compile_s": program.seconds,
        "step_s": statistics.median(times),
    }


def _step(learner: Learner, sampler: Sampler, mesh: jax.sharding.Mesh) -> MetaStep:
    targets = jax.eval_shape(sampler, jax.random.key(0)).query.targets
    loss = jm.squared_error if jax.numpy.issubdtype(targets.dtype, jax.numpy.floating) else jm.cross_entropy
    return jm.meta_step(jm.query_loss(learner, loss), optax.adam(1e-3), mesh=mesh)


def collectives(program: str) -> dict[str, tuple[int, int]]:
    """The number of collectives of each type in a compiled program, and the bytes of their results.

    >>> collectives("%x = (f32[2,3]{1,0}, s32[]) all-reduce(%a, %b), to_apply=%add")["all-reduce"]
    (1, 28)
    """
    found = dict.fromkeys(COLLECTIVES, (0, 0))
    for line in program.splitlines():
        for name in COLLECTIVES:
            before, called, _ = line.partition(f" {name}(")
            if not called:
                before, called, _ = line.partition(f" {name}-start(")
            if called:
                count, size = found[name]
                found[name] = count + 1, size + _bytes(before.partition("=")[2])
    return found


def _bytes(types: str) -> int:
    """The bytes of all arrays in a result."""
    return sum(
        (int(bits or 8) // 8) * math.prod(int(length) for length in lengths.split(",") if length)
        for _, bits, lengths in SHAPE.findall(types)
    )


if __name__ == "__main__":
    main(tyro.cli(record.Options, description=__doc__))
