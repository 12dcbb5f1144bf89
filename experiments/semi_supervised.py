"""Few-shot classification with unlabelled images beside the labelled: when is it worth training for them?

Semi-supervised few-shot learning of Ren et al. 2018: a task has one labelled image per class, M unlabelled
ones per class, and in its harder form as many of H other classes, distractors. A part of the images of every
class may be shown with its label, the others never are, in training and test alike. Rows, all on the same
test tasks:

- supervised: class means of the labelled images; the unlabelled are not looked at
- control: the same network, its class means refined by soft k-means at test time alone
- soft: trained from there through the refining by soft k-means
- cluster: the same, and a further cluster takes in distractors
- mask: the same, and a small network says how far from a class mean an image may be to be believed

All are trained for `--steps` further steps from where a supervised network ends. So the control tells what
the gradient through the clustering is worth; `gain` is the difference in pairs.

    python -m experiments.semi_supervised --data-dir DIR
        36 minutes on two cores; accuracy/with/mask 0.976, accuracy/with/control 0.960

The gpu preset takes 20,000 steps and then 20,000 more. The quick preset takes scikit-learn's digits.
"""

from __future__ import annotations

import dataclasses
from functools import cache, partial
from typing import Any, Literal

import jax
import numpy as np
import optax
from jaxtyping import Array, Key

import jmeta as jm
from jmeta import ClassImages, Evaluation, harness
from jmeta.learners.centroid import Embedding
from jmeta.metrics import Interval
from jmeta.records import Learner, MetaStep, Model, Sampler

Kind = Literal["without", "with"]
Way = Literal["soft", "cluster", "mask"]
Parts = tuple[ClassImages, ClassImages]
REFINED: dict[Way, dict[str, Any]] = {
    "soft": {},
    "cluster": {"distractors": "cluster", "learn": ("radius",)},
    "mask": {"distractors": "mask"},
}
"""How class means are refined."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    dataset: Literal["digits", "omniglot"] = "omniglot"
    """digits: trained on 0 to 4, tested on 5 to 9; omniglot: Vinyals' split with rotations."""
    kinds: tuple[Kind, ...] = ("without", "with")
    """Tasks without distractors, and with."""
    train: tuple[Way, ...] = ("soft", "cluster", "mask")
    """Which rows to train through the clustering."""
    ways: int = 5
    """W, classes per task."""
    distractors: int = 5
    """H, classes of the harder tasks that are not asked about."""
    unlabelled: int = 5
    """M, unlabelled images per class while training."""
    test_unlabelled: int = 18
    """And at test, of the 18 of Omniglot's 20 that are never shown with a label."""
    queries: int = 1
    """Q, images to be named per class; Omniglot has two per class that may show their label."""
    share: float = 0.1
    """Of the images of a class, how many may show their label; two at least."""
    width: int = 64
    """Filters of each of the four blocks."""
    start_steps: int = 4000
    """Meta-steps of the supervised network."""
    steps: int = 400
    """Further ones of every row from there."""
    tasks: int = 8
    """Tasks per meta-step."""
    rate: float = 1e-3
    """Learning rate of Adam at the start of both; it falls to zero along a cosine."""
    test_tasks: int = 1000
    """Tasks of the table."""
    validation_tasks: int = 200
    """Tasks of a validation."""
    every: int = 500
    """Meta-steps between two validations."""


QUICK: dict[str, Any] = {
    "dataset": "digits",
    "kinds": ("with",),
    "train": ("mask",),
    "ways": 3,
    "distractors": 2,
    "unlabelled": 3,
    "test_unlabelled": 3,
    "width": 4,
    "start_steps": 2,
    "steps": 2,
    "tasks": 2,
    "every": 2,
    "test_tasks": 10,
    "validation_tasks": 10,
}
PRESETS = {
    "quick": Config(preset="quick", **QUICK),
    "cpu": Config(),
    "gpu": Config(preset="gpu", start_steps=20_000, steps=20_000, tasks=16, every=1000),
}


def experiment(config: Config) -> harness.Metrics:
    """Train without distractors and with them, and test every row on the same tasks of unseen classes."""
    metrics: dict[str, Interval] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    splits = harness.class_splits(config.dataset, data_dir=config.data_dir)
    parts = [_parted(images, config) for images in splits]
    shape = parts[0][0].examples.shape[2:]
    net = jm.networks.conv4(config.width, shape=shape, strided=config.dataset == "digits")
    learners = _learners(config, net)
    start_key, first_key, train_key, test_key = jax.random.split(config.key, 4)
    start = learners["supervised"].init(start_key)
    train = partial(_train, config, curves)
    shown = [_labelled_tasks(config, labelled) for labelled, _ in parts[:2]]
    start = train("start", learners["supervised"], start, first_key, shown, config.start_steps)
    supervised = train("supervised", learners["supervised"], start, train_key, shown, config.steps)
    for kind in config.kinds:
        others = config.distractors if kind == "with" else 0
        known = [_tasks(config, both, others, config.unlabelled) for both in parts[:2]]
        metas = {"supervised": supervised, "control": supervised}
        for row in config.train:
            meta = learners[row].init(start_key)._replace(body=start.body)
            metas[row] = train(f"{row}_{kind}", learners[row], meta, train_key, known, config.steps)
        test = _tasks(config, parts[2], others, config.test_unlabelled)
        found = {
            f"{kind}/{row}": _test(learners[row], test, meta, test_key, config.test_tasks)
            for row, meta in metas.items()
        }
        control = f"{kind}/control"
        metrics |= harness.paired(found, [(row, control) for row in found if row != control])
    figure = jm.report.learning_curves(curves, "validation_accuracy")
    figure.savefig(config.folder / "learning_curves.png")
    return metrics


def _learners(config: Config, net: Model) -> dict[str, Learner]:
    """One for every row, of the same network; the control is `soft` with the supervised one's weights."""
    refined: dict[str, Learner] = {
        row: jm.centroids(net, jm.refined_prototypes(config.ways, **options))
        for row, options in REFINED.items()
    }
    return {"supervised": jm.labelled_only(refined["soft"]), "control": refined["soft"], **refined}


def _parted(images: ClassImages, config: Config) -> tuple[ClassImages, ClassImages]:
    """Of every class the images that may show their label, and those that never do."""
    random = np.random.default_rng(config.seed)
    least = int(images.counts.min())
    shown = max(2, round(config.share * least))
    order = np.argsort(random.random((len(images.names), least)), 1)
    rows = np.arange(len(order))[:, None]

    def part(chosen: np.ndarray) -> ClassImages:
        counts = np.full(len(order), chosen.shape[1])
        return images._replace(examples=images.examples[rows, chosen], counts=counts)

    return part(order[:, :shown]), part(order[:, shown:])


def _tasks(config: Config, both: Parts, others: int, unlabelled: int) -> Sampler:
    return jm.partly_labelled_episodes(
        *both,
        ways=config.ways,
        shots=1,
        queries=config.queries,
        unlabelled=unlabelled,
        distractors=others,
        rotations=config.dataset == "omniglot",
    )


def _labelled_tasks(config: Config, images: ClassImages) -> Sampler:
    """Tasks without any unlabelled image."""
    turned = config.dataset == "omniglot"
    return jm.episodes(images, ways=config.ways, shots=1, queries=config.queries, rotations=turned)


def _train(
    config: Config,
    curves: dict[str, list[dict[str, float]]],
    name: str,
    learner: Learner,
    meta: Embedding,
    key: Key[Array, ""],
    tasks: list[Sampler],
    steps: int,
) -> Embedding:
    """What one row's network ends with; its log joins the curves."""
    train, validation = tasks
    step = _step(learner, config.rate, steps)
    train_key, validation_key = jax.random.split(key)

    def evaluate(meta: Embedding) -> dict[str, float]:
        found = _test(learner, validation, meta, validation_key, config.validation_tasks)
        return {"validation_accuracy": found.intervals()["accuracy"].mean}

    state, curves[name] = harness.train(
        config,
        name,
        step,
        train,
        step.init(meta),
        train_key,
        steps=steps,
        tasks=config.tasks,
        every=min(config.every, steps),
        evaluate=evaluate,
    )
    return state.meta


@cache
def _step(learner: Learner, rate: float, steps: int) -> MetaStep:
    """The same object for the same row, so that it is compiled once."""
    return jm.meta_step(
        jm.query_loss(learner, jm.cross_entropy), optax.adam(optax.cosine_decay_schedule(rate, steps))
    )


def _test(learner: Learner, sampler: Sampler, meta: Embedding, key: Key[Array, ""], tasks: int) -> Evaluation:
    return jm.evaluate(learner, sampler, meta, key, tasks=tasks, score=jm.query_score)


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
