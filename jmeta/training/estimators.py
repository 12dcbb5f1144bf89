"""How the meta-gradient is obtained."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..records import Estimator, Task, TaskLoss


def backpropagation() -> Estimator:
    """The exact gradient of sum_t w_t L_t; tasks are vmapped.

    >>> loss = lambda meta, task: (meta * task, {})
    >>> gradient, (losses, _) = backpropagation()(loss, 2.0, jnp.arange(3.0), jnp.ones(3) / 3)
    >>> print(gradient, losses)
    1.0 [0. 2. 4.]
    """

    def estimate(
        loss: TaskLoss, meta: PyTree, tasks: Task, weights: Float[Array, " T"]
    ) -> tuple[PyTree, tuple[Float[Array, " T"], dict[str, Float[Array, " T"]]]]:
        def weighted(meta: PyTree) -> tuple[Array, tuple]:
            losses, metrics = jax.vmap(loss, in_axes=(None, 0))(meta, tasks)
            return weights @ jnp.where(weights > 0, losses, 0), (losses, metrics)

        return jax.grad(weighted, has_aux=True)(meta)

    return estimate
