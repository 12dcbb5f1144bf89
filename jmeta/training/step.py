"""One meta-update: the gradient of a task loss over a batch of tasks, then the outer optimiser."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from ..batching import count_tasks
from ..records import Estimator, InputError, MetaState, MetaStep, Metrics, Task, TaskLoss
from ..trees import all_finite
from .estimators import backpropagation


def meta_step(
    loss: TaskLoss,
    optimizer: optax.GradientTransformation,
    *,
    estimator: Estimator | None = None,
    chunk: int | None = None,
) -> MetaStep:
    """The update  meta <- optimiser(meta, mean_t grad L_t(meta))  over a batch of tasks.

    A task whose loss is not finite is left out: it counts in the metric "skipped", and another
    task stands in its place with weight zero, so that it never reaches the gradient that tasks
    share. If the gradient itself is not finite, nothing is updated and every task counts as skipped.

    Args:
        loss: of one task.
        optimizer: the outer optimiser.
        estimator: how the gradient is obtained; `backpropagation()` unless given.
        chunk: how many tasks are differentiated at once; all unless given. Small chunks save
            memory, and with convolutions on CPU also time.

    Returns:
        A `MetaStep`. Its metrics are the loss's own, averaged over the tasks that were kept, and
        "loss", "gradient_norm" and "skipped", how many tasks were not; where none was kept, all others are 0.

    Raises:
        InputError: the batch is empty, or `chunk` does not divide it.

    >>> import jmeta as jm
    >>> learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
    >>> step = meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(1e-3))
    >>> tasks = jax.vmap(jm.sinusoid())(jax.random.split(jax.random.key(0), 4))
    >>> state, metrics = step.update(step.init(learner.init(jax.random.key(1))), tasks)
    >>> int(state.step), sorted(metrics)
    (1, ['gradient_norm', 'loss', 'mse', 'skipped'])
    """
    estimate = backpropagation() if estimator is None else estimator

    def init(meta: PyTree) -> MetaState:
        return MetaState(jnp.asarray(0), meta, optimizer.init(meta))

    def update(state: MetaState, tasks: Task) -> tuple[MetaState, Metrics]:
        count = count_tasks(tasks)
        size = count if chunk is None else chunk
        if size < 1 or count % size:
            raise InputError(f"a chunk of {size} does not divide {count} tasks; choose a divisor.")
        split = jax.tree.map(lambda leaf: leaf.reshape(count // size, size, *leaf.shape[1:]), tasks)

        def add(sum_so_far: PyTree, chunk_of_tasks: Task) -> tuple[PyTree, tuple]:
            gradient, kept, report = _kept_gradient(estimate, loss, state.meta, chunk_of_tasks)
            return jax.tree.map(jnp.add, sum_so_far, gradient), (kept, report)

        zeros = jax.tree.map(jnp.zeros_like, state.meta)
        gradient, (kept, (losses, metrics)) = lax.scan(add, zeros, split)
        total = jnp.maximum(jnp.sum(kept), 1)
        gradient = jax.tree.map(lambda leaf: leaf / total.astype(leaf.dtype), gradient)
        usable = all_finite(gradient) & jnp.any(kept)

        updates, opt = optimizer.update(gradient, state.opt, state.meta)
        meta = optax.apply_updates(state.meta, updates)
        meta, opt = optax.tree.where(usable, (meta, opt), (state.meta, state.opt))
        report = {
            name: jnp.sum(jnp.where(kept, values, 0)) / total
            for name, values in ({"loss": losses} | metrics).items()
        }
        report["gradient_norm"] = jnp.where(usable, optax.tree.norm(gradient), 0)
        report["skipped"] = jnp.where(usable, count - jnp.sum(kept), count)
        return MetaState(state.step + 1, meta, opt, state.carry), report

    return MetaStep(init, update)


def _kept_gradient(
    estimate: Estimator, loss: TaskLoss, meta: PyTree, tasks: Task
) -> tuple[PyTree, Bool[Array, " T"], tuple[Float[Array, " T"], Metrics]]:
    """The summed gradient of the finite tasks, which they are, and all losses and metrics.

    One pass where all are finite, as nearly always; else a second one without the others.
    """

    def attempt(kept: Bool[Array, " T"]) -> tuple:
        donor = jnp.argmax(kept)
        safe = jax.tree.map(
            lambda leaf: jnp.where(kept.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, leaf[donor]), tasks
        )
        gradient, report = estimate(loss, meta, safe, kept.astype(float))
        return gradient, kept & jnp.isfinite(report[0]), report

    def unsettled(carry: tuple) -> Bool[Array, ""]:
        tried, (_, kept, _) = carry
        return jnp.any(tried != kept)

    def again(carry: tuple) -> tuple:
        kept = carry[1][1]
        return kept, attempt(kept)

    everyone = jnp.ones(count_tasks(tasks), bool)
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(attempt, everyone))
    first = (~everyone, (blank[0], everyone, blank[2]))
    _, (gradient, kept, report) = lax.while_loop(unsettled, again, first)
    return gradient, kept, report
