"""Whole alphabets, each clustered at once by an embedding that has never seen a letter of it.

One network is trained on background alphabets of Omniglot, by tasks of twenty characters each; every one of
the 20 evaluation alphabets, 20 to 47 characters of 20 drawings, is then a single clustering task, and nothing
is trained on it. Rows, all on the same alphabets, by soft and by Sinkhorn k-means, which knows that
characters are equally frequent:

- pixels: the drawings themselves
- untrained: a random network's embedding
- prototype: a network trained by the supervised surrogate, with no gradient through the clustering
- both: trained on the sum of that and a soft ARI, through the clustering

`known` is told K, the number of characters. `inferred` is not: every K of a grid is tried, and an internal
index, such as the silhouette, chooses; which index, is what five background alphabets say that are held out
of training, `validation/...`. `off` is the mean of |K found - K|. Batch statistics are those of the alphabet.

Published for scale, quoted from memory, accuracy in %: K known, KCL 82.4, MCL 85.7, Centroid Networks 86.8;
K unknown, at most 100 clusters, KCL 75.0, MCL 82.5. KCL and MCL train a network for every alphabet.

    python -m experiments.omniglot_alphabets --data-dir DIR
        {TIME} on two cores; accuracy/both/sinkhorn/known {NUMBER}, accuracy/both/sinkhorn/inferred {NUMBER}

The gpu preset takes 20,000 steps, both ways of training, and every K from 2 to 100. The quick preset takes
scikit-learn's digits: trained on 0 to 4, and 5 to 9 and 5 to 8 as two alphabets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key, PyTree

import jmeta as jm
from experiments import harness
from jmeta import ClassImages, Evaluation
from jmeta.learners.centroid import Embedding
from jmeta.metrics import (
    Interval,
    adjusted_rand_index,
    calinski_harabasz,
    davies_bouldin,
    matched_accuracy,
    normalized_mutual_information,
    silhouette,
    simplified_silhouette,
)
from jmeta.records import Batch, Clusterer, MetaStep, Metrics, Sampler
from jmeta.tasks.episodes import scaled

Row = Literal["prototype", "both"]
Kind = Literal["soft", "sinkhorn"]
Curve = dict[str, Float[np.ndarray, "A G"]]
"""Agreement and indices of every alphabet, for each number of clusters."""

BACKGROUND = 964
"""Characters of the 30 background alphabets, the first ones."""
KINDS: dict[Kind, Callable[..., Clusterer]] = {"soft": jm.soft_kmeans, "sinkhorn": jm.sinkhorn_kmeans}
AGREEMENT: dict[str, Callable[..., Array]] = {
    "accuracy": matched_accuracy,
    "ari": adjusted_rand_index,
    "nmi": normalized_mutual_information,
}


def _least_davies_bouldin(*args: Any, **options: Any) -> Array:
    """As all others, better if larger."""
    return -davies_bouldin(*args, **options)


INDICES: dict[str, Callable[..., Array]] = {
    "silhouette": silhouette,
    "simplified_silhouette": simplified_silhouette,
    "calinski_harabasz": calinski_harabasz,
    "davies_bouldin": _least_davies_bouldin,
}
"""What may choose the number of clusters, from points and labels alone."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    dataset: Literal["digits", "omniglot"] = "omniglot"
    """digits are bundled, and there for a quick look."""
    train: tuple[Row, ...] = ("both",)
    """Which rows to train."""
    ways: int = 20
    """W, characters of a training task."""
    shots: int = 5
    """S, drawings to cluster per character while training."""
    queries: int = 5
    """Q, further ones, for the surrogate."""
    drawings: int = 20
    """Of every character of a whole alphabet."""
    held_out: int = 5
    """Background alphabets to watch by and to choose the index by."""
    width: int = 64
    """Filters of each of the four blocks."""
    steps: int = 1500
    """Meta-steps of every row."""
    tasks: int = 2
    """Tasks per meta-step."""
    rate: float = 1e-3
    """Learning rate of Adam at the start; it falls to zero along a cosine."""
    iterations: int = 20
    """Steps of the clustering."""
    train_restarts: int = 4
    """Seedings that are tried while training; the gradient passes through the best."""
    restarts: int = 8
    """And at test time."""
    grid: tuple[int, int, int] = (10, 60, 2)
    """The least K, the most, and the step between them; background alphabets have 14 to 55 characters."""
    every: int = 500
    """Meta-steps between two validations."""


QUICK: dict[str, Any] = {
    "dataset": "digits",
    "ways": 5,
    "shots": 2,
    "queries": 2,
    "drawings": 10,
    "width": 4,
    "steps": 2,
    "iterations": 3,
    "train_restarts": 2,
    "restarts": 2,
    "grid": (2, 6, 2),
    "every": 2,
}
PRESETS = {
    "quick": Config(preset="quick", **QUICK),
    "cpu": Config(),
    "gpu": Config(
        preset="gpu", train=("prototype", "both"), steps=20_000, tasks=8, grid=(2, 100, 1), every=2000
    ),
}


class Alphabets(NamedTuple):
    """Clustering tasks, padded to the largest by points of weight zero.

    Attributes:
        batch: [A, N, ...] all drawings of each, and how many characters it has.
        truth: [A, N] which character a drawing is of, -1 for none.
    """

    batch: Batch
    truth: Int[np.ndarray, "A N"]


class Setting(NamedTuple):
    """What all rows share: compiled once.

    Attributes:
        config: the options.
        start: what all rows are trained from.
        steps: of training.
        train: tasks to learn from.
        validation: background alphabets that are not learned from.
        test: those of the table.
        embed: (weights of the network, batches) -> [A, N, D].
        curves: of each clusterer, (batches, truth, numbers of clusters, keys) -> what a `Curve` holds.
    """

    config: Config
    start: Embedding
    steps: dict[Row, MetaStep]
    train: Sampler
    validation: Alphabets
    test: Alphabets
    embed: Callable[..., Array]
    curves: dict[Kind, Callable[..., Metrics]]


def experiment(config: Config) -> harness.Metrics:
    """Train the rows that were asked for, and cluster all evaluation alphabets by every row."""
    start_key, train_key, validation_key, test_key = jax.random.split(config.key, 4)
    setting = prepare(config, start_key)
    logs: dict[str, list[dict[str, float]]] = {}
    bodies: dict[str, PyTree] = {}
    for row in config.train:
        bodies[row], logs[row] = _train(setting, row, train_key, validation_key)
    jm.report.learning_curves(logs, "validation_accuracy").savefig(config.folder / "learning_curves.png")

    found: dict[str, Evaluation] = {}
    validated: dict[str, Interval] = {}
    grid = np.arange(config.grid[0], config.grid[1] + 1, config.grid[2])
    for kind in KINDS:
        found[f"pixels/{kind}/known"] = _known(_curve(setting, kind, setting.test, test_key))
        untrained = embedded(setting, setting.start.body, setting.test)
        found[f"untrained/{kind}/known"] = _known(_curve(setting, kind, untrained, test_key))
        for row, body in bodies.items():
            watched, asked = (
                _curve(setting, kind, embedded(setting, body, alphabets), key, grid)
                for alphabets, key in ((setting.validation, validation_key), (setting.test, test_key))
            )
            counts = setting.validation.batch.clusters
            by = {index: _inferred(watched, grid, index, counts) for index in INDICES}
            scores = {index: one.intervals()["accuracy"] for index, one in by.items()}
            validated |= {f"validation/{row}/{kind}/{index}": score for index, score in scores.items()}
            index = max(scores, key=lambda index: scores[index].mean)
            found[f"{row}/{kind}/known"] = _known(asked)
            found[f"{row}/{kind}/inferred"] = _inferred(asked, grid, index, setting.test.batch.clusters)
    return harness.paired(found, _pairs(list(found))) | validated


def _pairs(rows: Sequence[str]) -> list[tuple[str, str]]:
    """Each trained row against the untrained, both against prototype, and Sinkhorn against soft k-means."""
    better = {"prototype/": "untrained/", "both/": "prototype/", "sinkhorn/": "soft/"}
    pairs = [(row, row.replace(new, old)) for row in rows for new, old in better.items() if new in row]
    pairs += [(row, row.replace("both/", "untrained/")) for row in rows if row.startswith("both/")]
    return [(row, other) for row, other in pairs if other in rows]


def prepare(config: Config, key: Key[Array, ""]) -> Setting:
    """The alphabets, a network, what trains it, and what clusters its embeddings."""
    train, validation, test = _split(config)
    largest = max(len(alphabet.names) for alphabet in (*validation, *test))
    slots = max(largest, config.grid[1])
    height, width, channels = train.examples.shape[2:]
    net = jm.networks.conv4(config.width, shape=(height, width, channels))
    soft = partial(jm.soft_kmeans, config.ways)
    through = jm.centroids(net, soft(steps=config.iterations, restarts=config.train_restarts))
    surrogate = jm.prototype_loss(jm.centroids(net, soft(steps=1)))
    adam = optax.adam(optax.cosine_decay_schedule(config.rate, config.steps))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), adam)
    losses: dict[Row, Any] = {
        "prototype": surrogate,
        "both": jm.total(surrogate, jm.clustering_loss(through, jm.soft_ari)),
    }
    counts = {"ways": config.ways, "shots": config.shots, "queries": config.queries}
    clusterers = {
        kind: make(slots, steps=config.iterations, restarts=config.restarts) for kind, make in KINDS.items()
    }
    return Setting(
        config,
        through.init(key),
        {row: jm.meta_step(losses[row], optimizer, chunk=1) for row in config.train},
        jm.episodes(train, labelled=False, rotations=config.dataset == "omniglot", **counts),
        _padded(config, validation, largest),
        _padded(config, test, largest),
        jm.over_tasks(partial(_embed, net), shared=1, chunk=1),
        {kind: jm.over_tasks(partial(_agreement, one, slots)) for kind, one in clusterers.items()},
    )


def _split(config: Config) -> tuple[ClassImages, list[ClassImages], list[ClassImages]]:
    """Characters to learn from, alphabets to choose by, and alphabets of the table."""
    if config.dataset == "digits":
        train, test = jm.load("digits", "train"), jm.load("digits", "test")
        return train, *([images, images.classes(range(4))] for images in (train, test))
    images = jm.load("omniglot", data_dir=config.data_dir)
    alphabets = np.array([name.rpartition("/")[0] for name in images.names])
    if not all(alphabets):
        raise jm.InputError(
            f"{images.source} does not tell alphabets apart; put omniglot.npz into --data-dir."
        )
    background, unseen = np.unique(alphabets[:BACKGROUND]), np.unique(alphabets[BACKGROUND:])
    if not config.held_out < len(background):
        raise jm.InputError(f"there are {len(background)} background alphabets; hold fewer of them out.")
    kept = np.random.default_rng(config.seed).permutation(background)
    whole = partial(_alphabet, images, alphabets)
    held_out, others = kept[: config.held_out], kept[config.held_out :]
    learned = images.classes(np.flatnonzero(np.isin(alphabets, others)))
    return learned, [whole(name) for name in held_out], [whole(name) for name in unseen]


def _alphabet(images: ClassImages, alphabets: np.ndarray, name: str) -> ClassImages:
    return images.classes(np.flatnonzero(alphabets == name))


def _padded(config: Config, alphabets: Sequence[ClassImages], largest: int) -> Alphabets:
    """Alphabets of some characters as tasks of one size."""
    each = config.drawings
    shape = alphabets[0].examples.shape[2:]
    inputs = np.zeros((len(alphabets), largest, each, *shape), np.uint8)
    truth = np.full(inputs.shape[:3], -1)
    for place, alphabet in enumerate(alphabets):
        count = len(alphabet.names)
        inputs[place, :count] = alphabet.examples[:, :each]
        truth[place, :count] = np.arange(count)[:, None]
    flat = truth.reshape(len(truth), -1)
    clusters = np.array([len(alphabet.names) for alphabet in alphabets])
    points = inputs.reshape(*flat.shape, *shape)
    return Alphabets(Batch(points, None, (flat >= 0).astype(np.float32), clusters), flat)


def _embed(net: jm.Model, body: PyTree, batch: Batch) -> Float[Array, "N D"]:
    return net.apply(body, scaled(jnp.asarray(batch.inputs)), batch.weights)


def embedded(setting: Setting, body: PyTree, alphabets: Alphabets) -> Alphabets:
    """What a network makes of all drawings."""
    points = np.asarray(setting.embed(jax.device_get(body), alphabets.batch))
    return alphabets._replace(batch=alphabets.batch._replace(inputs=points))


def _agreement(
    clusterer: Clusterer,
    slots: int,
    batch: Batch,
    truth: Int[Array, " N"],
    counts: Int[Array, " G"],
    key: Key[Array, ""],
) -> Metrics:
    """[G] how one alphabet's clusters agree with its characters, and what every index says of them."""
    points = scaled(batch.inputs).reshape(len(truth), -1)

    def at(count: Int[Array, ""]) -> Metrics:
        state = clusterer.fit({}, Batch(points, None, batch.weights, count), key)
        found = jnp.argmax(clusterer.assign({}, state, points).log_probs, -1)
        agreement = {name: of(found, truth, batch.weights, slots=slots) for name, of in AGREEMENT.items()}
        if len(counts) == 1:  # there is nothing to choose
            return agreement
        return agreement | {
            name: of(points, found, batch.weights, slots=slots) for name, of in INDICES.items()
        }

    return lax.map(at, counts)


def _curve(
    setting: Setting,
    kind: Kind,
    alphabets: Alphabets,
    key: Key[Array, ""],
    grid: Sequence[int] | np.ndarray = (),
) -> Curve:
    """For each alphabet's own number of clusters, then for those of the grid."""
    own = np.asarray(alphabets.batch.clusters)[:, None]
    counts = np.concatenate([own, np.tile(np.asarray(grid, int), (len(own), 1))], 1)
    keys = jax.random.split(key, len(own))
    found = setting.curves[kind](alphabets.batch, alphabets.truth, counts, keys)
    return {name: np.asarray(values) for name, values in found.items()}


def _known(curve: Curve) -> Evaluation:
    """Where K is told."""
    return Evaluation({name: curve[name][:, 0] for name in AGREEMENT})


def _inferred(curve: Curve, grid: np.ndarray, index: str, truth: Any) -> Evaluation:
    """Where an index chooses K from the grid."""
    chosen = curve[index][:, 1:].argmax(1)
    values = {name: curve[name][np.arange(len(chosen)), 1 + chosen] for name in AGREEMENT}
    return Evaluation(values | {"off": np.abs(grid[chosen] - truth).astype(float)})


def _train(
    setting: Setting, row: Row, train_key: Key[Array, ""], validation_key: Key[Array, ""]
) -> tuple[PyTree, list[dict[str, float]]]:
    """The network that one way of training ends with, and its log."""
    config = setting.config

    def evaluate(meta: Embedding) -> dict[str, float]:
        alphabets = embedded(setting, meta.body, setting.validation)
        found = _known(_curve(setting, "soft", alphabets, validation_key))
        return {"validation_accuracy": found.intervals()["accuracy"].mean}

    step = setting.steps[row]
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
