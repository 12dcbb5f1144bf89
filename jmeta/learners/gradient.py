"""Learners that adapt by descending the support loss: MAML and its relatives.

The inner loop is the iterated map  (w, o) <- optimiser(w, o, grad_w L(f_w, support)), and the named methods
are its parts:

==================  =================================================================================
method              how it is said
==================  =================================================================================
MAML                `maml(model, loss)`
FOMAML              `diff=straight_through()`, or `gradient=first_order` where rates are learned
iMAML               `proximal=2.0, diff=implicit(conjugate_gradient(5))`
BOIL                `adapts=lambda path: not path.startswith("head")`
ANIL                `on_features(body, maml(head, loss))`
Meta-SGD            `numbers={"learning_rate": per_weight(signed(0.01))}, learn=("learning_rate",)`
MAML++              `numbers={"learning_rate": per_step(per_leaf(0.1), 5)}, learn=("learning_rate",)`, with
                    `diff=every_step()` under `multi_step_loss`
Meta-Curvature      `optimizer=curvature, numbers={"learning_rate": 0.1, "factors": factors()}`,
                    `learn=("factors",)`
Reptile             `displacement` of any
==================  =================================================================================

References: Finn et al. 2017, Model-agnostic meta-learning for fast adaptation of deep networks; Rajeswaran
et al. 2019, Meta-learning with implicit gradients; Oh et al. 2021, BOIL: towards representation change for
few-shot learning; Antoniou et al. 2019, How to train your MAML.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key, PyTree

from ..compiler import compiled
from ..errors import InputError
from ..iteration import iterate, unroll
from ..records import Batch, Diff, Learner, Loss, Model
from ..trees import path_name
from .inner_gradients import Gradient, Scalar, mixed_mode
from .numbers import Number, as_number
from .optimizers import descent


class Descent(NamedTuple):
    """What MAML meta-learns.

    Attributes:
        start: the weights from which every task starts.
        numbers: of the inner optimiser, those that are learned, as their `Number` stores them; empty for
            none.
    """

    start: PyTree
    numbers: dict[str, PyTree]


def maml(
    model: Model,
    loss: Loss,
    *,
    steps: int = 1,
    optimizer: Callable[..., optax.GradientTransformation] = descent,
    numbers: Mapping[str, float | Number] | None = None,
    learn: Sequence[str] = (),
    adapts: Callable[[str], bool] | None = None,
    proximal: float = 0.0,
    minibatch: int | None = None,
    gradient: Callable[[Scalar], Gradient] | None = None,
    diff: Diff | None = None,
) -> Learner:
    """Learn weights from which a few steps of gradient descent solve a new task.

    Args:
        model: the network; its weights are adapted.
        loss: of its outputs on the support.
        steps: inner steps; zero leaves the weights as they are.
        optimizer: the inner optimiser, built inside the step from its numbers: `descent`, `curvature`, or any
            of optax. Of a weight whose gradient is zero, as where a ReLU is dead, Adam's square root has no
            derivative: give it a root, `partial(optax.adam, eps_root=1e-8)`.
        numbers: its arguments; {"learning_rate": 0.01} unless given. A plain number is one for all weights
            and steps; for others see `Number`.
        learn: which of them are meta-learned; a rule that passes no derivative to theta, as
            `straight_through` does not, leaves them as they are.
        adapts: path of a weight, such as "layers/0/kernel" -> whether the descent may touch it; all unless
            given. The others are learned in the outer loop alone: with the last layer excluded this is
            BOIL, with all but the last it is ANIL, run through the body at every step.
        proximal: lambda of a term  lambda / 2 ||w - start||^2  in the support loss. With it and
            `diff=implicit(conjugate_gradient())` this is iMAML. For plain descent at rate alpha its linear
            system is  alpha (H + lambda I) v = b, H the Hessian of the loss at the adapted weights, so that
            dw / dstart = lambda (H + lambda I)^-1; take enough steps for the descent to converge.
        minibatch: how many points of the support a step looks at, the next ones of a random order, round
            and round; all unless given.
        gradient: how the inner gradient is taken: `jax.grad`, `mixed_mode`, `first_order`. Unless given it is
            `mixed_mode` where `diff` is left to be `unroll()`, which has no derivative in forward mode; else
            `jax.grad`.
        diff: how adaptation is differentiated; `unroll()` unless given.

    Returns:
        A learner whose meta-parameters are a `Descent` and whose `fast` are weights.

    Raises:
        InputError: `steps` or `proximal` is negative, `minibatch` is no count, the optimiser cannot be built
            from `numbers`, one of them is not finite, or `learn` names one that is not there or, as a plain
            one, not positive; and from `init`, if `adapts` holds for no weight.

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
    if not 0 <= proximal < math.inf:
        raise InputError(f"proximal is {proximal}; give zero or a positive number.")
    if minibatch is not None and minibatch < 1:
        raise InputError(f"a minibatch of {minibatch} points is none; give one or more.")
    given = {"learning_rate": 0.01} if numbers is None else dict(numbers)
    _check_numbers(optimizer, given, learn)
    learned = {name: as_number(given[name]) for name in learn}

    def rule_at(stored: dict[str, PyTree], weights: PyTree, i: Array) -> optax.GradientTransformation:
        read = {name: learned[name].read(value, i) for name, value in stored.items()}
        fixed = {name: value for name, value in given.items() if name not in learned}
        laid_out = {name: n.read(n.init(weights), i) for name, n in fixed.items() if isinstance(n, Number)}
        return optimizer(**(fixed | laid_out | read))

    def support_loss(weights: PyTree, theta: PyTree) -> Array:
        support, start = theta
        outputs = model.apply(weights, support.inputs, support.weights)
        value = loss(outputs, support.targets, support.weights)[0]
        if start is None:
            return value
        away = jax.tree.map(lambda w, s: jnp.sum(jnp.square(w - s)), weights, start)
        return value + proximal / 2 * sum(jax.tree.leaves(away))

    slope = (gradient or (mixed_mode if diff is None else jax.grad))(support_loss)

    def descend(x: PyTree, theta: PyTree, i: Int[Array, ""]) -> PyTree:
        support, start, stored, frozen, order = theta
        weights, memory = _with_frozen(x[0], frozen), x[1]
        if minibatch is not None:
            rows = order[(i * minibatch + jnp.arange(minibatch)) % len(order)]
            taken = jax.tree.map(lambda part: part[rows], support._replace(clusters=None))
            support = taken._replace(clusters=support.clusters)
        rule = rule_at(stored, weights, i)
        updates, memory = rule.update(_cleared(slope(weights, (support, start)), adapts), memory, weights)
        return optax.apply_updates(weights, _cleared(updates, adapts)), memory

    def init(key: Key[Array, ""]) -> Descent:
        start = model.init(key)
        if adapts is not None and None not in jax.tree.leaves(_frozen(start, adapts), is_leaf=_is_none):
            paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(start)]
            raise InputError(f"adapts holds for none of the weights {paths}; choose some of them.")
        return Descent(start, {name: number.init(start) for name, number in learned.items()})

    def adapt(meta: Descent, support: Batch, key: Key[Array, ""]) -> PyTree:
        memory = rule_at(meta.numbers, meta.start, jnp.asarray(0)).init(meta.start)
        order = None if minibatch is None else jax.random.permutation(key, len(support.inputs))
        # Through theta, so that rules which pass no derivative to x0 still reach what is frozen.
        frozen = _frozen(meta.start, adapts)
        theta = (support, meta.start if proximal else None, meta.numbers, frozen, order)
        rule = unroll() if diff is None else diff
        return iterate(descend, (meta.start, memory), theta, steps=steps, diff=rule)[0]

    return Learner(init, compiled(adapt), model.apply)


def _check_numbers(optimizer: Callable, given: Mapping[str, float | Number], learn: Sequence[str]) -> None:
    if isinstance(learn, str):
        raise InputError(f"learn is the word {learn!r}; give a tuple of names, ({learn!r},).")
    if unknown := set(learn) - set(given):
        raise InputError(f"maml cannot learn {sorted(unknown)}; its numbers are {sorted(given)}.")
    for name, number in given.items():
        if isinstance(number, int | float) and not math.isfinite(number):
            raise InputError(f"{name} is {number}; give a finite number.")
    try:
        inspect.signature(optimizer).bind(**given)
    except TypeError as error:
        raise InputError(f"the inner optimiser cannot be built from {sorted(given)}: {error}.") from None


def _is_none(leaf: PyTree) -> bool:
    return leaf is None


def _frozen(start: PyTree, adapts: Callable[[str], bool] | None) -> PyTree:
    """The weights that the descent may not touch, None in the place of the others; None if there are none."""
    if adapts is None:
        return None
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: None if adapts(path_name(path)) else leaf, start
    )


def _with_frozen(weights: PyTree, frozen: PyTree) -> PyTree:
    if frozen is None:
        return weights
    return jax.tree.map(lambda f, w: w if f is None else f, frozen, weights, is_leaf=_is_none)


def _cleared(updates: PyTree, adapts: Callable[[str], bool] | None) -> PyTree:
    """Zero for what the descent may not touch."""
    if adapts is None:
        return updates
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if adapts(path_name(path)) else jnp.zeros_like(leaf), updates
    )
