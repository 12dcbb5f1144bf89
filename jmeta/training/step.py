"""Meta-steps: the gradient of a task loss over a batch of tasks, then a step of the outer optimiser."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..batching import fold_over_tasks
from ..compiler import compiled
from ..errors import InputError
from ..records import GradientEstimator, MetaState, MetaStep, Metrics, Report, Task, TaskLoss
from ..sharding.meshes import count_tasks, of_all_hosts
from ..trees import all_finite, still_finite
from .gradients.estimators import backpropagation


def meta_step(
    loss: TaskLoss,
    optimizer: optax.GradientTransformation,
    *,
    estimator: GradientEstimator | None = None,
    chunk: int | None = None,
    mesh: Mesh | None = None,
) -> MetaStep:
    """The update  meta <- optimiser(meta, mean_t grad L_t(meta))  over a batch of tasks.

    Gradients are summed chunk by chunk, so that memory does not grow with the number of tasks, and one
    all-reduce sums those of all devices. A task whose loss is not finite is skipped: another task takes its
    place with weight zero, so that it never reaches the shared gradient. If the gradient of a chunk is not
    finite, all its tasks are skipped; if all tasks are, nothing is updated.

    Args:
        loss: of one task.
        optimizer: the outer optimiser; one that needs the loss, such as `optax.contrib.reduce_on_plateau`,
            gets the mean over the tasks that were kept.
        estimator: of the gradient; `backpropagation()` unless given.
        chunk: number of tasks that a device differentiates at once; chosen by the size of their arrays unless
            given.
        mesh: the devices that tasks are divided among, from `task_mesh`; unless given all devices of several
            hosts, or as many local ones as pay off.

    Returns:
        A `MetaStep`. Its `Report` holds the means over the tasks that were kept of the loss and of its
        metrics, and "gradient_norm". They are NaN where no task was kept, except that the norm is infinite
        where losses were finite and only the gradient, or the update by it, was not.

    Raises:
        InputError: the batch is empty, `chunk` is below one, or the task loss does not return
            `(scalar, metrics)`.

    >>> import jmeta as jm
    >>> learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
    >>> step = meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(1e-3))
    >>> tasks = jax.vmap(jm.sinusoid())(jax.random.split(jax.random.key(0), 4))
    >>> state, report = step.update(step.init(learner.init(jax.random.key(1))), tasks)
    >>> int(state.step), int(report.skipped), sorted(report.metrics)
    (1, 0, ['gradient_norm', 'mse'])
    """
    estimate = backpropagation() if estimator is None else estimator
    checked = partial(_checked_loss, loss)

    def summed(shared: tuple, tasks: Task, real: Bool[Array, " T"]) -> tuple[tuple, tuple]:
        meta, step = shared

        def gradient_of(tasks: Task, weights: Float[Array, " T"]) -> tuple:
            return estimate(checked, meta, tasks, weights, step)

        gradient, finite, (losses, metrics) = _kept_gradient(gradient_of, tasks, real)
        kept = finite & all_finite(gradient)
        gradient = jax.tree.map(lambda leaf: jnp.where(jnp.any(kept), leaf, 0), gradient)
        sums = {
            name: jnp.sum(jnp.where(kept, values, 0)) for name, values in ({"loss": losses} | metrics).items()
        }
        counts = [jnp.sum(some, dtype=losses.dtype) for some in (finite, kept)]
        return (gradient, counts, sums), ()

    mesh = of_all_hosts(mesh)
    folded = fold_over_tasks(summed, chunk=chunk, mesh=mesh)

    def init(meta: PyTree) -> MetaState:
        return MetaState(jnp.asarray(0), meta, optimizer.init(meta))

    def update(state: MetaState, tasks: Task) -> tuple[MetaState, Report]:
        (gradient, (finite, kept), sums), _ = folded((state.meta, state.step), tasks)
        total = jnp.maximum(kept, 1)
        gradient = jax.tree.map(lambda leaf: leaf / total.astype(leaf.dtype), gradient)
        usable = all_finite(gradient) & (kept > 0)

        means = {name: value / total for name, value in sums.items()}
        meta, opt, usable = descended(optimizer, state, gradient, means["loss"], usable)
        means["gradient_norm"] = optax.tree.norm(gradient)
        means = {name: jnp.where(usable, value, jnp.nan) for name, value in means.items()}
        means["gradient_norm"] = jnp.where(~usable & (finite > 0), jnp.inf, means["gradient_norm"])
        skipped = count_tasks(tasks) - jnp.where(usable, kept, 0)
        report = Report(means.pop("loss"), skipped, means)
        return MetaState(state.step + 1, meta, opt, state.carry), report

    return MetaStep(init, compiled(update), mesh)


def descended(
    optimizer: optax.GradientTransformation,
    state: MetaState,
    gradient: PyTree,
    loss: Float[Array, ""],
    usable: Bool[Array, ""],
) -> tuple[PyTree, PyTree, Bool[Array, ""]]:
    """The meta-parameters and the optimiser's state after one step, and whether the step was taken.

    It is not taken if the gradient is not usable, or if a finite number would become non-finite, such as
    Adam's second moment after a gradient of 1e20.

    Raises:
        InputError: the optimiser searches along a line, for which it needs the loss at other parameters.
    """
    update = optax.with_extra_args_support(optimizer).update
    updates, opt = update(
        gradient, state.opt, state.meta, value=loss, grad=gradient, value_fn=_no_line_search
    )
    after, before = (optax.apply_updates(state.meta, updates), opt), (state.meta, state.opt)
    usable &= still_finite(before, after)
    return *optax.tree.where(usable, after, before), usable


def _checked_loss(loss: TaskLoss, meta: PyTree, task: Task) -> tuple[Float[Array, ""], Metrics]:
    """The loss of a task; raises an InputError if it is not a scalar with metrics."""
    found = loss(meta, task)
    if (
        not isinstance(found, tuple)
        or len(found) != 2
        or not isinstance(found[1], dict)
        or jnp.shape(found[0])
    ):
        raise InputError(
            f"the task loss returned {_described(found)}; return a scalar and metrics, as in (loss, {{}})."
        )
    return found


def _described(found: Any) -> str:
    if isinstance(found, tuple):
        return f"({', '.join(map(_described, found))})"
    return f"an array of shape {jnp.shape(found)}" if hasattr(found, "shape") else f"a {type(found).__name__}"


def _no_line_search(meta: PyTree) -> Float[Array, ""]:
    raise InputError(
        "the optimizer of meta_step needs the loss at other parameters for its line search, which is not "
        "computed; choose one with a learning rate, such as optax.lbfgs(learning_rate=0.1, linesearch=None)."
    )


def scheduled(make: Callable[[Int[Array, ""]], MetaStep]) -> MetaStep:
    """A meta-step that depends on the number of steps taken, such as one with changing weights of losses.

    Args:
        make: traced number of the step -> meta-step; all must have the same state.

    >>> import jmeta as jm
    >>> learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
    >>> loss = jm.query_loss(learner, jm.squared_error)
    >>> faded = lambda i: jm.meta_step(jm.total(loss, loss, weights=[1, jnp.exp(-i / 100)]), optax.sgd(0.1))
    >>> state = scheduled(faded).init(learner.init(jax.random.key(0)))
    >>> int(jm.train(scheduled(faded), jm.sinusoid(), state, jax.random.key(1), steps=2, tasks=3).step)
    2
    """
    return MetaStep(
        lambda meta: make(jnp.asarray(0)).init(meta),
        compiled(lambda state, tasks: make(state.step).update(state, tasks)),
        make(jnp.asarray(0)).mesh,
    )


def _kept_gradient(
    gradient_of: Callable[[Task, Float[Array, " T"]], tuple], tasks: Task, real: Bool[Array, " T"]
) -> tuple[PyTree, Bool[Array, " T"], tuple[Float[Array, " T"], Metrics]]:
    """The summed gradient of the real tasks of finite loss, which these are, and all losses and metrics.

    It takes one pass if all tasks are finite, and another one without those that are not.
    """

    @compiled  # traced once, for the shapes and for the loop
    def attempt(kept: Bool[Array, " T"]) -> tuple:
        donor = jnp.argmax(kept)
        safe = jax.tree.map(
            lambda leaf: jnp.where(kept.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, leaf[donor]), tasks
        )
        gradient, report = gradient_of(safe, kept.astype(float))
        return gradient, kept & jnp.isfinite(report[0]), report

    def unsettled(carry: tuple) -> Bool[Array, ""]:
        tried, (_, kept, _) = carry
        return jnp.any(tried != kept)

    def again(carry: tuple) -> tuple:
        kept = carry[1][1]
        return kept, attempt(kept)

    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(attempt, real))
    first = (~real, (blank[0], real, blank[2]))
    _, (gradient, kept, report) = lax.while_loop(unsettled, again, first)
    return gradient, kept, report
