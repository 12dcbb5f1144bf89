"""Clusters whole alphabets of Omniglot in an embedding that was trained on other alphabets.

One network is trained on background alphabets, on tasks of twenty characters; quarter turns count as
characters of their own. Each of the 20 evaluation alphabets, 20 to 47 characters of 20 drawings, is then one
clustering task, with no further training. Rows, all on the same alphabets, by soft k-means and by Sinkhorn
k-means, which assumes characters of equal frequency:

- pixels: the drawings themselves
- untrained: a random network's embedding
- prototype: a network trained by the supervised surrogate, with no gradient through the clustering
- both: trained on the sum of that and a soft ARI, through the clustering

In ROW/METHOD/known the number of characters K is given. In ROW/METHOD/inferred every K of a grid is tried,
and the K of best internal index, such as the silhouette, is taken; which index, background alphabets held out
of training decide: validation/ROW/METHOD/INDEX. `off` is the absolute error of K. Batch statistics are those
of the alphabet.

Published for scale, quoted from memory, accuracy in %: K known, KCL 82.4, MCL 85.7, Centroid Networks 86.8;
K unknown, at most 100 clusters, KCL 75.0, MCL 82.5. KCL and MCL train a network for every alphabet.

    python -m experiments.omniglot_alphabets --data-dir DIR
        21 minutes on two cores; accuracy/both/sinkhorn/known 0.786, accuracy/both/sinkhorn/inferred 0.71

The gpu preset takes 20,000 steps, trains both rows, and tries every K from 2 to 100. The quick preset uses
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
Method = Literal["soft", "sinkhorn"]
METHODS: dict[Method, Callable[..., Clusterer]] = {"soft": jm.soft_kmeans, "sinkhorn": jm.sinkhorn_kmeans}
"""The clusterers by name."""
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
"""Internal indices that may choose the number of clusters; larger is better."""
BACKGROUND = 964
"""Number of characters of the 30 background alphabets, which come first."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    dataset: Literal["digits", "omniglot"] = "omniglot"
    """The data set; digits are bundled, for a quick run."""
    train: tuple[Row, ...] = ("both",)
    """Which rows to train."""
    kinds: tuple[Method, ...] = ("soft", "sinkhorn")
    """Which clusterers to use; validation in training uses the first."""
    ways: int = 20
    """W, characters of a training task."""
    shots: int = 5
    """S, drawings to cluster per character of a training task."""
    queries: int = 5
    """Q, further drawings per character, for the surrogate."""
    drawings: int = 20
    """Drawings of every character of an alphabet."""
    held_out: int = 5
    """Background alphabets for validation and for choosing the index."""
    width: int = 64
    """Filters of each of the four blocks."""
    steps: int = 1200
    """Meta-steps of every row."""
    tasks: int = 2
    """Tasks per meta-step."""
    rate: float = 1e-3
    """Initial learning rate of Adam, with cosine decay to zero."""
    iterations: int = 20
    """Steps of the clustering."""
    train_restarts: int = 4
    """Seedings per clustering in training; the gradient passes through the best."""
    restarts: int = 4
    """Seedings per clustering at test time."""
    least: int = 10
    """Smallest K of the grid; background alphabets have 14 to 55 characters."""
    most: int = 60
    """Largest K of the grid."""
    stride: int = 2
    """Step of the grid."""
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
    """The parts that all rows share, so that they are compiled once.

    Attributes:
        config: the options.
        start: the initial meta-parameters of all rows.
        steps: the meta-step of every row.
        train: the sampler of training tasks.
        validation: [A, N, ...] validation alphabets, padded with points of weight zero; `targets` are the
            characters, `clusters` is their number.
        test: the test alphabets, in the same form.
        embed: (the network's weights, alphabets) -> [A, N, D].
        evaluators: (alphabets, [A] numbers of clusters, keys) -> agreement and indices, for every clusterer.
    """

    config: Config
    start: Embedding
    steps: dict[Row, MetaStep]
    train: Sampler
    validation: Batch
    test: Batch
    embed: Callable[..., Array]
    evaluators: dict[Method, Callable[..., Metrics]]


def experiment(config: Config) -> harness.Metrics:
    """Trains the requested rows and clusters all evaluation alphabets by every row."""
    start_key, train_key, validation_key, test_key = jax.random.split(config.key, 4)
    setting = prepare(config, start_key)
    curves: dict[str, list[dict[str, float]]] = {}
    results: dict[str, Evaluation] = {}
    metrics: dict[str, Interval] = {}
    test = {"pixels": _flat(setting.test), "untrained": embedded(setting, setting.start.body, setting.test)}
    for row in config.train:
        body, curves[row] = _train(setting, row, train_key, validation_key)
        test[row] = embedded(setting, body, setting.test)
        validation = embedded(setting, body, setting.validation)
        for method in config.kinds:
            by_index = inferred(setting, method, validation, validation_key)
            scores = {index: one.intervals()["accuracy"] for index, one in by_index.items()}
            metrics |= {f"validation/{row}/{method}/{index}": score for index, score in scores.items()}
            best = max(scores, key=lambda index: scores[index].mean)
            results[f"{row}/{method}/inferred"] = inferred(setting, method, test[row], test_key)[best]
    for name, alphabets in test.items():
        for method in config.kinds:
            results[f"{name}/{method}/known"] = known(setting, method, alphabets, test_key)
    figure = jm.report.learning_curves(curves, "validation_accuracy")
    figure.savefig(config.folder / "learning_curves.png")
    return dict(harness.paired(results, _pairs(results))) | metrics


def _pairs(rows: Collection[str]) -> list[tuple[str, str]]:
    """Pairs of trained rows with the untrained one, and of both with prototype, as far as they exist."""
    against = (("prototype", "untrained"), ("both", "untrained"), ("both", "prototype"))
    pairs = [(row, row.replace(new, old)) for new, old in against for row in rows if row.startswith(new)]
    return [(row, other) for row, other in pairs if other in rows]


def prepare(config: Config, key: Key[Array, ""]) -> Setting:
    """The alphabets, the network, its meta-steps, and the clusterers of its embeddings."""
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
        method: METHODS[method](slots, steps=config.iterations, restarts=config.restarts)
        for method in config.kinds
    }
    return Setting(
        config=config,
        start=learner.init(key),
        steps={row: jm.meta_step(losses[row], optimizer, chunk=1) for row in config.train},
        train=jm.episodes(
            train,
            ways=config.ways,
            shots=config.shots,
            queries=config.queries,
            labelled=False,
            rotations=config.dataset == "omniglot",
        ),
        validation=_padded(validation, largest, config.drawings),
        test=_padded(test, largest, config.drawings),
        embed=jm.over_tasks(partial(_embed, net), shared=1, chunk=1),
        evaluators={
            method: jm.over_tasks(partial(_evaluate, clusterer, slots))
            for method, clusterer in clusterers.items()
        },
    )


def _split(config: Config) -> tuple[ClassImages, list[ClassImages], list[ClassImages]]:
    """The training characters, the validation alphabets and the test alphabets."""
    if config.dataset == "digits":
        train = jm.load("digits", "train")
        test = jm.load("digits", "test")
        return train, [train, train.classes([0, 1, 2, 3])], [test, test.classes([0, 1, 2, 3])]
    images = jm.load("omniglot", data_dir=config.data_dir)
    owners = np.array([name.rpartition("/")[0] for name in images.names])
    background = np.unique(owners[:BACKGROUND])
    evaluation = np.unique(owners[BACKGROUND:])
    if config.held_out >= len(background):
        raise jm.InputError(
            f"held-out is {config.held_out}, but {images.source} distinguishes {len(background)} background "
            "alphabets; hold out fewer, or put omniglot.npz into --data-dir."
        )
    background = np.random.default_rng(config.seed).permutation(background)

    def alphabet(*names: str) -> ClassImages:
        return images.classes(np.flatnonzero(np.isin(owners, names)))

    validation = [alphabet(name) for name in background[: config.held_out]]
    train = alphabet(*background[config.held_out :])
    return train, validation, [alphabet(name) for name in evaluation]


def _padded(alphabets: Sequence[ClassImages], largest: int, drawings: int) -> Batch:
    """[A, N, ...] the alphabets, padded to the number of characters of the largest."""
    shape = alphabets[0].examples[0, :drawings].shape
    inputs = np.zeros((len(alphabets), largest, *shape), np.uint8)
    targets = np.full(inputs.shape[:3], -1)
    for number, alphabet in enumerate(alphabets):
        count = len(alphabet.names)
        inputs[number, :count] = alphabet.examples[:, :drawings]
        targets[number, :count] = np.arange(count)[:, None]
    points = inputs.reshape(len(alphabets), -1, *shape[1:])
    truth = jnp.asarray(targets.reshape(points.shape[:2]))
    counts = jnp.array([len(alphabet.names) for alphabet in alphabets])
    return Batch(jnp.asarray(points), truth, (truth >= 0).astype(float), counts)


def _flat(alphabets: Batch) -> Batch:
    """The alphabets with their pixels as points."""
    points = alphabets.inputs
    return alphabets._replace(inputs=scaled(points).reshape(*points.shape[:2], -1))


def _embed(net: Model, body: PyTree, alphabet: Batch) -> Float[Array, "N D"]:
    return net.apply(body, scaled(alphabet.inputs), alphabet.weights)


def embedded(setting: Setting, body: PyTree, alphabets: Batch) -> Batch:
    """The alphabets with the network's embeddings as points."""
    points = setting.embed(jax.device_get(body), alphabets._replace(targets=None, clusters=None))
    return alphabets._replace(inputs=points)


def _evaluate(
    clusterer: Clusterer, slots: int, alphabet: Batch, count: Int[Array, ""], key: Key[Array, ""]
) -> Metrics:
    """The agreement of `count` clusters with the characters, and every index of the clusters."""
    points, truth, weights, _ = alphabet
    state = clusterer.fit({}, Batch(points, None, weights, count), key)
    labels = jnp.argmax(clusterer.assign({}, state, points).log_probs, -1)
    agreement = {name: metric(labels, truth, weights, slots=slots) for name, metric in AGREEMENT.items()}
    return agreement | {name: index(points, labels, weights, slots=slots) for name, index in INDICES.items()}


def _evaluate_all(
    setting: Setting, method: Method, alphabets: Batch, counts: Int[Array, " A"], key: Key[Array, ""]
) -> dict[str, Float[np.ndarray, " A"]]:
    metrics = setting.evaluators[method](alphabets, counts, jax.random.split(key, len(counts)))
    return {name: np.asarray(values) for name, values in metrics.items()}


def known(setting: Setting, method: Method, alphabets: Batch, key: Key[Array, ""]) -> Evaluation:
    """The agreement with K given."""
    metrics = _evaluate_all(setting, method, alphabets, jnp.asarray(alphabets.clusters), key)
    return Evaluation({name: metrics[name] for name in AGREEMENT})


def inferred(
    setting: Setting, method: Method, alphabets: Batch, key: Key[Array, ""]
) -> dict[str, Evaluation]:
    """For every index, the agreement with the K of best index, and the absolute error of that K."""
    config = setting.config
    truth = np.asarray(alphabets.clusters)
    grid = np.arange(config.least, config.most + 1, config.stride)
    rows = [_evaluate_all(setting, method, alphabets, jnp.full(len(truth), count), key) for count in grid]
    metrics = {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def evaluation(index: str) -> Evaluation:
        best = metrics[index].argmax(0)
        values = {name: metrics[name][best, np.arange(len(best))] for name in AGREEMENT}
        return Evaluation(values | {"off": np.abs(grid[best] - truth).astype(float)})

    return {index: evaluation(index) for index in INDICES}


def _train(
    setting: Setting, row: Row, train_key: Key[Array, ""], validation_key: Key[Array, ""]
) -> tuple[PyTree, list[dict[str, float]]]:
    """The trained weights of a row, and the log of their training."""
    config = setting.config
    step = setting.steps[row]

    def validate(meta: Embedding) -> dict[str, float]:
        alphabets = embedded(setting, meta.body, setting.validation)
        evaluation = known(setting, config.kinds[0], alphabets, validation_key)
        return {"validation_accuracy": evaluation.intervals()["accuracy"].mean}

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
        evaluate=validate,
    )
    return state.meta.body, log


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
