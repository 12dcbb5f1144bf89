"""CIFAR-10 as ten clustering tasks of six classes, and an embedding that is meta-learned for them.

The tasks are those of `cifar10_strategies`, which learns to select the algorithm; here the embedding is
learned. Seven of the ten sets of classes are for training: an episode is some images of one of them, with
labels hidden, and a network is trained so that soft k-means on its embeddings finds the classes. The test is
on new images of the other three sets.

- literal: six of ten classes; any two tasks share at least two classes, so that the network was trained on
  labels of some of its test classes
- disjoint: three of five classes; the held-out tasks use the other five, which were not seen in training

Rows, all by soft k-means on the same episodes with the true number of clusters:

- pixels: on the images themselves
- axes: on 50 principal axes, fitted to training images
- untrained: on the embeddings of the initial network
- learned: on those of the network trained on the sum of a supervised surrogate and a soft ARI

Accuracy is after matching clusters to classes. Intervals are over episodes, so that they cover the variation
from drawing images, not from drawing the ten tasks; `--draws` averages over several such draws. Settings of
training are those of `few_shot_clustering` for CIFAR-100. Validation uses further images of training tasks,
as no classes remain. The last thousand images of a class, CIFAR-10's own test images, are the test set.

Published for scale, quoted from memory: with all ten classes at once and no labels, k-means on pixels has an
accuracy of 22.9 %, DEC 30.1, DAC 52.2, SCAN 88.3. That is a different task: more classes, all images at once,
and no meta-training.

    python -m experiments.cifar10_meta_clustering --data-dir DIR
        with --steps 600 42 minutes on two cores beside other work; accuracy/literal/learned 0.606,
        accuracy/disjoint/learned 0.564

The gpu preset takes ten draws of 10,000 steps. The quick preset uses scikit-learn's digits.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Int, Key, Num, PyTree
from sklearn.decomposition import PCA

import jmeta as jm
from experiments.cifar10_strategies import MODES, TRAINED, ten_tasks
from jmeta import ClassImages, Evaluation, harness
from jmeta.learners.centroid import Embedding
from jmeta.metrics import Interval
from jmeta.records import Batch, Learner, MetaStep, Model, Sampler, Task
from jmeta.tasks.episodes import scaled
from jmeta.tasks.fields import AXES, some_images
from jmeta.trees import partial_of

OTHERS = ("pixels", "axes", "untrained")
"""Rows that the learned embedding is compared with."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    modes: tuple[Literal["literal", "disjoint"], ...] = ("literal", "disjoint")
    """Whether held-out tasks share classes with training tasks."""
    draws: int = 1
    """Draws of the ten tasks; a network is trained for each."""
    held: int = 1000
    """Images of every class held out for the test; the same number is held out for validation."""
    fitted: int = 1000
    """Images of every class that principal axes are fitted to."""
    shots: int = 10
    """S, images per class to cluster in training."""
    test_shots: int = 40
    """S at test time."""
    queries: int = 5
    """Q, further images per class for the surrogate."""
    blocks: int = 4
    """Blocks of the network; each halves the image by pooling."""
    width: int = 64
    """Filters of each block."""
    steps: int = 750
    """Meta-steps."""
    tasks: int = 4
    """Tasks per meta-step."""
    rate: float = 1e-3
    """Initial learning rate of Adam, with cosine decay to zero."""
    iterations: int = 20
    """Steps of the clustering."""
    train_restarts: int = 4
    """Seedings per clustering in training; the gradient passes through the best."""
    restarts: int = 8
    """Seedings per clustering at test time."""
    test_tasks: int = 300
    """Test episodes of every draw."""
    validation_tasks: int = 50
    """Validation episodes."""
    every: int = 250
    """Meta-steps between two validations."""


PRESETS = {
    "quick": Config(
        preset="quick",
        modes=("disjoint",),
        draws=2,
        held=40,
        fitted=20,
        shots=3,
        test_shots=5,
        queries=2,
        blocks=1,
        width=4,
        steps=2,
        tasks=2,
        iterations=5,
        train_restarts=1,
        restarts=1,
        test_tasks=10,
        validation_tasks=10,
        every=2,
    ),
    "cpu": Config(),
    "gpu": Config(preset="gpu", draws=10, steps=10_000, tasks=16, test_tasks=1000, every=1000),
}


class Parts(NamedTuple):
    """The images of every class, split for training, validation and test."""

    train: ClassImages
    validation: ClassImages
    test: ClassImages


class Setting(NamedTuple):
    """The parts that all draws of a mode share, so that they are compiled once.

    Attributes:
        learner: the learner in training.
        step: the meta-step.
        tested: the learner at test time.
        pixels: clusters images by their pixels.
        axes: clusters images by their coordinates on principal axes.
    """

    learner: Learner
    step: MetaStep
    tested: Learner
    pixels: Learner
    axes: Learner


def experiment(config: Config) -> harness.Metrics:
    """Trains and tests in every mode, for every draw of the ten tasks."""
    images = jm.load("digits") if config.preset == "quick" else jm.load("cifar10", data_dir=config.data_dir)
    parts = split_images(images, config.held)
    metrics: dict[str, Interval] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    for mode in config.modes:
        random = np.random.default_rng(config.seed)
        setting = prepare(config, MODES[mode], images.examples.shape[2:])
        draws = []
        for draw in range(config.draws):
            tasks = np.array(ten_tasks(mode, MODES[mode], random))
            name = f"{mode}_{draw}"
            key = jax.random.fold_in(config.key, draw)
            results, curves[name] = one_draw(config, setting, parts, tasks, name, key)
            draws.append(results)
        joined = {f"{mode}/{row}": _join([results[row] for results in draws]) for row in draws[0]}
        metrics |= harness.paired(joined, [(f"{mode}/learned", f"{mode}/{other}") for other in OTHERS])
    figure = jm.report.learning_curves(curves, "validation_accuracy")
    figure.savefig(config.folder / "learning_curves.png")
    return metrics


def split_images(images: ClassImages, held: int) -> Parts:
    """Splits every class: the last `held` images for the test, the `held` before them for validation."""
    trained = images.counts - 2 * held
    if trained.min() < 1:
        raise jm.InputError(
            f"held is {held}, but a class has {images.counts.min()} images; hold out less than half of them."
        )

    def part(first: Int[np.ndarray, " C"]) -> ClassImages:
        rows = first[:, None] + np.arange(held)
        chosen = images.examples[np.arange(len(first))[:, None], rows]
        return images._replace(examples=chosen, counts=np.full(len(first), held))

    return Parts(images._replace(counts=trained), part(trained), part(trained + held))


def prepare(config: Config, ways: int, shape: tuple[int, ...]) -> Setting:
    """The network, its meta-step, and the learners of all rows."""
    height, width, channels = shape
    widths = [config.width] * config.blocks
    net = jm.networks.convnet(widths, shape=(height, width, channels), pools=config.blocks, norm="batch")
    clusterer = partial(jm.soft_kmeans, ways, steps=config.iterations)
    learner = jm.centroids(net, clusterer(restarts=config.train_restarts))
    loss = jm.total(jm.prototype_loss(learner), jm.clustering_loss(learner, jm.soft_ari))
    adam = harness.clipped_adam(optax.cosine_decay_schedule(config.rate, config.steps))
    step = jm.meta_step(loss, adam, chunk=1)
    final = clusterer(restarts=config.restarts)
    tested, pixels, axes = (jm.centroids(model, final) for model in (net, jm.networks.flatten(), ON_AXES))
    return Setting(learner=learner, step=step, tested=tested, pixels=pixels, axes=axes)


def _project(params: PyTree, inputs: Array, weights: Array | None = None) -> Array:
    """The coordinates of images on principal axes through the mean."""
    return (inputs.reshape(len(inputs), -1) - params["mean"]) @ params["axes"].T


ON_AXES = Model(lambda key: {}, _project)


def one_draw(
    config: Config,
    setting: Setting,
    parts: Parts,
    tasks: Int[np.ndarray, "T W"],
    name: str,
    key: Key[Array, ""],
) -> tuple[dict[str, Evaluation], list[dict[str, float]]]:
    """Trains on seven of ten tasks, and clusters new images of the other three for every row.

    Returns:
        The evaluation of every row, and the log of training.
    """
    start_key, train_key, validation_key, test_key = jax.random.split(key, 4)
    trained = tasks[:TRAINED]
    held_out = tasks[TRAINED:]
    train = some_tasks(parts.train, trained, shots=config.shots, queries=config.queries)
    test_tasks = partial(some_tasks, shots=config.test_shots, queries=0)
    validation = test_tasks(parts.validation, trained[: len(held_out)])
    test = test_tasks(parts.test, held_out)
    start = setting.learner.init(start_key)

    validate = harness.validation_accuracy(
        setting.tested, validation, validation_key, tasks=config.validation_tasks
    )
    state, curve = harness.train(
        config,
        name,
        setting.step,
        train,
        setting.step.init(start),
        train_key,
        steps=config.steps,
        tasks=config.tasks,
        every=min(config.every, config.steps),
        evaluate=validate,
    )
    axes = principal_axes(config, parts.train, np.unique(trained))
    rows: dict[str, tuple[Learner, Embedding]] = {
        "pixels": (setting.pixels, Embedding({}, {})),
        "axes": (setting.axes, Embedding(axes, {})),
        "untrained": (setting.tested, start),
        "learned": (setting.tested, state.meta),
    }
    results = {
        row: jm.evaluate(learner, test, meta, test_key, tasks=config.test_tasks)
        for row, (learner, meta) in rows.items()
    }
    return results, curve


def principal_axes(
    config: Config, images: ClassImages, classes: Int[np.ndarray, " C"]
) -> dict[str, np.ndarray]:
    """The mean and the principal axes of some images of the training classes."""
    drawn, _ = some_images(images, classes, config.fitted, np.random.default_rng(config.seed))
    pixels = drawn.reshape(len(drawn), -1).astype(np.float32) / 255
    pca = PCA(AXES, svd_solver="randomized", random_state=config.seed).fit(pixels)
    return {"mean": pca.mean_, "axes": pca.components_}


def some_tasks(images: ClassImages, sets: Int[np.ndarray, "T W"], *, shots: int, queries: int) -> Sampler:
    """Samples a task: one of the sets of classes, and images of each class; support labels are hidden."""
    examples = jnp.asarray(images.examples)
    counts = jnp.asarray(images.counts)
    if shots + queries > images.counts.min():
        raise jm.InputError(
            f"a task needs {shots + queries} images of a class, which has {images.counts.min()}; "
            "ask for fewer shots or queries."
        )
    return jax.tree_util.Partial(
        partial_of(_task, shots=shots, queries=queries), examples, counts, jnp.asarray(sets)
    )


def _task(
    examples: Num[Array, "C M ..."],
    counts: Int[Array, " C"],
    sets: Int[Array, "T W"],
    key: Key[Array, ""],
    *,
    shots: int,
    queries: int,
) -> Task:
    set_key, image_key, task_key = jax.random.split(key, 3)
    classes = sets[jax.random.randint(set_key, (), 0, len(sets))]
    real = jnp.arange(examples.shape[1]) < counts[classes, None]
    _, rows = lax.top_k(jnp.where(real, jax.random.uniform(image_key, real.shape), -1), shots + queries)
    drawn = scaled(examples[classes[:, None], rows])

    def flat(part: Array) -> tuple[Array, Array]:
        labels = jnp.repeat(jnp.arange(len(part)), part.shape[1])
        return part.reshape(len(labels), *part.shape[2:]), labels

    support, truth = flat(drawn[:, :shots])
    query, labels = flat(drawn[:, shots:])
    return Task(Batch(support), Batch(query, labels), truth, task_key)


def _join(draws: list[Evaluation]) -> Evaluation:
    """The evaluations of all draws, concatenated."""
    return Evaluation({name: np.concatenate([one.values[name] for one in draws]) for name in draws[0].values})


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
