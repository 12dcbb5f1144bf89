"""One new task after meta-training: adaptation to its rows, and predictions for others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, Shaped

from ..distances import as_float
from ..errors import InputError
from ..precision import is_traced
from ..records import AnyArray, Batch
from ..tasks.episodes import scaled
from ..training.evaluate import as_learner
from ..trees import all_finite
from ..validation import as_array, check_key, is_real


def adapt(
    learner: Any,
    meta: PyTree,
    inputs: Shaped[AnyArray, "N ..."],
    targets: Shaped[AnyArray, "N ..."] | None = None,
    *,
    weights: Float[AnyArray, " N"] | None = None,
    key: Key[Array, ""],
) -> PyTree:
    """Adapts a trained learner to one new task, after a check of what it is given.

    Args:
        learner: anything with the functions of a `Learner` or of a `Clusterer`.
        meta: its meta-parameters, such as `state.meta` after training.
        inputs: [N, ...] the rows of the task; uint8 becomes floats in [0, 1], as in `episodes`.
        targets: [N] labels, -1 where one is unknown, or [N, ...] values; None if the learner needs none.
        weights: [N] weight of each row; all ones unless given.
        key: a typed key; equal keys give equal results.

    Returns:
        What the learner's `predict` needs, for `predict`.

    Raises:
        InputError: the rows, the meta-parameters and the learner do not fit each other, a number is not
            finite, or adaptation diverges.

    >>> import jmeta as jm
    >>> learner = jm.prototypes(jm.networks.mlp([2, 4]), ways=2)
    >>> fast = adapt(
    ...     learner, learner.init(jax.random.key(0)), np.eye(2), np.array([0, 1]), key=jax.random.key(1)
    ... )
    >>> predict(learner, fast, np.eye(2)).argmax(-1)
    Array([0, 1], dtype=int32)
    """
    learner = _checked(learner)
    check_key(key)
    _check_meta(learner, meta)
    x = _rows("inputs", inputs)
    y = None if targets is None else _rows("targets", targets)
    each = None if weights is None else as_float(_rows("weights", weights))
    for name, part in (("targets", y), ("weights", each)):
        if part is not None and len(part) != len(x):
            raise InputError(f"{len(x)} inputs have {len(part)} {name}; give one for each input.")
    if each is not None and not is_traced(each) and (jnp.min(each) < 0 or jnp.max(each) <= 0):
        raise InputError("weights are negative, or all zero; give numbers >= 0, one of them positive.")
    fast = _called("adapt to", learner.adapt, meta, Batch(as_float(scaled(x)), y, each), key, shape=x.shape)
    if not is_traced(*jax.tree.leaves(fast)) and not all_finite(fast):
        raise InputError(
            "adaptation to this task diverged; lower the inner learning rate, or rescale the task."
        )
    return fast


def predict(
    learner: Any,
    fast: PyTree,
    inputs: Shaped[AnyArray, "N ..."],
    *,
    weights: Float[AnyArray, " N"] | None = None,
) -> Array:
    """The outputs of an adapted learner for rows of its task, after a check of what it is given.

    Args:
        learner: the one that was adapted.
        fast: from `adapt`.
        inputs: [N, ...] rows of the kind that it was adapted to.
        weights: [N] weight of each row, for networks with batch statistics; all ones unless given.

    Returns:
        [N, ...] logits, log-probabilities of clusters, or values.

    Raises:
        InputError: the rows do not fit the learner, or hold numbers that are not finite.
    """
    x = _rows("inputs", inputs)
    each = None if weights is None else as_float(_rows("weights", weights))
    return _called("predict", _checked(learner).predict, fast, as_float(scaled(x)), each, shape=x.shape)


def _checked(learner: Any) -> Any:
    """The learner, or that of a clusterer."""
    if not callable(getattr(learner, "adapt", getattr(learner, "fit", None))):
        raise InputError(f"{learner!r} is no learner; give a Learner or a Clusterer, such as jm.maml makes.")
    return as_learner(learner)


def _check_meta(learner: Any, meta: PyTree) -> None:
    """Raises an InputError if meta-parameters have not the structure and shapes that `init` makes."""
    expected = jax.eval_shape(learner.init, jax.random.key(0))
    if len({jax.tree.structure(tree) for tree in (meta, expected)}) > 1:
        raise InputError(
            "meta is not what the learner's init makes; give its meta-parameters, such as state.meta of "
            "a trained state."
        )
    for found, shape in zip(jax.tree.leaves(meta), jax.tree.leaves(expected), strict=True):
        if jnp.shape(found) != shape.shape:
            raise InputError(
                f"meta holds an array of shape {jnp.shape(found)} where the learner's init makes "
                f"{shape.shape}; give the meta-parameters of this learner."
            )


def _rows(name: str, values: Any) -> Array:
    """Rows as an array of jax, all of them finite."""
    array = as_array(name, values)
    if not jnp.ndim(array) or not is_real(array.dtype) or not len(array):
        raise InputError(
            f"{name} have shape {jnp.shape(array)} and type {array.dtype}; give numbers [N, ...], N >= 1."
        )
    rows = jnp.asarray(array)
    if not is_traced(rows) and not np.all(np.isfinite(np.asarray(rows, float))):
        raise InputError(f"{name} hold NaN or infinity; remove or impute these rows.")
    return rows


def _called(verb: str, function: Callable, *arguments: Any, shape: tuple[int, ...]) -> PyTree:
    """The value of a learner's function, whose errors of shapes become sentences."""
    try:
        return function(*arguments)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the learner cannot {verb} inputs of shape {shape} ({reason}); give rows as in its training."
        ) from error
