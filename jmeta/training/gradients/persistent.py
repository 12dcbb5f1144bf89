"""Persistent evolution strategies: meta-gradients of long inner problems, one window at a time.

An inner problem of many steps, such as training a network with learned rates, is too long to solve between
two meta-updates, and gradients of short windows ignore the effect of early steps on late ones. PES continues
every perturbed copy from window to window, and weights the loss of a window by the sum of all perturbations
of its copy since the problem began:  g = mean (sum_{j <= now} e_j) (L+ - L-) / (2 s), with e_j from N(0, I).
This is unbiased for the whole problem.

Reference: Vicol et al. 2021, Unbiased gradient estimation in unrolled computation graphs with persistent
evolution strategies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from ...compiler import compiled
from ...errors import InputError
from ...records import MetaState, MetaStep, Report, Task
from ...sharding.meshes import count_tasks
from ...trees import all_finite
from ..step import descended
from .estimators import check_perturbations, moved, perturbations


class InnerProblem(NamedTuple):
    """A problem that is solved step by step.

    Attributes:
        init: `(meta, task) -> x`, the first iterate.
        advance: `(meta, task, x, i) -> (x, loss)`, one step and its loss.
    """

    init: Callable[[PyTree, Task], PyTree]
    advance: Callable[[PyTree, Task, PyTree, Int[Array, ""]], tuple[PyTree, Float[Array, ""]]]


class Unfinished(NamedTuple):
    """Partly solved problems, kept between meta-steps.

    Attributes:
        tasks: [T] the problems, until all their steps are done.
        position: number of steps done.
        states: [T, P] the iterate of every perturbed copy, for both signs.
        sums: [T, P] the sum of the perturbations of each copy.
    """

    tasks: Task
    position: Int[Array, ""]
    states: tuple[PyTree, PyTree]
    sums: PyTree


def persistent_evolution(
    problem: InnerProblem,
    optimizer: optax.GradientTransformation,
    tasks: Task,
    *,
    steps: int,
    window: int,
    pairs: int = 8,
    deviation: float = 0.01,
) -> MetaStep:
    """A meta-step that continues inner problems where the last one stopped.

    Args:
        problem: the inner problem of one task.
        optimizer: the outer optimiser.
        tasks: a batch with the shapes of those to come; new tasks are used whenever the problems are done.
        steps: of a whole problem.
        window: steps between two meta-updates; it divides `steps`. With `window=steps` this is `evolution` of
            the whole problem.
        pairs: P, antithetic pairs per task.
        deviation: s, the standard deviation of the perturbations.

    Returns:
        A `MetaStep`, whose report holds the mean loss per step of the window, the number of tasks with a copy
        that is not finite, and "gradient_norm".

    Raises:
        InputError: `window` does not divide `steps`, or a number is not positive.

    >>> import jmeta as jm
    >>> fall = InnerProblem(
    ...     lambda rate, task: task.query.targets, lambda rate, task, x, i: (x - rate * x, x @ x)
    ... )
    >>> target = jm.Batch(jnp.ones((3, 1)), jnp.ones((3, 1)))
    >>> tasks = jm.Task(target, target, None, jax.random.split(jax.random.key(0), 3))
    >>> step = persistent_evolution(fall, optax.sgd(0.01), tasks, steps=6, window=2)
    >>> state, report = step.update(step.init(jnp.asarray(0.1)), tasks)
    >>> bool(state.meta > 0.1), int(state.carry.position)
    (True, 2)
    """
    check_perturbations(pairs, deviation)
    if window < 1 or steps < 1 or steps % window:
        raise InputError(f"a window of {window} steps does not divide {steps} steps; choose a divisor.")

    def begun(meta: PyTree, task: Task, noise: PyTree, sign: int) -> PyTree:
        return jax.vmap(lambda e: problem.init(moved(meta, e, sign * deviation), task))(noise)

    def init(meta: PyTree) -> MetaState:
        blank = jax.tree.map(lambda m: jnp.zeros((count_tasks(tasks), pairs, *jnp.shape(m)), m.dtype), meta)
        x = jax.vmap(lambda task, noise: begun(meta, task, noise, 1))(tasks, blank)
        return MetaState(
            jnp.asarray(0), meta, optimizer.init(meta), Unfinished(tasks, jnp.asarray(0), (x, x), blank)
        )

    def update(state: MetaState, tasks: Task) -> tuple[MetaState, Report]:
        meta, (kept_tasks, position, (up, down), sums) = state.meta, state.carry
        fresh = position == 0
        tasks = _chosen(fresh, tasks, kept_tasks)

        def one(meta: PyTree, task: Task, up: PyTree, down: PyTree, sums: PyTree) -> tuple:
            noise = perturbations(jax.random.fold_in(task.key, state.step), meta, pairs)
            sums = jax.tree.map(lambda s, e: jnp.where(fresh, 0, s) + e, sums, noise)

            def at(sign: int, x: PyTree) -> tuple[PyTree, Array]:
                x = _chosen(fresh, begun(meta, task, noise, sign), x)
                advance = partial(_advanced, problem, task, position + jnp.arange(window))
                return jax.vmap(lambda e, x: advance(moved(meta, e, sign * deviation), x))(noise, x)

            (up, high), (down, low) = at(1, up), at(-1, down)
            slope = (high - low) / (2 * deviation * pairs)
            gradient = jax.tree.map(lambda s: jnp.tensordot(slope.astype(s.dtype), s, 1), sums)
            return (up, down), sums, gradient, jnp.mean(high + low) / (2 * window)

        def mean_over_tasks(meta: PyTree) -> tuple:
            states, new_sums, gradients, losses = jax.vmap(partial(one, meta))(tasks, up, down, sums)
            kept = jnp.isfinite(losses) & jax.vmap(all_finite)(gradients)
            total = jnp.maximum(jnp.sum(kept), 1)
            gradient = jax.tree.map(lambda g: jnp.tensordot(kept / total, jnp.nan_to_num(g), 1), gradients)
            return jnp.sum(jnp.where(kept, losses, 0)) / total, gradient, kept, (states, new_sums)

        def of_the_kept(meta: PyTree) -> tuple[Array, PyTree]:
            loss, gradient, others, _ = mean_over_tasks(meta)
            return jnp.where(jnp.all(others == kept), loss, jnp.inf), gradient

        loss, gradient, kept, (states, sums_after) = mean_over_tasks(meta)
        meta, opt, _ = descended(optimizer, state, gradient, loss, jnp.any(kept), of_the_kept)
        some = jnp.any(kept)
        report = Report(
            loss=jnp.where(some, loss, jnp.nan),
            skipped=len(kept) - jnp.sum(kept),
            metrics={"gradient_norm": jnp.where(some, optax.tree.norm(gradient), jnp.nan)},
        )
        unfinished = Unfinished(tasks, (position + window) % steps, states, sums_after)
        return MetaState(state.step + 1, meta, opt, unfinished), report

    return MetaStep(init, compiled(update))


def _advanced(
    problem: InnerProblem, task: Task, places: Int[Array, " W"], meta: PyTree, x: PyTree
) -> tuple[PyTree, Float[Array, ""]]:
    """The state of an inner problem after some steps, and the sum of their losses."""
    x, losses = lax.scan(lambda x, i: problem.advance(meta, task, x, i), x, places)
    return x, jnp.sum(losses)


def _chosen(which: Bool[Array, ""], first: PyTree, second: PyTree) -> PyTree:
    """Selects one of two trees, also of typed keys."""
    return jax.tree.map(lambda a, b: jnp.where(which, a, b), first, second)
