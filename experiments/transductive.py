"""Transductive few-shot classification: clustering with fixed labels, compared with published methods.

A clusterer that keeps labelled points in their clusters classifies all queries of a task together. One
ProtoNet is trained; every row but the first uses the same features, of support and queries embedded together.
All rows are tested on the same tasks of unseen classes:

- alone: the nearest class mean, with batch statistics of the support only; the other queries are not used
- means: the nearest class mean of the shared features
- soft: soft k-means with fixed labelled points
- sinkhorn: Sinkhorn k-means with fixed labelled points, which assumes classes of equal size
- bdcspn: queries are shifted by the difference of means, and class means become means of the points assigned
  to them, weighted by their cosines (Liu, Song & Qin 2020)
- laplacian: assignments trade off distances to class means and agreement with neighbours (Ziko et al. 2020)
- ptmap: features are made less skewed by a power transform, then balanced transport and updates of the class
  means alternate (Hu, Gripon & Pateux 2021); it assumes classes of equal size too

Every method has a few settings, including the published one if there is one; validation classes choose the
best for each number of shots, validation/S-shot/METHOD/SETTING. For soft and sinkhorn they also choose
between plain features and those of ptmap. The published methods are implemented from their formulas, with two
differences: the features are those of this small network, and laplacian centres them by the mean of the task,
where its authors use that of the base classes.

    python -m experiments.transductive --data-dir DIR
        45 minutes on two cores beside other work; accuracy/1-shot/soft 0.459, accuracy/1-shot/bdcspn 0.453

`--dataset omniglot` trains on 20 ways. The gpu preset takes 20,000 steps; the quick preset uses the digits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key, PyTree

import jmeta as jm
from jmeta import ClassImages, Evaluation, harness
from jmeta.distances import exact_squared_distances, squared_distances, unit_length
from jmeta.metrics import Interval
from jmeta.records import Batch, Clusterer, Learner, Metrics, Model, Sampler, Task
from jmeta.weights import class_means

UPDATES = 20
"""Updates of ptmap's class means, as published."""
RATE = 0.2
"""Step size of each update, as published."""
ROUNDS = 50
"""Sinkhorn iterations in each update."""
AGAINST = {
    "means": ("alone",),
    "soft": ("means", "bdcspn", "laplacian"),
    "sinkhorn": ("means", "soft", "ptmap"),
    "bdcspn": ("means",),
    "laplacian": ("means",),
    "ptmap": ("means",),
}
"""The rows that each row is compared with in pairs."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    variants = ("dataset",)

    dataset: Literal["digits", "omniglot", "cifar100"] = "cifar100"
    """digits: trained on 0 to 4, tested on 5 to 9; omniglot: Vinyals' split with rotations; cifar100: that
    of CIFAR-FS."""
    ways: int = 5
    """W, classes per task."""
    shots: tuple[int, ...] = (1, 5)
    """S, labelled images per class; each value is tested."""
    queries: int = 15
    """Q, query images per class."""
    train_ways: int = 10
    """W of training tasks."""
    train_shots: int = 1
    """S of training tasks."""
    train_queries: int = 5
    """Q of training tasks."""
    width: int = 64
    """Filters of each of the four blocks."""
    steps: int = 2000
    """Meta-steps."""
    tasks: int = 2
    """Tasks per meta-step."""
    rate: float = 1e-3
    """Initial learning rate of Adam, with cosine decay to zero."""
    iterations: int = 20
    """Iterations of soft, sinkhorn and laplacian."""
    sharpness: tuple[float, ...] = (5.0, 10.0, 20.0, 40.0)
    """Settings of soft and sinkhorn: the sharpness of the assignments; the library's default is 5."""
    confidence: tuple[float, ...] = (2.5, 5.0, 10.0)
    """Settings of bdcspn: the factor of cosines; 10 is published."""
    pull: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 1.0, 1.5)
    """Settings of laplacian: the weight of neighbours; its authors choose from about these."""
    neighbours: int = 3
    """Neighbours of a query in laplacian."""
    transport: tuple[float, ...] = (5.0, 10.0, 20.0)
    """Settings of ptmap: the factor of squared distances; 10 is published."""
    test_tasks: int = 1000
    """Test tasks for every S."""
    validation_tasks: int = 200
    """Validation tasks, of unseen classes; for digits, of the training classes."""
    every: int = 500
    """Meta-steps between two validations."""


QUICK: dict[str, Any] = {
    "dataset": "digits",
    "shots": (1,),
    "queries": 3,
    "train_ways": 5,
    "train_queries": 3,
    "width": 4,
    "steps": 2,
    "iterations": 2,
    "sharpness": (5.0,),
    "confidence": (10.0,),
    "pull": (0.5, 1.0),
    "transport": (10.0,),
    "test_tasks": 10,
    "validation_tasks": 10,
    "every": 2,
}
OMNIGLOT: dict[str, Any] = {"dataset": "omniglot", "train_ways": 20}
FULL: dict[str, Any] = {"preset": "gpu", "steps": 20_000, "tasks": 4, "every": 1000}
PRESETS = {
    "quick": Config(preset="quick", **QUICK),
    "cpu": Config(),
    "cpu-omniglot": Config(**OMNIGLOT),
    "gpu": Config(**FULL),
    "gpu-omniglot": Config(**OMNIGLOT, **FULL),
}


class Points(NamedTuple):
    """The features of a task.

    Attributes:
        support: [S, D] features of the support.
        labels: [S] labels of the support.
        query: [Q, D] features of the queries.
        ways: W, the number of classes.
    """

    support: Float[Array, "S D"]
    labels: Int[Array, " S"]
    query: Float[Array, "Q D"]
    ways: int

    @property
    def means(self) -> Float[Array, "W D"]:
        """The mean of each class."""
        return class_means(self.support, self.labels, jnp.ones(len(self.support)), self.ways)[0]


Method = Callable[[Points], Float[Array, "Q W"]]
"""Scores every query for every class; larger is better."""


def experiment(config: Config) -> harness.Metrics:
    """Trains one embedding, chooses settings on validation classes, and evaluates them on test classes."""
    train, validation, test = harness.class_splits(config.dataset, data_dir=config.data_dir)
    height, width, channels = train.examples.shape[2:]
    net = jm.networks.conv4(config.width, shape=(height, width, channels))
    learner = jm.prototypes(net, ways=max(config.train_ways, config.ways))
    train_key, validation_key, test_key = jax.random.split(config.key, 3)
    body = _train(config, learner, train, validation, train_key)

    settings = methods(config)
    results: dict[str, Evaluation] = {}
    metrics: dict[str, Interval] = {}
    pairs: list[tuple[str, str]] = []
    for shots in config.shots:
        validation_tasks, test_tasks = (_tasks(config, images, shots) for images in (validation, test))
        evaluation = jm.evaluate(
            learner,
            validation_tasks,
            body,
            validation_key,
            tasks=config.validation_tasks,
            score=partial(_accuracies, net, config.ways, settings),
        )
        scores = evaluation.intervals()
        by_row = _by_row(settings).items()
        best = {row: max(names, key=lambda name: scores[name].mean) for row, names in by_row}
        metrics |= {f"validation/{shots}-shot/{name}": scores[name] for name in best.values()}
        chosen = {row: settings[name] for row, name in best.items()}
        evaluation = jm.evaluate(
            learner,
            test_tasks,
            body,
            test_key,
            tasks=config.test_tasks,
            score=partial(_accuracies, net, config.ways, chosen),
        )
        results |= {
            f"{shots}-shot/{row}": Evaluation({"accuracy": values})
            for row, values in evaluation.values.items()
        }
        pairs += [
            (f"{shots}-shot/{row}", f"{shots}-shot/{other}") for row in AGAINST for other in AGAINST[row]
        ]
    return dict(harness.paired(results, pairs)) | metrics


def _accuracies(
    net: Model, ways: int, classifiers: Mapping[str, Method], learner: Learner, meta: PyTree, task: Task
) -> Metrics:
    """The accuracy of every method on one task."""
    support = task.support
    query = task.query
    features = net.apply(meta, jnp.concatenate([support.inputs, query.inputs]))
    count = len(support.inputs)
    points = Points(features[:count], jnp.asarray(support.targets), features[count:], ways)
    predicted = {name: jnp.argmax(classify(points), -1) for name, classify in classifiers.items()}
    alone = jm.query_score(jm.inductive(learner), meta, task)["accuracy"]
    return {"alone": alone} | {name: jnp.mean(labels == query.targets) for name, labels in predicted.items()}


def methods(config: Config) -> dict[str, Method]:
    """Every method with every setting, as METHOD/SETTING."""
    result: dict[str, Method] = {"means/plain": nearest_mean}
    for name, make in (("soft", jm.soft_kmeans), ("sinkhorn", jm.sinkhorn_kmeans)):
        for sharpness in config.sharpness:
            clusterer = make(
                config.ways, steps=config.iterations, sharpness=sharpness, seeding=jm.random_points
            )
            result[f"{name}/plain-{sharpness:g}"] = partial(clustered, clusterer)
            result[f"{name}/power-{sharpness:g}"] = partial(clustered, clusterer, features=power_transformed)
    for confidence in config.confidence:
        result[f"bdcspn/{confidence:g}"] = partial(bdcspn, confidence)
    for pull in config.pull:
        result[f"laplacian/{pull:g}"] = partial(laplacian_shot, pull, config.neighbours, config.iterations)
    for transport in config.transport:
        result[f"ptmap/{transport:g}"] = partial(ptmap, transport)
    return result


def _by_row(names: Collection[str]) -> dict[str, list[str]]:
    """The names METHOD/SETTING of every METHOD."""
    rows = dict.fromkeys(name.partition("/")[0] for name in names)
    return {row: [name for name in names if name.startswith(f"{row}/")] for row in rows}


def nearest_mean(points: Points) -> Float[Array, "Q W"]:
    """The scores of a ProtoNet, -||q - p_w||^2."""
    return -squared_distances(points.query, points.means)


def clustered(
    clusterer: Clusterer, points: Points, *, features: Callable[[Points], Points] = lambda points: points
) -> Float[Array, "Q W"]:
    """Clusters support and queries together, with the labels of the support fixed."""
    transformed = features(points)
    labels = jnp.concatenate([points.labels, jnp.full(len(points.query), -1)])
    batch = Batch(jnp.concatenate([transformed.support, transformed.query]), labels)
    state = clusterer.fit({}, batch, jax.random.key(0))  # labels are the seeds: nothing is random
    return clusterer.assign({}, state, transformed.query).log_probs


def power_transformed(points: Points) -> Points:
    """Less skewed features: x^1/2, then unit vectors from the mean, separately for support and queries."""

    def transformed(x: Float[Array, "N D"]) -> Float[Array, "N D"]:
        x = unit_length(jnp.sqrt(jnp.maximum(x, 0) + 1e-6))
        return unit_length(x - jnp.mean(x, 0))

    return points._replace(support=transformed(points.support), query=transformed(points.query))


def bdcspn(confidence: float, points: Points) -> Float[Array, "Q W"]:
    """BD-CSPN.

    Queries are shifted by the mean of the support minus that of the queries, and labelled by the class mean
    of largest cosine. Then p_w = sum_i a_i x_i over support and queries of class w, where
    a_i = softmax_i(confidence cos(x_i, p_w)); the scores are the cosines with these means.
    """
    support = unit_length(points.support)
    query = unit_length(points.query)
    query = query + jnp.mean(support, 0) - jnp.mean(query, 0)
    means = unit_length(points._replace(support=support).means)
    both = jnp.concatenate([support, query])
    cosine = unit_length(both) @ means.T
    labels = jnp.concatenate([points.labels, jnp.argmax(cosine[len(support) :], 1)])
    assigned = labels[:, None] == jnp.arange(points.ways)
    weights = jax.nn.softmax(jnp.where(assigned, confidence * cosine, -jnp.inf), 0)
    return unit_length(query) @ unit_length(weights.T @ both).T


def laplacian_shot(pull: float, neighbours: int, iterations: int, points: Points) -> Float[Array, "Q W"]:
    """LaplacianShot.

    y_q = softmax(-||q - p_w||^2 + pull sum_n y_n), n over the nearest other queries, iterated from the
    softmax of the distances only; the features are unit vectors from the mean of the task.
    """
    mean = jnp.mean(jnp.concatenate([points.support, points.query]), 0)
    support = unit_length(points.support - mean)
    query = unit_length(points.query - mean)
    logits = nearest_mean(points._replace(support=support, query=query))
    distances = exact_squared_distances(query, query)
    distances = distances + jnp.where(jnp.eye(len(query), dtype=bool), jnp.inf, 0)
    _, nearest = lax.top_k(-distances, neighbours)

    def step(probs: Float[Array, "Q W"], _: None) -> tuple[Float[Array, "Q W"], None]:
        return jax.nn.softmax(logits + pull * jnp.sum(probs[nearest], 1)), None

    return lax.scan(step, jax.nn.softmax(logits), None, length=iterations)[0]


def ptmap(sharpness: float, points: Points) -> Float[Array, "Q W"]:
    """PT-MAP.

    Two steps alternate: queries are transported to class means with equal class sizes,
    P = argmin <P, D> - H(P) / sharpness, and each class mean moves by a step towards the mean of its support
    and of the queries transported to it.
    """
    points = power_transformed(points)
    assigned = jax.nn.one_hot(points.labels, points.ways)

    def plan(means: Float[Array, "W D"]) -> Float[Array, "Q W"]:
        return _balanced(-sharpness * squared_distances(points.query, means))

    def step(means: Float[Array, "W D"], _: None) -> tuple[Float[Array, "W D"], None]:
        transported = plan(means)
        mass = jnp.sum(assigned, 0) + jnp.sum(transported, 0)
        targets = (assigned.T @ points.support + transported.T @ points.query) / mass[:, None]
        return means + RATE * (targets - means), None

    return plan(lax.scan(step, points.means, None, length=UPDATES)[0])


def _balanced(logits: Float[Array, "Q W"]) -> Float[Array, "Q W"]:
    """Sinkhorn's iteration: rows sum to one, and columns to Q / W."""
    log_size = jnp.log(logits.shape[0] / logits.shape[1])

    def step(plan: Float[Array, "Q W"], _: None) -> tuple[Float[Array, "Q W"], None]:
        plan = jax.nn.log_softmax(plan, 1)
        return jax.nn.log_softmax(plan, 0) + log_size, None

    return jnp.exp(lax.scan(step, logits, None, length=ROUNDS)[0])


def _tasks(config: Config, images: ClassImages, shots: int) -> Sampler:
    """Samples test or validation tasks."""
    rotations = config.dataset == "omniglot"
    return jm.episodes(images, ways=config.ways, shots=shots, queries=config.queries, rotations=rotations)


def _train(
    config: Config, learner: Learner, train: ClassImages, validation: ClassImages, key: Key[Array, ""]
) -> PyTree:
    """The weights of a trained ProtoNet."""
    start_key, train_key, validation_key = jax.random.split(key, 3)
    adam = optax.adam(optax.cosine_decay_schedule(config.rate, config.steps))
    step = jm.meta_step(jm.query_loss(learner, jm.cross_entropy), adam)
    tasks = _tasks(config, validation, config.shots[0])
    validate = harness.validation_accuracy(learner, tasks, validation_key, tasks=config.validation_tasks)
    state, curve = harness.train(
        config,
        "protonet",
        step,
        jm.episodes(
            train,
            ways=config.train_ways,
            shots=config.train_shots,
            queries=config.train_queries,
            rotations=config.dataset == "omniglot",
        ),
        step.init(learner.init(start_key)),
        train_key,
        steps=config.steps,
        tasks=config.tasks,
        every=min(config.every, config.steps),
        evaluate=validate,
    )
    figure = jm.report.learning_curves({"protonet": curve}, "validation_accuracy")
    figure.savefig(config.folder / "learning_curve.png")
    return state.meta


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
