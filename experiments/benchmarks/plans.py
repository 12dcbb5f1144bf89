"""Compares the step times that `jm.plan` predicts with those measured, for six programs, on this accelerator.

    python -m experiments.benchmarks.plans --out FILE       # minutes on one GPU
    python -m experiments.benchmarks.plans --quick    # seconds; the smallest, on any machine

A step draws its tasks and takes one meta-step. The prediction is the range of `Plan.seconds` for one such
device; where `jm.plan` does not know it, or its compiler is not installed, a note says so and only the time
is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import tyro
from jaxtyping import Array, Key, PyTree
from rich.console import Console
from rich.table import Table

import jmeta as jm
from jmeta.planning.devices import name_of
from jmeta.records import Sampler, TaskLoss
from jmeta.training.loop import draw_tasks

from . import record
from .timing import compiled, median


class Program(NamedTuple):
    """What is trained, and on what.

    Attributes:
        name: of its rows.
        loss: of one task.
        init: key -> meta-parameters.
        sampler: of one task.
        tasks: per step.
    """

    name: str
    loss: TaskLoss
    init: Callable[[Key[Array, ""]], PyTree]
    sampler: Sampler
    tasks: int


def main(options: record.Options) -> None:
    """Runs the benchmark, prints its table and writes its rows."""
    machine = record.machine({}, record.begin(options.quick, options.repeats))
    columns = ("program", "tasks", "step, ms", "predicted, ms", "limited by")
    table = Table(*columns, title=jax.devices()[0].device_kind)
    rows: list[record.Row] = []
    for program in programs(options.quick):
        row = measure(program, options.repeats)
        rows.append({"program": program.name, "tasks": program.tasks} | row | {"machine": machine})
        record.write(rows, options.out)
        predicted = " to ".join(f"{1e3 * value:.3g}" for value in row["predicted_s"] or ())
        last = row["limited_by"] or row["note"]
        table.add_row(program.name, f"{program.tasks:,}", f"{1e3 * row['step_s']:.3g}", predicted, last)
    Console().print(table)


def programs(quick: bool) -> Iterator[Program]:
    """The six programs: gradients through inner loops, embeddings, and clusterings; quickly the first."""
    width, tasks = 64, 2 if quick else 256
    waves = jm.maml(jm.networks.mlp([1, 40, 40, 1]), jm.squared_error, steps=5)
    loss = jm.query_loss(waves, jm.squared_error)
    yield Program("MAML, MLP, 5 steps", loss, waves.init, jm.sinusoid(), 4 * tasks)
    if quick:
        return

    net, body = jm.networks.conv4(width, outputs=5), jm.networks.conv4(width)
    learners = {
        "MAML, Conv4, 1 step": jm.maml(net, jm.cross_entropy, steps=1),
        "FOMAML, Conv4, 5 steps": jm.maml(net, jm.cross_entropy, steps=5, diff=jm.straight_through()),
        "prototypes, Conv4": jm.prototypes(body, ways=5),
    }
    for name, learner in learners.items():
        loss = jm.query_loss(learner, jm.cross_entropy)
        yield Program(name, loss, learner.init, partial(_images, 1), tasks)

    centroids = jm.centroids(body, jm.soft_kmeans(5))
    loss = jm.clustering_loss(centroids, jm.soft_ari)
    yield Program("soft k-means, Conv4, 20 steps", loss, centroids.init, partial(_images, 5), tasks)

    mixture = jm.amortized_mixture(jm.networks.set_transformer(3, 5, seeds=4, width=width), 4)
    loss = jm.fitting_loss(mixture, lambda state: -state.log_likelihood)
    yield Program("amortized mixture, 5 steps", loss, mixture.init, jm.mixtures(), tasks)


def _images(shots: int, key: Key[Array, ""]) -> jm.Task:
    """A task of five classes, each a random image with noise."""
    labels = jnp.arange(5 * shots) % 5
    class_key, *keys = jax.random.split(key, 3)
    images = jax.random.normal(class_key, (5, 28, 28, 1))
    support, query = (
        jm.Batch(images[labels] + jax.random.normal(one, (5 * shots, 28, 28, 1)), labels) for one in keys
    )
    return jm.Task(support, query, labels, key)


def measure(program: Program, repeats: int) -> record.Row:
    """The measured and the predicted seconds of a step."""
    step = jm.meta_step(program.loss, optax.adam(1e-3))
    state = step.init(program.init(jax.random.key(0)))

    def update(state: jm.MetaState, key: Key[Array, ""]) -> tuple:
        return step.update(state, draw_tasks(program.sampler, key, state.step, program.tasks))

    arguments = state, jax.random.key(1)
    call = compiled(update, *arguments).call
    row: record.Row = {"step_s": median(lambda: call(*arguments), repeats)}
    try:
        device = name_of(jax.devices()[0].device_kind)
        found = jm.plan(step, program.sampler, state, tasks=program.tasks, device=device)
    except jm.InputError as error:
        return row | {"predicted_s": None, "limited_by": None, "note": str(error)}
    return row | {"predicted_s": list(found.seconds), "limited_by": found.limited_by, "note": ""}


if __name__ == "__main__":
    main(tyro.cli(record.Options, description=__doc__))
