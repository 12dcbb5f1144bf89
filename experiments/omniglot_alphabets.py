"""Whole alphabets, each clustered at once by an embedding that has seen none of its characters.

One network is trained on background alphabets of Omniglot, by tasks of twenty characters; quarter turns count
as characters of their own. Each of the 20 evaluation alphabets, 20 to 47 characters of 20 drawings, is then
one clustering task, and nothing is trained on it. Rows, all on the same alphabets, by soft k-means and by
Sinkhorn k-means, which knows that characters are equally frequent:

- pixels: the drawings themselves
- untrained: a random network's embedding
- prototype: a network trained by the supervised surrogate, with no gradient through the clustering
- both: trained on the sum of that and a soft ARI, through the clustering

ROW/KIND/known is told K, the number of characters. ROW/KIND/inferred is not: every K of a grid is tried, and
an internal index, such as the silhouette, chooses. Background alphabets that are held out of training say
which: validation/ROW/KIND/INDEX. `off` is |K found - K|. Batch statistics are those of the alphabet.

Published for scale, quoted from memory, accuracy in %: K known, KCL 82.4, MCL 85.7, Centroid Networks 86.8;
K unknown, at most 100 clusters, KCL 75.0, MCL 82.5. KCL and MCL train a network for every alphabet.

    python -m experiments.omniglot_alphabets --data-dir DIR
        21 minutes on two cores; accuracy/both/sinkhorn/known 0.786, accuracy/both/sinkhorn/inferred 0.71

The gpu preset takes 20,000 steps, both ways of training, and every K from 2 to 100. The quick preset takes
scikit-learn's digits: it trains on 0 to 4, and 5 to 9 are one alphabet, 5 to 8 another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

import jmeta as jm
from jmeta import ClassImages, Evaluation, harness
from jmeta.learners.centroid import Embedding
from jmeta.metrics import Interval
from jmeta.records import Batch, Clusterer, MetaStep, Metrics, Model, Sampler, TaskLoss
from jmeta.tasks.episodes import scaled

Row = Literal["prototype", "both"]
Kind = Literal["soft", "sinkhorn"]
KINDS: dict[Kind, Callable[..., Clusterer]] = {"soft": jm.soft_kmeans, "sinkhorn": jm.sinkhorn_kmeans}
AGREEMENT: dict[str, Callable[..., Array]] = {
    "accuracy": jm.matched_accuracy,
    "ari": jm.adjusted_rand_index,
    "nmi": jm.normalized_mutual_information,
}
INDICES: dict[str, Callable[..., Array]] = {
    "silhouette": jm.metrics.silhouette,
    "simplified_silhouette": jm.metrics.simplified_silhouette,
    "calinski_harabasz": jm.metrics.calinski_harabasz,
}
"""What may choose the number of clusters; the larger, the better."""
BACKGROUND = 964
"""Characters of the 30 background alphabets, the first ones."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    dataset: Literal["digits", "omniglot"] = "omniglot"
    """digits are bundled, for a quick look."""
    train: tuple[Row, ...] = ("both",)
    """Which rows to train."""
    kinds: tuple[Kind, ...] = ("soft", "sinkhorn")
    """What clusters; the first one also while training is watched."""
    ways: int = 20
    """W, characters of a training task."""
    shots: int = 5
    """S, drawings to cluster per character of a training task."""
    queries: int = 5
    """Q, further ones, for the surrogate."""
    drawings: int = 20
    """Of every character of an alphabet."""
    held_out: int = 5
    """Background alphabets to watch training by, and to choose the index."""
    width: int = 64
    """Filters of each of the four blocks."""
    steps: int = 1200
    """Meta-steps of every row."""
    tasks: int = 2
    """Tasks per meta-step."""
    rate: float = 1e-3
    """Learning rate of Adam at the start; it falls to zero along a cosine."""
    iterations: int = 20
    """Steps of the clustering."""
    train_restarts: int = 4
    """Seedings that are tried while training; the gradient passes through the best."""
    restarts: int = 4
    """Seedings that are tried at test time."""
    least: int = 10
    """The smallest K that is tried; background alphabets have 14 to 55 characters."""
    most: int = 60
    """The largest."""
    stride: int = 2
    """From one K to the next."""
    every: int = 400
    """Meta-steps between two validations."""


QUICK: dict[str, Any] = {
    "dataset": "digits",
    "kinds": ("sinkhorn",),
    "ways": 5,
    "shots": 2,
    "queries": 2,
    "drawings": 10,
    "steps": 2,
    "iterations": 2,
    "train_restarts": 2,
    "restarts": 2,
    "least": 2,
    "most": 6,
    "every": 2,
}
FULL: dict[str, Any] = {"train": ("prototype", "both"), "steps": 20_000, "tasks": 8, "every": 2000}
PRESETS = {
    "quick": Config(preset="quick", **QUICK),
    "cpu": Config(),
    "gpu": Config(preset="gpu", least=2, most=100, stride=1, **FULL),
}


class Setting(NamedTuple):
    """What all rows share: compiled once.

    Attributes:
        config: the options.
        start: what all rows are trained from.
        steps: of training.
        train: tasks to learn from.
        validation: [A, N, ...] alphabets to choose by, padded by points of weight zero; targets are the
            characters, clusters how many there are.
        test: those of the table.
        embed: (the network's weights, alphabets) -> [A, N, D].
        judges: (alphabets, [A] numbers of clusters, keys) -> agreement and indices, for every clusterer.
    """

    config: Config
    start: Embedding
    steps: dict[Row, MetaStep]
    train: Sampler
    validation: Batch
    test: Batch
    embed: Callable[..., Array]
    judges: dict[Kind, Callable[..., Metrics]]


def experiment(config: Config) -> harness.Metrics:
    """Train the rows that were asked for, and cluster all evaluation alphabets by every row."""
    start_key, train_key, validation_key, test_key = jax.random.split(config.key, 4)
    setting = prepare(config, start_key)
    curves: dict[str, list[dict[str, float]]] = {}
    found: dict[str, Evaluation] = {}
    metrics: dict[str, Interval] = {}
    test = {"pixels": _flat(setting.test), "untrained": embedded(setting, setting.start.body, setting.test)}
    for row in config.train:
        body, curves[row] = _train(setting, row, train_key, validation_key)
        test[row] = embedded(setting, body, setting.test)
        watched = embedded(setting, body, setting.validation)
        for kind in config.kinds:
            by_index = inferred(setting, kind, watched, validation_key)
            scores = {index: one.intervals()["accuracy"] for index, one in by_index.items()}
            metrics |= {f"validation/{row}/{kind}/{index}": score for index, score in scores.items()}
            chosen = max(scores, key=lambda index: scores[index].mean)
            found[f"{row}/{kind}/inferred"] = inferred(setting, kind, test[row], test_key)[chosen]
    for name, alphabets in test.items():
        for kind in config.kinds:
            found[f"{name}/{kind}/known"] = known(setting, kind, alphabets, test_key)
    figure = jm.report.learning_curves(curves, "validation_accuracy")
    figure.savefig(config.folder / "learning_curves.png")
    return dict(harness.paired(found, _pairs(found))) | metrics


def _pairs(rows: Collection[str]) -> list[tuple[str, str]]:
    """Trained rows against the untrained, and both against prototype, where there are these."""
    against = (("prototype", "untrained"), ("both", "untrained"), ("both", "prototype"))
    pairs = [(row, row.replace(new, old)) for new, old in against for row in rows if row.startswith(new)]
    return [(row, other) for row, other in pairs if other in rows]


def prepare(config: Config, key: Key[Array, ""]) -> Setting:
    """The alphabets, a network, what trains it, and what clusters its embeddings."""
    train, validation, test = _split(config)
    largest = max(len(alphabet.names) for alphabet in (*validation, *test))
    slots = max(largest, config.most)
    height, width, channels = train.examples.shape[2:]
    net = jm.networks.conv4(config.width, shape=(height, width, channels))
    soft = partial(jm.soft_kmeans, config.ways)
    learner = jm.centroids(net, soft(steps=config.iterations, restarts=config.train_restarts))
    surrogate = jm.prototype_loss(jm.centroids(net, soft(steps=1)))
    through = jm.clustering_loss(learner, jm.soft_ari)
    losses: dict[Row, TaskLoss] = {"prototype": surrogate, "both": jm.total(surrogate, through)}
    optimizer = harness.clipped_adam(optax.cosine_decay_schedule(config.rate, config.steps))
    clusterers = {
        kind: KINDS[kind](slots, steps=config.iterations, restarts=config.restarts) for kind in config.kinds
    }
    return Setting(
        config,
        learner.init(key),
        {row: jm.meta_step(losses[row], optimizer, chunk=1) for row in config.train},
        jm.episodes(
            train,
            ways=config.ways,
            shots=config.shots,
            queries=config.queries,
            labelled=False,
            rotations=config.dataset == "omniglot",
        ),
        _padded(validation, largest, config.drawings),
        _padded(test, largest, config.drawings),
        jm.over_tasks(partial(_embed, net), shared=1, chunk=1),
        {kind: jm.over_tasks(partial(_judge, clusterer, slots)) for kind, clusterer in clusterers.items()},
    )


def _split(config: Config) -> tuple[ClassImages, list[ClassImages], list[ClassImages]]:
    """Characters to learn from, alphabets to choose by, and alphabets of the table."""
    if config.dataset == "digits":
        train, test = jm.load("digits", "train"), jm.load("digits", "test")
        return train, [train, train.classes([0, 1, 2, 3])], [test, test.classes([0, 1, 2, 3])]
    images = jm.load("omniglot", data_dir=config.data_dir)
    owners = np.array([name.rpartition("/")[0] for name in images.names])
    old, new = np.unique(owners[:BACKGROUND]), np.unique(owners[BACKGROUND:])
    if config.held_out >= len(old):
        raise jm.InputError(
            f"{images.source} tells {len(old)} background alphabets apart, of which {config.held_out} are to "
            "be held out; hold out fewer, or put omniglot.npz into --data-dir."
        )
    old = np.random.default_rng(config.seed).permutation(old)

    def alphabet(*names: str) -> ClassImages:
        return images.classes(np.flatnonzero(np.isin(owners, names)))

    held_out, learned = old[: config.held_out], old[config.held_out :]
    return alphabet(*learned), [alphabet(name) for name in held_out], [alphabet(name) for name in new]


def _padded(alphabets: Sequence[ClassImages], largest: int, drawings: int) -> Batch:
    """[A, N, ...] alphabets, as if each had as many characters as the largest."""
    shape = alphabets[0].examples[0, :drawings].shape
    inputs = np.zeros((len(alphabets), largest, *shape), np.uint8)
    targets = np.full(inputs.shape[:3], -1)
    for place, alphabet in enumerate(alphabets):
        count = len(alphabet.names)
        inputs[place, :count] = alphabet.examples[:, :drawings]
        targets[place, :count] = np.arange(count)[:, None]
    points = inputs.reshape(len(alphabets), -1, *shape[1:])
    truth = jnp.asarray(targets.reshape(points.shape[:2]))
    counts = jnp.array([len(alphabet.names) for alphabet in alphabets])
    return Batch(jnp.asarray(points), truth, (truth >= 0).astype(float), counts)


def _flat(alphabets: Batch) -> Batch:
    """Drawings as they are."""
    points = alphabets.inputs
    return alphabets._replace(inputs=scaled(points).reshape(*points.shape[:2], -1))


def _embed(net: Model, body: PyTree, alphabet: Batch) -> Float[Array, "N D"]:
    return net.apply(body, scaled(alphabet.inputs), alphabet.weights)


def embedded(setting: Setting, body: PyTree, alphabets: Batch) -> Batch:
    """What a network makes of all drawings."""
    points = setting.embed(jax.device_get(body), alphabets._replace(targets=None, clusters=None))
    return alphabets._replace(inputs=points)


def _judge(
    clusterer: Clusterer, slots: int, alphabet: Batch, count: Int[Array, ""], key: Key[Array, ""]
) -> Metrics:
    """How so many clusters agree with the characters, and what every index says of them."""
    points, truth, weights, _ = alphabet
    state = clusterer.fit({}, Batch(points, None, weights, count), key)
    found = jnp.argmax(clusterer.assign({}, state, points).log_probs, -1)
    agreement = {name: metric(found, truth, weights, slots=slots) for name, metric in AGREEMENT.items()}
    return agreement | {name: index(points, found, weights, slots=slots) for name, index in INDICES.items()}


def _judged(
    setting: Setting, kind: Kind, alphabets: Batch, counts: Int[Array, " A"], key: Key[Array, ""]
) -> dict[str, Float[np.ndarray, " A"]]:
    found = setting.judges[kind](alphabets, counts, jax.random.split(key, len(counts)))
    return {name: np.asarray(values) for name, values in found.items()}


def known(setting: Setting, kind: Kind, alphabets: Batch, key: Key[Array, ""]) -> Evaluation:
    """The agreement where K is told."""
    found = _judged(setting, kind, alphabets, jnp.asarray(alphabets.clusters), key)
    return Evaluation({name: found[name] for name in AGREEMENT})


def inferred(setting: Setting, kind: Kind, alphabets: Batch, key: Key[Array, ""]) -> dict[str, Evaluation]:
    """For every index the agreement where it chooses K, and how far from the truth that is."""
    config, truth = setting.config, np.asarray(alphabets.clusters)
    grid = np.arange(config.least, config.most + 1, config.stride)
    each = [_judged(setting, kind, alphabets, jnp.full(len(truth), count), key) for count in grid]
    found = {name: np.stack([one[name] for one in each]) for name in each[0]}

    def by(index: str) -> Evaluation:
        best = found[index].argmax(0)
        values = {name: found[name][best, np.arange(len(best))] for name in AGREEMENT}
        return Evaluation(values | {"off": np.abs(grid[best] - truth).astype(float)})

    return {index: by(index) for index in INDICES}


def _train(
    setting: Setting, row: Row, train_key: Key[Array, ""], validation_key: Key[Array, ""]
) -> tuple[PyTree, list[dict[str, float]]]:
    """The network that one way of training ends with, and its log."""
    config, step = setting.config, setting.steps[row]

    def evaluate(meta: Embedding) -> dict[str, float]:
        alphabets = embedded(setting, meta.body, setting.validation)
        found = known(setting, config.kinds[0], alphabets, validation_key)
        return {"validation_accuracy": found.intervals()["accuracy"].mean}

    state, log = harness.train(
        config,
        row,
        step,
        setting.train,
        step.init(setting.start),
        train_key,
        steps=config.steps,
        tasks=config.tasks,
        every=min(config.every, config.steps),
        evaluate=evaluate,
    )
    return state.meta.body, log


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
