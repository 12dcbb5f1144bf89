"""A learned criterion: which of several partitions to believe, from what can be seen without labels.

Internal indices choose no better than chance among the partitions of a portfolio. Here a set-aware network
scores every partition from its descriptors, beside the others' and beside what is known of the problem; it is
trained on problems with known answers by the regret of its choice. Where a candidate is good is part of what
is learned, so that a criterion belongs to its portfolio.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Key, PyTree
from sklearn.preprocessing import QuantileTransformer

from ..learners.gradient import maml
from ..losses import expected_regret
from ..networks import scorer
from ..records import Batch, InputError, Task
from ..training.loop import train
from ..training.objectives import query_loss
from ..training.step import meta_step
from .descriptors import describe, landmarks
from .table import Table

FARTHEST = 2.5
"""Deviations beyond which an input is cut off."""


class Criterion(NamedTuple):
    """A trained criterion.

    Attributes:
        scale: what maps every input to a standard normal distribution.
        weights: of E networks, whose scores are averaged.
        width: of their layers.
    """

    scale: QuantileTransformer
    weights: PyTree
    width: int


def candidate_inputs(table: Table, *, seed: int = 0) -> Float[np.ndarray, "C A F"]:
    """What the network sees of every candidate of every case; no label is looked at.

    Descriptors, mean and second largest agreement with the others, the same less their means over
    candidates, the logarithms of points, features and clusters, whether it failed, and which it is.
    """
    return np.stack([_inputs_of(table, place, seed) for place in range(len(table.cases))])


def _inputs_of(table: Table, place: int, seed: int) -> Float[np.ndarray, "A F"]:
    case, outcomes = table.cases[place], table.outcomes[place]
    points = table.problems[case.problem].points
    found = landmarks(points, [outcome.labels for outcome in outcomes], seed=seed)
    own, agreement = jax.device_get(describe(*map(jnp.asarray, found)))
    count = len(outcomes)
    mean = (agreement.sum(1) - 1) / max(count - 1, 1)
    nearest = np.sort(agreement, 1)[:, max(count - 2, 0)]
    seen = np.concatenate([own, mean[:, None], nearest[:, None]], 1)
    known = np.log([len(points), points.shape[1], case.clusters])
    failed = np.array([[bool(outcome.failure)] for outcome in outcomes], float)
    parts = (seen, seen - seen.mean(0), np.tile(known, (count, 1)), failed, np.eye(count))
    return np.concatenate(parts, 1).astype(np.float32)


def train_criterion(
    inputs: Float[np.ndarray, "C A F"],
    worths: Float[np.ndarray, "C A"],
    weights: Float[np.ndarray, " C"],
    key: Key[Array, ""],
    *,
    steps: int = 600,
    width: int = 32,
    rate: float = 1e-2,
    decay: float = 1e-2,
    hidden: float = 0.2,
    networks: int = 8,
) -> Criterion:
    """Networks whose choice has the least regret on the given cases.

    Args:
        inputs: [C, A, F] from `candidate_inputs`.
        worths: [C, A] what each candidate is worth.
        weights: [C] of the cases.
        key: a typed key.
        steps: of training, all cases at each.
        width: of the layers.
        rate: of AdamW, falling along a cosine.
        decay: of the weights.
        hidden: the share of all inputs that are hidden from a step, so that none is relied on.
        networks: E, each from a start of its own.

    Raises:
        InputError: shapes disagree, or something is not finite.
    """
    if inputs.ndim != 3 or inputs.shape[:2] != worths.shape or worths.shape[:1] != weights.shape:
        raise InputError(
            f"inputs {inputs.shape}, worths {worths.shape} and weights {weights.shape} do not match; "
            "give [C, A, F], [C, A] and [C]."
        )
    if not all(np.all(np.isfinite(array)) for array in (inputs, worths, weights)):
        raise InputError("a criterion cannot be learned from numbers that are not finite.")
    scale = QuantileTransformer(
        n_quantiles=min(100, inputs.shape[0] * inputs.shape[1]), output_distribution="normal"
    ).fit(inputs.reshape(-1, inputs.shape[-1]))
    cases = Batch(jnp.asarray(_scaled(scale, inputs)), jnp.asarray(worths, jnp.float32), jnp.asarray(weights))
    learner = maml(scorer(inputs.shape[-1], width=width), expected_regret, steps=0)
    optimizer = optax.adamw(optax.cosine_decay_schedule(rate, steps), weight_decay=decay)
    step = meta_step(query_loss(learner, expected_regret), optimizer)
    sampler = jax.tree_util.Partial(partial(_partly_hidden, hidden=hidden), cases)

    @jax.jit
    def learned(key: Key[Array, ""]) -> PyTree:
        start, tasks = jax.random.split(key)
        return train(step, sampler, step.init(learner.init(start)), tasks, steps=steps, tasks=1).meta.start

    return Criterion(scale, jax.vmap(learned)(jax.random.split(key, networks)), width)


def criterion_scores(
    criterion: Criterion, inputs: Float[np.ndarray, "C A F"], usable: Bool[np.ndarray, "C A"]
) -> Float[np.ndarray, "C A"]:
    """The score of every candidate, the highest the one to believe; -inf where it is not usable."""
    network = scorer(inputs.shape[-1], width=criterion.width)
    seen = jnp.asarray(_scaled(criterion.scale, inputs))
    scores = jnp.mean(jax.vmap(lambda weights: network.apply(weights, seen))(criterion.weights), 0)
    return np.where(usable, scores, -np.inf)


def _scaled(scale: QuantileTransformer, inputs: Float[np.ndarray, "C A F"]) -> Float[np.ndarray, "C A F"]:
    flat = scale.transform(inputs.reshape(-1, inputs.shape[-1]))
    return np.clip(flat, -FARTHEST, FARTHEST).reshape(inputs.shape).astype(np.float32)


def _partly_hidden(cases: Batch, key: Key[Array, ""], *, hidden: float) -> Task:
    """All cases, as a task without support; a random share of inputs set to their median, zero."""
    seen_key, task_key = jax.random.split(key)
    seen = jax.random.bernoulli(seen_key, 1 - hidden, cases.inputs.shape)
    query = cases._replace(inputs=jnp.where(seen, cases.inputs / (1 - hidden), 0))
    return Task(jax.tree.map(lambda leaf: leaf[:0], query), query, None, task_key)
