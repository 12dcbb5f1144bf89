"""Adapts a network to a clustering task without labels: MAML whose inner loss is a clustering objective.

On the support, all of whose labels are hidden, a few gradient steps minimise a clustering objective of the
embeddings; the adapted embeddings are then clustered by soft k-means and scored by a soft ARI. The outer
gradient passes through the clustering and through the inner steps, so that the clustering in the inner
objective is differentiated twice. The inner objective is the energy of soft k-means, or minus the mutual
information of points and clusters. Rows, all from the same start and on the same tasks of unseen classes:

- untrained: the initial network
- unadapted: trained on the same outer loss without inner steps, which makes it a centroid network
- adapted: trained and tested with inner steps of learned rates, one for each array of weights
- adapted_without: the same network, tested without inner steps
- unadapted_with: the network trained without inner steps, tested with them
- first_order: as adapted, with the inner gradient taken as constant, so that nothing is differentiated twice

The paired differences `gain/...` show the effect of adapting without labels, and of its second derivatives.

    python -m experiments.clustering_inner_loop
        5 minutes on two cores; accuracy/adapted 0.82, accuracy/unadapted 0.86
    python -m experiments.clustering_inner_loop --dataset omniglot --data-dir DIR
        not yet run to the end

The gpu presets take more steps, more tasks and, for omniglot, wider blocks. The quick preset trains unadapted
and adapted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Key

import jmeta as jm
from jmeta import ClassImages, Evaluation, harness
from jmeta.learners.gradient import Descent
from jmeta.networks.layers import EPSILON
from jmeta.records import Batch, Clusterer, Learner, Loss, Metrics, Model, Sampler
from jmeta.weights import weighted_mean, weights_or_ones

Row = Literal["unadapted", "adapted", "first_order"]
PAIRS = (
    ("unadapted", "untrained"),
    ("adapted", "unadapted"),
    ("adapted", "adapted_without"),
    ("adapted", "first_order"),
    ("first_order", "unadapted"),
    ("unadapted_with", "unadapted"),
)
"""Rows that are compared in pairs."""


def relative_energy(clusterer: Clusterer) -> Loss:
    """The energy of embeddings at unit variance; without scaling, collapsed embeddings would minimise it."""
    energy = jm.losses.clustering_energy(clusterer)

    def loss(
        outputs: Float[Array, "N D"], targets: Array, weights: Float[Array, " N"] | None = None
    ) -> tuple[Float[Array, ""], Metrics]:
        counted = weights_or_ones(outputs, weights)
        centered = outputs - weighted_mean(outputs, counted)
        variance = counted @ jnp.sum(jnp.square(centered), 1) / jnp.sum(counted)
        return energy(centered * lax.rsqrt(variance + EPSILON), targets, weights)

    return loss


def information(clusterer: Clusterer) -> Loss:
    """Minus the mutual information of points and clusters, which does not depend on the embedding's scale."""

    def loss(
        outputs: Float[Array, "N D"], targets: Array, weights: Float[Array, " N"] | None = None
    ) -> tuple[Float[Array, ""], Metrics]:
        state = clusterer.fit({}, Batch(outputs, weights=weights), jax.random.key(0))
        log_probs = clusterer.assign({}, state, outputs).log_probs
        return jm.losses.information_maximization(log_probs, targets, weights)

    return loss


INNER: dict[str, Callable[[Clusterer], Loss]] = {"energy": relative_energy, "information": information}
"""The inner objectives."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    variants = ("dataset",)

    dataset: Literal["digits", "omniglot"] = "digits"
    """digits: trained on 0 to 4 and their quarter turns, tested on 5 to 9; omniglot: Vinyals' split with
    rotations."""
    train: tuple[Row, ...] = ("unadapted", "adapted", "first_order")
    """Which rows to train."""
    inner: Literal["energy", "information"] = "energy"
    """The inner objective."""
    inner_steps: int = 3
    """Inner steps, in training and at test time."""
    inner_rate: float = 0.01
    """Initial inner learning rate of each array of weights; it is learned and may become negative."""
    ways: int = 5
    """W, classes per task."""
    shots: int = 5
    """S, images to cluster per class."""
    queries: int = 5
    """Q, further images per class, which are assigned to the clusters."""
    width: int = 32
    """Filters of each block of conv4; for digits, of two blocks, with half as many in a third."""
    steps: int = 300
    """Meta-steps of every row."""
    tasks: int = 8
    """Tasks per meta-step."""
    rate: float = 3e-3
    """Initial learning rate of Adam, with cosine decay to zero."""
    iterations: int = 10
    """Steps of every clustering."""
    restarts: int = 4
    """Seedings per clustering, in training and at test time; gradients pass through the best."""
    test_tasks: int = 1000
    """Number of test tasks."""
    validation_tasks: int = 100
    """Validation tasks, of unseen classes; for digits, of the training classes."""
    every: int = 100
    """Meta-steps between two validations."""


QUICK: dict[str, Any] = {
    "train": ("unadapted", "adapted"),
    "width": 4,
    "inner_steps": 1,
    "shots": 2,
    "queries": 1,
    "steps": 2,
    "tasks": 2,
    "iterations": 2,
    "restarts": 1,
    "test_tasks": 10,
    "validation_tasks": 10,
    "every": 2,
}
OMNIGLOT: dict[str, Any] = {"dataset": "omniglot", "width": 16, "inner_steps": 2}
FULL: dict[str, Any] = {"preset": "gpu", "steps": 10_000, "tasks": 32, "every": 1000}
PRESETS = {
    "quick": Config(preset="quick", **QUICK),
    "cpu": Config(),
    "cpu-omniglot": Config(**OMNIGLOT),
    "gpu": Config(preset="gpu", steps=3000, tasks=32, every=500),
    "gpu-omniglot": Config(**(OMNIGLOT | FULL | {"width": 64})),
}


def experiment(config: Config) -> harness.Metrics:
    """Trains the requested rows and evaluates all of them on the same tasks."""
    start_key, train_key, validation_key, test_key = jax.random.split(config.key, 4)
    train, validation, test = harness.class_splits(config.dataset, data_dir=config.data_dir)
    learners = _learners(config, _network(config, train.examples.shape[2:]))
    with_steps = learners["adapted"]
    without = learners["unadapted"]
    start = with_steps.init(start_key)
    rotations = config.dataset == "omniglot"
    validation_tasks, test_tasks = (_tasks(config, images, rotations) for images in (validation, test))
    validate = partial(_evaluate, validation_tasks, validation_key, config.validation_tasks)
    evaluate = partial(_evaluate, test_tasks, test_key, config.test_tasks)
    curves: dict[str, list[dict[str, float]]] = {}
    rows: dict[str, tuple[Learner, Descent]] = {"untrained": (without, start)}
    for row in config.train:
        learner = without if row == "unadapted" else with_steps
        meta, curves[row] = _train(
            config, row, learners[row], start, train, train_key, partial(validate, learner)
        )
        rows[row] = learner, meta
    if "adapted" in rows:
        rows["adapted_without"] = without, rows["adapted"][1]
    if "unadapted" in rows:
        rows["unadapted_with"] = with_steps, rows["unadapted"][1]
    results = {row: evaluate(learner, meta) for row, (learner, meta) in rows.items()}
    figure = jm.report.learning_curves(curves, "validation_accuracy")
    figure.savefig(config.folder / "learning_curves.png")
    return harness.paired(results, [pair for pair in PAIRS if results.keys() >= set(pair)])


def _learners(config: Config, net: Model) -> dict[Row, Learner]:
    """Clustered networks with and without inner steps, whose meta-parameters have the same structure."""
    clusterer = jm.soft_kmeans(config.ways, steps=config.iterations, restarts=config.restarts)
    rates = {"learning_rate": jm.per_leaf(jm.signed(config.inner_rate))}
    inner = INNER[config.inner](clusterer)
    learner = partial(jm.maml, net, inner, numbers=rates, learn=("learning_rate",))
    return {
        "unadapted": jm.clustered(learner(steps=0), clusterer),
        "adapted": jm.clustered(learner(steps=config.inner_steps), clusterer),
        "first_order": jm.clustered(learner(steps=config.inner_steps, gradient=jm.first_order), clusterer),
    }


def _network(config: Config, shape: tuple[int, ...]) -> Model:
    """Conv4; for digits, which are so small that pooling would lose where strokes are, blocks without it."""
    height, width, channels = shape
    if config.dataset == "omniglot":
        return jm.networks.conv4(config.width, shape=(height, width, channels))
    widths = (config.width, config.width, config.width // 2)
    return jm.networks.convnet(widths, shape=(height, width, channels), norm="layer", linear=True)


def _tasks(config: Config, images: ClassImages, rotations: bool) -> Sampler:
    counts = {"ways": config.ways, "shots": config.shots, "queries": config.queries}
    return jm.episodes(images, labelled=False, rotations=rotations, **counts)


def _train(
    config: Config,
    row: Row,
    learner: Learner,
    start: Descent,
    images: ClassImages,
    key: Key[Array, ""],
    evaluate: Callable[[Descent], Evaluation],
) -> tuple[Descent, list[dict[str, float]]]:
    """The meta-parameters of a learner trained for a soft ARI, and the log of its training."""
    optimizer = harness.clipped_adam(optax.cosine_decay_schedule(config.rate, config.steps))
    step = jm.meta_step(jm.clustering_loss(learner, jm.soft_ari), optimizer)

    def validate(meta: Descent) -> dict[str, float]:
        return {"validation_accuracy": evaluate(meta).intervals()["accuracy"].mean}

    state, log = harness.train(
        config,
        row,
        step,
        _tasks(config, images, True),
        step.init(start),
        key,
        steps=config.steps,
        tasks=config.tasks,
        every=min(config.every, config.steps),
        evaluate=validate,
    )
    return state.meta, log


def _evaluate(
    sampler: Sampler, key: Key[Array, ""], tasks: int, learner: Learner, meta: Descent
) -> Evaluation:
    """Evaluates a learner; its meta-parameters are moved to the host, so that one program serves all rows."""
    return jm.evaluate(learner, sampler, jax.device_get(meta), key, tasks=tasks)


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
