"""Few-shot learning from unlabelled images, with clusters of images in place of classes.

The method is CACTUs of Hsu, Levine and Finn 2019. The labels of the training classes are discarded. All their
images are embedded and clustered by k-means; every cluster that is large enough is a pseudo-class, and MAML
and ProtoNet are trained on episodes of pseudo-classes. In the first round the embedding is the principal
axes of the pixels; in every further round it is the ProtoNet of the previous round, so that clusters and
network improve in turn, as in DeepCluster of Caron et al. 2018. Rows, all on the same tasks of unseen classes
with true labels:

- pixels: the nearest class mean of the images themselves
- untrained: the initial ProtoNet
- protonet_R, maml_R: trained on the pseudo-classes of round R
- random: ProtoNet trained on the pseudo-classes of the first round, with images permuted at random
- labels: ProtoNet trained on the true classes, an upper bound

All rows are trained from scratch on equal numbers of images. `nmi/R` is the normalized mutual information of
clusters and labels, which are used for nothing else. Batch statistics are those of the query images
(transductive), as in the publications. Published for scale, quoted from memory, Omniglot, 5 ways, 1 and 5
shots, embedded by ACAI: CACTUs-MAML 68.84 and 87.78 %, CACTUs-ProtoNets 68.12 and 83.58 %.

    python -m experiments.unsupervised_episodes --data-dir DIR
        21 minutes on two cores; accuracy/1_shot/maml_2 0.655, accuracy/5_shot/maml_2 0.850

The gpu preset takes 20,000 steps, five rounds and pooled blocks. `--dataset digits` needs no file; without
further classes, its validation tasks are of the training classes.
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
"""The learner at test time, and its trained meta-parameters."""
BLOCK = 500
"""Images that share batch statistics when they are embedded."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    variants = ("dataset",)

    dataset: Literal["digits", "omniglot"] = "omniglot"
    """digits: trained on 0 to 4, tested on 5 to 9; omniglot: Vinyals' split with rotations."""
    train: tuple[Literal["protonet", "maml", "random", "labels"], ...] = (*METHODS, "random", "labels")
    """Which rows to train; protonet and maml are trained in every round."""
    rounds: int = 2
    """Rounds of clustering; more than one needs protonet."""
    clusters: int = 500
    """K of k-means."""
    axes: int = 32
    """Principal axes of the pixels that the first round clusters by."""
    most: int = 100
    """Largest number of images of a pseudo-class; larger clusters are truncated."""
    ways: int = 5
    """W, classes per task."""
    train_ways: int = 20
    """W in training of protonet."""
    shots: tuple[int, ...] = (1, 5)
    """S, labelled images per class at test time; one in training."""
    queries: int = 5
    """Q, query images per class."""
    blocks: int = 4
    """Blocks of the network."""
    width: int = 64
    """Filters of each block."""
    strided: bool = True
    """Whether blocks halve the image by a stride, as in MAML on Omniglot, or by pooling."""
    steps: int = 1500
    """Meta-steps of every row."""
    tasks: int = 2
    """Tasks per meta-step of protonet; maml takes more smaller tasks, with equal numbers of images."""
    rate: float = 1e-3
    """Initial learning rate of Adam, with cosine decay to zero."""
    inner_rate: float = 0.4
    """Inner learning rate of maml, which takes one inner step in training."""
    test_steps: int = 10
    """Inner steps of maml at test time."""
    test_tasks: int = 600
    """Test tasks for every S."""
    validation_tasks: int = 100
    """Validation tasks, with true labels, of unseen classes; for digits, of the training classes."""
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
    """The parts that all rows share.

    Attributes:
        config: the options.
        net: the network that embeds images.
        learners: the learners in training.
        tested: the learners at test time.
        steps: their meta-steps.
        validation: the sampler of validation tasks, with true labels.
        start_key: the key of initial parameters.
        train_key: the key of training.
        validation_key: the key of validation tasks.
        test_key: the key of test tasks.
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
    """Clusters and trains in turn, and tests every row on the same tasks of unseen classes."""
    if config.rounds > 1 and "protonet" not in config.train:
        raise jm.InputError(
            f"rounds is {config.rounds}, but later rounds need protonet, which is not trained; "
            "train it, or give 1."
        )
    train, validation, test = harness.class_splits(config.dataset, data_dir=config.data_dir)
    setting = prepare(config, validation)
    tests = {shots: _tasks(config, test, config.ways, shots) for shots in config.shots}
    rows, metrics = train_rows(setting, train)
    pairs = _pairs(config, rows)
    for shots, sampler in tests.items():
        results = {
            f"{shots}_shot/{row}": jm.evaluate(
                learner, sampler, meta, setting.test_key, tasks=config.test_tasks
            )
            for row, (learner, meta) in rows.items()
        }
        metrics |= harness.paired(results, [(f"{shots}_shot/{a}", f"{shots}_shot/{b}") for a, b in pairs])
    return metrics


def _pairs(config: Config, rows: Collection[str]) -> list[tuple[str, str]]:
    """Pairs of every round with the control and with the previous round, as far as they exist."""
    pairs = [
        (f"{method}_{number}", other)
        for number in range(1, config.rounds + 1)
        for method in METHODS
        for other in ("random", f"{method}_{number - 1}")
    ]
    return [(row, other) for row, other in pairs if row in rows and other in rows]


def prepare(config: Config, validation: ClassImages) -> Setting:
    """The networks, their meta-steps, and the validation tasks."""
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
    net = conv()
    numbers = {"learning_rate": config.inner_rate}
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
    start_key, train_key, validation_key, test_key = jax.random.split(config.key, 4)
    return Setting(
        config=config,
        net=net,
        learners=learners,
        tested=tested,
        steps=steps,
        validation=_tasks(config, validation, config.ways, 1),
        start_key=start_key,
        train_key=train_key,
        validation_key=validation_key,
        test_key=test_key,
    )


def _tasks(config: Config, images: ClassImages, ways: int, shots: int) -> Sampler:
    return jm.episodes(
        images, ways=ways, shots=shots, queries=config.queries, rotations=config.dataset == "omniglot"
    )


def train_rows(setting: Setting, classes: ClassImages) -> tuple[dict[str, Trained], dict[str, Interval]]:
    """Clusters, trains and embeds in turn.

    Returns:
        All rows, and the mutual information of clusters and labels in every round.
    """
    config = setting.config
    random = np.random.default_rng(config.seed)
    pixels = jm.prototypes(jm.networks.flatten(), ways=config.ways)
    protonet = setting.tested["protonet"]
    rows: dict[str, Trained] = {
        "pixels": (pixels, {}),
        "untrained": (protonet, protonet.init(setting.start_key)),
    }
    metrics: dict[str, Interval] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    train = partial(_train, setting, curves)
    images, labels = pooled(classes, random)
    points = reduced(images, axes=config.axes, seed=config.seed)
    for number in range(1, config.rounds + 1):
        clusters = cluster(config, points)
        metrics[f"nmi/{number}"] = Interval(normalized_mutual_info_score(labels, clusters), 0.0, 1)
        for method in (method for method in METHODS if method in config.train):
            name = f"{method}_{number}"
            rows[name] = train(name, method, pseudo_classes(config, images, clusters))
        if number == 1 and "random" in config.train:
            permuted = pseudo_classes(config, images, random.permutation(clusters))
            rows["random"] = train("random", "protonet", permuted)
        if number < config.rounds:
            points = embedded(setting.net, rows[f"protonet_{number}"][1], images)
    if "labels" in config.train:
        rows["labels"] = train("labels", "protonet", classes)
    figure = jm.report.learning_curves(curves, "validation_accuracy")
    figure.savefig(config.folder / "learning_curves.png")
    return rows, metrics


def pooled(
    images: ClassImages, random: np.random.Generator
) -> tuple[UInt8[np.ndarray, "N H W C"], Int[np.ndarray, " N"]]:
    """The images of all classes in random order, and their labels."""
    real = np.arange(images.examples.shape[1]) < images.counts[:, None]
    order = random.permutation(int(real.sum()))
    return images.examples[real][order], np.repeat(np.arange(len(real)), images.counts)[order]


def cluster(config: Config, points: Float[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:
    """The k-means cluster of every point."""
    if len(points) < config.clusters:
        raise jm.InputError(
            f"clusters is {config.clusters}, but there are {len(points)} images; give fewer clusters."
        )
    return KMeans(config.clusters, n_init=1, random_state=config.seed).fit_predict(points)


def pseudo_classes(
    config: Config, images: UInt8[np.ndarray, "N H W C"], clusters: Int[np.ndarray, " N"]
) -> ClassImages:
    """The clusters as classes, without those that are too small for a task."""
    members = [np.flatnonzero(clusters == number)[: config.most] for number in np.unique(clusters)]
    kept = [rows for rows in members if len(rows) > config.queries]
    labels = np.full(len(images), -1)
    for label, rows in enumerate(kept):
        labels[rows] = label
    names = tuple(map(str, range(len(kept))))
    return by_class(images.__getitem__, labels, names, f"clusters of {config.dataset}").in_memory()


def embedded(net: Model, body: PyTree, images: UInt8[np.ndarray, "N H W C"]) -> Float[np.ndarray, "N D"]:
    """The network's embeddings, computed in blocks; the last block is padded with the first images."""
    blocks = np.resize(images, (-(-len(images) // BLOCK), BLOCK, *images.shape[1:]))
    embed = jm.over_tasks(lambda body, block: net.apply(body, scaled(block)), shared=1)
    points = np.asarray(embed(jax.device_get(body), blocks))
    return points.reshape(-1, points.shape[-1])[: len(images)]


def _train(
    setting: Setting,
    curves: dict[str, list[dict[str, float]]],
    name: str,
    method: Method,
    classes: ClassImages,
) -> Trained:
    """The trained meta-parameters of a row with its test learner; its log is added to `curves`."""
    config = setting.config
    tested = setting.tested[method]
    rotations = 4 if config.dataset == "omniglot" else 1
    ways = min(config.train_ways, len(classes.names) * rotations) if method == "protonet" else config.ways
    step = setting.steps[method]
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
