"""Evaluation on many tasks, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from ..agreement import best_matching, contingency
from ..batching import over_tasks, placed
from ..errors import InputError
from ..losses import cross_entropy, squared_error
from ..metrics import Interval, adjusted_rand_index, interval, matched_accuracy, normalized_mutual_information
from ..records import Batch, Clusterer, HostSampler, Learner, Metrics, Sampler, Task
from ..tasks.stored import ahead, beside_the_host
from ..weights import weights_or_ones
from .feed import Given
from .loop import traceable
from .objectives import query_targets, support_labels

Judged = Learner | Clusterer
Score = Callable[[Any, PyTree, Task], Metrics]
"""Of a learner or a clusterer, its parameters, and a task."""
BLOCK = 100
"""Tasks of a host's sampler that are on the device at once."""


class Evaluation(NamedTuple):
    """The numbers of every task.

    Attributes:
        values: metric -> [tasks]; tasks are the same for equal keys, so that learners can be
            compared in pairs.
    """

    values: dict[str, Float[np.ndarray, " tasks"]]

    def intervals(self) -> dict[str, Interval]:
        """The mean of each metric with its 95 % interval."""
        return {name: interval(values) for name, values in self.values.items()}

    def __str__(self) -> str:
        return "\n".join(f"{name} {found}" for name, found in self.intervals().items())


def evaluate(
    learner: Judged,
    sampler: Sampler | HostSampler,
    meta: PyTree,
    key: Key[Array, ""],
    *,
    tasks: int,
    score: Score | None = None,
    chunk: int | None = None,
) -> Evaluation:
    """Adapt to each of many tasks and score the results.

    Args:
        learner: what adapts and predicts; a clusterer, or anything, where `score` is one that takes it.
        sampler: of one task; of one of the host's, blocks of tasks are read ahead.
        meta: its meta-parameters.
        key: a typed key; equal keys give equal tasks.
        tasks: how many.
        score: (learner, meta, task) -> metrics; unless given, `clustering_score` where the
            support hides its labels, else `query_score`.
        chunk: how many tasks a device takes at once; by the size of what a task computes unless given.

    Raises:
        InputError: there is no task, or `chunk` is no count.

    >>> import jmeta as jm
    >>> learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
    >>> found = evaluate(learner, jm.sinusoid(), learner.init(jax.random.key(0)), jax.random.key(1), tasks=4)
    >>> found.values["mse"].shape
    (4,)
    """
    if tasks < 1:
        raise InputError(f"{tasks} tasks cannot be averaged; evaluate at least one.")
    if isinstance(sampler, HostSampler):
        return _evaluate_given(learner, sampler, meta, key, tasks, score, chunk)
    sampler = traceable(sampler)
    if score is None:
        hidden = jax.eval_shape(sampler, key).truth is not None
        score = _clustering_score(1 + int(_largest_label(tasks, sampler, key))) if hidden else query_score
    program = _scores.trace(learner, score, tasks, chunk, sampler, meta, key).jaxpr.jaxpr
    values = _scores(learner, score, tasks, chunk, *placed(program, (sampler, meta, key)))
    return Evaluation({name: np.asarray(value) for name, value in values.items()})


def clustering_score(learner: Judged, meta: PyTree, task: Task, *, classes: int | None = None) -> Metrics:
    """How well the support, its labels hidden, was clustered.

    Args:
        learner: predicts log-probabilities of K clusters; or a clusterer itself.
        meta: its (meta-)parameters.
        task: one with labels, hidden or shown.
        classes: an upper bound of the number of classes, which may be more or fewer than K; the
            size of the support unless given.

    Returns:
        "accuracy" after matching, "ari", "nmi"; and where there are queries "query_accuracy", the
        accuracy of their assignment when each cluster is named by the support's matching.
    """
    learner = _as_learner(learner)
    hidden, truth = task.support._replace(targets=None), support_labels(task)
    fast = learner.adapt(meta, hidden, task.key)
    log_probs = learner.predict(fast, hidden.inputs, hidden.weights)
    classes = len(truth) if classes is None else classes
    slots = max(log_probs.shape[-1], classes)
    found = jnp.argmax(log_probs, -1)
    agreement = {
        "accuracy": matched_accuracy(found, truth, hidden.weights, slots=slots),
        "ari": adjusted_rand_index(found, truth, hidden.weights, slots=slots),
        "nmi": normalized_mutual_information(found, truth, hidden.weights, slots=slots),
    }
    if not task.query.inputs.shape[0]:
        return agreement
    asked = learner.predict(fast, task.query.inputs, task.query.weights)
    owners, clusters = jax.nn.one_hot(truth, classes), jax.nn.one_hot(found, log_probs.shape[-1])
    shared = contingency(owners, clusters, weights_or_ones(log_probs, hidden.weights))
    cluster = best_matching(shared)
    named = jnp.where(cluster >= 0, asked[:, cluster], -jnp.inf)
    accuracy = cross_entropy(named, query_targets(task), task.query.weights)[1]["accuracy"]
    return agreement | {"query_accuracy": accuracy}


def _as_learner(judged: Judged) -> Learner:
    """A clusterer as the learner that clusters inputs as they are."""
    if isinstance(judged, Learner):
        return judged

    def adapt(params: PyTree, support: Batch, key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        return params, judged.fit(params, support, key)

    def predict(
        fast: tuple[PyTree, PyTree], inputs: Array, weights: Array | None = None
    ) -> Float[Array, "N K"]:
        return judged.assign(*fast, inputs).log_probs

    return Learner(judged.init, adapt, predict)


def query_score(learner: Learner, meta: PyTree, task: Task) -> Metrics:
    """On the query: "accuracy" where targets are labels, "mse" where they are values."""
    fast = learner.adapt(meta, task.support, task.key)
    outputs = learner.predict(fast, task.query.inputs, task.query.weights)
    targets = query_targets(task)
    loss = cross_entropy if jnp.issubdtype(targets.dtype, jnp.integer) else squared_error
    return loss(outputs, targets, task.query.weights)[1]


@cache
def _clustering_score(classes: int) -> Score:
    """`clustering_score` with its bound: the same object for the same bound, so that it compiles once."""
    return partial(clustering_score, classes=classes)


@partial(jax.jit, static_argnums=0)
def _largest_label(tasks: int, sampler: Sampler, key: Key[Array, ""]) -> Int[Array, ""]:
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(tasks))
    return jnp.max(jax.vmap(lambda key: support_labels(sampler(key)))(keys))


def _evaluate_given(
    learner: Judged,
    sampler: HostSampler,
    meta: PyTree,
    key: Key[Array, ""],
    tasks: int,
    score: Score | None,
    chunk: int | None,
) -> Evaluation:
    """`evaluate` on the same tasks, made on the host block by block, while those before are scored."""
    blocks, key = -(-tasks // BLOCK), beside_the_host(key)
    size = -(-tasks // blocks)

    def keys(block: int) -> Key[Array, " T"]:
        return jax.vmap(partial(jax.random.fold_in, key))(block * size + np.arange(size))

    found: list[dict[str, np.ndarray]] = []
    for batch in ahead(sampler, keys, 0, blocks, most=2):
        if not found:
            score = score or (query_score if batch.truth is None else clustering_score)
            traced = _scores_given.trace(learner, score, chunk, Given(batch), meta)
            meta = placed(traced.jaxpr.jaxpr, meta)
        found.append(jax.device_get(_scores_given(learner, score, chunk, Given(batch), meta)))
    return Evaluation({name: np.concatenate([one[name] for one in found])[:tasks] for name in found[0]})


@partial(jax.jit, static_argnums=(0, 1, 2))
def _scores_given(learner: Judged, score: Score, chunk: int | None, given: Given, meta: PyTree) -> Metrics:
    scored = over_tasks(lambda meta, task: score(learner, meta, task), chunk=chunk, shared=1)
    return scored(meta, given.ready())


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _scores(
    learner: Judged,
    score: Score,
    tasks: int,
    chunk: int | None,
    sampler: Sampler,
    meta: PyTree,
    key: Key[Array, ""],
) -> Metrics:
    def one(sampler: Sampler, meta: PyTree, key: Key[Array, ""], index: Array) -> Metrics:
        return score(learner, meta, sampler(jax.random.fold_in(key, index)))

    return over_tasks(one, chunk=chunk, shared=3)(sampler, meta, key, jnp.arange(tasks))
