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
from ..distances import square_root
from ..errors import InputError
from ..records import GradientEstimator, MetaState, MetaStep, Metrics, Report, Task, TaskLoss
from ..sharding.meshes import count_tasks, of_all_hosts
from ..trees import all_finite, inexact_leaves, replace_inexact, still_finite, tangent_like
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

    An update is differentiable in its state and in all that the loss and the optimiser close over; see
    `train`.

    Args:
        loss: of one task.
        optimizer: the outer optimiser; one that needs the loss, such as `optax.contrib.reduce_on_plateau`,
            gets the mean over the tasks that were kept. One that searches along a line, such as
            `optax.lbfgs()`, gets the mean loss of the same tasks at other meta-parameters too: infinite where
            other tasks are kept there.
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

    def mean_over(tasks: Task, step: Array, meta: PyTree) -> tuple[PyTree, list[Array], dict[str, Array]]:
        (gradient, counts, sums), _ = folded((meta, step), tasks)
        total = jnp.maximum(counts[1], 1)
        gradient = jax.tree.map(lambda leaf: leaf / total.astype(leaf.dtype), gradient)
        return gradient, counts, {name: value / total for name, value in sums.items()}

    def update(state: MetaState, tasks: Task) -> tuple[MetaState, Report]:
        at = partial(mean_over, tasks, state.step)
        gradient, (finite, kept), means = at(state.meta)
        usable = all_finite(gradient) & (kept > 0)

        def of_the_kept(meta: PyTree) -> tuple[Array, PyTree]:
            slope, (_, count), others = at(meta)
            return jnp.where(count == kept, others["loss"], jnp.inf), slope

        meta, opt, usable = descended(optimizer, state, gradient, means["loss"], usable, of_the_kept)
        means["gradient_norm"] = square_root(optax.tree.norm(gradient, squared=True))
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
    loss_and_gradient: Callable[[PyTree], tuple[Float[Array, ""], PyTree]],
) -> tuple[PyTree, PyTree, Bool[Array, ""]]:
    """The meta-parameters and the optimiser's state after one step, and whether the step was taken.

    It is not taken if the gradient is not usable, or if a finite number would become non-finite, such as
    Adam's second moment after a gradient of 1e20.

    Args:
        optimizer: gets the loss and the gradient, and the loss as a function of the meta-parameters.
        state: before the step.
        gradient: at the meta-parameters of the state.
        loss: there.
        usable: whether both are.
        loss_and_gradient: at other meta-parameters, for optimisers that search along a line.
    """

    @jax.custom_jvp
    def value(meta: PyTree) -> Float[Array, ""]:
        return loss_and_gradient(meta)[0]

    @value.defjvp
    def slope(primals: tuple[PyTree], tangents: tuple[PyTree]) -> tuple[Array, Array]:
        found, steepest = loss_and_gradient(*primals)
        return found, optax.tree.vdot(steepest, *tangents)

    update = optax.with_extra_args_support(optimizer).update
    updates, opt = update(gradient, state.opt, state.meta, value=loss, grad=gradient, value_fn=value)
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

    It takes one pass if all tasks are finite, and another one without those that are not. Its derivative is
    that of the last pass.
    """

    def one_pass(kept: Bool[Array, " T"]) -> tuple:
        donor = jnp.argmax(kept)
        safe = jax.tree.map(
            lambda leaf: jnp.where(kept.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, leaf[donor]), tasks
        )
        return gradient_of(safe, kept.astype(float))

    # Traced once; all that it depends on becomes an argument.
    traced, shapes = jax.make_jaxpr(one_pass, return_shape=True)(real)

    def attempt(kept: Bool[Array, " T"], *depends: Array) -> tuple:
        leaves = jax.core.eval_jaxpr(traced.jaxpr, depends, kept)
        return jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    @jax.custom_jvp
    def settled(depends: list[Array], real: Bool[Array, " T"]) -> tuple:
        def unsettled(carry: tuple) -> Bool[Array, ""]:
            tried, (_, kept, _) = carry
            return jnp.any(tried != kept)

        def again(carry: tuple) -> tuple:
            kept = carry[1][1]
            gradient, report = attempt(kept, *depends)
            return kept, (gradient, kept & jnp.isfinite(report[0]), report)

        gradient, report = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return lax.while_loop(unsettled, again, (~real, (gradient, real, report)))[1]

    @settled.defjvp
    def of_the_last_pass(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
        found = settled(*lax.stop_gradient(primals))
        kept = found[1]

        def last_pass(*depends: Array) -> list[Array]:
            return inexact_leaves(attempt(kept, *depends))

        def moved() -> tuple[list[Array], list[Array]]:
            return jax.jvp(last_pass, tuple(primals[0]), tuple(tangents[0]))

        def unmoved() -> tuple[list[Array], list[Array]]:
            return jax.tree.map(jnp.zeros_like, jax.eval_shape(moved))

        # Where no task is kept, not even a pass with cotangents of zero, as zero times NaN is NaN.
        values, rises = lax.cond(jnp.any(kept), moved, unmoved)
        tangent = jax.tree.map(tangent_like, found, replace_inexact(found, rises))
        return replace_inexact(found, values), tangent

    return settled(traced.consts, real)
