"""What all losses of rows do first: leave out the rows that do not count, and see that no NaN is hidden."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..errors import InputError
from ..records import Metrics
from ..weights import cleared, weights_or_ones

Function = TypeVar("Function", bound=Callable)


def of_counted_rows(loss: Function) -> Function:
    """Returns a loss that gets zeros in the rows of weight zero, and a weight for every row.

    Rows of weight zero may hold anything: neither the loss nor its derivatives depend on them. A NaN in
    another row makes the loss and all its metrics NaN, also where a comparison, as in `argmax`, would hide
    it.

    >>> from jmeta.weights import weighted_average
    >>> @of_counted_rows
    ... def mean(outputs, targets=None, weights=None):
    ...     value = weighted_average(outputs, weights)
    ...     return value, {"mean": value}
    >>> mean(jnp.array([1.0, jnp.nan]), weights=jnp.array([1.0, 0.0]))[0]
    Array(1., dtype=float32)
    """

    @wraps(loss)
    def call(
        outputs: Array, targets: Array | None = None, weights: Array | None = None, **options: Any
    ) -> tuple[Float[Array, ""], Metrics]:
        weights = weights_or_ones(outputs, weights)
        outputs = cleared(jnp.asarray(outputs), weights)
        targets = None if targets is None else cleared(jnp.asarray(targets), weights)
        value, metrics = loss(outputs, targets, weights, **options)
        lost = jnp.where(jnp.any(jnp.isnan(outputs)), jnp.nan, 0)
        return value + lost, {name: one + lost for name, one in metrics.items()}

    return cast(Function, call)


def of_known_labels(loss: Function) -> Function:
    """As `of_counted_rows`, where rows whose label is hidden, -1, do not count either.

    Raises:
        InputError: there are no targets.
    """
    counted = of_counted_rows(loss)

    @wraps(loss)
    def call(
        outputs: Array, targets: Array | None = None, weights: Array | None = None, **options: Any
    ) -> tuple[Float[Array, ""], Metrics]:
        check_given(targets)
        known = jnp.asarray(targets) >= 0
        return counted(outputs, targets, weights_or_ones(outputs, weights) * known, **options)

    return cast(Function, call)


def check_given(targets: Array | None) -> None:
    """Raises an InputError if there are no targets."""
    if targets is None:
        raise InputError("there are no targets; use labelled tasks, or a loss that needs no targets.")
