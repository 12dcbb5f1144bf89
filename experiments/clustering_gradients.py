"""Is the gradient through the clustering worth its cost? What each rule costs, and where its gradient points.

Tasks of `few_shot_clustering` are clustered by twenty steps of soft k-means, and the soft ARI
is differentiated to the weights by every rule. `cosine/...` is the cosine between a rule's gradient and
that of the converged clustering, through every one of `--long` steps, task by task; `norm/...` the ratio of
their lengths. Both from a cold start, a random network, and from a warm one, trained by the supervised
surrogate. `cost/...` is the time of a gradient over that of the surrogate, `seconds/...` that of a batch of
tasks, the median of five. The surrogate stands in the table too: how far it points where the clustering does.

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
NOTHING = 1e-8
"""A gradient that is no longer points nowhere; a task that is clustered without fault has one."""


@dataclasses.dataclass(frozen=True)
class Config(few_shot_clustering.Config):
    """Options of this experiment, and of the training of the warm network."""

    rules: tuple[str, ...] = tuple(RULES)
    """Which are measured."""
    long: int = 200
    """Steps that count as converged."""
    measured: int = 200
    """Tasks of the table."""


PRESETS = {
    "quick": Config(
        **few_shot_clustering.QUICK, preset="quick", rules=("implicit_gmres",), long=30, measured=4
    ),
    "cpu": Config(),
    "gpu": Config(preset="gpu", measured=1000),
}


def experiment(config: Config) -> harness.Metrics:
    """Gradients of all rules from both starts, then their times."""
    start_key, train_key, validation_key, test_key = jax.random.split(config.key, 4)
    setting = few_shot_clustering.prepare(config, start_key)
    warm, _ = few_shot_clustering.train_row(setting, "prototype", train_key, validation_key)
    # On two devices, the small systems of gmres would wait for each other forever.
    starts = jax.device_get({"cold": setting.start.meta, "warm": warm})
    learner = partial(jm.soft_kmeans, config.ways)
    through = {name: learner(steps=config.iterations, diff=RULES[name]) for name in config.rules}
    through["converged"] = learner(steps=config.long, diff=jm.unroll())
    losses = {
        name: jm.clustering_loss(jm.centroids(setting.net, clusterer), jm.soft_ari)
        for name, clusterer in through.items()
    }
    losses["surrogate"] = jm.prototype_loss(jm.centroids(setting.net, learner(steps=1)))
    keys = jax.vmap(partial(jax.random.fold_in, test_key))(jnp.arange(config.measured))
    runs = {name: jm.over_tasks(partial(_gradient, loss), shared=1) for name, loss in losses.items()}
    tasks = jax.jit(jax.vmap(setting.test))(keys)
    batch = jax.tree.map(lambda leaf: leaf[: config.tasks], tasks)

    metrics: dict[str, Interval] = {}
    for place, meta in starts.items():
        gradients = {name: np.asarray(run(meta, tasks)) for name, run in runs.items()}
        metrics |= _compared(place, gradients)
    times = {name: median(partial(run, starts["warm"], batch)) for name, run in runs.items()}
    for name, took in times.items():
        metrics[f"seconds/{name}"] = Interval(took, 0.0, 1)
        metrics[f"cost/{name}"] = Interval(took / times["surrogate"], 0.0, 1)
    return metrics


def _compared(place: str, gradients: dict[str, np.ndarray]) -> dict[str, Interval]:
    """The cosine and the length of every gradient beside the converged one's, where that one is not zero."""
    converged = gradients.pop("converged")
    lengths = np.linalg.norm(converged, axis=1)
    kept = lengths > NOTHING
    metrics = {f"kept/{place}": jm.interval(kept)}
    for name, found in gradients.items() if kept.any() else ():
        length = np.linalg.norm(found[kept], axis=1)
        inner = np.sum(found[kept] * converged[kept], 1)
        metrics[f"cosine/{place}/{name}"] = jm.interval(inner / np.maximum(length * lengths[kept], NOTHING))
        metrics[f"norm/{place}/{name}"] = jm.interval(length / lengths[kept])
    return metrics


def _gradient(loss: TaskLoss, meta: PyTree, task: Task) -> Float[Array, " P"]:
    """Of one task, as one vector."""
    found = jax.grad(lambda meta: loss(meta, task)[0])(meta)
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(found)])


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
