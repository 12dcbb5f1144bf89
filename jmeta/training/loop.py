"""Training: a scan over meta-steps on the device, and the one loop around it on the host."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key, PyTree
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..batching import over_tasks, placed
from ..errors import InputError
from ..records import HostSampler, MetaState, MetaStep, Metrics, Sampler, Task
from .checkpoint import Checkpoints, Run, plain_key
from .feed import Feed, Given, task_keys
from .hosts import local
from .preemption import DivergedError, Pace, Stop, only_writer
from .rows import Row, Told, Totals, added, begun, empty, filled, means, numbers

DIVERGED = "diverged.json"
"""Beside the states of a run that was given up: the keys of its tasks."""


def draw_tasks(
    sampler: Sampler | Given,
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
    if isinstance(sampler, Given):
        return sampler.ready()
    keys = task_keys(key, step, jnp.arange(tasks))
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

    sampler = traceable(sampler)

    def body(state: MetaState, _: None) -> tuple[MetaState, Metrics]:
        return _update(step, tasks, sampler, state, key)

    return lax.scan(body, state, None, length=steps)


def loop(
    step: MetaStep,
    sampler: Sampler | HostSampler,
    state: MetaState,
    key: Key[Array, ""],
    *,
    steps: int,
    tasks: int,
    every: int = 100,
    evaluate: Callable[[PyTree], Row] | None = None,
    log: Path | None = None,
    sinks: Sequence[Callable[[Row], None]] = (),
    checkpoints: Path | None = None,
    run: Run = MappingProxyType({}),
    save_every: float = 60.0,
    best: str | None = None,
    patience: int = 100,
    title: str = "training",
) -> tuple[MetaState, list[Row]]:
    """`train` on the host's clock: a second's steps a dispatch, with a progress bar, a log and saved states.

    Args:
        step: from `meta_step`.
        sampler: of one task; one of the host's, as from `stored_episodes`, is read ahead.
        state: where to start; it is copied.
        key: a typed key, the same for the whole run.
        steps: how many.
        tasks: T, per step.
        every: steps between two rows of the log; metrics leave the device no more often.
        evaluate: meta-parameters -> numbers to log beside the training metrics.
        log: a JSON-lines file; a state of step 0 starts it anew, a later one goes on writing.
        sinks: what else is told every row, such as `tensorboard(folder)`.
        checkpoints: a folder where states are saved. A run that stopped goes on from the newest one that is
            whole, and ends as an uninterrupted one would, bit for bit; its rows are those since. While it
            runs nobody else can write there. SIGTERM and SIGINT end the run within seconds, saved; a second
            one ends it at once.
        run: what else tells this run from others: its options, by name. States of another are refused.
        save_every: seconds between two states; one is saved at the end in any case.
        best: a number of the rows; the state of the row where it was highest is saved at once and kept too,
            and `read_state(checkpoints, state, best=True)` gives it. With a minus before it, lowest.
        patience: steps without a finite loss in a row, after which the run is given up; all of them, where
            there are fewer.
        title: of the progress bar.

    Returns:
        The last state, and the rows: the mean of each metric over the tasks since the row before,
        skipped ones left out, with "step" and "seconds" since the call, compilation included.

    Raises:
        InputError: a count means nothing, or what `checkpoints` holds is of another run, damaged, beyond
            these steps, or being written to.
        DivergedError: no task had a finite loss for too long; the state before is kept, and beside it in
            diverged.json the keys of the tasks that it began with.
        SystemExit: a signal ended the run, with 128 and its number.
    """
    _check_counts(steps, tasks, every=every, patience=patience)
    state, patience, local_key = jax.tree.map(jnp.array, state), min(patience, max(steps, 1)), key
    feed, source = _source(sampler, key, tasks, step, state)
    totals = empty(_update.eval_shape(step, tasks, source, state, key)[1])
    if best is not None and checkpoints is None:
        raise InputError("the best state is kept beside the others; name a folder by checkpoints.")
    if best is not None and evaluate is None:  # else its row may have more numbers than are known
        _named(best, totals.sums)
    if steps:
        traced = _advance.trace(step, tasks, patience, source, state, key, totals, every, 1)
        place = partial(placed, traced.jaxpr.jaxpr)
        source, (state, key, totals) = source if feed else place(source), place((state, key, totals))
    first, last = int(state.step), int(state.step) + steps
    told, pace, began = Told(log, sinks), Pace(save_every), time.perf_counter()
    with ExitStack() as stack:
        states, stop = _states(
            stack, checkpoints, dict(run) | {"tasks": tasks, "key": plain_key(key), "best": best}
        )
        if states:
            state, totals = _taken_up(states, state, totals, told, last)
        if not int(state.step):
            told.cut(0)
        if int(totals.barren) >= patience:
            raise DivergedError(int(state.step), int(totals.barren), tasks)
        if states and not jax.process_index():
            (states.folder / DIVERGED).unlink(missing_ok=True)  # it goes on
        batches = feed.onwards(int(state.step)) if feed else None
        bar = stack.enter_context(_progress())
        shown = bar.add_task(title, total=steps)
        while (done := int(state.step)) < last:
            ahead = min(every - done % every, last - done)
            length = pace.steps(ahead)
            for drawn, count in _portions(source, batches, length):
                state, totals = _advance(step, tasks, patience, drawn, state, key, totals, every, count)
            done, barren = int(state.step), int(totals.barren)
            failed, ends, score = barren >= patience, done % every == 0 or done == last, None
            if ends and not failed:
                row = means(totals) | (evaluate(_own_copy(state.meta)) if evaluate else {})
                told.tell({"step": done, "seconds": time.perf_counter() - began} | row)
                bar.update(shown, description=f"{title} loss {row['loss']:.3f}")
                score = _score(row, best)
            bar.update(shown, completed=done - first)
            signal, due = pace.agreed(stop, states is not None and states.is_best(score))
            if states and (failed or signal or due or done == last):
                sums = numbers(totals if not ends else empty(totals.sums)) | {"barren": barren}
                states.save(state, {"log": told.bytes, "totals": sums}, score)
            if failed:
                raise _diverged(local_key, done, barren, tasks, states)
            if signal and stop:
                raise stop.acted(signal)
    return (state if jax.process_count() == 1 else _own_copy(state)), told.rows


def traceable(sampler: Sampler) -> Sampler:
    """A sampler that is a pytree: its arrays are arguments of a compiled function, not constants in it."""
    if isinstance(sampler, HostSampler):
        raise InputError("tasks that are made on the host cannot be drawn inside jit; use loop, or evaluate.")
    return sampler if isinstance(sampler, jax.tree_util.Partial) else jax.tree_util.Partial(sampler)


def _source(
    sampler: Sampler | HostSampler, key: Key[Array, ""], tasks: int, step: MetaStep, state: MetaState
) -> tuple[Feed | None, Sampler | Given]:
    """What the next step draws from; and what gives the batches, where the host makes them."""
    if not isinstance(sampler, HostSampler):
        return None, traceable(sampler)
    feed = Feed(sampler, key, tasks, step.mesh)
    return feed, feed.at(int(state.step))


def _portions(
    source: Sampler | Given, batches: Iterator[Given] | None, length: int
) -> Iterable[tuple[Sampler | Given, int]]:
    """What so many steps draw from, and how many at once: one batch a step where the host makes them."""
    return [(source, length)] if batches is None else ((batch, 1) for batch in islice(batches, length))


def _score(row: Row, best: str | None) -> float | None:
    """What states are compared by, the higher the better; None where it is not finite."""
    if best is None:
        return None
    name = _named(best, row)
    value = -row[name] if name != best else row[name]
    return value if math.isfinite(value) else None


def _named(best: str, row: Mapping[str, Any]) -> str:
    """The number that is meant, without its sign."""
    if (name := best.removeprefix("-")) not in row:
        raise InputError(f"there is no {name!r} to be the best by; rows have {', '.join(sorted(row))}.")
    return name


def _diverged(
    key: Key[Array, ""], done: int, barren: int, tasks: int, states: Checkpoints | None
) -> DivergedError:
    """What ends the run; the keys of the tasks that it began with are written beside the states."""
    began = done - barren
    if states and not jax.process_index():
        keys = jax.random.key_data(task_keys(key, began, jnp.arange(tasks)))
        content = {"steps": [began, done - 1], "run": plain_key(key), "step": began, "tasks": keys.tolist()}
        with suppress(OSError):  # what ended the run is said in any case
            (states.folder / DIVERGED).write_text(json.dumps(content), encoding="utf-8")
    return DivergedError(done, barren, tasks)


def _check_counts(steps: int, tasks: int, **others: int) -> None:
    if steps < 0:
        raise InputError(f"{steps} meta-steps cannot be taken; give zero or more.")
    if tasks < 1:
        raise InputError(f"{tasks} tasks per step is an empty batch; give at least one.")
    for name, count in others.items():
        if count < 1:
            raise InputError(f"{name} is {count}; give 1 step or more.")


def _states(stack: ExitStack, folder: Path | None, run: Run) -> tuple[Checkpoints | None, Stop | None]:
    """The saved states of a run, held against other writers, and what hears signals from now on."""
    if folder is None:
        return None, None
    stack.enter_context(only_writer(folder))
    stop = stack.enter_context(Stop())  # left after the last state is written
    return stack.enter_context(Checkpoints(folder, run)), stop


def _taken_up(
    states: Checkpoints, state: MetaState, totals: Totals, told: Told, last: int
) -> tuple[MetaState, Totals]:
    """The newest whole state and what was summed up by then; those given where there is none."""
    found = states.restore(state)
    if found is None:
        return state, totals
    if int(found.state.step) > last:
        raise InputError(
            f"{states.folder} holds step {int(found.state.step)}, beyond the {last} asked for; "
            "ask for more, or train into another folder."
        )
    told.cut(found.beside["log"])
    return found.state, filled(totals, found.beside["totals"])


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=(4, 6))
def _advance(
    step: MetaStep,
    tasks: int,
    patience: int,
    sampler: Sampler,
    state: MetaState,
    key: Key[Array, ""],
    totals: Totals,
    every: Int[Array, ""],
    length: Int[Array, ""],
) -> tuple[MetaState, Totals]:
    """So many steps, whatever their number in one program; fewer where patience ends."""
    totals = begun(totals, state.step % every == 0)

    def goes_on(carry: tuple[Array, MetaState, Totals]) -> Array:
        return (carry[0] < length) & (carry[2].barren < patience)

    def advance(carry: tuple[Array, MetaState, Totals]) -> tuple[Array, MetaState, Totals]:
        count, state, totals = carry
        state, metrics = _update(step, tasks, sampler, state, key)
        return count + 1, state, added(totals, metrics, tasks)

    return lax.while_loop(goes_on, advance, (jnp.asarray(0), state, totals))[1:]


@partial(jax.jit, static_argnums=(0, 1))
def _update(
    step: MetaStep, tasks: int, sampler: Sampler, state: MetaState, key: Key[Array, ""]
) -> tuple[MetaState, Metrics]:
    return step.update(state, draw_tasks(sampler, key, state.step, tasks, mesh=step.mesh))


def _own_copy(tree: PyTree) -> PyTree:
    """What all hosts hold alike, on this host alone, and safe from what is donated."""
    return jax.tree.map(jnp.array, local(tree) if jax.process_count() > 1 else tree)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
