"""Learners that adapt by descending the support loss: MAML and its relatives.

The inner loop is the iterated map  (w, o) <- optimiser(w, o, grad_w L(f_w, support)), and the named methods
are combinations of its parts:

==================  =================================================================================
method              arguments
==================  =================================================================================
MAML                `maml(model, loss)`
FOMAML              `diff=straight_through()`, or `gradient=first_order` if rates are learned
iMAML               `proximal=2.0, diff=implicit(conjugate_gradient(5))`
BOIL                `adapts=lambda path: not path.startswith("head")`
ANIL                `on_features(body, maml(head, loss))`
Meta-SGD            `numbers={"learning_rate": per_weight(signed(0.01))}, learn=("learning_rate",)`
MAML++              `numbers={"learning_rate": per_step(per_leaf(0.1), 5)}, learn=("learning_rate",)`,
                    `diff=every_step()`, with the objective `multi_step_loss`
Meta-Curvature      `optimizer=curvature, numbers={"learning_rate": 0.1, "factors": factors()}`,
                    `learn=("factors",)`
Reptile             any, with the objective `displacement`
==================  =================================================================================

References: Finn et al. 2017, Model-agnostic meta-learning for fast adaptation of deep networks; Rajeswaran
et al. 2019, Meta-learning with implicit gradients; Oh et al. 2021, BOIL: towards representation change for
few-shot learning; Antoniou et al. 2019, How to train your MAML.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key, PyTree

from ..errors import InputError
from ..iteration import iterate, unroll
from ..masking import make_learner
from ..reach import reach
from ..records import Batch, Diff, Learner, Loss, Model
from ..trees import all_finite, path_name
from ..validation import check_model
from ..weights import weights_or_ones
from .inner_gradients import Gradient, Scalar, mixed_mode
from .numbers import Number, as_number
from .optimizers import curvature, descent

EPS_ROOT = 1e-16
"""Added inside the square root of Adam and its relatives, as `optax.adabelief` does by itself."""


class Descent(NamedTuple):
    """The meta-parameters of MAML.

    Attributes:
        start: the initial weights of every task.
        numbers: learned hyperparameters of the inner optimiser by name, as their `Number` stores them; may
            be empty.
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
    """Learns initial weights from which a few steps of gradient descent solve a new task.

    Args:
        model: the network; its weights are adapted. If it is stochastic, every step has a key of its own.
        loss: the loss of its outputs on the support set.
        steps: number of inner steps; zero leaves the weights unchanged.
        optimizer: the inner optimiser, built inside the step from `numbers`: `descent`, `curvature`, or any
            of optax. The square root of Adam and its relatives has no derivative where the gradient of a
            weight is zero, as behind a dead ReLU: a function of optax, or a partial of one, gets `EPS_ROOT`
            for `eps_root`; one's own gives it, as in `optax.scale_by_adam(eps_root=1e-16)`.
        numbers: its arguments; {"learning_rate": 0.01} unless given. A float is shared by all weights and
            steps; for others see `Number`.
        learn: names of the arguments that are meta-learned.
        adapts: path of a weight, such as "layers/0/kernel" -> whether the inner loop adapts it; all unless
            given. The others are trained in the outer loop only: excluding the last layer gives BOIL,
            excluding all but the last gives ANIL, with the body run at every step.
        proximal: lambda of a term  lambda / 2 ||w - start||^2  in the support loss. With
            `diff=implicit(conjugate_gradient())` this is iMAML. For plain descent at rate alpha its linear
            system is  alpha (H + lambda I) v = b, with H the Hessian of the loss at the adapted weights, so
            that dw / dstart = lambda (H + lambda I)^-1; take enough steps for the descent to converge.
        minibatch: number of support points per step, taken cyclically from a random permutation of those
            that are no padding; all unless given.
        gradient: computes the inner gradient: `jax.grad`, `mixed_mode` or `first_order`. Unless given it is
            `mixed_mode` where `diff` is not given, else `jax.grad`, which implicit rules need less time for;
            the derivatives are the same.
        diff: the differentiation rule of the inner loop; `unroll()` unless given.

    Returns:
        A learner whose meta-parameters are a `Descent` and whose `fast` are the adapted weights.

    Raises:
        InputError: `steps` or `proximal` is negative, `minibatch` is less than one, the optimiser cannot be
            built from `numbers`, one of them is not finite, or `learn` names one that is missing or is a
            float that is not positive, or `diff` passes no derivative to what would be learned; from `init`,
            if `adapts` holds for no weight, or the optimiser cannot take a step with these numbers, or has no
            derivative where a gradient is zero.

    >>> import jmeta as jm
    >>> learner = maml(jm.networks.mlp([1, 8, 1]), jm.squared_error, steps=5)
    >>> meta = learner.init(jax.random.key(0))
    >>> support = jm.Batch(jnp.ones((3, 1)), jnp.ones((3, 1)))
    >>> fast = learner.adapt(meta, support, jax.random.key(1))
    >>> learner.predict(fast, support.inputs).shape
    (3, 1)
    """
    _check_options(steps, proximal, minibatch)
    check_model("maml", model)
    given: dict[str, float | Number] = {"learning_rate": 0.01} if numbers is None else dict(numbers)
    _check_numbers(optimizer, given, learn)
    _check_reach(diff, learn, reaches_start=proximal > 0 or adapts is not None)
    given = _with_safe_root(optimizer, given)
    learned = {name: as_number(given[name]) for name in learn}

    def rule_at(stored: dict[str, PyTree], weights: PyTree, i: Array) -> optax.GradientTransformation:
        current = {name: learned[name].read(value, i) for name, value in stored.items()}
        fixed = {name: value for name, value in given.items() if name not in learned}
        made = {name: n.read(n.init(weights), i) for name, n in fixed.items() if isinstance(n, Number)}
        return optimizer(**(fixed | made | current))

    def initial(weights: PyTree) -> dict[str, PyTree]:
        return {name: number.init(weights) for name, number in learned.items()}

    def support_loss(weights: PyTree, theta: PyTree) -> Array:
        support, start, moment = theta
        outputs = _applied(model, moment, weights, support.inputs, support.weights)
        value = loss(outputs, support.targets, support.weights)[0]
        if start is None:
            return value
        distances = jax.tree.map(lambda w, s: jnp.sum(jnp.square(w - s)), weights, start)
        return value + proximal / 2 * sum(jax.tree.leaves(distances))

    slope = (gradient or (mixed_mode if diff is None else jax.grad))(support_loss)

    def descend(x: PyTree, theta: PyTree, i: Int[Array, ""]) -> PyTree:
        support, start, stored, frozen, order, key = theta
        weights, opt_state = _with_frozen(x[0], frozen), x[1]
        if minibatch is not None:
            places, counted = order
            rows = places[(i * minibatch + jnp.arange(minibatch)) % counted]
            taken = jax.tree.map(lambda part: part[rows], support._replace(clusters=None))
            support = taken._replace(clusters=support.clusters)
        rule = rule_at(stored, weights, i)
        slopes = _cleared(slope(weights, (support, start, (key, i))), adapts)
        updates, opt_state = rule.update(slopes, opt_state, weights)
        return optax.apply_updates(weights, _cleared(updates, adapts)), opt_state

    def init(key: Key[Array, ""]) -> Descent:
        start = model.init(key)
        if adapts is not None and None not in jax.tree.leaves(_frozen(start, adapts), is_leaf=_is_none):
            paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(start)]
            raise InputError(f"adapts holds for none of the weights {paths}; choose some of them.")
        if steps and optimizer not in (descent, curvature):
            _check_step(lambda weights: rule_at(initial(weights), weights, jnp.asarray(0)), start)
        return Descent(start, initial(start))

    def adapt(meta: Descent, support: Batch, key: Key[Array, ""]) -> PyTree:
        opt_state = rule_at(meta.numbers, meta.start, jnp.asarray(0)).init(meta.start)
        order_key, noise_key = jax.random.split(key) if _is_stochastic(model) else (key, None)
        order = None if minibatch is None else _counted_order(support, order_key)
        # Frozen weights are part of theta, so that rules without a derivative in x0 still reach them.
        frozen = _frozen(meta.start, adapts)
        theta = (support, meta.start if proximal else None, meta.numbers, frozen, order, noise_key)
        return iterate(descend, (meta.start, opt_state), theta, steps=steps, diff=diff or unroll())[0]

    return make_learner(init, adapt, model.apply)


def _check_options(steps: int, proximal: float, minibatch: int | None) -> None:
    if steps < 0:
        raise InputError(f"steps is {steps}; give a whole number >= 0.")
    if not 0 <= proximal < math.inf:
        raise InputError(f"proximal is {proximal}; give zero or a positive number.")
    if minibatch is not None and minibatch < 1:
        raise InputError(f"minibatch is {minibatch}; give a whole number >= 1.")


def _is_stochastic(model: Model) -> bool:
    return getattr(model, "stochastic", None) is not None


def _applied(
    model: Model, moment: tuple[Any, Array], weights: PyTree, inputs: Array, each: Array | None
) -> Array:
    """The outputs of a network in an inner step, at a moment (key of the task, number of the step)."""
    if not _is_stochastic(model):
        return model.apply(weights, inputs, each)
    return cast(Callable, model.stochastic)(weights, inputs, each, jax.random.fold_in(*moment))


def _check_numbers(optimizer: Callable, given: Mapping[str, float | Number], learn: Sequence[str]) -> None:
    if isinstance(learn, str):
        raise InputError(f"learn is the string {learn!r}; give a tuple of names, ({learn!r},).")
    if unknown := set(learn) - set(given):
        raise InputError(f"learn names {sorted(unknown)}; choose among the numbers {sorted(given)}.")
    for name, number in given.items():
        if isinstance(number, int | float) and not math.isfinite(number):
            raise InputError(f"{name} is {number}; give a finite number.")
    try:
        inspect.signature(optimizer).bind(**given)
    except TypeError as error:
        raise InputError(f"the inner optimiser cannot be built from {sorted(given)}: {error}.") from None


def _check_reach(diff: Diff | None, learn: Sequence[str], *, reaches_start: bool) -> None:
    """Raises an InputError if nothing, or not what `learn` names, would get a derivative."""
    if diff is None:
        return
    found = reach(diff)
    if learn and not found.theta:
        raise InputError(
            f"diff passes no derivative to what learn names, {sorted(learn)}; leave out diff, and for "
            "first-order MAML give gradient=first_order."
        )
    if not (found.start or reaches_start or learn):
        raise InputError(
            "diff passes no derivative to the initial weights, so that nothing would be learned; give "
            "proximal, or another rule such as unroll()."
        )


def _with_safe_root(optimizer: Callable, given: dict[str, float | Number]) -> dict[str, float | Number]:
    """The numbers, with `EPS_ROOT` for an optimiser whose `eps_root` is zero."""
    root = inspect.signature(optimizer).parameters.get("eps_root")
    if root is None or root.default != 0:
        return given
    return {**given, "eps_root": given.get("eps_root", EPS_ROOT)}


def _check_step(make: Callable[[PyTree], optax.GradientTransformation], start: PyTree) -> None:
    """Raises an InputError if an optimiser cannot take a step, or has no derivative at gradients of zero."""

    def along(slopes: PyTree, weights: PyTree) -> PyTree:
        rule = make(weights)
        state = rule.init(weights)
        return jax.jvp(lambda slopes: rule.update(slopes, state, weights)[0], (slopes,), (weights,))[1]

    with jax.ensure_compile_time_eval():
        ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), start)
        mostly_zero = jax.tree.map(lambda leaf: (jnp.arange(leaf.size) < 1).reshape(leaf.shape) * leaf, ones)
        try:
            slopes = jax.jit(along)(mostly_zero, ones)
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise InputError(
                f"the inner optimizer cannot take a step ({reason}); give one that needs gradients and "
                "weights alone, and numbers that it takes: only descent and curvature take trees, as from "
                "per_leaf; end a chain by descent(learning_rate), such as after optax.scale_by_adam()."
            ) from None
        if not all_finite(slopes):
            raise InputError(
                "the inner optimizer has no finite derivative where the gradient of a weight is zero; give "
                "it eps_root=1e-16, if it has a square root, or choose another one."
            )


def _counted_order(support: Batch, key: Key[Array, ""]) -> tuple[Int[Array, " N"], Int[Array, ""]]:
    """A random order of the points, those of weight zero last, and the number of the others, at least one."""
    weights = weights_or_ones(support.inputs, support.weights)
    drawn = jax.random.permutation(key, len(weights))
    return drawn[jnp.argsort(weights[drawn] == 0)], jnp.maximum(jnp.sum(weights != 0), 1)


def _is_none(leaf: PyTree) -> bool:
    return leaf is None


def _frozen(start: PyTree, adapts: Callable[[str], bool] | None) -> PyTree:
    """The weights that do not adapt, with None in place of the others; None if all adapt."""
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
    """Sets the updates of frozen weights to zero."""
    if adapts is None:
        return updates
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if adapts(path_name(path)) else jnp.zeros_like(leaf), updates
    )
