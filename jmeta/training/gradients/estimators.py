"""Estimators of the meta-gradient: back-propagation, and evolution strategies, which use losses only."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from ...errors import InputError
from ...records import GradientEstimator, Task, TaskLoss

Estimate = tuple[PyTree, tuple[Float[Array, " T"], dict[str, Float[Array, " T"]]]]


def backpropagation() -> GradientEstimator:
    """The exact gradient of sum_t w_t L_t, vmapped over tasks.

    >>> loss = lambda meta, task: (meta * task, {})
    >>> gradient, (losses, _) = backpropagation()(loss, 2.0, jnp.arange(3.0), jnp.ones(3) / 3, 0)
    >>> print(gradient, losses)
    1.0 [0. 2. 4.]
    """

    def estimate(
        loss: TaskLoss, meta: PyTree, tasks: Task, weights: Float[Array, " T"], step: Int[Array, ""]
    ) -> Estimate:
        def weighted(meta: PyTree) -> tuple[Array, tuple]:
            losses, metrics = jax.vmap(loss, in_axes=(None, 0))(meta, tasks)
            return weights @ jnp.where(weights > 0, losses, 0), (losses, metrics)

        return jax.grad(weighted, has_aux=True)(meta)

    return estimate


def evolution(*, pairs: int = 8, deviation: float = 0.01) -> GradientEstimator:
    """Evolution strategies: an estimate, from losses only, of the gradient of the Gaussian-smoothed loss.

    For every task  g = sum_p e_p (L(meta + s e_p) - L(meta - s e_p)) / (2 s P)  with e_p from N(0, I), drawn
    with the task's key and the step, unbiased for the gradient of E L(meta + s e). For losses that are
    discontinuous or whose gradient explodes; the variance grows with the number of meta-parameters.

    Args:
        pairs: P, antithetic pairs per task.
        deviation: s, the standard deviation of the perturbations.

    Raises:
        InputError: `pairs` is below one, or `deviation` is not positive.

    Reference: Salimans et al. 2017, Evolution strategies as a scalable alternative to reinforcement learning.

    >>> import jmeta as jm, optax
    >>> learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
    >>> step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.sgd(0.1), estimator=evolution())
    >>> state = step.init(learner.init(jax.random.key(0)))
    >>> int(jm.train(step, jm.sinusoid(), state, jax.random.key(1), steps=2, tasks=3).step)
    2
    """
    check_perturbations(pairs, deviation)

    def estimate(
        loss: TaskLoss, meta: PyTree, tasks: Task, weights: Float[Array, " T"], step: Int[Array, ""]
    ) -> Estimate:
        def one(task: Task, weight: Float[Array, ""]) -> tuple[PyTree, tuple[Array, dict[str, Array]]]:
            noise = perturbations(jax.random.fold_in(task.key, step), meta, pairs)

            def at(sign: int) -> tuple[Float[Array, " P"], dict[str, Float[Array, " P"]]]:
                return jax.vmap(lambda e: loss(moved(meta, e, sign * deviation), task))(noise)

            (up, up_metrics), (down, down_metrics) = at(1), at(-1)
            slope = jnp.where(weight > 0, weight * (up - down) / (2 * deviation * pairs), 0)
            gradient = jax.tree.map(lambda e: jnp.tensordot(slope.astype(e.dtype), e, 1), noise)
            metrics = jax.tree.map(lambda a, b: jnp.mean(a + b) / 2, up_metrics, down_metrics)
            return gradient, (jnp.mean(up + down) / 2, metrics)

        gradients, report = jax.vmap(one)(tasks, weights)
        return jax.tree.map(lambda leaf: jnp.sum(leaf, 0), gradients), report

    return estimate


def perturbations(key: Key[Array, ""], like: PyTree, count: int) -> PyTree:
    """`count` standard normal samples of the structure of a tree, with a key that nothing else uses."""
    leaves, structure = jax.tree.flatten(like)
    keys = jax.random.split(jax.random.fold_in(key, _ESTIMATOR), len(leaves))
    drawn = [jax.random.normal(k, (count, *jnp.shape(x)), x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def moved(meta: PyTree, noise: PyTree, size: float) -> PyTree:
    """`meta + size * noise`."""
    return jax.tree.map(lambda m, e: m + size * e, meta, noise)


def check_perturbations(pairs: int, deviation: float) -> None:
    """Raises an InputError unless both numbers are positive."""
    if pairs < 1 or not 0 < deviation < math.inf:
        raise InputError(f"pairs is {pairs} and deviation is {deviation}; give positive numbers.")


_ESTIMATOR = 0x45535F
"""Separates the random numbers of an estimator from those of a learner, which uses the same key."""
