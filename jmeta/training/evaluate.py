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
from ..masking import check_meta, make_learner
from ..metrics import Interval, adjusted_rand_index, interval, matched_accuracy, normalized_mutual_information
from ..records import Batch, HostSampler, Learner, Metrics, Sampler, Task
from ..tasks.feed import Given
from ..tasks.fixed import warn_of_equal_tasks, warn_of_one_task
from ..tasks.stored import ahead, beside_the_host
from ..weights import cleared, weights_or_ones
from .loop import traceable
from .objectives import query_targets, support_labels

Score = Callable[[Any, PyTree, Task], Metrics]
"""`(learner, meta, task) -> metrics`."""
BLOCK = 100
"""Number of tasks of a `HostSampler` that are on the device at once."""


class Evaluation(NamedTuple):
    """The metrics of every task.

    Attributes:
        values: metric -> [tasks]; equal keys give equal tasks, so that learners can be compared in pairs.
    """

    values: dict[str, Float[np.ndarray, " tasks"]]

    def intervals(self) -> dict[str, Interval]:
        """The mean of each metric with its 95 % interval."""
        return {name: interval(values) for name, values in self.values.items()}

    def __str__(self) -> str:
        return "\n".join(f"{name} {found}" for name, found in self.intervals().items())


def evaluate(
    learner: Any,
    sampler: Sampler | HostSampler,
    meta: PyTree,
    key: Key[Array, ""],
    *,
    tasks: int,
    score: Score | None = None,
    chunk: int | None = None,
) -> Evaluation:
    """Adapts to each of many tasks and scores the results.

    Args:
        learner: anything with the functions of a `Learner` or of a `Clusterer`; or whatever `score` takes.
        sampler: of one task; the tasks of a `HostSampler` are read ahead in blocks.
        meta: its meta-parameters.
        key: a typed key; equal keys give equal tasks.
        tasks: how many.
        score: (learner, meta, task) -> metrics; unless given, `clustering_score` where the
            support hides its labels, else `query_score`.
        chunk: number of tasks that a device computes at once; chosen by the size of their arrays unless
            given.

    Raises:
        InputError: `tasks` or `chunk` is below one, or `meta` is the state of a meta-training.

    >>> import jmeta as jm
    >>> learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
    >>> found = evaluate(learner, jm.sinusoid(), learner.init(jax.random.key(0)), jax.random.key(1), tasks=4)
    >>> found.values["mse"].shape
    (4,)
    """
    if tasks < 1:
        raise InputError(f"{tasks} tasks cannot be averaged; evaluate at least one.")
    check_meta(meta)
    if isinstance(sampler, HostSampler):
        return _evaluate_given(learner, sampler, meta, key, tasks, score, chunk)
    sampler = traceable(sampler)
    warn_of_one_task(sampler, key)
    if score is None:
        hidden = jax.eval_shape(sampler, key).truth is not None
        score = _clustering_score(1 + int(_largest_label(tasks, sampler, key))) if hidden else query_score
    program = _scores.trace(learner, score, tasks, chunk, sampler, meta, key).jaxpr.jaxpr
    values = _scores(learner, score, tasks, chunk, *placed(program, (sampler, meta, key)))
    return Evaluation({name: np.asarray(value) for name, value in values.items()})


def clustering_score(learner: Any, meta: PyTree, task: Task, *, classes: int | None = None) -> Metrics:
    """The agreement of a clustering of the support, whose labels are hidden, with its true classes.

    Args:
        learner: predicts log-probabilities of K clusters; or a clusterer.
        meta: its (meta-)parameters.
        task: one with labels, hidden or shown.
        classes: an upper bound of the number of classes, which may be more or fewer than K; the
            size of the support unless given.

    Returns:
        "accuracy" after matching, "ari", "nmi"; and with a query "query_accuracy", the accuracy of its
        assignment when each cluster stands for the class that it is matched with on the support.
    """
    learner = as_learner(learner)
    hidden, truth = task.support._replace(targets=None), support_labels(task)
    fast = learner.adapt(meta, hidden, task.key)
    log_probs = learner.predict(fast, hidden.inputs, hidden.weights)
    classes = len(truth) if classes is None else classes
    slots = max(log_probs.shape[-1], classes)
    found = jnp.argmax(log_probs, -1)
    lost = jnp.where(jnp.any(jnp.isnan(cleared(log_probs, hidden.weights))), jnp.nan, 0)
    agreement = {
        "accuracy": matched_accuracy(found, truth, hidden.weights, slots=slots),
        "ari": adjusted_rand_index(found, truth, hidden.weights, slots=slots),
        "nmi": normalized_mutual_information(found, truth, hidden.weights, slots=slots),
    }
    agreement = {name: value + lost for name, value in agreement.items()}
    if not task.query.inputs.shape[0]:
        return agreement
    query_log_probs = learner.predict(fast, task.query.inputs, task.query.weights)
    owners, clusters = jax.nn.one_hot(truth, classes), jax.nn.one_hot(found, log_probs.shape[-1])
    shared = contingency(owners, clusters, weights_or_ones(log_probs, hidden.weights))
    cluster = best_matching(shared)
    named = jnp.where(cluster >= 0, query_log_probs[:, cluster], -jnp.inf)
    accuracy = cross_entropy(named, query_targets(task), task.query.weights)[1]["accuracy"]
    return agreement | {"query_accuracy": accuracy}


def as_learner(clusterer: Any) -> Learner:
    """The learner that clusters the support with a clusterer; returns a learner unchanged.

    >>> import jmeta as jm
    >>> learner = as_learner(jm.kmeans(2))
    >>> support = jm.Batch(jnp.array([[0.0], [0.1], [5.0]]))
    >>> fast = learner.adapt(learner.init(jax.random.key(0)), support, jax.random.key(1))
    >>> learner.predict(fast, support.inputs).shape
    (3, 2)
    """
    if hasattr(clusterer, "adapt"):
        return clusterer

    def adapt(params: PyTree, support: Batch, key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        return params, clusterer.fit(params, support, key)

    def predict(
        fast: tuple[PyTree, PyTree], inputs: Array, weights: Array | None = None
    ) -> Float[Array, "N K"]:
        return clusterer.assign(*fast, inputs).log_probs

    return make_learner(clusterer.init, adapt, predict, traceable=clusterer.traceable)


def query_score(learner: Learner, meta: PyTree, task: Task) -> Metrics:
    """The metrics of the predictions on the query: "accuracy" for labels, "mse" for values."""
    fast = learner.adapt(meta, task.support, task.key)
    outputs = learner.predict(fast, task.query.inputs, task.query.weights)
    targets = query_targets(task)
    loss = cross_entropy if jnp.issubdtype(targets.dtype, jnp.integer) else squared_error
    return loss(outputs, targets, task.query.weights)[1]


@cache
def _clustering_score(classes: int) -> Score:
    """`clustering_score` with a number of classes; one object for each number, so that it compiles once."""
    return partial(clustering_score, classes=classes)


@partial(jax.jit, static_argnums=0)
def _largest_label(tasks: int, sampler: Sampler, key: Key[Array, ""]) -> Int[Array, ""]:
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(tasks))

    def largest(key: Key[Array, ""]) -> Int[Array, ""]:
        task = sampler(key)
        return jnp.max(cleared(support_labels(task), task.support.weights))

    return jnp.max(jax.vmap(largest)(keys))


def _evaluate_given(
    learner: Any,
    sampler: HostSampler,
    meta: PyTree,
    key: Key[Array, ""],
    tasks: int,
    score: Score | None,
    chunk: int | None,
) -> Evaluation:
    """`evaluate` on tasks that the host makes, block by block, while the last block is scored."""
    blocks, key = -(-tasks // BLOCK), beside_the_host(key)
    size = -(-tasks // blocks)

    def keys(block: int) -> Key[Array, " T"]:
        return jax.vmap(partial(jax.random.fold_in, key))(block * size + np.arange(size))

    found: list[dict[str, np.ndarray]] = []
    for batch in ahead(sampler, keys, 0, blocks, max_ahead=2):
        if not found:
            warn_of_equal_tasks(batch, stacklevel=4)
            score = score or (query_score if batch.truth is None else clustering_score)
            traced = _scores_given.trace(learner, score, chunk, Given(batch), meta)
            meta = placed(traced.jaxpr.jaxpr, meta)
        found.append(jax.device_get(_scores_given(learner, score, chunk, Given(batch), meta)))
    return Evaluation({name: np.concatenate([one[name] for one in found])[:tasks] for name in found[0]})


@partial(jax.jit, static_argnums=(0, 1, 2))
def _scores_given(learner: Any, score: Score, chunk: int | None, given: Given, meta: PyTree) -> Metrics:
    scored = over_tasks(lambda meta, task: score(learner, meta, task), chunk=chunk, shared=1)
    return scored(meta, given.ready())


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _scores(
    learner: Any,
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
