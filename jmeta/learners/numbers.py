"""Hyperparameters of an inner optimiser: shared or one per weight, constant or one per step.

A `Number` defines what is stored for given weights, and the value at step i. Numbers compose:
`per_step(per_leaf(0.1), 5)` is the rate per layer and step of MAML++, `per_weight(signed(0.01))` the rate per
weight of Meta-SGD.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from ..errors import InputError


class Number(NamedTuple):
    """A hyperparameter of an inner optimiser.

    Attributes:
        init: weights -> the stored value, which is unconstrained.
        read: (stored, i) -> the hyperparameter at step i.
    """

    init: Callable[[PyTree], PyTree]
    read: Callable[[PyTree, Int[Array, ""]], PyTree]


def positive(value: float) -> Number:
    """One positive number, stored as its logarithm.

    >>> number = positive(0.5)
    >>> print(number.read(number.init(None), 0))
    0.5
    """
    if not 0 < value < math.inf:
        raise InputError(f"the initial value is {value}; give a finite value above zero, or use signed.")
    return Number(lambda weights: jnp.log(jnp.asarray(value, float)), lambda stored, i: jnp.exp(stored))


def signed(value: float) -> Number:
    """One number of any sign, stored as it is; a negative rate reverses a direction, as in Meta-SGD."""
    if not math.isfinite(value):
        raise InputError(f"the initial value is {value}; give a finite value.")
    return Number(lambda weights: jnp.asarray(value, float), lambda stored, i: stored)


def per_leaf(number: float | Number) -> Number:
    """One value for every array of weights, that is for every kernel and every bias.

    >>> stored = per_leaf(0.1).init({"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)})
    >>> jax.tree.map(jnp.shape, stored)
    {'bias': (), 'kernel': ()}
    """
    one = as_number(number)
    return Number(
        lambda weights: jax.tree.map(one.init, weights),
        lambda stored, i: jax.tree.map(lambda leaf: one.read(leaf, i), stored),
    )


def per_weight(number: float | Number) -> Number:
    """One value for every single weight, as in Meta-SGD.

    >>> stored = per_weight(0.1).init({"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)})
    >>> jax.tree.map(jnp.shape, stored)
    {'bias': (3,), 'kernel': (2, 3)}

    Reference: Li et al. 2017, Meta-SGD: learning to learn quickly for few-shot learning.
    """
    one = as_number(number)

    def init(leaf: Array) -> Array:
        stored = one.init(leaf)
        if not isinstance(stored, jax.Array) or stored.ndim:
            raise InputError("per_weight needs a scalar number; write per_step(per_weight(...), steps).")
        return jnp.broadcast_to(stored, jnp.shape(leaf)).astype(leaf.dtype)

    return per_leaf(Number(init, one.read))


def per_step(number: float | Number, steps: int) -> Number:
    """One value for each of the first `steps` steps; later steps use the last.

    >>> number = per_step(0.1, steps=2)
    >>> number.init(None).shape, float(number.read(jnp.log(jnp.array([1.0, 2.0])), 5))
    ((2,), 2.0)

    Reference: Antoniou et al. 2019, How to train your MAML.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}; give a whole number >= 1.")
    one = as_number(number)
    return Number(
        lambda weights: jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (steps, *jnp.shape(leaf))), one.init(weights)
        ),
        lambda stored, i: one.read(jax.tree.map(lambda leaf: leaf[jnp.minimum(i, steps - 1)], stored), i),
    )


def factors() -> Number:
    """One square matrix per axis of every array of weights, initially the identity: Meta-Curvature.

    The axes before the last two, those of a convolution's window, are treated as one.

    >>> stored = factors().init({"kernel": jnp.ones((3, 3, 2, 4)), "bias": jnp.ones(4)})
    >>> jax.tree.map(jnp.shape, stored)
    {'bias': [(4, 4)], 'kernel': [(9, 9), (2, 2), (4, 4)]}
    """
    return Number(
        lambda weights: jax.tree.map(
            lambda leaf: [jnp.eye(size, dtype=leaf.dtype) for size in _sides(leaf.shape)], weights
        ),
        lambda stored, i: stored,
    )


def as_number(number: float | Number) -> Number:
    """Converts a float to a `positive` number."""
    return number if isinstance(number, Number) else positive(number)


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Lengths of the axes, with those before the last two merged into one."""
    return shape if len(shape) < 3 else (math.prod(shape[:-2]), *shape[-2:])
