"""Learners that adapt by descending the support loss: MAML and its first-order relatives.

The inner loop is the iterated map  (w, o) <- optimiser(w, o, grad_w L(f_w, support)), and the named
methods are its differentiation rules: `unroll()` is MAML, `straight_through()` is FOMAML, a proximal term
with `implicit(conjugate_gradient())` is iMAML, and Reptile is `training.displacement` of any.

References: Finn et al. 2017, Model-agnostic meta-learning for fast adaptation of deep networks; Rajeswaran
et al. 2019, Meta-learning with implicit gradients; Oh et al. 2021, BOIL: towards representation change for
few-shot learning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key, PyTree

from ..iteration import iterate, unroll
from ..records import Batch, Diff, InputError, Learner, Loss, Model
from ..trees import path_name


class Descent(NamedTuple):
    """What MAML meta-learns.

    Attributes:
        start: the weights from which every task starts.
        numbers: logarithms of the inner optimiser's numbers that are learned; empty for none.
    """

    start: PyTree
    numbers: dict[str, Array]


def maml(
    model: Model,
    loss: Loss,
    *,
    steps: int = 1,
    optimizer: Callable[..., optax.GradientTransformation] = optax.sgd,
    numbers: Mapping[str, float] | None = None,
    learn: Sequence[str] = (),
    adapts: Callable[[str], bool] | None = None,
    proximal: float = 0.0,
    diff: Diff | None = None,
) -> Learner:
    """Learn weights from which a few steps of gradient descent solve a new task.

    Args:
        model: the network; its weights are adapted.
        loss: of its outputs on the labelled support.
        steps: inner steps; zero leaves the weights as they are.
        optimizer: the inner optimiser, built inside the step from its numbers.
        numbers: its arguments; {"learning_rate": 0.01} unless given.
        learn: which of them, all positive, are meta-learned; a rule that passes no derivative to theta,
            as `straight_through` does not, leaves them as they are.
        adapts: path of a weight, such as "layers/0/kernel" -> whether the descent may touch it; all unless
            given. The others are learned in the outer loop alone: with the last layer excluded this is
            BOIL, with all but the last it is ANIL, run through the body at every step.
        proximal: lambda of a term  lambda / 2 ||w - start||^2  in the support loss. With it and
            `diff=implicit(conjugate_gradient())` this is iMAML. For plain descent at rate alpha its linear
            system is  alpha (H + lambda I) v = b, H the Hessian of the loss at the adapted weights, so that
            dw / dstart = lambda (H + lambda I)^-1; take enough steps for the descent to converge.
        diff: how adaptation is differentiated; `unroll()` unless given.

    Returns:
        A learner whose meta-parameters are a `Descent` and whose `fast` are weights.

    Raises:
        InputError: `steps` or `proximal` is negative, or `learn` names a number that is not there or not
            positive.

    >>> import jmeta as jm
    >>> learner = maml(jm.networks.mlp([1, 8, 1]), jm.squared_error, steps=5)
    >>> meta = learner.init(jax.random.key(0))
    >>> support = jm.Batch(jnp.ones((3, 1)), jnp.ones((3, 1)))
    >>> fast = learner.adapt(meta, support, jax.random.key(1))
    >>> learner.predict(fast, support.inputs).shape
    (3, 1)
    """
    if steps < 0:
        raise InputError(f"maml takes {steps} inner steps; give zero or more.")
    given = {"learning_rate": 0.01} if numbers is None else dict(numbers)
    if unknown := set(learn) - set(given):
        raise InputError(f"maml cannot learn {sorted(unknown)}; its numbers are {sorted(given)}.")
    if unlearnable := {name: given[name] for name in learn if given[name] <= 0}:
        raise InputError(f"maml learns positive numbers only, but was given {unlearnable}.")
    if not 0 <= proximal < math.inf:
        raise InputError(f"proximal is {proximal}; give zero or a positive number.")
    fixed = {name: value for name, value in given.items() if name not in learn}

    def descend(x: PyTree, theta: PyTree, i: Int[Array, ""]) -> PyTree:
        weights, memory = x
        support, learned, start = theta

        def support_loss(weights: PyTree) -> Array:
            outputs = model.apply(weights, support.inputs, support.weights)
            value = loss(outputs, support.targets, support.weights)[0]
            if not proximal:
                return value
            away = jax.tree.map(lambda w, s: jnp.sum(jnp.square(w - s)), weights, start)
            return value + proximal / 2 * sum(jax.tree.leaves(away))

        rule = optimizer(**fixed, **jax.tree.map(jnp.exp, learned))
        updates, memory = rule.update(jax.grad(support_loss)(weights), memory, weights)
        if adapts is not None:
            updates = jax.tree_util.tree_map_with_path(
                lambda path, update: update if adapts(path_name(path)) else jnp.zeros_like(update), updates
            )
        return optax.apply_updates(weights, updates), memory

    def init(key: Key[Array, ""]) -> Descent:
        return Descent(model.init(key), {name: jnp.log(jnp.asarray(given[name], float)) for name in learn})

    def adapt(meta: Descent, support: Batch, key: Key[Array, ""]) -> PyTree:
        memory = optimizer(**given).init(meta.start)
        rule = unroll() if diff is None else diff
        theta = (support, meta.numbers, meta.start if proximal else None)
        return iterate(descend, (meta.start, memory), theta, steps=steps, diff=rule)[0]

    return Learner(init, adapt, model.apply)
