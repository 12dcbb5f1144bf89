"""Few-shot classification with additional unlabelled images, with and without training for it.

The setting is semi-supervised few-shot learning of Ren et al. 2018: a task has one labelled image per class,
M unlabelled images per class, and in its harder form as many images of each of H other classes, the
distractors. Only a part of the images of every class may have labels, in training and at test time. Rows, all
on the same test tasks:

- supervised: class means of the labelled images, without the unlabelled ones
- control: the same network, with class means refined by soft k-means at test time only
- soft: trained further through the refinement by soft k-means
- cluster: the same, with a further cluster for distractors
- mask: the same, with a small network that predicts how far from a class mean an image may be to be included

All rows are trained for `--steps` further steps from the same supervised network. The paired difference
`gain` to the control is thus the effect of the gradient through the clustering.

    python -m experiments.semi_supervised --data-dir DIR
        36 minutes on two cores; accuracy/with/mask 0.976, accuracy/with/control 0.960

The gpu preset takes 20,000 steps and then 20,000 more. The quick preset uses scikit-learn's digits.
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

Variant = Literal["without", "with"]
Row = Literal["soft", "cluster", "mask"]
Parts = tuple[ClassImages, ClassImages]
"""Images that may have labels, and images that may not."""
REFINED: dict[Row, dict[str, Any]] = {
    "soft": {},
    "cluster": {"distractors": "cluster", "learn": ("radius",)},
    "mask": {"distractors": "mask"},
}
"""Options of `refined_prototypes` for every trained row."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    dataset: Literal["digits", "omniglot"] = "omniglot"
    """digits: trained on 0 to 4, tested on 5 to 9; omniglot: Vinyals' split with rotations."""
    kinds: tuple[Variant, ...] = ("without", "with")
    """Tasks without and with distractors."""
    train: tuple[Row, ...] = ("soft", "cluster", "mask")
    """Which rows to train through the clustering."""
    ways: int = 5
    """W, classes per task."""
    distractors: int = 5
    """H, distractor classes of the harder tasks."""
    unlabelled: int = 5
    """M, unlabelled images per class in training."""
    test_unlabelled: int = 18
    """M at test time; 18 of Omniglot's 20 images per class have no labels."""
    queries: int = 1
    """Q, query images per class; two of Omniglot's images per class may have labels."""
    share: float = 0.1
    """Share of the images of a class that may have labels; at least two images."""
    width: int = 64
    """Filters of each of the four blocks."""
    start_steps: int = 4000
    """Meta-steps of the supervised network."""
    steps: int = 400
    """Further meta-steps of every row."""
    tasks: int = 8
    """Tasks per meta-step."""
    rate: float = 1e-3
    """Initial learning rate of Adam in both phases, with cosine decay to zero."""
    test_tasks: int = 1000
    """Number of test tasks."""
    validation_tasks: int = 200
    """Number of validation tasks."""
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
    """Trains without and with distractors, and tests every row on the same tasks of unseen classes."""
    metrics: dict[str, Interval] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    splits = harness.class_splits(config.dataset, data_dir=config.data_dir)
    parts = [_split_labelled(images, config) for images in splits]
    shape = parts[0][0].examples.shape[2:]
    net = jm.networks.conv4(config.width, shape=shape, strided=config.dataset == "digits")
    learners = _learners(config, net)
    start_key, first_key, train_key, test_key = jax.random.split(config.key, 4)
    start = learners["supervised"].init(start_key)
    train = partial(_train, config, curves)
    labelled = [_labelled_tasks(config, images) for images, _ in parts[:2]]
    start = train("start", learners["supervised"], start, first_key, labelled, config.start_steps)
    supervised = train("supervised", learners["supervised"], start, train_key, labelled, config.steps)
    for variant in config.kinds:
        distractors = config.distractors if variant == "with" else 0
        tasks = [_tasks(config, both, distractors, config.unlabelled) for both in parts[:2]]
        metas = {"supervised": supervised, "control": supervised}
        for row in config.train:
            meta = learners[row].init(start_key)._replace(body=start.body)
            metas[row] = train(f"{row}_{variant}", learners[row], meta, train_key, tasks, config.steps)
        test = _tasks(config, parts[2], distractors, config.test_unlabelled)
        results = {
            f"{variant}/{row}": _test(learners[row], test, meta, test_key, config.test_tasks)
            for row, meta in metas.items()
        }
        control = f"{variant}/control"
        metrics |= harness.paired(results, [(row, control) for row in results if row != control])
    figure = jm.report.learning_curves(curves, "validation_accuracy")
    figure.savefig(config.folder / "learning_curves.png")
    return metrics


def _learners(config: Config, net: Model) -> dict[str, Learner]:
    """The learners of all rows, of one network; the control is `soft` with the supervised weights."""
    refined: dict[str, Learner] = {
        row: jm.centroids(net, jm.refined_prototypes(config.ways, **options))
        for row, options in REFINED.items()
    }
    return {"supervised": jm.labelled_only(refined["soft"]), "control": refined["soft"], **refined}


def _split_labelled(images: ClassImages, config: Config) -> Parts:
    """The images of every class that may have labels, and the others."""
    random = np.random.default_rng(config.seed)
    per_class = int(images.counts.min())
    labelled = max(2, round(config.share * per_class))
    order = np.argsort(random.random((len(images.names), per_class)), 1)
    rows = np.arange(len(order))[:, None]

    def part(columns: np.ndarray) -> ClassImages:
        counts = np.full(len(order), columns.shape[1])
        return images._replace(examples=images.examples[rows, columns], counts=counts)

    return part(order[:, :labelled]), part(order[:, labelled:])


def _tasks(config: Config, both: Parts, distractors: int, unlabelled: int) -> Sampler:
    return jm.partly_labelled_episodes(
        *both,
        ways=config.ways,
        shots=1,
        queries=config.queries,
        unlabelled=unlabelled,
        distractors=distractors,
        rotations=config.dataset == "omniglot",
    )


def _labelled_tasks(config: Config, images: ClassImages) -> Sampler:
    """Samples tasks without unlabelled images."""
    rotations = config.dataset == "omniglot"
    return jm.episodes(images, ways=config.ways, shots=1, queries=config.queries, rotations=rotations)


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
    """The trained meta-parameters of one row, whose log is added to `curves`."""
    train, validation = tasks
    step = _step(learner, config.rate, steps)
    train_key, validation_key = jax.random.split(key)

    def validate(meta: Embedding) -> dict[str, float]:
        evaluation = _test(learner, validation, meta, validation_key, config.validation_tasks)
        return {"validation_accuracy": evaluation.intervals()["accuracy"].mean}

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
        evaluate=validate,
    )
    return state.meta


@cache
def _step(learner: Learner, rate: float, steps: int) -> MetaStep:
    """The meta-step of a row; cached, so that it is compiled once."""
    return jm.meta_step(
        jm.query_loss(learner, jm.cross_entropy), optax.adam(optax.cosine_decay_schedule(rate, steps))
    )


def _test(learner: Learner, sampler: Sampler, meta: Embedding, key: Key[Array, ""], tasks: int) -> Evaluation:
    return jm.evaluate(learner, sampler, meta, key, tasks=tasks, score=jm.query_score)


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
