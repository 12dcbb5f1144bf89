"""Few-shot classification of many queries at once: clustering with pinned labels beside its peers.

The queries of a task are unlabelled points at hand. So a clusterer that keeps labelled points in their
cluster classifies all of them together. One ProtoNet is trained; every row but the first sees the same
features, of support and queries embedded together. All rows are compared on the same tasks of unseen classes:

- alone: the nearest class mean, batch statistics of the support alone; nothing is known of other queries
- means: the nearest class mean of the shared features
- soft: soft k-means, labelled points pinned
- sinkhorn: Sinkhorn k-means, labelled points pinned, which knows that classes are equally large
- bdcspn: queries are moved by the difference of means, and class means become means of all that is close,
  weighted by its cosine (Liu, Song & Qin 2020)
- laplacian: queries agree with class means and with their neighbours (Ziko et al. 2020)
- ptmap: features are straightened by a power transform, then transport in equal shares and class means take
  turns (Hu, Gripon & Pateux 2021); knows as much as sinkhorn

Every method has a few settings, the published one among them where there is one; validation classes choose
the best, anew for each number of shots, validation/S-shot/METHOD/SETTING. For soft and sinkhorn they choose
between plain features and those of ptmap too. The peers are written from their formulas. Two things differ:
features are those of this small network, and laplacian centres them by the mean of the task, where its
authors take that of the base classes.

    python -m experiments.transductive --data-dir DIR
        45 minutes on two cores beside other work; accuracy/1-shot/soft 0.459, accuracy/1-shot/bdcspn 0.453

`--dataset omniglot` trains on 20 ways. The gpu preset takes 20,000 steps, the quick one the digits.
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

UPDATES, RATE, ROUNDS = 20, 0.2, 50
"""Of ptmap: updates of the class means, how far each goes, as published; rounds of balancing in each."""
AGAINST = {
    "means": ("alone",),
    "soft": ("means", "bdcspn", "laplacian"),
    "sinkhorn": ("means", "soft", "ptmap"),
    "bdcspn": ("means",),
    "laplacian": ("means",),
    "ptmap": ("means",),
}
"""Whom a row is compared with in pairs."""


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
    """S, labelled images per class; the table has a part for each."""
    queries: int = 15
    """Q, images to be named per class."""
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
    """Learning rate of Adam at the start; it falls to zero along a cosine."""
    iterations: int = 20
    """Steps of soft, sinkhorn and laplacian."""
    sharpness: tuple[float, ...] = (5.0, 10.0, 20.0, 40.0)
    """Settings of soft and sinkhorn: how sharply they assign, 5 unless chosen."""
    confidence: tuple[float, ...] = (2.5, 5.0, 10.0)
    """Settings of bdcspn: what multiplies cosines, published 10."""
    pull: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 1.0, 1.5)
    """Settings of laplacian: the weight of neighbours, published as chosen from about these."""
    neighbours: int = 3
    """How many of them a query has."""
    transport: tuple[float, ...] = (5.0, 10.0, 20.0)
    """Settings of ptmap: what multiplies squared distances, published 10."""
    test_tasks: int = 1000
    """Tasks of the table, for every S."""
    validation_tasks: int = 200
    """Tasks of a validation, of classes that are in neither training nor test where there are such."""
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
    """A task as its features.

    Attributes:
        support: [S, D] labelled.
        labels: [S].
        query: [Q, D] to be named.
        ways: W, how many classes there are.
    """

    support: Float[Array, "S D"]
    labels: Int[Array, " S"]
    query: Float[Array, "Q D"]
    ways: int

    @property
    def means(self) -> Float[Array, "W D"]:
        """Of each class."""
        return class_means(self.support, self.labels, jnp.ones(len(self.support)), self.ways)[0]


Method = Callable[[Points], Float[Array, "Q W"]]
"""How well each query fits each class, the more the better."""


def experiment(config: Config) -> harness.Metrics:
    """Train one embedding, choose settings on validation classes, and look at the test classes once."""
    train, validation, test = harness.class_splits(config.dataset, data_dir=config.data_dir)
    height, width, channels = train.examples.shape[2:]
    net = jm.networks.conv4(config.width, shape=(height, width, channels))
    learner = jm.prototypes(net, ways=max(config.train_ways, config.ways))
    train_key, validation_key, test_key = jax.random.split(config.key, 3)
    body = _train(config, learner, train, validation, train_key)

    tried = methods(config)
    found: dict[str, Evaluation] = {}
    metrics: dict[str, Interval] = {}
    pairs: list[tuple[str, str]] = []
    for shots in config.shots:
        known, unseen = (_tasks(config, images, shots) for images in (validation, test))
        score, tasks = partial(_scores, net, config.ways, tried), config.validation_tasks
        scores = jm.evaluate(learner, known, body, validation_key, tasks=tasks, score=score).intervals()
        best = {row: max(names, key=lambda name: scores[name].mean) for row, names in _by_row(tried).items()}
        metrics |= {f"validation/{shots}-shot/{name}": scores[name] for name in best.values()}
        chosen = {row: tried[name] for row, name in best.items()}
        score, tasks = partial(_scores, net, config.ways, chosen), config.test_tasks
        values = jm.evaluate(learner, unseen, body, test_key, tasks=tasks, score=score).values
        found |= {f"{shots}-shot/{row}": Evaluation({"accuracy": value}) for row, value in values.items()}
        pairs += [
            (f"{shots}-shot/{row}", f"{shots}-shot/{other}") for row in AGAINST for other in AGAINST[row]
        ]
    return dict(harness.paired(found, pairs)) | metrics


def _scores(
    net: Model, ways: int, answers: Mapping[str, Method], learner: Learner, meta: PyTree, task: Task
) -> Metrics:
    """The accuracy of every method on one task."""
    support, query = task.support, task.query
    features = net.apply(meta, jnp.concatenate([support.inputs, query.inputs]))
    count = len(support.inputs)
    points = Points(features[:count], jnp.asarray(support.targets), features[count:], ways)
    found = {name: jnp.argmax(answer(points), -1) for name, answer in answers.items()}
    alone = jm.query_score(jm.inductive(learner), meta, task)["accuracy"]
    return {"alone": alone} | {name: jnp.mean(labels == query.targets) for name, labels in found.items()}


def methods(config: Config) -> dict[str, Method]:
    """Every method in every setting, as METHOD/SETTING."""
    found: dict[str, Method] = {"means/plain": nearest_mean}
    for kind, make in (("soft", jm.soft_kmeans), ("sinkhorn", jm.sinkhorn_kmeans)):
        for sharpness in config.sharpness:
            clusterer = make(
                config.ways, steps=config.iterations, sharpness=sharpness, seeding=jm.random_points
            )
            found[f"{kind}/plain-{sharpness:g}"] = partial(clustered, clusterer)
            found[f"{kind}/power-{sharpness:g}"] = partial(clustered, clusterer, features=power)
    for confidence in config.confidence:
        found[f"bdcspn/{confidence:g}"] = partial(rectified, confidence)
    for pull in config.pull:
        found[f"laplacian/{pull:g}"] = partial(smoothed, pull, config.neighbours, config.iterations)
    for transport in config.transport:
        found[f"ptmap/{transport:g}"] = partial(transported, transport)
    return found


def _by_row(names: Collection[str]) -> dict[str, list[str]]:
    """METHOD -> its METHOD/SETTING."""
    rows = dict.fromkeys(name.partition("/")[0] for name in names)
    return {row: [name for name in names if name.startswith(f"{row}/")] for row in rows}


def nearest_mean(points: Points) -> Float[Array, "Q W"]:
    """What a ProtoNet does: -||q - p_w||^2."""
    return -squared_distances(points.query, points.means)


def clustered(
    clusterer: Clusterer, points: Points, *, features: Callable[[Points], Points] = lambda points: points
) -> Float[Array, "Q W"]:
    """Cluster support and queries together, the labels of the support pinned."""
    moved = features(points)
    labels = jnp.concatenate([points.labels, jnp.full(len(points.query), -1)])
    batch = Batch(jnp.concatenate([moved.support, moved.query]), labels)
    state = clusterer.fit({}, batch, jax.random.key(0))  # labels are the seeds: nothing is random
    return clusterer.assign({}, state, moved.query).log_probs


def power(points: Points) -> Points:
    """Features less skewed: x^1/2, then directions from the mean, of support and queries apart."""

    def straightened(x: Float[Array, "N D"]) -> Float[Array, "N D"]:
        x = unit_length(jnp.sqrt(jnp.maximum(x, 0) + 1e-6))
        return unit_length(x - jnp.mean(x, 0))

    return points._replace(support=straightened(points.support), query=straightened(points.query))


def rectified(confidence: float, points: Points) -> Float[Array, "Q W"]:
    """BD-CSPN.

    Queries are moved by the mean of the support less that of the queries, and labelled by the class mean of
    the largest cosine. Then p_w = sum_i a_i x_i over support and queries of class w, where
    a_i = softmax_i(confidence cos(x_i, p_w)); the answer is the cosine with these.
    """
    support, query = unit_length(points.support), unit_length(points.query)
    query = query + jnp.mean(support, 0) - jnp.mean(query, 0)
    means = unit_length(points._replace(support=support).means)
    together = jnp.concatenate([support, query])
    cosine = unit_length(together) @ means.T
    labels = jnp.concatenate([points.labels, jnp.argmax(cosine[len(support) :], 1)])
    owners = labels[:, None] == jnp.arange(points.ways)
    shares = jax.nn.softmax(jnp.where(owners, confidence * cosine, -jnp.inf), 0)
    return unit_length(query) @ unit_length(shares.T @ together).T


def smoothed(pull: float, neighbours: int, iterations: int, points: Points) -> Float[Array, "Q W"]:
    """LaplacianShot.

    y_q = softmax(-||q - p_w||^2 + pull sum_n y_n), n over the nearest other queries, iterated from the
    softmax of the distances alone; all of it on directions from the mean of the task.
    """
    mean = jnp.mean(jnp.concatenate([points.support, points.query]), 0)
    support, query = unit_length(points.support - mean), unit_length(points.query - mean)
    fit = nearest_mean(points._replace(support=support, query=query))
    apart = exact_squared_distances(query, query) + jnp.where(jnp.eye(len(query), dtype=bool), jnp.inf, 0)
    _, near = lax.top_k(-apart, neighbours)

    def step(answer: Float[Array, "Q W"], _: None) -> tuple[Float[Array, "Q W"], None]:
        return jax.nn.softmax(fit + pull * jnp.sum(answer[near], 1)), None

    return lax.scan(step, jax.nn.softmax(fit), None, length=iterations)[0]


def transported(sharpness: float, points: Points) -> Float[Array, "Q W"]:
    """PT-MAP.

    Queries are sent to class means in equal shares, P = argmin <P, D> - H(P) / sharpness, and each class mean
    goes a part of the way to the mean of its support and of what it was sent, in turns.
    """
    points = power(points)
    owners = jax.nn.one_hot(points.labels, points.ways)

    def plan(means: Float[Array, "W D"]) -> Float[Array, "Q W"]:
        return _balanced(-sharpness * squared_distances(points.query, means))

    def step(means: Float[Array, "W D"], _: None) -> tuple[Float[Array, "W D"], None]:
        sent = plan(means)
        mass = jnp.sum(owners, 0) + jnp.sum(sent, 0)
        moved = (owners.T @ points.support + sent.T @ points.query) / mass[:, None]
        return means + RATE * (moved - means), None

    return plan(lax.scan(step, points.means, None, length=UPDATES)[0])


def _balanced(logits: Float[Array, "Q W"]) -> Float[Array, "Q W"]:
    """Sinkhorn's iteration: each query is shared out whole, each class gets as much."""
    share = jnp.log(logits.shape[0] / logits.shape[1])

    def improve(plan: Float[Array, "Q W"], _: None) -> tuple[Float[Array, "Q W"], None]:
        plan = jax.nn.log_softmax(plan, 1)
        return jax.nn.log_softmax(plan, 0) + share, None

    return jnp.exp(lax.scan(improve, logits, None, length=ROUNDS)[0])


def _tasks(config: Config, images: ClassImages, shots: int) -> Sampler:
    """As they are tested."""
    turned = config.dataset == "omniglot"
    return jm.episodes(images, ways=config.ways, shots=shots, queries=config.queries, rotations=turned)


def _train(
    config: Config, learner: Learner, train: ClassImages, validation: ClassImages, key: Key[Array, ""]
) -> PyTree:
    """The weights of a ProtoNet."""
    start_key, train_key, validation_key = jax.random.split(key, 3)
    adam = optax.adam(optax.cosine_decay_schedule(config.rate, config.steps))
    step = jm.meta_step(jm.query_loss(learner, jm.cross_entropy), adam)
    watched = _tasks(config, validation, config.shots[0])

    validate = harness.validation_accuracy(learner, watched, validation_key, tasks=config.validation_tasks)
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
