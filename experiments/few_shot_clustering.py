"""Learn an embedding in which soft k-means finds classes that it has never seen.

Every test task hides all labels: W classes with S images each are clustered with known K = W, and
scored by accuracy after matching clusters to classes. Rows of the table, all on the same tasks:

- pixels: soft k-means on the images themselves
- untrained: on a random network's embedding
- prototype: network trained by the supervised surrogate, with no gradient through the clustering
- through: trained through the clustering alone, from a random start
- warm: trained through the clustering alone, after a third of the steps on the surrogate
- both: trained on the sum of the two losses

    python -m experiments.few_shot_clustering --preset cpu
    python -m experiments.few_shot_clustering --dataset omniglot --train both --data-dir DIR
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import numpy as np
import optax

import jmeta as jm
from experiments import harness
from jmeta.learners.centroid import Embedding
from jmeta.records import Learner, Model, Sampler

Training = Literal["prototype", "through", "warm", "both"]


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    dataset: Literal["digits", "omniglot"] = "digits"
    """digits: trained on 0 to 4, tested on 5 to 9; omniglot: Vinyals' split with rotations."""
    train: Literal["all", "prototype", "through", "warm", "both"] = "all"
    """Which rows to train."""
    ways: int = 5
    """W, classes per task."""
    shots: int = 5
    """S, images to cluster per class."""
    queries: int = 5
    """Q, further images per class, for the surrogate and for unsupervised few-shot accuracy."""
    width: int = 64
    """Filters per block of the network."""
    norm: Literal["batch", "layer"] = "batch"
    """batch: by the statistics of the images at hand, which is transductive; layer: by each one's own."""
    steps: int = 400
    """Meta-steps."""
    tasks: int = 8
    """Tasks per meta-step."""
    chunk: int = 1
    """Tasks differentiated at once."""
    rate: float = 1e-3
    """Learning rate of Adam."""
    iterations: int = 20
    """Steps of soft k-means."""
    restarts: int = 8
    """Seedings of soft k-means that are tried at test time."""
    test_tasks: int = 1000
    """Tasks of the table."""
    validation_tasks: int = 100
    """Tasks of a validation, of unseen classes for omniglot, of the training classes for digits."""
    every: int = 100
    """Meta-steps between two validations."""


PRESETS = {
    "quick": Config(
        preset="quick", width=8, steps=6, tasks=2, every=3, test_tasks=20, restarts=2, validation_tasks=4
    ),
    "cpu": Config(),
    "gpu": Config(preset="gpu", steps=10_000, tasks=32, chunk=32, every=500),
}

Weights = Any


class Setting(NamedTuple):
    """What all rows share."""

    config: Config
    net: Model
    train: Sampler
    validation: Sampler
    test: Sampler


def experiment(config: Config) -> harness.Metrics:
    """Train the rows that were asked for, and evaluate all on the same tasks."""
    setting = _setting(config)
    start_key, train_key, validation_key, test_key = jax.random.split(config.key, 4)
    weights = {"untrained": setting.net.init(start_key)}
    curves = {}
    for row in get_args(Training) if config.train == "all" else (config.train,):
        weights[row], curves[row] = _train(setting, row, weights["untrained"], train_key, validation_key)

    learner = _learner(config, setting.net, config.restarts)
    pixels = _learner(config, Model(lambda key: {}, _flat), config.restarts)
    scores = {"pixels": _evaluate(config, pixels, setting.test, {}, test_key)}
    for row, trained in weights.items():
        scores[row] = _evaluate(config, learner, setting.test, trained, test_key)
    figure = jm.report.learning_curves(curves, "validation_accuracy")
    figure.savefig(config.folder / "learning_curves.png")
    _draw(setting, learner, weights, test_key)
    return {f"{name}/{row}": found for row, score in scores.items() for name, found in score.items()}


def _setting(config: Config) -> Setting:
    """The network, and tasks of classes to learn from, to choose by, and never seen."""
    omniglot = config.dataset == "omniglot"
    splits = ("train", "val", "test") if omniglot else ("train", "train", "test")
    train, validation, test = (jm.load(config.dataset, split, data_dir=config.data_dir) for split in splits)
    sampler = partial(
        jm.episodes, ways=config.ways, shots=config.shots, queries=config.queries, labelled=False
    )
    return Setting(
        config,
        jm.networks.conv4(config.width, shape=train.examples.shape[2:], norm=config.norm),
        sampler(train, rotations=True),
        sampler(validation, rotations=True),
        sampler(test, rotations=omniglot),
    )


def _learner(config: Config, net: Model, restarts: int = 1) -> Learner:
    return jm.centroids(net, jm.soft_kmeans(config.ways, steps=config.iterations, restarts=restarts))


def _flat(params: Weights, inputs: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """Pixels as they are."""
    return inputs.reshape(len(inputs), -1)


def _train(
    setting: Setting, row: Training, weights: Weights, train_key: jax.Array, validation_key: jax.Array
) -> tuple[Weights, list[dict[str, float]]]:
    """The weights that one way of training ends with, and its log."""
    config = setting.config
    learner = _learner(config, setting.net)
    tested = _learner(config, setting.net, config.restarts)
    surrogate = jm.prototype_loss(learner)
    through = jm.clustering_loss(learner, jm.matched_cross_entropy)
    warming = config.steps // 3
    phases = {
        "prototype": [(surrogate, config.steps)],
        "through": [(through, config.steps)],
        "warm": [(surrogate, warming), (through, config.steps - warming)],
        "both": [(jm.total(surrogate, through), config.steps)],
    }[row]

    def evaluate(meta: Embedding) -> dict[str, float]:
        found = jm.evaluate(tested, setting.validation, meta, validation_key, tasks=config.validation_tasks)
        return {"validation_accuracy": found.intervals()["accuracy"].mean}

    optimizer = optax.adam(optax.cosine_decay_schedule(config.rate, config.steps))
    state = jm.meta_step(through, optimizer).init(Embedding(weights, {}))
    rows: list[dict[str, float]] = []
    for loss, steps in phases:
        state, more = jm.loop(
            jm.meta_step(loss, optimizer, chunk=config.chunk),
            setting.train,
            state,
            train_key,
            steps=steps,
            tasks=config.tasks,
            every=config.every,
            evaluate=evaluate,
            log=config.folder / f"training_{row}.jsonl",
            title=row,
        )
        rows += more
    return state.meta.body, rows


def _evaluate(
    config: Config, learner: Learner, test: Sampler, weights: Weights, key: jax.Array
) -> harness.Metrics:
    found = jm.evaluate(learner, test, Embedding(weights, {}), key, tasks=config.test_tasks)
    return found.intervals()


def _draw(setting: Setting, learner: Learner, weights: dict[str, Weights], key: jax.Array) -> None:
    """A picture of the first test task: before training, and after each way of it."""
    task = setting.test(jax.random.fold_in(key, 0))
    views = {}
    for row, trained in weights.items():
        fast = learner.adapt(Embedding(trained, {}), task.support, task.key)
        found = learner.predict(fast, task.support.inputs).argmax(-1)
        views[row] = (np.asarray(setting.net.apply(trained, task.support.inputs)), np.asarray(found))
    figure = jm.report.task_clusters(np.asarray(task.support.inputs), np.asarray(task.truth), views)
    figure.savefig(setting.config.folder / "task.png", dpi=120)


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
