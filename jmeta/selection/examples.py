"""Examples that a scoring model learns from, and the tasks that its training draws from them."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ..errors import InputError
from ..records import Batch, Task

MAX_QUERY = 32
"""Largest number of examples that a task is evaluated on."""


Method = Literal["pooled", "maml", "reptile"]


class Examples(NamedTuple):
    """Problems with known answers, that a scoring model learns from.

    Attributes:
        inputs: [C, F] features of every problem, or [C, A, F] of every candidate.
        scores: [C, A] of every candidate; of several groups of candidates side by side.
        weights: [C] zero where an example may not be used; it is not even read.
        groups: [C] number of the battery or field.
        problems: [C] number of the problem; examples of one problem differ in their reference labelling.
    """

    inputs: Float[np.ndarray, "C ..."]
    scores: Float[np.ndarray, "C A"]
    weights: Float[np.ndarray, " C"]
    groups: Int[np.ndarray, " C"]
    problems: Int[np.ndarray, " C"]


class Settings(NamedTuple):
    """How a scoring model is trained.

    Attributes:
        width: of the layers.
        steps: of training.
        batch: examples of a pooled step, drawn at random; all of them unless given.
        networks: E, each with its own initialisation; their scores are averaged.
        rate: learning rate of AdamW, or of Reptile's gradient descent, under a cosine schedule.
        decay: weight decay, not used by Reptile.
        dropout: share of the inputs that is set to zero at each step.
        method: "pooled", "maml" or "reptile".
        support: examples that a task adapts to, in training.
        inner_steps: gradient steps of an adaptation.
        inner_rate: their learning rate; for MAML, which learns it, the initial one.
        tasks: groups per step of MAML and Reptile.
        absolute: whether the scores are trained to be predictions, not only to choose well.
    """

    width: int = 32
    steps: int = 600
    batch: int | None = None
    networks: int = 8
    rate: float = 1e-2
    decay: float = 1e-2
    dropout: float = 0.2
    method: Method = "pooled"
    support: int = 8
    inner_steps: int = 5
    inner_rate: float = 0.02
    tasks: int = 4
    absolute: bool = False


def check_examples(examples: Examples, sizes: tuple[int, ...]) -> None:
    """Raises an `InputError` unless the shapes match, the numbers are finite and a weight is positive."""
    shapes = [np.shape(part)[:1] for part in examples]
    ranks = (
        np.ndim(examples.inputs) in (2, 3),
        np.ndim(examples.scores) == 2,
        np.ndim(examples.weights) == 1,
    )
    if not all(ranks) or len(set(shapes)) > 1:
        raise InputError(
            f"inputs {np.shape(examples.inputs)}, scores {np.shape(examples.scores)}, weights "
            f"{np.shape(examples.weights)}, groups {np.shape(examples.groups)} and problems "
            f"{np.shape(examples.problems)} do not match; give one of each for every example."
        )
    sets = examples.inputs.ndim == 3
    if sum(sizes) != examples.scores.shape[1] or (sets and examples.inputs.shape[1] != sum(sizes)):
        raise InputError(
            f"scores {examples.scores.shape} and inputs {examples.inputs.shape} do not match {sum(sizes)} "
            "candidates; give one score for each."
        )
    known = examples.weights > 0
    if not known.any():
        raise InputError("no example has a positive weight; give one to learn from.")
    if not all(
        np.all(np.isfinite(part[known])) for part in (examples.inputs, examples.scores, examples.weights)
    ):
        raise InputError("inputs, scores or weights hold NaN or infinity; give finite numbers.")


def check_settings(settings: Settings) -> None:
    """Raises an `InputError` if a setting is out of its range."""
    for name in ("width", "steps", "batch", "networks", "support", "inner_steps", "tasks"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; give a whole number >= 1.")
    for name in ("rate", "inner_rate"):
        if not 0 < getattr(settings, name) < math.inf:
            raise InputError(f"{name} is {getattr(settings, name)}; give a positive number.")
    if settings.method not in get_args(Method):
        raise InputError(f"method is {settings.method!r}; choose one of {', '.join(get_args(Method))}.")
    if not 0 <= settings.dropout < 1:
        raise InputError(f"dropout is {settings.dropout}; give a number in [0, 1).")
    if settings.decay < 0:
        raise InputError(f"decay is {settings.decay}; give a number >= 0.")


def as_batch(examples: Examples, key: Key[Array, ""] | None = None, dropout: Array | float = 0.0) -> Batch:
    """Examples as a batch, with dropout of the inputs, whose median is zero, if a key is given."""
    inputs = jnp.asarray(examples.inputs)
    if key is not None:
        kept = jax.random.bernoulli(key, 1 - dropout, inputs.shape)
        inputs = jnp.where(kept, inputs / (1 - dropout), 0)
    return Batch(
        inputs, jnp.asarray(examples.scores, inputs.dtype), jnp.asarray(examples.weights, inputs.dtype)
    )


def pooled_task(examples: Examples, dropout: Array, key: Key[Array, ""], *, size: int | None) -> Task:
    """All examples, or a random batch of them, as the query of a task without support."""
    if size is not None:
        rows = jax.random.randint(jax.random.fold_in(key, 0), (size,), 0, len(examples.weights))
        examples = jax.tree.map(lambda part: part[rows], examples)
    query = as_batch(examples, key, dropout)
    return Task(jax.tree.map(lambda leaf: leaf[:0], query), query, None, key)


def task_of_one_group(
    examples: Examples, dropout: Array, key: Key[Array, ""], *, size: int, groups: int
) -> Task:
    """A task of one group: a few examples as support, at most half of them, and other problems as query."""
    group_key, order_key, hide_key, task_key = jax.random.split(key, 4)
    known = examples.weights > 0
    sizes = jax.ops.segment_sum(known.astype(int), examples.groups, num_segments=groups)
    group = jax.random.categorical(group_key, jnp.where(sizes > 1, 0.0, -jnp.inf))
    inside = known & (examples.groups == group)
    order = jnp.where(inside, jax.random.uniform(order_key, inside.shape)[examples.problems], 2)
    rows = jnp.argsort(order)[: size + MAX_QUERY]
    batch = as_batch(jax.tree.map(lambda part: part[rows], examples), hide_key, dropout)
    weights = examples.weights[rows]
    shown = jnp.arange(len(rows)) < jnp.minimum(size, sizes[group] // 2)
    asked = inside[rows] & (order[rows] > jnp.max(jnp.where(shown, order[rows], -1)))
    support = jax.tree.map(lambda leaf: leaf[:size], batch)
    return Task(
        support._replace(weights=jnp.where(shown, weights, 0)[:size]),
        batch._replace(weights=jnp.where(asked, weights, 0)),
        None,
        task_key,
    )
