"""Trains the network of the zero-shot clusterer through the clustering, on drawn tasks alone.

A transformer sees the distances of the points of one table and predicts which points belong together. It is
trained on tasks of `jmeta.tasks.synthetic`, drawn on the device beside the training, by two losses: the
cross-entropy of pairs, and 1 - the adjusted Rand index of soft k-means on the rows of its predictions, whose
gradient passes through the clustering. Points of a task grow from stage to stage. Rows:

- both: both losses
- through: only the loss through the clustering
- pairs: only the cross-entropy

The metrics `ari/known/...` and `ari/unknown/...` are those of the zero-shot clusterer with a known and an
unknown number of clusters on validation tasks: "drawn" of the training families, "shapes" of
`jmeta.shapes`, which no row is trained on. Average linkage of the points, cut at the true number of clusters,
is given beside.

    python -m experiments.zero_shot
        two hours on one core, resumable with --resume; writes RUN/zero_shot.npz
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

import jmeta as jm
from jmeta import harness
from jmeta.artifacts.recipes import recipe, save_trained
from jmeta.clustering.zero_shot import zero_shot
from jmeta.errors import InputError
from jmeta.metrics import Interval, adjusted_rand_index
from jmeta.networks import pair_transformer
from jmeta.records import Clusterer, Sampler, Task
from jmeta.tasks.synthetic import FAMILIES, synthetic
from jmeta.training.objectives import support_labels
from jmeta.training.pair_loss import pair_loss
from jmeta.weights import weights_or_ones

Row = Literal["both", "through", "pairs"]
LOSSES: dict[Row, dict[str, float]] = {"both": {}, "through": {"pairs": 0.0}, "pairs": {"through": 0.0}}
"""Weights of the losses of every row."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    rows: tuple[Row, ...] = ("both",)
    """Which rows to train; the first is written."""
    families: tuple[str, ...] = FAMILIES
    """Families of tasks."""
    points: tuple[int, ...] = (128, 256, 512)
    """Largest number of points of a task in every stage, even numbers."""
    tasks: tuple[int, ...] = (8, 4, 2)
    """Tasks per meta-step in every stage."""
    steps: tuple[int, ...] = (3000, 6400, 1600)
    """Meta-steps of every stage."""
    clusters: int = 50
    """Largest number of clusters of a task."""
    columns: int = 16
    """Largest number of columns of a task."""
    rate: float = 2e-3
    """Largest learning rate; it rises for 2 % of the steps and falls by a cosine."""
    width: int = 48
    """Width of the features of a point."""
    pair_width: int = 24
    """Width of the features of a pair."""
    layers: int = 4
    """Attention layers."""
    clustering_steps: int = 6
    """Steps of soft k-means in the loss."""
    held_out: int = 200
    """Validation tasks of each kind."""
    every: int = 100
    """Meta-steps between rows of the log."""

    def check(self) -> None:
        """Raises an `InputError` unless every stage has its numbers, and even numbers of points."""
        super().check()
        if not len(self.points) == len(self.tasks) == len(self.steps):
            raise InputError(
                f"points {self.points}, tasks {self.tasks} and steps {self.steps} are of different lengths; "
                "give one of each for every stage."
            )
        if any(count % 2 for count in self.points):
            raise InputError(f"points are {self.points}; give even numbers.")


PRESETS = {
    "quick": Config(
        preset="quick",
        families=("clouds", "moons", "uniform"),
        points=(24, 32),
        tasks=(2, 2),
        steps=(2, 4),
        clusters=6,
        columns=4,
        width=8,
        pair_width=8,
        layers=1,
        held_out=4,
        every=2,
    ),
    "cpu": Config(),
    "gpu": Config(preset="gpu", tasks=(64, 32, 16), steps=(20_000, 20_000, 20_000), rate=3e-3, columns=32),
}


def sampler(config: Config, points: int, least: int = 1) -> Sampler:
    """Tasks of at most so many points, with `least` clusters or more; small tasks have few clusters."""
    return synthetic(
        points=(points // 2, points),
        clusters=(least, min(config.clusters, max(points // 8, 2))),
        columns=(1, config.columns),
        families=config.families,
    )


def optimizer(config: Config) -> optax.GradientTransformation:
    """Adam with a warm-up and a cosine, weight decay and clipped gradients."""
    steps = sum(config.steps)
    schedule = optax.warmup_cosine_decay_schedule(0, config.rate, max(steps // 50, 1), steps, 1e-6)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.99, weight_decay=1e-4))


def train(config: Config, row: Row) -> PyTree:
    """The parameters of the network after all stages."""
    init_key, *stage_keys = jax.random.split(jax.random.fold_in(config.key, 0), 1 + len(config.points))
    model = pair_transformer(width=config.width, pair_width=config.pair_width, layers=config.layers)
    clusterer = jm.soft_kmeans(config.clusters, steps=config.clustering_steps)
    loss = pair_loss(model, clusterer, **LOSSES[row])
    chunk = 1 if jax.default_backend() == "cpu" else None  # the pairs of one task fill the cache of a core
    step = jm.meta_step(loss, optimizer(config), chunk=chunk)
    state = step.init(model.init(init_key))
    for points, tasks, steps, key in zip(config.points, config.tasks, config.steps, stage_keys, strict=True):
        name = f"{row}_{points}"
        drawn = sampler(config, points)
        state, _ = harness.train(
            config, name, step, drawn, state, key, steps=steps, tasks=tasks, every=config.every
        )
    return state.meta


def validation(config: Config) -> dict[str, Task]:
    """Validation tasks: of the families of training, and of the first generator."""
    count = min(config.points[-1], 256)
    clusters = min(config.clusters, max(count // 8, 2), 12)
    samplers = {
        "drawn": sampler(config, count, 2),
        "shapes": jm.shapes(points=(count // 2, count), clusters=(2, clusters), columns=(2, 8)),
    }
    keys = jax.random.split(jax.random.fold_in(config.key, 1), config.held_out)
    return {name: jax.jit(jax.vmap(drawn))(keys) for name, drawn in samplers.items()}


def scores(clusterer: Clusterer, params: PyTree, tasks: Task) -> np.ndarray:
    """The adjusted Rand index on every task; noise points do not count."""
    slots = tasks.support.inputs.shape[1]

    def score(task: Task) -> Array:
        truth, weights = support_labels(task), weights_or_ones(task.support.inputs, task.support.weights)
        support = task.support._replace(clusters=jnp.max(truth) + 1)
        state = clusterer.fit(params, support, task.key)
        found = jnp.argmax(clusterer.assign(params, state, support.inputs).log_probs, -1)
        return adjusted_rand_index(found, jnp.maximum(truth, 0), weights * (truth >= 0), slots=slots)

    return np.asarray(jax.lax.map(score, tasks))


def experiment(config: Config) -> harness.Metrics:
    """Trains every row, writes the first, and scores all on validation tasks."""
    held_out = validation(config)
    model = pair_transformer(width=config.width, pair_width=config.pair_width, layers=config.layers)
    unknown = partial(_with_all_slots, zero_shot(config.clusters, model=model, find=True))
    evaluations: dict[str, Callable[[PyTree, Task], np.ndarray]] = {
        "known": partial(scores, zero_shot(config.clusters, model=model)),
        "unknown": unknown,
    }
    metrics: dict[str, Interval] = {}
    for name, tasks in held_out.items():
        linkage = scores(jm.agglomerative(config.clusters, linkage="average"), {}, tasks)
        metrics[f"ari/known/{name}/average_linkage"] = jm.interval(linkage)
    for number, row in enumerate(config.rows):
        params = train(config, row)
        for known, evaluation in evaluations.items():
            for name, tasks in held_out.items():
                metrics[f"ari/{known}/{name}/{row}"] = jm.interval(evaluation(params, tasks))
        if not number:
            _write(config, params, metrics)
    return metrics


def _with_all_slots(clusterer: Clusterer, params: PyTree, tasks: Task) -> np.ndarray:
    free = clusterer._replace(
        fit=lambda params, batch, key: clusterer.fit(params, batch._replace(clusters=None), key)
    )
    return scores(free, params, tasks)


def _write(config: Config, params: PyTree, metrics: harness.Metrics) -> None:
    made = recipe("pair_transformer", width=config.width, pair_width=config.pair_width, layers=config.layers)
    card = {
        "trained on": "tasks drawn by jmeta.tasks.synthetic; no data set",
        "steps": list(config.steps),
        "tasks": sum(steps * tasks for steps, tasks in zip(config.steps, config.tasks, strict=True)),
        "command": "python -m experiments.zero_shot",
        "measured": {name: [interval.mean, interval.ci95] for name, interval in metrics.items()},
    }
    save_trained(config.folder / "zero_shot.npz", made, params, card)


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
