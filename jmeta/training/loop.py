"""Training: a scan over meta-steps on the device, and the one loop around it on the host."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key, PyTree
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..batching import over_tasks, placed
from ..records import InputError, MetaState, MetaStep, Metrics, Sampler, Task
from .checkpoint import restore, save

Row = dict[str, float]


def draw_tasks(
    sampler: Sampler,
    key: Key[Array, ""],
    step: Int[Array, ""] | int,
    tasks: int,
    *,
    mesh: Mesh | None = None,
) -> Task:
    """The batch of one meta-step: task t of step s is drawn with fold_in(fold_in(key, s), t).

    Tasks are numbered, not streamed, so that any host can draw only its own, and a resumed run
    sees the tasks that an uninterrupted one would. Each device of the mesh draws its own.

    >>> import jmeta as jm
    >>> draw_tasks(jm.sinusoid(), jax.random.key(0), 0, 3).support.inputs.shape
    (3, 10, 1)
    """
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.fold_in(key, step)))(jnp.arange(tasks))
    return over_tasks(lambda sampler, key: sampler(key), shared=1, mesh=mesh)(traceable(sampler), keys)


def train(
    step: MetaStep, sampler: Sampler, state: MetaState, key: Key[Array, ""], *, steps: int, tasks: int
) -> MetaState:
    """Take meta-steps; pure, so that a vmap over states and keys trains many seeds at once.

    Args:
        step: from `meta_step`.
        sampler: of one task.
        state: from `step.init`, or of an earlier run: training goes on where it stopped.
        key: a typed key, the same for the whole run.
        steps: how many.
        tasks: T, per step.

    >>> import jmeta as jm, optax
    >>> learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
    >>> step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(1e-3))
    >>> start = step.init(learner.init(jax.random.key(0)))
    >>> int(train(step, jm.sinusoid(), start, jax.random.key(1), steps=3, tasks=2).step)
    3
    """
    return learning_curve(step, sampler, state, key, steps=steps, tasks=tasks)[0]


def learning_curve(
    step: MetaStep, sampler: Sampler, state: MetaState, key: Key[Array, ""], *, steps: int, tasks: int
) -> tuple[MetaState, Metrics]:
    """`train`, and the metrics of every step: each [steps]."""
    _check_counts(steps, tasks)

    def body(state: MetaState, _: None) -> tuple[MetaState, Metrics]:
        return step.update(state, draw_tasks(sampler, key, state.step, tasks, mesh=step.mesh))

    return lax.scan(body, state, None, length=steps)


def loop(
    step: MetaStep,
    sampler: Sampler,
    state: MetaState,
    key: Key[Array, ""],
    *,
    steps: int,
    tasks: int,
    every: int = 100,
    evaluate: Callable[[PyTree], Row] | None = None,
    log: Path | None = None,
    checkpoints: Path | None = None,
    title: str = "training",
) -> tuple[MetaState, list[Row]]:
    """`train` on the host's clock: `every` steps a dispatch, with a progress bar and a log.

    Args:
        step: from `meta_step`.
        sampler: of one task.
        state: where to start; it is copied.
        key: a typed key, the same for the whole run.
        steps: how many.
        tasks: T, per step.
        every: steps between two rows of the log.
        evaluate: meta-parameters -> numbers to log beside the training metrics.
        log: a JSON-lines file; a state of step 0 starts it anew, a later one goes on writing.
        checkpoints: a folder where the state is saved with every row of the log. A run that stopped goes on
            from the last state that is there, and ends as an uninterrupted one would; its rows are those
            since.
        title: of the progress bar.

    Returns:
        The last state, and the rows: the mean of each metric over the tasks since the row before,
        skipped ones left out, with "step" and "seconds" since the call, compilation included.

    Raises:
        InputError: a count means nothing, every task since the row before was skipped, or what
            `checkpoints` holds is of another run or beyond these steps.
    """
    if every < 1:
        raise InputError(f"every is {every}; log every 1 step or more.")
    _check_counts(steps, tasks)
    sampler = traceable(sampler)
    state = jax.tree.map(jnp.array, state)
    if steps:
        program = _advance.trace(step, tasks, min(every, steps), sampler, state, key).jaxpr.jaxpr
        sampler, state, key = placed(program, (sampler, state, key))
    last = int(state.step) + steps
    if checkpoints and (saved := restore(checkpoints, state)):
        state = saved
        if int(state.step) > last:
            raise InputError(
                f"{checkpoints} holds step {int(state.step)}, beyond the {last} asked for; "
                "ask for more, or train into another folder."
            )
    rows: list[Row] = []
    if log and not int(state.step):
        log.unlink(missing_ok=True)
    began = time.perf_counter()
    with _progress() as bar:
        shown = bar.add_task(title, total=steps, completed=steps - (last - int(state.step)))
        while (left := last - int(state.step)) > 0:
            length = min(every, left)
            state, metrics = _advance(step, tasks, length, sampler, state, key)
            row = _means(jax.device_get(metrics), tasks)
            row |= evaluate(jax.tree.map(jnp.array, state.meta)) if evaluate else {}
            rows.append({"step": int(state.step), "seconds": time.perf_counter() - began} | row)
            _append(log, rows[-1])
            if checkpoints:
                save(checkpoints, state)
            bar.update(shown, advance=length, description=f"{title} loss {row['loss']:.3f}")
    return state, rows


def traceable(sampler: Sampler) -> Sampler:
    """A sampler that is a pytree: its arrays are arguments of a compiled function, not constants in it."""
    return sampler if isinstance(sampler, jax.tree_util.Partial) else jax.tree_util.Partial(sampler)


def _check_counts(steps: int, tasks: int) -> None:
    if steps < 0:
        raise InputError(f"{steps} meta-steps cannot be taken; give zero or more.")
    if tasks < 1:
        raise InputError(f"{tasks} tasks per step is an empty batch; give at least one.")


def _means(metrics: Mapping[str, np.ndarray], tasks: int) -> Row:
    """The mean of each metric over the tasks that were not skipped, and of "skipped" over the steps."""
    kept = tasks - metrics["skipped"]
    if not kept.any():
        raise InputError(
            "no task had a finite loss; see that labels are smaller than the number of outputs, "
            "and lower the learning rates."
        )
    row = {name: float(np.average(values, weights=kept)) for name, values in metrics.items()}
    return row | {"skipped": float(np.mean(metrics["skipped"]))}


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=4)
def _advance(
    step: MetaStep, tasks: int, length: int, sampler: Sampler, state: MetaState, key: Key[Array, ""]
) -> tuple[MetaState, Metrics]:
    return learning_curve(step, sampler, state, key, steps=length, tasks=tasks)


def _append(log: Path | None, row: Row) -> None:
    """Add a row to the log; JSON knows no NaN, so what is not finite becomes null."""
    if log is None:
        return
    plain = {name: value if math.isfinite(value) else None for name, value in row.items()}
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(plain) + "\n")


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
