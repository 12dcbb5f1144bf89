"""Training: a scan over meta-steps on the device, and the loop around it on the host."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from functools import partial
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from ..batching import over_tasks, placed
from ..errors import InputError
from ..precision import is_traced
from ..records import HostSampler, MetaState, MetaStep, Report, Sampler, Task
from ..tasks.feed import Feed, Given, task_keys
from ..tasks.fixed import warn_of_one_task
from .hooks import Hook, ProgressBar, Training, own_copy
from .preemption import DispatchInterval, DivergedError, reason_of_failure
from .rows import Row, Totals, add_step, means, reset_totals, zero_totals

INSTEAD: ContextVar[Callable[..., None] | None] = ContextVar("instead", default=None)
"""Called by `loop` in place of training, with the step, the sampler, the state, the key and the tasks."""


def draw_tasks(
    sampler: Sampler | Given,
    key: Key[Array, ""],
    step: Int[Array, ""] | int,
    tasks: int,
    *,
    mesh: Mesh | None = None,
) -> Task:
    """The batch of one meta-step: task t of step s is drawn with fold_in(fold_in(key, s), t).

    As tasks are numbered, every host can draw only its own, and a resumed run sees the same tasks as an
    uninterrupted one. Each device of the mesh draws its own tasks.

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
    """Takes meta-steps; pure, so that a `vmap` over states and keys trains many seeds at once.

    Outside `jit` and `vmap` a warning says if the last step kept no task, so that nothing was learned in it.

    It can be differentiated in its state, and in numbers that the step depends on, such as the rate of the
    outer optimiser: build the step inside the function that is differentiated. In reverse mode this stores
    the state before every step, and what the derivative of one step needs, which grows with the number of its
    tasks: steps x state + tasks x (memory of one task). The steps are computed once more on the way back.

    Args:
        step: from `meta_step`.
        sampler: of one task.
        state: from `step.init`, or the last state of an earlier run, which is continued.
        key: a typed key, the same for the whole run.
        steps: how many meta-steps.
        tasks: T, per step.

    >>> import jmeta as jm, optax
    >>> learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
    >>> step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(1e-3))
    >>> start = step.init(learner.init(jax.random.key(0)))
    >>> int(train(step, jm.sinusoid(), start, jax.random.key(1), steps=3, tasks=2).step)
    3
    """
    state, report = _taken(step, sampler, state, key, steps, tasks)
    if not is_traced(report.skipped) and steps and report.skipped[-1] >= tasks:
        failed = np.cumprod(np.asarray(report.skipped)[::-1] >= tasks).sum()
        only_gradient = np.isinf(report.metrics.get("gradient_norm", [0.0])[-1])
        reason = reason_of_failure(int(state.step), int(failed), tasks, int(only_gradient))
        warnings.warn(reason, stacklevel=2)
    return state


def learning_curve(
    step: MetaStep, sampler: Sampler, state: MetaState, key: Key[Array, ""], *, steps: int, tasks: int
) -> tuple[MetaState, Report]:
    """As `train`, with the report of every step, whose arrays are [steps]."""
    return _taken(step, sampler, state, key, steps, tasks)


def _taken(
    step: MetaStep, sampler: Sampler, state: MetaState, key: Key[Array, ""], steps: int, tasks: int
) -> tuple[MetaState, Report]:
    """The state after `steps` meta-steps, and their reports."""
    _check_counts(steps, tasks)
    sampler = traceable(sampler)
    warn_of_one_task(sampler, key, stacklevel=4)

    def body(state: MetaState, _: None) -> tuple[MetaState, Report]:
        return _update(step, tasks, sampler, state, key)

    return lax.scan(jax.checkpoint(body, prevent_cse=False), state, None, length=steps)


def loop(
    step: MetaStep,
    sampler: Sampler | HostSampler,
    state: MetaState,
    key: Key[Array, ""],
    *,
    steps: int,
    tasks: int,
    every: int = 100,
    patience: int = 100,
    hooks: Sequence[Hook] | None = None,
) -> tuple[MetaState, list[Row]]:
    """`train` with hooks: dispatches of about a second, rows of a log, saved states and whatever hooks do.

    Args:
        step: from `meta_step`.
        sampler: of one task; the tasks of a `HostSampler`, as from `stored_episodes`, are read ahead.
        state: where to start; it is copied.
        key: a typed key, the same for the whole run.
        steps: how many meta-steps.
        tasks: T, per step.
        every: steps between two rows; metrics are copied to the host no more often.
        patience: number of successive steps without a finite loss and gradient after which training is
            stopped; all steps, where there are fewer.
        hooks: in the order in which they are called, such as `[Validate(evaluate), JSONLog(path),
            SaveStates(folder)]`; a progress bar unless given.

    Returns:
        The last state, and the rows: the mean of each metric over the tasks since the last row, skipped ones
        left out, with "step" and "seconds" from the call to the row, compilation included.

    Raises:
        InputError: a count is out of range, or as from a hook.
        jmeta.training.preemption.DivergedError: no task had a finite loss and gradient for `patience` steps.

    >>> import jmeta as jm, optax
    >>> learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
    >>> step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(1e-3))
    >>> start = step.init(learner.init(jax.random.key(0)))
    >>> _, rows = loop(
    ...     step, jm.sinusoid(), start, jax.random.key(1), steps=4, tasks=2, every=2, hooks=[]
    ... )
    >>> [row["step"] for row in rows], sorted(rows[0])
    ([2, 4], ['gradient_norm', 'loss', 'mse', 'seconds', 'skipped', 'step'])
    """
    _check_counts(steps, tasks, every=every, patience=patience)
    if instead := INSTEAD.get():
        instead(step, sampler, state, key, tasks)
    hooks = [ProgressBar()] if hooks is None else list(hooks)
    _check_names(hooks)
    state, patience, local_key = jax.tree.map(jnp.array, state), min(patience, max(steps, 1)), key
    feed, source = _source(sampler, key, tasks, step, state)
    totals = zero_totals(_update.eval_shape(step, tasks, source, state, key)[1])
    if steps:
        traced = _advance.trace(step, tasks, patience, source, state, key, totals, every, 1)
        place = partial(placed, traced.jaxpr.jaxpr)
        source, (state, key, totals) = source if feed else place(source), place((state, key, totals))
    first, began = int(state.step), time.perf_counter()
    now = Training(
        state=state,
        totals=totals,
        key=local_key,
        tasks=tasks,
        patience=patience,
        step=first,
        first=first,
        last=first + steps,
        hooks=hooks,
    )
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook.running(now))
        if not now.step:
            for hook in hooks:
                hook.rewind(now, 0)
        _raise_if_diverged(now)
        batches = feed.onwards(now.step) if feed else None
        interval = DispatchInterval()
        while not now.ends:
            remaining = min(every - now.step % every, now.last - now.step)
            for drawn, count in _portions(source, batches, interval.steps(remaining)):
                now.state, now.totals = _advance(
                    step, tasks, patience, drawn, now.state, key, now.totals, every, count
                )
            now.step = int(now.state.step)
            now.failed, now.row = int(now.totals.failed_steps) >= patience, None
            if not now.failed and (now.step % every == 0 or now.step == now.last):
                row = {"step": now.step, "seconds": time.perf_counter() - began} | means(now.totals)
                now.row = row
                now.rows.append(row)
                for hook in hooks:
                    hook.on_row(now, row)
            stopped, *agreed = interval.agree([int(now.stopped), *(hook.vote(now) for hook in hooks)])
            now.stopped = bool(stopped)
            for hook, largest in zip(hooks, agreed, strict=True):
                hook.on_dispatch(now, largest)
            _raise_if_diverged(now)
    return (now.state if jax.process_count() == 1 else own_copy(now.state)), now.rows


def _check_names(hooks: Sequence[Hook]) -> None:
    names = [hook.name for hook in hooks if hook.name]
    if taken := sorted({name for name in names if names.count(name) > 1 or name == "totals"}):
        raise InputError(f"hooks share the name {taken[0]!r}, or it is reserved; give each its own `name`.")


def _raise_if_diverged(now: Training) -> None:
    if (failed_steps := int(now.totals.failed_steps)) >= now.patience:
        raise DivergedError(now.step, failed_steps, now.tasks, int(now.totals.failed_gradients))


def traceable(sampler: Sampler) -> Sampler:
    """The sampler as a pytree, whose arrays are arguments of a compiled function and not constants in it."""
    if isinstance(sampler, HostSampler):
        raise InputError("tasks that are made on the host cannot be drawn inside jit; use loop, or evaluate.")
    if isinstance(sampler, jax.tree_util.Partial):
        return sampler if sampler.func is _drawn else jax.tree_util.Partial(_drawn, sampler)
    try:
        inspect.signature(sampler).bind(None)
    except TypeError as error:
        raise InputError(f"the sampler cannot take a key ({error}); give a function of a key.") from None
    return jax.tree_util.Partial(_drawn, jax.tree_util.Partial(sampler))


def _drawn(sampler: Sampler, key: Key[Array, ""]) -> Task:
    """The task of a key; raises an InputError if the sampler leaves jax."""
    try:
        return sampler(key)
    except (
        jax.errors.ConcretizationTypeError,
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError,
    ) as error:
        raise InputError(
            "the sampler uses NumPy or Python on what it draws, but is compiled; use jax.numpy and fixed "
            "shapes, or draw on the host, with a HostSampler."
        ) from error


def _source(
    sampler: Sampler | HostSampler, key: Key[Array, ""], tasks: int, step: MetaStep, state: MetaState
) -> tuple[Feed | None, Sampler | Given]:
    """The feed of batches, where the host makes them, and the source of the next step."""
    if not isinstance(sampler, HostSampler):
        source = traceable(sampler)
        warn_of_one_task(source, key, stacklevel=4)
        return None, source
    feed = Feed(sampler, key, tasks, step.mesh)
    return feed, feed.at(int(state.step))


def _portions(
    source: Sampler | Given, batches: Iterator[Given] | None, length: int
) -> Iterable[tuple[Sampler | Given, int]]:
    """The sources of the next `length` steps, and how many steps each serves."""
    return [(source, length)] if batches is None else ((batch, 1) for batch in islice(batches, length))


def _check_counts(steps: int, tasks: int, **others: int) -> None:
    if steps < 0:
        raise InputError(f"{steps} meta-steps cannot be taken; give zero or more.")
    if tasks < 1:
        raise InputError(f"{tasks} tasks per step is an empty batch; give at least one.")
    for name, count in others.items():
        if count < 1:
            raise InputError(f"{name} is {count}; give 1 step or more.")


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
    """Takes `length` steps, fewer if training diverges; one program serves every length."""
    totals = reset_totals(totals, state.step % every == 0)

    def goes_on(carry: tuple[Array, MetaState, Totals]) -> Array:
        return (carry[0] < length) & (carry[2].failed_steps < patience)

    def advance(carry: tuple[Array, MetaState, Totals]) -> tuple[Array, MetaState, Totals]:
        count, state, totals = carry
        state, report = _update(step, tasks, sampler, state, key)
        return count + 1, state, add_step(totals, report, tasks)

    return lax.while_loop(goes_on, advance, (jnp.asarray(0), state, totals))[1:]


@partial(jax.jit, static_argnums=(0, 1))
def _update(
    step: MetaStep, tasks: int, sampler: Sampler, state: MetaState, key: Key[Array, ""]
) -> tuple[MetaState, Report]:
    return step.update(state, draw_tasks(sampler, key, state.step, tasks, mesh=step.mesh))
