"""Task losses, which meta-training minimises: `(meta, task) -> (scalar, metrics)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree, Shaped

from ..distances import quotient
from ..errors import InputError
from ..losses import cross_entropy
from ..records import Batch, Clusterer, Learner, Loss, Metrics, Task, TaskLoss
from ..weights import weights_or_ones


def query_loss(learner: Learner, loss: Loss) -> TaskLoss:
    """The loss on the query after adaptation to the support.

    >>> import jmeta as jm
    >>> learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error)
    >>> task = jm.sinusoid()(jax.random.key(0))
    >>> value, metrics = query_loss(learner, jm.squared_error)(learner.init(jax.random.key(1)), task)
    >>> sorted(metrics)
    ['mse']
    """

    def task_loss(meta: PyTree, task: Task) -> tuple[Float[Array, ""], Metrics]:
        fast = learner.adapt(meta, task.support, task.key)
        return _loss_on(learner, loss, fast, task.query, query_targets(task))

    return task_loss


def multi_step_loss(learner: Learner, loss: Loss, weights: Sequence[float] | Array) -> TaskLoss:
    """The weighted sum of the query losses after every inner step, as in MAML++.

    Args:
        learner: returns every iterate, as `maml(..., diff=every_step())` does.
        loss: of its outputs on the query.
        weights: [steps + 1], the first for the initial weights; `scheduled` can move them from early steps to
            the last one.

    Returns:
        A task loss, whose metrics are those after the last step.

    Raises:
        InputError: the number of weights differs from that of iterates.

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
            raise InputError(f"weights have shape {factors.shape} for {count} iterates; give one for each.")
        values, metrics = jax.vmap(lambda one: _loss_on(learner, loss, one, task.query, query_targets(task)))(
            fast
        )
        return factors @ values, jax.tree.map(lambda leaf: leaf[-1], metrics)

    return task_loss


def displacement(learner: Learner) -> TaskLoss:
    """Half the squared distance from the initial weights to the adapted ones, held constant: Reptile.

    Its gradient, start - adapted, is Reptile's update; the paper uses plain `optax.sgd` as outer optimiser.

    Args:
        learner: with `meta.start` and fast weights of the same structure, such as `maml`.

    Reference: Nichol et al. 2018, On first-order meta-learning algorithms.
    """

    def task_loss(meta: PyTree, task: Task) -> tuple[Float[Array, ""], Metrics]:
        fast = learner.adapt(jax.lax.stop_gradient(meta), task.support, task.key)
        moved = jax.tree.map(jnp.subtract, meta.start, jax.lax.stop_gradient(fast))
        loss = optax.tree.norm(moved, squared=True) / 2
        return loss, {"displacement": jnp.sqrt(2 * jax.lax.stop_gradient(loss))}

    return task_loss


def prototype_loss(learner: Learner) -> TaskLoss:
    """The supervised surrogate of clustering: cross-entropy on the query, in nats, with labels shown.

    A `centroids` learner that sees all labels of the support predicts from class means, so that no gradient
    passes through the clustering.
    """

    def task_loss(meta: PyTree, task: Task) -> tuple[Float[Array, ""], Metrics]:
        shown = task.support._replace(targets=support_labels(task))
        fast = learner.adapt(meta, shown, task.key)
        return _prefixed("prototype", _loss_on(learner, cross_entropy, fast, task.query, query_targets(task)))

    return task_loss


def clustering_loss(learner: Learner, loss: Loss) -> TaskLoss:
    """A loss of the clustering of the support, whose labels are hidden; its gradient passes through it.

    Args:
        learner: adapts to unlabelled points and predicts log-probabilities of clusters.
        loss: of these against the hidden labels, such as `matched_cross_entropy`.
    """

    def task_loss(meta: PyTree, task: Task) -> tuple[Float[Array, ""], Metrics]:
        hidden = task.support._replace(targets=None)
        fast = learner.adapt(meta, hidden, task.key)
        return _prefixed("clustering", _loss_on(learner, loss, fast, hidden, support_labels(task)))

    return task_loss


def fitting_loss(clusterer: Clusterer, energy: Callable[[PyTree], Float[Array, ""]]) -> TaskLoss:
    """The energy of a clustering of the support per unit of weight, which needs no labels.

    Args:
        clusterer: whose parameters are trained, such as `amortized_mixture`.
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
        weights = weights_or_ones(task.support.inputs, task.support.weights)
        value = quotient(energy(state), jnp.sum(weights))
        return value, {"energy": value}

    return task_loss


def total(*losses: TaskLoss, weights: Sequence[float] | None = None) -> TaskLoss:
    """The weighted sum of task losses; weights are all one unless given.

    A metric whose name an earlier loss has gets the place of its loss as a suffix: "mse", then "mse_2".

    >>> two = total(lambda meta, task: (meta, {}), lambda meta, task: (3 * meta, {}))
    >>> two(1.0, None)[0]
    4.0
    """
    factors = [1.0] * len(losses) if weights is None else list(weights)
    if len(factors) != len(losses):
        raise InputError(f"{len(factors)} weights were given for {len(losses)} losses; give one for each.")

    def task_loss(meta: PyTree, task: Task) -> tuple[Float[Array, ""], Metrics]:
        values, metrics = zip(*(loss(meta, task) for loss in losses), strict=True)
        merged: Metrics = {}
        for place, own in enumerate(metrics, start=1):
            merged |= {f"{name}_{place}" if name in merged else name: value for name, value in own.items()}
        return sum(a * b for a, b in zip(factors, values, strict=True)), merged

    return task_loss


def support_labels(task: Task) -> Int[Array, " N"]:
    """The labels of the support, hidden or shown; for losses and metrics only."""
    labels = task.support.targets if task.truth is None else task.truth
    if labels is None:
        raise InputError("the task has no labels, shown or hidden; use a sampler of labelled tasks.")
    return labels


def query_targets(task: Task) -> Shaped[Array, "N ..."]:
    """The targets of the query."""
    if task.query.targets is None:
        raise InputError("the query has no targets; use tasks whose query has some.")
    if not task.query.inputs.shape[0]:
        raise InputError("the query is empty; sample tasks with queries >= 1.")
    return task.query.targets


def _loss_on(
    learner: Learner, loss: Loss, fast: PyTree, batch: Batch, targets: Array
) -> tuple[Array, Metrics]:
    return loss(learner.predict(fast, batch.inputs, batch.weights), targets, batch.weights)


def _prefixed(name: str, loss: tuple[Array, Metrics]) -> tuple[Array, Metrics]:
    value, metrics = loss
    return value, {f"{name}/{key}": metric for key, metric in metrics.items()}
