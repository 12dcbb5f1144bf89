"""A linear head in closed form: ridge regression of the labels on the features of the support set.

W = argmin sum_n w_n ||x_n W - y_n||^2 + lambda ||W||^2, with a column of ones for the bias. Few-shot
learning has fewer points than features, so the linear system has one row per point:
W = Z^T (Z Z^T + lambda I)^-1 sqrt(w) Y,  where Z is X with each row scaled by sqrt(w_n).

Reference: Bertinetto et al. 2019, Meta-learning with differentiable closed-form solvers.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..distances import square_root
from ..errors import InputError
from ..masking import make_learner
from ..records import Batch, Learner
from ..weights import cleared, weights_or_ones


class Ridge(NamedTuple):
    """The meta-parameters: logarithms of lambda and of the scale of the logits, and their shift."""

    log_penalty: Float[Array, ""]
    log_scale: Float[Array, ""]
    shift: Float[Array, ""]


def ridge(*, ways: int, penalty: float = 1.0) -> Learner:
    """Fits a linear classifier of embedded points in closed form; its penalty is meta-learned.

    Args:
        ways: W, the number of classes.
        penalty: initial value of lambda, which is stored as its logarithm.

    Returns:
        A learner that predicts [N, W] logits, a scaled and shifted regression of one-hot labels.

    Raises:
        InputError: an argument is not positive; from `adapt`, if the support set has no labels, or labels of
            W or more; inside `jit` these make the outputs NaN.

    >>> support = Batch(jnp.array([[0.0], [1.0]]), jnp.array([0, 1]))
    >>> learner = ridge(ways=2, penalty=1e-6)
    >>> fast = learner.adapt(learner.init(jax.random.key(0)), support, None)
    >>> learner.predict(fast, jnp.array([[0.2], [0.9]])).argmax(-1)
    Array([0, 1], dtype=int32)
    """
    if ways < 1 or not penalty > 0:
        raise InputError(f"ways is {ways} and penalty is {penalty}; give positive numbers.")

    def init(key: Key[Array, ""]) -> Ridge:
        return Ridge(jnp.log(jnp.asarray(penalty, float)), jnp.zeros(()), jnp.zeros(()))

    def adapt(meta: Ridge, support: Batch, key: Key[Array, ""] | None) -> tuple[Ridge, Array]:
        known = weights_or_ones(support.inputs, support.weights) * (jnp.asarray(support.targets) >= 0)
        root = square_root(known)[:, None]
        x = root * _with_bias(cleared(support.inputs, known))
        labels = root * jax.nn.one_hot(support.targets, ways, dtype=x.dtype)
        system = x @ x.T + jnp.exp(meta.log_penalty) * jnp.eye(len(x), dtype=x.dtype)
        return meta, x.T @ jnp.linalg.solve(system, labels)

    def predict(
        fast: tuple[Ridge, Array], inputs: Float[Array, "N D"], weights: Array | None = None
    ) -> Float[Array, "N W"]:
        meta, head = fast
        return jnp.exp(meta.log_scale) * (_with_bias(inputs) @ head) + meta.shift

    return make_learner(init, adapt, predict, ways=ways)


def _with_bias(x: Float[Array, "N D"]) -> Float[Array, "N E"]:
    return jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], 1)
