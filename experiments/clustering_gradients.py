"""Measures the cost and the direction of the gradient through the clustering, for every differentiation rule.

Tasks of `few_shot_clustering` are clustered by twenty steps of soft k-means, and the soft ARI is
differentiated with respect to the weights by every rule. `cosine/...` is the cosine between a rule's gradient
and that of the converged clustering, unrolled over `--long` steps, for each task; `norm/...` is the ratio of
their norms. Both are measured from a cold start, a random network, and from a warm one, trained by the
supervised surrogate. `seconds/...` is the time of the gradient of a batch of tasks, the median of five runs,
and `cost/...` its ratio to that of the surrogate. The surrogate's gradient is compared as well.

    python -m experiments.clustering_gradients
        3 minutes on two cores; cosine/warm/one_step 0.80, cost/one_step 0.88
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

import jmeta as jm
from experiments import few_shot_clustering
from experiments.benchmarks.timing import median
from jmeta import harness
from jmeta.metrics import Interval
from jmeta.records import Diff, Task, TaskLoss

RULES: dict[str, Diff] = {
    "unroll": jm.unroll(),
    "truncate_5": jm.truncate(5),
    "implicit_gmres": jm.implicit(jm.gmres(10)),
    "implicit_neumann": jm.implicit(jm.neumann(10)),
    "one_step": jm.one_step(),
}
SMALLEST_NORM = 1e-8
"""Gradients of smaller norm have no direction; those of perfectly clustered tasks vanish."""


@dataclasses.dataclass(frozen=True)
class Config(few_shot_clustering.Config):
    """Options of this experiment and of the training of the warm network."""

    rules: tuple[str, ...] = tuple(RULES)
    """Which rules to measure."""
    long: int = 200
    """Steps of the converged clustering."""
    measured: int = 200
    """Number of test tasks."""


PRESETS = {
    "quick": Config(
        **few_shot_clustering.QUICK, preset="quick", rules=("implicit_gmres",), long=30, measured=4
    ),
    "cpu": Config(),
    "gpu": Config(preset="gpu", measured=1000),
}


def experiment(config: Config) -> harness.Metrics:
    """Compares the gradients of all rules from both starts, then times them."""
    start_key, train_key, validation_key, test_key = jax.random.split(config.key, 4)
    setting = few_shot_clustering.prepare(config, start_key)
    warm, _ = few_shot_clustering.train_row(setting, "prototype", train_key, validation_key)
    # On two devices, the small systems of gmres would wait for each other forever.
    starts = jax.device_get({"cold": setting.start.meta, "warm": warm})
    soft_kmeans = partial(jm.soft_kmeans, config.ways)
    clusterers = {name: soft_kmeans(steps=config.iterations, diff=RULES[name]) for name in config.rules}
    clusterers["converged"] = soft_kmeans(steps=config.long, diff=jm.unroll())
    losses = {
        name: jm.clustering_loss(jm.centroids(setting.net, clusterer), jm.soft_ari)
        for name, clusterer in clusterers.items()
    }
    losses["surrogate"] = jm.prototype_loss(jm.centroids(setting.net, soft_kmeans(steps=1)))
    keys = jax.vmap(partial(jax.random.fold_in, test_key))(jnp.arange(config.measured))
    runs = {name: jm.over_tasks(partial(_gradient, loss), shared=1) for name, loss in losses.items()}
    tasks = jax.jit(jax.vmap(setting.test))(keys)
    batch = jax.tree.map(lambda leaf: leaf[: config.tasks], tasks)

    metrics: dict[str, Interval] = {}
    for start, meta in starts.items():
        gradients = {name: np.asarray(run(meta, tasks)) for name, run in runs.items()}
        metrics |= _compare(start, gradients)
    times = {name: median(partial(run, starts["warm"], batch)) for name, run in runs.items()}
    for name, seconds in times.items():
        metrics[f"seconds/{name}"] = Interval(seconds, 0.0, 1)
        metrics[f"cost/{name}"] = Interval(seconds / times["surrogate"], 0.0, 1)
    return metrics


def _compare(start: str, gradients: dict[str, np.ndarray]) -> dict[str, Interval]:
    """Cosine and relative norm of every gradient to the converged one, on tasks where that is not zero."""
    converged = gradients.pop("converged")
    norms = np.linalg.norm(converged, axis=1)
    kept = norms > SMALLEST_NORM
    metrics = {f"kept/{start}": jm.interval(kept)}
    for name, gradient in gradients.items() if kept.any() else ():
        norm = np.linalg.norm(gradient[kept], axis=1)
        inner = np.sum(gradient[kept] * converged[kept], 1)
        cosine = inner / np.maximum(norm * norms[kept], SMALLEST_NORM)
        metrics[f"cosine/{start}/{name}"] = jm.interval(cosine)
        metrics[f"norm/{start}/{name}"] = jm.interval(norm / norms[kept])
    return metrics


def _gradient(loss: TaskLoss, meta: PyTree, task: Task) -> Float[Array, " P"]:
    """The gradient of the loss of one task, as one vector."""
    gradient = jax.grad(lambda meta: loss(meta, task)[0])(meta)
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradient)])


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
