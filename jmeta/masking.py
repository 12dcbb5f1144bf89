"""The entry points of learners and clusterers, at which rows that do not count are cleared.

Points of weight zero are padding and may hold anything. They are replaced before the first computation, as a
product of zero and NaN is NaN: multiplied by their weight, they would still spoil derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key, PyTree, Shaped

from .compiler import compiled
from .distances import as_float
from .errors import InputError
from .precision import is_traced
from .records import Assignment, Batch, Clusterer, Learner, MetaState
from .trees import inexact_leaves, replace_inexact
from .weights import cleared

FARTHEST = 1e18
"""The largest absolute value in a row that is assigned or predicted; squares of larger ones overflow."""


def make_learner(
    init: Callable[..., PyTree],
    adapt: Callable[..., PyTree],
    predict: Callable[..., Array],
    *,
    ways: int | None = None,
    traceable: bool = True,
) -> Learner:
    """A `Learner` whose functions are compiled and see no rows that hold anything but numbers.

    `adapt` gets zeros in the support's rows of weight zero. `predict` gets zeros in rows that are not finite
    or beyond `FARTHEST`; their outputs are NaN, unless their weight is zero.

    Args:
        init: of the learner, as `adapt` and `predict`.
        adapt: of the support.
        predict: of inputs; its outputs have as many rows.
        ways: W, where the support needs labels below W. Others raise an InputError; inside `jit` they make
            all that is adapted NaN, and so the outputs.
        traceable: whether the functions run on-device.

    >>> learner = make_learner(
    ...     lambda key: 1.0, lambda meta, support, key: meta, lambda fast, inputs, weights: fast * inputs
    ... )
    >>> learner.predict(2.0, jnp.array([[1.0], [jnp.nan], [jnp.inf]]), jnp.array([1.0, 1.0, 0.0])).ravel()
    Array([ 2., nan,  0.], dtype=float32)
    """

    def adapt_cleared(meta: PyTree, support: Batch, key: Key[Array, ""]) -> PyTree:
        support = cleared_batch(support)
        if ways is None:
            return adapt(meta, support, key)
        if support.targets is None:
            raise InputError(
                "the support set has no labels, but this learner needs them; use labelled tasks."
            )
        beyond = jnp.any(jnp.asarray(support.targets) >= ways)
        fast = adapt(meta, support, key)
        return replace_inexact(fast, [jnp.where(beyond, jnp.nan, leaf) for leaf in inexact_leaves(fast)])

    def predict_usable(fast: PyTree, inputs: Array, weights: Array | None = None) -> Array:
        usable = usable_rows(inputs)
        outputs = predict(fast, cleared(inputs, usable), weights)
        return _or_nan(usable if weights is None else usable | (weights == 0), outputs)

    program = compiled(adapt_cleared, traceable)

    def adapt_checked(meta: PyTree, support: Batch, key: Key[Array, ""]) -> PyTree:
        check_meta(meta)
        if ways is not None and not is_traced(support.targets, support.weights):
            labels: Any = [] if support.targets is None else cleared_batch(support).targets
            if (largest := np.max(np.asarray(labels), initial=-1)) >= ways:
                raise InputError(f"the support has the label {largest}; give labels from 0 to {ways - 1}.")
        return program(meta, support, key)

    return Learner(init, adapt_checked, compiled(predict_usable, traceable))


def make_clusterer(
    init: Callable[..., PyTree],
    fit: Callable[..., PyTree],
    assign: Callable[..., Assignment],
    *,
    traceable: bool = True,
) -> Clusterer:
    """A `Clusterer` whose functions are compiled and see no rows that hold anything but numbers.

    `fit` gets zeros in the rows of weight zero. `assign` gets zeros in rows that are not finite or beyond
    `FARTHEST`; their assignment is NaN.
    """

    def fit_cleared(params: PyTree, batch: Batch, key: Key[Array, ""]) -> PyTree:
        return fit(params, cleared_batch(batch), key)

    def assign_usable(params: PyTree, state: PyTree, inputs: Array) -> Assignment:
        usable = usable_rows(inputs)
        found = assign(params, state, cleared(inputs, usable))
        return Assignment(_or_nan(usable, found.log_probs), _or_nan(usable, found.noise))

    program = compiled(fit_cleared, traceable)

    def fit_checked(params: PyTree, batch: Batch, key: Key[Array, ""]) -> PyTree:
        check_meta(params)
        return program(params, batch, key)

    return Clusterer(init, fit_checked, compiled(assign_usable, traceable), traceable)


def cleared_batch(batch: Batch) -> Batch:
    """The batch with zeros in the inputs and targets of rows of weight zero.

    >>> cleared_batch(Batch(jnp.array([[1.0], [jnp.nan]]), jnp.array([2, 7]), jnp.array([1.0, 0.0]))).targets
    Array([2, 0], dtype=int32)
    """
    return batch._replace(
        inputs=cleared(batch.inputs, batch.weights), targets=cleared(batch.targets, batch.weights)
    )


def usable_rows(x: Shaped[Array, "N ..."]) -> Bool[Array, " N"]:
    """Whether all numbers of a row are finite and at most `FARTHEST`.

    >>> usable_rows(jnp.array([[1.0, 2.0], [jnp.nan, 0.0], [0.0, 1e30]]))
    Array([ True, False, False], dtype=bool)
    """
    return jnp.all(jnp.abs(as_float(x)) <= FARTHEST, tuple(range(1, jnp.ndim(x))))


def check_meta(meta: PyTree) -> None:
    """Raises an InputError if meta-parameters are the state of a meta-training."""
    if isinstance(meta, MetaState):
        raise InputError("a state of meta-training was given; give its meta-parameters, state.meta.")


def _or_nan(usable: Bool[Array, " N"], outputs: Shaped[Array, "N ..."]) -> Shaped[Array, "N ..."]:
    return jnp.where(usable.reshape(-1, *[1] * (outputs.ndim - 1)), outputs, jnp.nan)
