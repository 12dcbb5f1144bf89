"""Learns an embedding in which soft k-means finds classes that were not seen in training.

Every test task hides all labels: W classes with S images each are clustered with known K = W, and
scored by accuracy after matching clusters to classes. Rows of the table, all on the same tasks, each
clustered by soft k-means, and, as ROW/sinkhorn, by Sinkhorn k-means, which assumes classes of equal size:

- pixels: the images themselves
- untrained: a random network's embedding
- prototype: a network trained by the supervised surrogate, with no gradient through the clustering
- through: trained through the clustering alone, from a random start, for a soft ARI
- warm: trained through the clustering alone, after a third of the steps on the surrogate
- both: trained on the sum of the two losses

In training, the gradient passes through the best of several seedings: through a single one it is mostly that
of a bad local optimum. `--diff` sets the differentiation rule: unrolling every step, the implicit function
theorem, or one step at the end. `clustering_gradients` measures what these cost.

    python -m experiments.few_shot_clustering --preset cpu
        2 minutes on two cores; accuracy/both 0.89, accuracy/pixels 0.81
    python -m experiments.few_shot_clustering --dataset omniglot --train both --data-dir DIR
        12 minutes on two cores; accuracy/both 0.989, accuracy/pixels 0.58
    python -m experiments.few_shot_clustering --dataset omniglot --ways 20 --train both --data-dir DIR
        27 minutes on two cores beside other work; accuracy/both 0.942, accuracy/pixels 0.20

Every trained row is written to OUT/ROW.npz, for `jm.load_trained` and `jm.MetaClusterer`; the embedding of
Omniglot's characters that comes with jmeta is the row "both" of the third command.

The gpu preset is the cpu one for digits, and 15,000 steps of 32 tasks for the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax

import jmeta as jm
from jmeta import Evaluation, harness
from jmeta.learners.centroid import Embedding
from jmeta.records import Clusterer, Diff, Learner, MetaState, MetaStep, Model, Sampler, TaskLoss

Row = Literal["prototype", "through", "warm", "both"]
Loss = Literal["surrogate", "through", "both"]
Method = Literal["soft", "sinkhorn"]
METHODS: dict[Method, Callable[..., Clusterer]] = {"soft": jm.soft_kmeans, "sinkhorn": jm.sinkhorn_kmeans}
"""The clusterers by name."""
RULES = {"unroll": None, "implicit": jm.implicit(jm.gmres(10)), "one_step": jm.one_step()}
"""The differentiation rules by name; `None` is the default, which unrolls every step."""

PHASES: dict[Row, tuple[Loss, ...]] = {
    "prototype": ("surrogate", "surrogate", "surrogate"),
    "through": ("through", "through", "through"),
    "warm": ("surrogate", "through", "through"),
    "both": ("both", "both", "both"),
}
"""The loss of each row in each third of training."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    variants = ("dataset", "ways")

    dataset: Literal["digits", "omniglot", "cifar100"] = "digits"
    """digits: trained on 0 to 4, tested on 5 to 9; omniglot: Vinyals' split with rotations; cifar100: that
    of CIFAR-FS."""
    train: Literal["all", "prototype", "through", "warm", "both"] = "all"
    """Which rows to train."""
    clusterer: Method = "soft"
    """The clusterer in training."""
    diff: Literal["unroll", "implicit", "one_step"] = "unroll"
    """Its differentiation rule."""
    ways: int = 5
    """W, classes per task."""
    shots: int = 5
    """S, images to cluster per class."""
    queries: int = 5
    """Q, further images per class, for the surrogate and for unsupervised few-shot accuracy."""
    width: int = 64
    """Filters of each block of conv4; for digits, half, half and a quarter as many in three blocks."""
    norm: Literal["batch", "layer"] = "layer"
    """Normalisation: by statistics of the batch, which is transductive, or of each image."""
    steps: int = 300
    """Meta-steps, a multiple of three."""
    tasks: int = 8
    """Tasks per meta-step."""
    chunk: int = 8
    """Tasks differentiated at once."""
    rate: float = 3e-3
    """Initial learning rate of Adam, with cosine decay to zero."""
    iterations: int = 20
    """Steps of the clustering."""
    train_restarts: int = 4
    """Seedings per clustering in training; the gradient passes through the best."""
    restarts: int = 8
    """Seedings per clustering at test time."""
    test_tasks: int = 1000
    """Number of test tasks."""
    validation_tasks: int = 100
    """Validation tasks, of unseen classes; for digits, of the training classes."""
    every: int = 50
    """Meta-steps between two validations."""


OMNIGLOT = Config(dataset="omniglot", norm="batch", rate=1e-3, steps=2100, chunk=1, every=350)
CIFAR = dataclasses.replace(OMNIGLOT, dataset="cifar100", steps=1500, every=250)
QUICK: dict[str, Any] = {
    "train": "both",
    "width": 8,
    "steps": 6,
    "tasks": 2,
    "chunk": 1,
    "every": 2,
    "test_tasks": 20,
    "validation_tasks": 4,
}
FULL: dict[str, Any] = {"steps": 15_000, "tasks": 32, "chunk": 32, "every": 1000}
PRESETS = {
    "quick": Config(preset="quick", **QUICK),
    "cpu": Config(),
    "gpu": Config(preset="gpu"),
    "quick-omniglot": dataclasses.replace(OMNIGLOT, preset="quick", **QUICK),
    "quick-cifar100": dataclasses.replace(CIFAR, preset="quick", **QUICK),
    "cpu-omniglot": OMNIGLOT,
    "cpu-omniglot-20": dataclasses.replace(OMNIGLOT, ways=20, tasks=2, steps=1200, every=200),
    "cpu-cifar100": CIFAR,
    "gpu-omniglot": dataclasses.replace(OMNIGLOT, preset="gpu", **FULL),
    "gpu-cifar100": dataclasses.replace(CIFAR, preset="gpu", **FULL),
}


class Setting(NamedTuple):
    """The parts that all rows share, so that they are compiled once and see the same tasks."""

    config: Config
    recipe: jm.Recipe
    net: Model
    steps: dict[Loss, MetaStep]
    start: MetaState
    tested: dict[Method, Learner]
    train: Sampler
    validation: Sampler
    test: Sampler


def experiment(config: Config) -> harness.Metrics:
    """Trains the requested rows and evaluates all of them on the same tasks."""
    if config.steps % 3:
        raise jm.InputError(f"steps is {config.steps}; give a multiple of three, for three equal phases.")
    start_key, train_key, validation_key, test_key = jax.random.split(config.key, 4)
    setting = prepare(config, start_key)
    metas = {"untrained": setting.start.meta}
    curves: dict[str, list[dict[str, float]]] = {}
    for row in PHASES if config.train == "all" else (config.train,):
        metas[row], curves[row] = train_row(setting, row, train_key, validation_key)

    results: dict[str, Evaluation] = {}
    for method, learner in setting.tested.items():
        pixels = jm.centroids(jm.networks.flatten(), _clusterer(config, method, config.restarts))
        rows = {"pixels": (pixels, pixels.init(start_key))} | {row: (learner, metas[row]) for row in metas}
        for name, (tested, meta) in rows.items():
            key = name if method == "soft" else f"{name}/{method}"
            results[key] = _evaluate(setting, tested, meta, test_key)
    figure = jm.report.learning_curves(curves, "validation_accuracy")
    figure.savefig(config.folder / "learning_curves.png")
    _draw(setting, metas, test_key)
    through = [row for row in ("through", "warm", "both") if {row, "prototype"} <= results.keys()]
    return harness.paired(results, [(row, "prototype") for row in through])


def prepare(config: Config, key: jax.Array) -> Setting:
    """The samplers, the network, its meta-steps and its learners."""
    rotations = config.dataset != "cifar100"
    train, validation, test = harness.class_splits(config.dataset, data_dir=config.data_dir)
    shape = train.examples.shape[2:]
    recipe = _network(config, shape)
    net = jm.make(recipe)
    learner = jm.centroids(
        net, _clusterer(config, config.clusterer, config.train_restarts, diff=RULES[config.diff])
    )
    surrogate = jm.prototype_loss(learner)
    through = jm.clustering_loss(learner, jm.soft_ari)
    losses: dict[Loss, TaskLoss] = {
        "surrogate": surrogate,
        "through": through,
        "both": jm.total(surrogate, through),
    }
    optimizer = harness.clipped_adam(optax.cosine_decay_schedule(config.rate, config.steps))
    steps = {name: jm.meta_step(loss, optimizer, chunk=config.chunk) for name, loss in losses.items()}
    tasks = partial(jm.episodes, ways=config.ways, shots=config.shots, queries=config.queries, labelled=False)
    return Setting(
        config=config,
        recipe=recipe,
        net=net,
        steps=steps,
        start=steps["both"].init(learner.init(key)),
        tested={method: jm.centroids(net, _clusterer(config, method, config.restarts)) for method in METHODS},
        train=tasks(train, rotations=rotations),
        validation=tasks(validation, rotations=rotations),
        test=tasks(test, rotations=config.dataset == "omniglot"),
    )


def _network(config: Config, shape: tuple[int, ...]) -> jm.Recipe:
    """Conv4; for digits, which are so small that pooling would lose where strokes are, blocks without it."""
    if config.dataset != "digits":
        return jm.recipe("conv4", config.width, shape=shape, norm=config.norm)
    widths = (config.width // 2, config.width // 2, config.width // 4)
    return jm.recipe("convnet", widths, shape=shape, norm=config.norm, linear=True)


def _clusterer(config: Config, method: Method, restarts: int, diff: Diff | None = None) -> Clusterer:
    return METHODS[method](config.ways, steps=config.iterations, restarts=restarts, diff=diff)


def train_row(
    setting: Setting, row: Row, train_key: jax.Array, validation_key: jax.Array
) -> tuple[Embedding, list[dict[str, float]]]:
    """The trained meta-parameters of a row, and the log of their training."""
    config = setting.config
    state = setting.start
    rows: list[dict[str, float]] = []
    validate = harness.validation_accuracy(
        setting.tested["soft"],
        setting.validation,
        validation_key,
        tasks=config.validation_tasks,
        chunk=config.chunk,
    )
    for phase, loss in enumerate(PHASES[row]):
        state, more = harness.train(
            config,
            f"{row}_{phase}",
            setting.steps[loss],
            setting.train,
            state,
            train_key,
            steps=config.steps // 3,
            tasks=config.tasks,
            every=config.every,
            evaluate=validate,
        )
        rows += more
    if not jax.process_index():
        clusterer = jm.recipe("soft_kmeans", config.ways, steps=config.iterations, restarts=config.restarts)
        learner = jm.recipe("centroids", setting.recipe, clusterer)
        jm.save_trained(config.folder / f"{row}.npz", learner, state.meta, _card(setting, row, rows))
    return state.meta, rows


def _card(setting: Setting, row: Row, rows: list[dict[str, float]]) -> dict[str, Any]:
    """The model card of a trained embedding."""
    config = setting.config
    options = {key: getattr(config, key) for key in ("dataset", "ways", "shots", "steps", "tasks", "seed")}
    validated = [one["validation_accuracy"] for one in rows if "validation_accuracy" in one]
    shape = setting.recipe.options["shape"]
    return {"shape": list(shape), "trained by": row, "validation accuracy": validated[-1]} | options


def _evaluate(setting: Setting, learner: Learner, meta: Embedding, key: jax.Array) -> Evaluation:
    config = setting.config
    return jm.evaluate(learner, setting.test, meta, key, tasks=config.test_tasks, chunk=config.chunk)


def _draw(setting: Setting, metas: dict[str, Embedding], key: jax.Array) -> None:
    """Draws the first test task, as embedded by the initial network and by every trained row."""
    task = setting.test(jax.random.fold_in(key, 0))

    @jax.jit
    def cluster(meta: Embedding) -> tuple[jax.Array, jax.Array]:
        learner = setting.tested["soft"]
        fast = learner.adapt(meta, task.support, task.key)
        labels = learner.predict(fast, task.support.inputs).argmax(-1)
        return setting.net.apply(meta.body, task.support.inputs), labels

    clusterings = {row: jax.tree.map(np.asarray, cluster(meta)) for row, meta in metas.items()}
    figure = jm.report.task_clusters(np.asarray(task.support.inputs), np.asarray(task.truth), clusterings)
    figure.savefig(setting.config.folder / "task.png", dpi=120)


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
