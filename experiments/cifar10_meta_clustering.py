"""CIFAR-10 as ten clustering tasks of six classes, and an embedding that is meta-learned for them.

The tasks are those of `cifar10_strategies`, which learns what to cluster by; here it is learned what to
cluster. Seven of ten sets of classes are trained on: an episode is some images of one of them, labels hidden,
and a network is trained so that soft k-means on what it makes of them finds the classes. Tested is on new
images of the other three sets.

- literal: six of ten classes; any two tasks share two classes or more, so that the network has seen labels of
  classes that it is tested on
- disjoint: three of five classes; those of the held-out tasks are the other five, of which it saw nothing

Rows, soft k-means on the same episodes, with the true number of clusters:

- pixels: of the images themselves
- axes: of their 50 principal axes, those of the images that are trained on
- untrained: of the network as it starts
- learned: of the network as it ends, trained on the sum of a supervised surrogate and a soft ARI

Accuracy is after matching clusters to classes. Intervals are over episodes, so that they tell of drawing
images, not of drawing the ten tasks; `--draws` averages over several of these. What training needs is as in
`few_shot_clustering` for CIFAR-100. Training is watched on further images of tasks
that are trained on, as no class is left to watch by. The last thousand images of a class, CIFAR-10's own test
images, are the test's.

Published for scale, quoted from memory: with all ten classes at once, and no label at all, k-means on pixels
has an accuracy of 22.9 %, DEC 30.1, DAC 52.2, SCAN 88.3. That is another task: more classes, all images at
once, and nothing to meta-learn from.

    python -m experiments.cifar10_meta_clustering --data-dir DIR
        with --steps 600 42 minutes on two cores beside other work; accuracy/literal/learned 0.606,
        accuracy/disjoint/learned 0.564

The gpu preset takes ten draws of 10,000 steps. The quick preset takes scikit-learn's digits.
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
"""What the learned embedding stands beside."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    modes: tuple[Literal["literal", "disjoint"], ...] = ("literal", "disjoint")
    """Whether held-out tasks share classes with those that are trained on."""
    draws: int = 1
    """Of the ten tasks; each is trained for anew."""
    held: int = 1000
    """Images of every class that are kept for the test, and as many more to watch by."""
    fitted: int = 1000
    """Images of every class that principal axes are fitted to."""
    shots: int = 10
    """S, images per class that are clustered while training."""
    test_shots: int = 40
    """And at test."""
    queries: int = 5
    """Q, further images per class for the surrogate."""
    blocks: int = 4
    """Of the network, each of which halves the image by pooling."""
    width: int = 64
    """Filters of each."""
    steps: int = 750
    """Meta-steps."""
    tasks: int = 4
    """Tasks per meta-step."""
    rate: float = 1e-3
    """Learning rate of Adam at the start; it falls to zero along a cosine."""
    iterations: int = 20
    """Steps of the clustering."""
    train_restarts: int = 4
    """Seedings that are tried while training; the gradient passes through the best."""
    restarts: int = 8
    """Seedings that are tried at test time."""
    test_tasks: int = 300
    """Episodes of the table, for every draw."""
    validation_tasks: int = 50
    """Episodes of a validation."""
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
    """Of every class the images to learn from, those to watch by, and those of the test."""

    known: ClassImages
    watched: ClassImages
    asked: ClassImages


class Setting(NamedTuple):
    """What all draws of a mode share, so that it is compiled once.

    Attributes:
        learner: as it is trained.
        step: of training.
        tested: the same at test.
        pixels: clusters images as they are.
        axes: clusters images on given axes.
    """

    learner: Learner
    step: MetaStep
    tested: Learner
    pixels: Learner
    axes: Learner


def experiment(config: Config) -> harness.Metrics:
    """Train and test in every mode, draw by draw of the ten tasks."""
    images = jm.load("digits") if config.preset == "quick" else jm.load("cifar10", data_dir=config.data_dir)
    parts = parted(images, config.held)
    metrics: dict[str, Interval] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    for mode in config.modes:
        random = np.random.default_rng(config.seed)
        setting = prepare(config, MODES[mode], images.examples.shape[2:])
        draws = []
        for at in range(config.draws):
            tasks, name = np.array(ten_tasks(mode, MODES[mode], random)), f"{mode}_{at}"
            key = jax.random.fold_in(config.key, at)
            found, curves[name] = one_draw(config, setting, parts, tasks, name, key)
            draws.append(found)
        joined = {f"{mode}/{row}": _joined([draw[row] for draw in draws]) for row in draws[0]}
        metrics |= harness.paired(joined, [(f"{mode}/learned", f"{mode}/{other}") for other in OTHERS])
    figure = jm.report.learning_curves(curves, "validation_accuracy")
    figure.savefig(config.folder / "learning_curves.png")
    return metrics


def parted(images: ClassImages, held: int) -> Parts:
    """The last images of every class for the test, those before to watch by, the others to learn from."""
    known = images.counts - 2 * held
    if known.min() < 1:
        raise jm.InputError(f"classes of {images.counts.min()} images cannot spare {held} twice; hold fewer.")

    def part(first: Int[np.ndarray, " C"]) -> ClassImages:
        rows = first[:, None] + np.arange(held)
        chosen = images.examples[np.arange(len(first))[:, None], rows]
        return images._replace(examples=chosen, counts=np.full(len(first), held))

    return Parts(images._replace(counts=known), part(known), part(known + held))


def prepare(config: Config, ways: int, shape: tuple[int, ...]) -> Setting:
    """The network and what trains it, and what all rows are clustered by."""
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
    return Setting(learner, step, tested, pixels, axes)


def _projected(params: PyTree, inputs: Array, weights: Array | None = None) -> Array:
    """Pixels on axes through their mean."""
    return (inputs.reshape(len(inputs), -1) - params["mean"]) @ params["axes"].T


ON_AXES = Model(lambda key: {}, _projected)


def one_draw(
    config: Config,
    setting: Setting,
    parts: Parts,
    tasks: Int[np.ndarray, "T W"],
    name: str,
    key: Key[Array, ""],
) -> tuple[dict[str, Evaluation], list[dict[str, float]]]:
    """Train on seven of ten tasks, and cluster new images of the other three in every way.

    Returns:
        The episodes of every row, and the log of training.
    """
    start_key, train_key, validation_key, test_key = jax.random.split(key, 4)
    trained, left = tasks[:TRAINED], tasks[TRAINED:]
    train = some_tasks(parts.known, trained, shots=config.shots, queries=config.queries)
    clustered = partial(some_tasks, shots=config.test_shots, queries=0)
    validation, test = clustered(parts.watched, trained[: len(left)]), clustered(parts.asked, left)
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
    axes = principal_axes(config, parts.known, np.unique(trained))
    rows: dict[str, tuple[Learner, Embedding]] = {
        "pixels": (setting.pixels, Embedding({}, {})),
        "axes": (setting.axes, Embedding(axes, {})),
        "untrained": (setting.tested, start),
        "learned": (setting.tested, state.meta),
    }
    found = {
        row: jm.evaluate(learner, test, meta, test_key, tasks=config.test_tasks)
        for row, (learner, meta) in rows.items()
    }
    return found, curve


def principal_axes(
    config: Config, images: ClassImages, classes: Int[np.ndarray, " C"]
) -> dict[str, np.ndarray]:
    """Of some images of the classes that are trained on."""
    drawn, _ = some_images(images, classes, config.fitted, np.random.default_rng(config.seed))
    pixels = drawn.reshape(len(drawn), -1).astype(np.float32) / 255
    found = PCA(AXES, svd_solver="randomized", random_state=config.seed).fit(pixels)
    return {"mean": found.mean_, "axes": found.components_}


def some_tasks(images: ClassImages, sets: Int[np.ndarray, "T W"], *, shots: int, queries: int) -> Sampler:
    """Tasks of one of some sets of classes, and some images of each class; the support hides its labels."""
    examples, counts = jnp.asarray(images.examples), jnp.asarray(images.counts)
    if shots + queries > images.counts.min():
        raise jm.InputError(
            f"{shots + queries} images of a class are asked for; there are {images.counts.min()}."
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

    (support, truth), (query, labels) = flat(drawn[:, :shots]), flat(drawn[:, shots:])
    return Task(Batch(support), Batch(query, labels), truth, task_key)


def _joined(draws: list[Evaluation]) -> Evaluation:
    """The episodes of all draws."""
    return Evaluation({name: np.concatenate([one.values[name] for one in draws]) for name in draws[0].values})


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
