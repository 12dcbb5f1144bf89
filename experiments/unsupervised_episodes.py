"""Few-shot learning from images without a label: clusters of them take the place of classes.

CACTUs of Hsu, Levine and Finn 2019. The labels of the training classes are thrown away. All their images are
embedded and clustered by k-means; every cluster that is large enough is a pseudo-class, and MAML and ProtoNet
are trained on episodes of pseudo-classes as if these were classes. First the embedding is the principal axes
of the pixels; in every further round it is the ProtoNet of the round before, so that clusters and network
better each other in turns, as in DeepCluster of Caron et al. 2018. Rows, all on the same true tasks of unseen
classes:

- pixels: the nearest class mean of the images themselves
- untrained: ProtoNet as it starts
- protonet_R, maml_R: trained on the pseudo-classes of round R
- random: ProtoNet trained on those of the first round after images have changed places at random
- labels: ProtoNet trained on the true classes, an upper bound

All start anew and see equally many images. `nmi/R` says how much clusters tell of the labels, which nothing
else looks at. Batch statistics are those of the images asked about (transductive), as in the publications.
Published for scale, quoted from memory, Omniglot, 5 ways, 1 and 5 shots, embedded by ACAI: CACTUs-MAML 68.84
and 87.78 %, CACTUs-ProtoNets 68.12 and 83.58 %.

    python -m experiments.unsupervised_episodes --data-dir DIR
        21 minutes on two cores; accuracy/1_shot/maml_2 0.655, accuracy/5_shot/maml_2 0.850

The gpu preset takes 20,000 steps, five rounds and pooled blocks; `--dataset digits` needs no file, and is
watched, for want of further classes, on those that it learns from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree, UInt8
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

import jmeta as jm
from jmeta import ClassImages, harness
from jmeta.metrics import Interval
from jmeta.records import Learner, MetaStep, Model, Sampler
from jmeta.tasks.episodes import scaled
from jmeta.tasks.fields import reduced
from jmeta.tasks.stored import by_class

Method = Literal["protonet", "maml"]
METHODS: tuple[Method, ...] = ("protonet", "maml")
Trained = tuple[Learner, PyTree]
"""What is tested, and what it has learned."""
BLOCK = 500
"""Images that share batch statistics while they are embedded."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    variants = ("dataset",)

    dataset: Literal["digits", "omniglot"] = "omniglot"
    """digits: trained on 0 to 4, tested on 5 to 9; omniglot: Vinyals' split with rotations."""
    train: tuple[Literal["protonet", "maml", "random", "labels"], ...] = (*METHODS, "random", "labels")
    """Which rows to train; the first two in every round."""
    rounds: int = 2
    """How often images are clustered; the second time needs protonet."""
    clusters: int = 500
    """K of k-means."""
    axes: int = 32
    """Principal axes of the pixels that the first round clusters by."""
    most: int = 100
    """Images of a pseudo-class; of larger clusters some are left out."""
    ways: int = 5
    """W, classes per task."""
    train_ways: int = 20
    """And while training protonet."""
    shots: tuple[int, ...] = (1, 5)
    """S, labelled images per class at test; one while training."""
    queries: int = 5
    """Q, images to be named per class."""
    blocks: int = 4
    """Of the network."""
    width: int = 64
    """Filters of each."""
    strided: bool = True
    """Blocks halve the image by a stride, as MAML does on Omniglot, or by pooling."""
    steps: int = 1500
    """Meta-steps of every row."""
    tasks: int = 2
    """Tasks per meta-step of protonet; of maml as many more as its tasks are smaller."""
    rate: float = 1e-3
    """Learning rate of Adam at the start; it falls to zero along a cosine."""
    inner_rate: float = 0.4
    """Learning rate of the descent of maml: one step while training."""
    test_steps: int = 10
    """Its steps at test time."""
    test_tasks: int = 600
    """Tasks of the table, for every S."""
    validation_tasks: int = 100
    """Tasks of a validation, with true labels, of classes that are in neither training nor test."""
    every: int = 500
    """Meta-steps between two validations."""


QUICK: dict[str, Any] = {
    "dataset": "digits",
    "train": ("protonet", "maml", "random"),
    "clusters": 20,
    "most": 14,
    "train_ways": 10,
    "shots": (1,),
    "queries": 2,
    "blocks": 1,
    "width": 4,
    "steps": 2,
    "test_steps": 2,
    "test_tasks": 10,
    "validation_tasks": 10,
    "every": 2,
}
PRESETS = {
    "quick": Config(preset="quick", **QUICK),
    "cpu": Config(),
    "cpu-digits": Config(dataset="digits", clusters=50, train_ways=10),
    "gpu": Config(preset="gpu", rounds=5, strided=False, steps=20_000, tasks=4, every=1000, test_tasks=1000),
}


class Setting(NamedTuple):
    """What all rows share.

    Attributes:
        config: the options.
        net: embeds images.
        learners: as they are trained.
        tested: as they are tested.
        steps: of training.
        validation: true tasks to watch by.
    """

    config: Config
    net: Model
    learners: dict[Method, Learner]
    tested: dict[Method, Learner]
    steps: dict[Method, MetaStep]
    validation: Sampler
    start_key: Array
    train_key: Array
    validation_key: Array
    test_key: Array


def experiment(config: Config) -> harness.Metrics:
    """Cluster and train in turns, and test every row on the same true tasks of unseen classes."""
    if config.rounds > 1 and "protonet" not in config.train:
        raise jm.InputError("a second round needs what protonet makes of images; train it, or ask for one.")
    known, validation, test = harness.class_splits(config.dataset, data_dir=config.data_dir)
    setting = prepare(config, validation)
    tests = {shots: _tasks(config, test, config.ways, shots) for shots in config.shots}
    rows, metrics = train_rows(setting, known)
    pairs = _pairs(config, rows)
    for shots, sampler in tests.items():
        found = {
            f"{shots}_shot/{row}": jm.evaluate(
                learner, sampler, meta, setting.test_key, tasks=config.test_tasks
            )
            for row, (learner, meta) in rows.items()
        }
        metrics |= harness.paired(found, [(f"{shots}_shot/{a}", f"{shots}_shot/{b}") for a, b in pairs])
    return metrics


def _pairs(config: Config, rows: Collection[str]) -> list[tuple[str, str]]:
    """What clusters are worth: every round beside the control, and beside the round before it."""
    told = [
        (f"{method}_{place}", other)
        for place in range(1, config.rounds + 1)
        for method in METHODS
        for other in ("random", f"{method}_{place - 1}")
    ]
    return [(row, other) for row, other in told if row in rows and other in rows]


def prepare(config: Config, validation: ClassImages) -> Setting:
    """The networks, what trains them, and the tasks to watch by."""
    height, width, channels = validation.examples.shape[2:]
    conv = partial(
        jm.networks.convnet,
        [config.width] * config.blocks,
        shape=(height, width, channels),
        pools=config.blocks,
        norm="batch",
        strided=config.strided,
        average=config.strided,
    )
    net, numbers = conv(), {"learning_rate": config.inner_rate}
    maml = partial(jm.maml, conv(outputs=config.ways), jm.cross_entropy, numbers=numbers)
    learners: dict[Method, Learner] = {
        "protonet": jm.prototypes(net, ways=max(config.train_ways, config.ways)),
        "maml": maml(steps=1),
    }
    tested: dict[Method, Learner] = learners | {"maml": maml(steps=config.test_steps)}
    adam = optax.adam(optax.cosine_decay_schedule(config.rate, config.steps))
    steps = {
        method: jm.meta_step(jm.query_loss(learner, jm.cross_entropy), adam)
        for method, learner in learners.items()
    }
    sampler = _tasks(config, validation, config.ways, 1)
    return Setting(config, net, learners, tested, steps, sampler, *jax.random.split(config.key, 4))


def _tasks(config: Config, images: ClassImages, ways: int, shots: int) -> Sampler:
    return jm.episodes(
        images, ways=ways, shots=shots, queries=config.queries, rotations=config.dataset == "omniglot"
    )


def train_rows(setting: Setting, known: ClassImages) -> tuple[dict[str, Trained], dict[str, Interval]]:
    """Cluster, train and embed in turns.

    Returns:
        All rows, and how much the clusters of every round tell of the labels.
    """
    config, random = setting.config, np.random.default_rng(setting.config.seed)
    pixels, protonet = jm.prototypes(jm.networks.flatten(), ways=config.ways), setting.tested["protonet"]
    rows: dict[str, Trained] = {
        "pixels": (pixels, {}),
        "untrained": (protonet, protonet.init(setting.start_key)),
    }
    metrics: dict[str, Interval] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    train = partial(_train, setting, curves)
    images, labels = pooled(known, random)
    points = reduced(images, axes=config.axes, seed=config.seed)
    for place in range(1, config.rounds + 1):
        clusters = clustered(config, points)
        metrics[f"nmi/{place}"] = Interval(normalized_mutual_info_score(labels, clusters), 0.0, 1)
        for method in (method for method in METHODS if method in config.train):
            name = f"{method}_{place}"
            rows[name] = train(name, method, pseudo_classes(config, images, clusters))
        if place == 1 and "random" in config.train:
            mixed = pseudo_classes(config, images, random.permutation(clusters))
            rows["random"] = train("random", "protonet", mixed)
        if place < config.rounds:
            points = embedded(setting.net, rows[f"protonet_{place}"][1], images)
    if "labels" in config.train:
        rows["labels"] = train("labels", "protonet", known)
    figure = jm.report.learning_curves(curves, "validation_accuracy")
    figure.savefig(config.folder / "learning_curves.png")
    return rows, metrics


def pooled(
    images: ClassImages, random: np.random.Generator
) -> tuple[UInt8[np.ndarray, "N H W C"], Int[np.ndarray, " N"]]:
    """The images of all classes, in an order that tells nothing of these, and their labels."""
    real = np.arange(images.examples.shape[1]) < images.counts[:, None]
    order = random.permutation(int(real.sum()))
    return images.examples[real][order], np.repeat(np.arange(len(real)), images.counts)[order]


def clustered(config: Config, points: Float[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:
    """The cluster of every point."""
    if len(points) < config.clusters:
        raise jm.InputError(f"{len(points)} images cannot make {config.clusters} clusters; ask for fewer.")
    return KMeans(config.clusters, n_init=1, random_state=config.seed).fit_predict(points)


def pseudo_classes(
    config: Config, images: UInt8[np.ndarray, "N H W C"], clusters: Int[np.ndarray, " N"]
) -> ClassImages:
    """Clusters in the place of classes, without those that are too small for a task."""
    members = [np.flatnonzero(clusters == one)[: config.most] for one in np.unique(clusters)]
    kept = [rows for rows in members if len(rows) > config.queries]
    labels = np.full(len(images), -1)
    for label, rows in enumerate(kept):
        labels[rows] = label
    names = tuple(map(str, range(len(kept))))
    return by_class(images.__getitem__, labels, names, f"clusters of {config.dataset}").in_memory()


def embedded(net: Model, body: PyTree, images: UInt8[np.ndarray, "N H W C"]) -> Float[np.ndarray, "N D"]:
    """What a network makes of the images, block by block, the last one filled up with the first images."""
    blocks = np.resize(images, (-(-len(images) // BLOCK), BLOCK, *images.shape[1:]))
    embed = jm.over_tasks(lambda body, block: net.apply(body, scaled(block)), shared=1)
    found = np.asarray(embed(jax.device_get(body), blocks))
    return found.reshape(-1, found.shape[-1])[: len(images)]


def _train(
    setting: Setting,
    curves: dict[str, list[dict[str, float]]],
    name: str,
    method: Method,
    classes: ClassImages,
) -> Trained:
    """What a row ends with; its log joins the curves."""
    config, step, tested = setting.config, setting.steps[method], setting.tested[method]
    turns = 4 if config.dataset == "omniglot" else 1
    ways = min(config.train_ways, len(classes.names) * turns) if method == "protonet" else config.ways

    validate = harness.validation_accuracy(
        tested, setting.validation, setting.validation_key, tasks=config.validation_tasks
    )
    state, curves[name] = harness.train(
        config,
        name,
        step,
        _tasks(config, classes, ways, 1),
        step.init(setting.learners[method].init(setting.start_key)),
        setting.train_key,
        steps=config.steps,
        tasks=max(1, config.tasks * config.train_ways // ways),
        every=min(config.every, config.steps),
        evaluate=validate,
    )
    return tested, state.meta


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
