"""Tasks from arrays of one's own: one pair of inputs and targets for each task, of any length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, Num

from ..compiler import compiled
from ..errors import InputError
from ..records import Batch, Sampler, Task
from ..trees import partial_of
from ..validation import as_array, is_real
from .episodes import scaled


def from_arrays(
    pairs: Sequence[tuple[Any, Any]],
    *,
    support: int | float = 0.5,
    queries: int | None = None,
    labelled: bool = True,
) -> Sampler:
    """Tasks drawn from a list of data sets, each split at random into a support and a query.

    Data sets may differ in length: all tasks are padded to one size with rows of weight zero. To test on
    other data sets, divide the list and make two samplers.

    Args:
        pairs: (inputs [N, ...], targets [N] or [N, ...]) of each data set. Targets of whole numbers are
            labels, counted from 0 in each data set, -1 where one is unknown; None if there are no targets.
        support: number of rows in the support, or their share if below one; the share of N rows is rounded,
            to 1 at least.
        queries: largest number of rows in the query; all that are left unless given, none if zero.
        labelled: whether the support has its targets, or only labels in `truth`.

    Returns:
        A sampler of tasks; uint8 inputs become floats in [0, 1]. `Batch.clusters` is one more than the
        largest label of the data set.

    Raises:
        InputError: data sets do not fit each other, hold numbers that are not finite, or are too short.

    >>> lines = [(np.ones((n, 1)), np.full(n, 2.0)) for n in (4, 9)]
    >>> task = from_arrays(lines, support=3)(jax.random.key(0))
    >>> task.support.inputs.shape, task.query.targets.shape
    ((3, 1), (6,))
    """
    if not len(pairs) or any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in pairs):
        raise InputError(
            "from_arrays takes a list of pairs; give [(inputs, targets), ...], one for each task."
        )
    inputs = _stacked("inputs", [x for x, _ in pairs])
    lengths = np.array([len(x) for x, _ in pairs])
    targets, clusters = _targets([y for _, y in pairs], lengths, labelled)
    shots = _shots(support, lengths)
    rest = lengths - shots if queries is None else np.minimum(lengths - shots, queries)
    _check_query(rest, queries)
    draw = partial_of(_draw, sizes=(int(shots.max()), int(rest.max())), labelled=labelled)
    parts = (inputs, targets, clusters, lengths, shots, rest)
    return jax.tree_util.Partial(compiled(draw), *jax.tree.map(jnp.asarray, parts))


def _draw(
    inputs: Num[Array, "T N ..."],
    targets: Num[Array, "T N ..."] | None,
    clusters: Int[Array, " T"] | None,
    lengths: Int[Array, " T"],
    shots: Int[Array, " T"],
    rest: Int[Array, " T"],
    key: Key[Array, ""],
    *,
    sizes: tuple[int, int],
    labelled: bool,
) -> Task:
    place_key, order_key, task_key = jax.random.split(key, 3)
    place = jax.random.randint(place_key, (), 0, len(lengths))
    longest = inputs.shape[1]
    padding = jnp.arange(longest) >= lengths[place]
    order = jnp.argsort(jnp.where(padding, 1, jax.random.uniform(order_key, (longest,))), stable=True)
    used = None if clusters is None else clusters[place]

    def part(first: Int[Array, ""] | int, count: Int[Array, ""], size: int) -> Batch:
        """The rows `first` to `first + count` in the random order, padded to `size`."""
        rows = order[jnp.clip(first + jnp.arange(size), 0, longest - 1)]
        real = jnp.arange(size) < count

        def taken(values: Array) -> Array:
            return jnp.where(real.reshape(-1, *[1] * (values.ndim - 2)), values[place, rows], 0)

        known = None if targets is None else taken(targets)
        return Batch(scaled(taken(inputs)), known, real.astype(float), used)

    support, query = part(0, shots[place], sizes[0]), part(shots[place], rest[place], sizes[1])
    if labelled:
        return Task(support, query, None, task_key)
    return Task(support._replace(targets=None), query, support.targets, task_key)


def _stacked(name: str, parts: list[Any]) -> Num[np.ndarray, "T N ..."]:
    """Arrays of unequal length as one, padded with zeros; of the type that jax gives them."""
    arrays = [np.asarray(as_array(f"{name} of task {place}", part)) for place, part in enumerate(parts)]
    for place, array in enumerate(arrays):
        if not array.ndim or not is_real(array.dtype):
            raise InputError(
                f"{name} of task {place} have shape {array.shape} and type {array.dtype}; "
                "give numbers [N, ...]."
            )
        if array.shape[1:] != arrays[0].shape[1:]:
            raise InputError(
                f"{name} of task {place} have rows of shape {array.shape[1:]}, those of task 0 "
                f"{arrays[0].shape[1:]}; give all tasks the same."
            )
    dtype = jax.dtypes.canonicalize_dtype(np.result_type(*arrays))
    stacked = np.zeros((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), dtype)
    for place, array in enumerate(arrays):
        stacked[place, : len(array)] = array
        if not np.all(np.isfinite(stacked[place])):
            raise InputError(f"{name} of task {place} hold NaN or infinity; remove or impute these rows.")
    return stacked


def _targets(
    parts: list[Any], lengths: Int[np.ndarray, " T"], labelled: bool
) -> tuple[Num[np.ndarray, "T N ..."] | None, Int[np.ndarray, " T"] | None]:
    """The padded targets, and the number of classes of each task if they are labels."""
    if all(part is None for part in parts):
        return None, None
    if any(part is None for part in parts):
        raise InputError("some tasks have targets and others have none; give targets to all or to none.")
    for place, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        if len(part) != length:
            raise InputError(
                f"task {place} has {length} inputs and {len(part)} targets; give one for each input."
            )
    targets = _stacked("targets", parts)
    targets = targets.astype(np.int32) if targets.dtype == bool else targets
    if targets.dtype.kind not in "iu" or targets.ndim > 2:
        if not labelled:
            raise InputError(
                f"targets of type {targets.dtype} are no labels that could be hidden; "
                "leave out labelled=False."
            )
        return targets, None
    if (smallest := int(targets.min())) < -1:
        raise InputError(
            f"targets hold the label {smallest}; count from 0, with -1 for unknown ones, or "
            "give values as floats."
        )
    return targets, targets.max(1) + 1


def _shots(support: int | float, lengths: Int[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
    """The number of rows in the support of each task."""
    if not support > 0 or (support > 1 and support != int(support)):
        raise InputError(f"support is {support}; give a whole number of rows, or a share between 0 and 1.")
    if isinstance(support, float) and support < 1:
        return np.maximum(np.rint(support * lengths).astype(int), 1)
    return np.full(len(lengths), int(support))


def _check_query(rest: Int[np.ndarray, " T"], queries: int | None) -> None:
    """Raises an InputError unless every task has the rows of its support and one for its query."""
    least = 0 if queries == 0 else 1
    if queries is not None and queries < 0:
        raise InputError(f"queries is {queries}; give a whole number >= 0, or leave it out.")
    if (short := np.flatnonzero(rest < least)).size:
        raise InputError(
            f"task {short[0]} has too few rows for its support and {least} more; give a smaller support, or "
            "leave this task out."
        )
