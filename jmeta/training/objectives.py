"""Task losses: what a learner is meta-trained for. Each is `(meta, task) -> (scalar, metrics)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree, Shaped

from ..errors import InputError
from ..losses import cross_entropy
from ..records import Batch, Clusterer, Learner, Loss, Metrics, Task, TaskLoss
from ..weights import weights_or_ones


def query_loss(learner: Learner, loss: Loss) -> TaskLoss:
    """The loss on the query of what was adapted to the support.

    >>> import jmeta as jm
    >>> learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
    >>> task = jm.sinusoid()(jax.random.key(0))
    >>> value, metrics = query_loss(learner, jm.squared_error)(learner.init(jax.random.key(1)), task)
    >>> sorted(metrics)
    ['mse']
    """

    def task_loss(meta: PyTree, task: Task) -> tuple[Float[Array, ""], Metrics]:
        fast = learner.adapt(meta, task.support, task.key)
        return _asked(learner, loss, fast, task.query, query_targets(task))

    return task_loss


def multi_step_loss(learner: Learner, loss: Loss, weights: Sequence[float] | Array) -> TaskLoss:
    """The weighted sum of the query's losses after every inner step: MAML++.

    Args:
        learner: one that keeps every iterate, as `maml(..., diff=every_step())` does.
        loss: of its outputs on the query.
        weights: [steps + 1], first that of the start; under `scheduled` they may change from early steps to
            the last.

    Returns:
        A task loss, whose metrics are those after the last step.

    Raises:
        InputError: there is not one weight for every iterate.

    Reference: Antoniou et al. 2019, How to train your MAML.

    >>> import jmeta as jm
    >>> learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error, steps=2, diff=jm.every_step())
    >>> task = jm.sinusoid()(jax.random.key(0))
    >>> task_loss = multi_step_loss(learner, jm.squared_error, [0, 0.5, 0.5])
    >>> value, metrics = task_loss(learner.init(jax.random.key(1)), task)
    >>> sorted(metrics)
    ['mse']
    """

    def task_loss(meta: PyTree, task: Task) -> tuple[Float[Array, ""], Metrics]:
        fast, factors = learner.adapt(meta, task.support, task.key), jnp.asarray(weights)
        count = jax.tree.leaves(fast)[0].shape[0]
        if factors.shape != (count,):
            raise InputError(f"{count} iterates have weights of shape {factors.shape}; give one for each.")
        values, metrics = jax.vmap(lambda one: _asked(learner, loss, one, task.query, query_targets(task)))(
            fast
        )
        return factors @ values, jax.tree.map(lambda leaf: leaf[-1], metrics)

    return task_loss


def displacement(learner: Learner) -> TaskLoss:
    """Half the squared distance from the start to the stopped adapted weights: Reptile.

    Its gradient, start - adapted, is Reptile's update; a plain outer `optax.sgd` is the paper's.

    Args:
        learner: one with `meta.start` and fast weights of the same structure, such as `maml`.

    Reference: Nichol et al. 2018, On first-order meta-learning algorithms.
    """

    def task_loss(meta: PyTree, task: Task) -> tuple[Float[Array, ""], Metrics]:
        fast = learner.adapt(jax.lax.stop_gradient(meta), task.support, task.key)
        moved = jax.tree.map(jnp.subtract, meta.start, jax.lax.stop_gradient(fast))
        loss = optax.tree.norm(moved, squared=True) / 2
        return loss, {"displacement": jnp.sqrt(2 * jax.lax.stop_gradient(loss))}

    return task_loss


def prototype_loss(learner: Learner) -> TaskLoss:
    """The supervised surrogate of clustering: labels shown, cross-entropy on the query, in nats.

    With every label of the support shown, a `centroids` learner predicts from class means; no
    gradient passes through the clustering.
    """

    def task_loss(meta: PyTree, task: Task) -> tuple[Float[Array, ""], Metrics]:
        shown = task.support._replace(targets=support_labels(task))
        fast = learner.adapt(meta, shown, task.key)
        return _prefixed("prototype", _asked(learner, cross_entropy, fast, task.query, query_targets(task)))

    return task_loss


def clustering_loss(learner: Learner, loss: Loss) -> TaskLoss:
    """A loss of the clustering of the support, its labels hidden: through the clustering itself.

    Args:
        learner: one that adapts to unlabelled points and predicts log-probabilities of clusters.
        loss: of those against the hidden labels, such as `matched_cross_entropy`.
    """

    def task_loss(meta: PyTree, task: Task) -> tuple[Float[Array, ""], Metrics]:
        hidden = task.support._replace(targets=None)
        fast = learner.adapt(meta, hidden, task.key)
        return _prefixed("clustering", _asked(learner, loss, fast, hidden, support_labels(task)))

    return task_loss


def fitting_loss(clusterer: Clusterer, energy: Callable[[PyTree], Float[Array, ""]]) -> TaskLoss:
    """What a clusterer reaches on the support, per unit of weight: trains its parameters without a label.

    Args:
        clusterer: whose parameters are learned, such as `amortized_mixture`.
        energy: of its state, such as `lambda state: -state.log_likelihood`.

    >>> import jmeta as jm
    >>> clusterer = jm.soft_kmeans(4, learn=("centers",), centers=jnp.eye(4, 2))
    >>> task_loss = fitting_loss(clusterer, lambda state: state.energy)
    >>> value, metrics = task_loss(clusterer.init(jax.random.key(0)), jm.tasks.mixtures()(jax.random.key(1)))
    >>> sorted(metrics), bool(value > 0)
    (['energy'], True)
    """

    def task_loss(meta: PyTree, task: Task) -> tuple[Float[Array, ""], Metrics]:
        state = clusterer.fit(meta, task.support._replace(targets=None), task.key)
        total = jnp.sum(weights_or_ones(task.support.inputs, task.support.weights))
        value = energy(state) / jnp.where(total > 0, total, 1)
        return value, {"energy": value}

    return task_loss


def total(*losses: TaskLoss, weights: Sequence[float] | None = None) -> TaskLoss:
    """The weighted sum of task losses; weights are all one unless given.

    >>> two = total(lambda meta, task: (meta, {}), lambda meta, task: (3 * meta, {}))
    >>> two(1.0, None)[0]
    4.0
    """
    factors = [1.0] * len(losses) if weights is None else list(weights)
    if len(factors) != len(losses):
        raise InputError(f"{len(losses)} losses have {len(factors)} weights; give one for each.")

    def task_loss(meta: PyTree, task: Task) -> tuple[Float[Array, ""], Metrics]:
        values, metrics = zip(*(loss(meta, task) for loss in losses), strict=True)
        merged: Metrics = {}
        for place, own in enumerate(metrics, start=1):
            merged |= {f"{name}_{place}" if name in merged else name: value for name, value in own.items()}
        return sum(a * b for a, b in zip(factors, values, strict=True)), merged

    return task_loss


def support_labels(task: Task) -> Int[Array, " N"]:
    """The labels of the support, hidden or shown; for losses and metrics alone."""
    labels = task.support.targets if task.truth is None else task.truth
    if labels is None:
        raise InputError("the task has no labels at all, neither shown nor hidden; nothing to learn from.")
    return labels


def query_targets(task: Task) -> Shaped[Array, "N ..."]:
    """What the query's points should be."""
    if task.query.targets is None:
        raise InputError("the query has no targets to compare with; use tasks whose query has some.")
    if not task.query.inputs.shape[0]:
        raise InputError("the query is empty; sample tasks with queries >= 1.")
    return task.query.targets


def _asked(learner: Learner, loss: Loss, fast: PyTree, batch: Batch, targets: Array) -> tuple[Array, Metrics]:
    return loss(learner.predict(fast, batch.inputs, batch.weights), targets, batch.weights)


def _prefixed(name: str, found: tuple[Array, Metrics]) -> tuple[Array, Metrics]:
    value, metrics = found
    return value, {f"{name}/{key}": metric for key, metric in metrics.items()}
