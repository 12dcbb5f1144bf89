"""The pools that the choice of `AutoCluster` is learned from: partitions of drawn tasks, with true scores."""

from __future__ import annotations

import dataclasses
import hashlib
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np
from joblib import Parallel, delayed

from experiments.pool_choices import Example
from jmeta import harness
from jmeta.artifacts.recipes import load_trained
from jmeta.compilation_cache import use_compilation_cache
from jmeta.estimators.preparation import prepare
from jmeta.files import read_npz, write_npz
from jmeta.metafeatures.expected import adjusted_rand
from jmeta.search.pooled import predict_together
from jmeta.selection.pool import Pool, make_pool
from jmeta.tasks.synthetic import FAMILIES, synthetic
from jmeta.tasks.synthetic.families import TABLE


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    network: str = "zero_shot"
    """File of the zero-shot network; the one that comes with jmeta unless given."""
    families: tuple[str, ...] = FAMILIES
    """Families of tasks."""
    count: int = 20
    """Tasks of every family."""
    points: tuple[int, int] = (100, 2000)
    """Smallest and largest number of points of a task."""
    clusters: int = 50
    """Largest number of clusters of a task."""
    columns: int = 32
    """Largest number of columns of a task."""
    rounds: int = 350
    """Trees of each model."""
    leaves: int = 31
    """Largest number of leaves of a tree."""
    rate: float = 0.05
    """Learning rate of boosting."""
    folds: int = harness.option(5, least=2)
    """Folds of families that are left out."""
    shares: tuple[float, ...] = (0.25, 0.5)
    """Shares of the tasks that trees are also trained on, for a learning curve."""
    network_steps: int = harness.option(1500, least=0)
    """Training steps of the network that is compared with the trees; 0 leaves it out."""
    more: int = 6
    """How many times more tasks without clusters, from which the probability of one cluster is learned."""
    jobs: int = 2
    """Processes that make pools."""


PRESETS = {
    "quick": Config(
        preset="quick",
        families=("clouds", "moons", "uniform"),
        count=2,
        points=(24, 40),
        clusters=8,
        columns=6,
        rounds=5,
        leaves=4,
        folds=2,
        shares=(0.5,),
        network_steps=2,
        more=1,
        jobs=1,
    ),
    "cpu": Config(),
    "gpu": Config(preset="gpu", count=600),
}


def task_of(config: Config, family: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The points and the labels of a task; -1 is noise."""
    sampler = synthetic(
        points=config.points, clusters=(1, config.clusters), columns=(1, config.columns), families=[family]
    )
    key = jax.random.fold_in(jax.random.fold_in(config.key, FAMILIES.index(family)), number)
    task = jax.device_get(sampler(key))
    real = task.support.weights > 0
    points = np.asarray(task.support.inputs[real], float)
    # Small tables are as common as large ones.
    low, high = np.log(config.points)
    size = int(np.exp(np.random.default_rng(number).uniform(low, high)))
    kept = np.sort(np.random.default_rng(number).permutation(len(points))[:size])
    points = points[kept][:, np.ptp(points[kept], 0) > 0]
    return points, task.truth[real][kept]


def score_of(labels: np.ndarray, truth: np.ndarray) -> float:
    """The adjusted Rand index on points that are not noise; with one true cluster, whether one was found."""
    counted = truth >= 0
    classes = np.unique(truth[counted], return_inverse=True)[1]
    if not len(classes) or classes.max() == 0:
        return float(np.ptp(labels[counted]) == 0) if counted.any() else 0.0
    return adjusted_rand(labels[counted], classes)


def digest(config: Config) -> str:
    """Of what the pools depend on: the network and the tasks."""
    network = load_trained(config.network)
    values = (config.points, config.clusters, config.columns, config.seed)
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(network.params)]
    return hashlib.sha256(b"".join([repr(values).encode(), *leaves])).hexdigest()[:12]


def make_examples(config: Config, family: str, numbers: range, folder: Path) -> list[Path]:
    """Writes the pools of tasks of a family, which continues where it was interrupted."""
    use_compilation_cache(None if config.cache else "")
    network = load_trained(config.network)
    made: Any = network.made

    def predict(points: np.ndarray, clusters: int) -> np.ndarray:
        return predict_together(made, network.params, points, clusters)

    paths = []
    for number in numbers:
        points, truth = task_of(config, family, number)
        clusters = len(np.unique(truth[truth >= 0]))
        if points.shape[1] == 0 or len(np.unique(points, axis=0)) < 12:
            continue
        x = prepare(points, "auto")(points)
        for known in (False, True) if 1 < clusters < len(x) // 2 else (False,):
            path = folder / f"{family}_{number}_{'known' if known else 'unknown'}.npz"
            if not path.exists():
                pool = make_pool(x, predict, clusters if known else None)
                _write_pool(path, family, clusters, known, pool, truth)
            paths.append(path)
    return paths


def _write_pool(path: Path, family: str, clusters: int, known: bool, pool: Pool, truth: np.ndarray) -> None:
    names = sorted(pool.columns)
    write_npz(
        path,
        family=np.array(family),
        clusters=np.array(clusters),
        known=np.array(known),
        methods=np.array(pool.methods),
        names=np.array(names),
        inputs=np.stack([pool.columns[name] for name in names], 1).astype(np.float32)
        if names
        else np.zeros((0, 0), np.float32),
        scores=np.array([score_of(labels, truth) for labels in pool.partitions], np.float32),
        partitions=pool.partitions.astype(np.int16),
    )


def read_example(path: Path) -> Example:
    """A pool from its file."""
    arrays = read_npz(path)
    return Example(
        family=str(arrays["family"]),
        clusters=int(arrays["clusters"]),
        known=bool(arrays["known"]),
        methods=arrays["methods"].tolist(),
        inputs=arrays["inputs"],
        scores=arrays["scores"],
        partitions=arrays["partitions"].astype(int),
    )


def pools(config: Config) -> tuple[list[Example], list[Example], list[str]]:
    """All pools; more pools without clusters; and the names of descriptors."""
    folder = config.folder / f"pools_{digest(config)}"
    folder.mkdir(parents=True, exist_ok=True)
    first, more = range(config.count), range(config.count, config.count * (1 + config.more))
    jobs = [(family, first) for family in config.families]
    jobs += [(family, more) for family in config.families if TABLE[family].clusters[1] == 1]
    made = Parallel(n_jobs=config.jobs)(
        delayed(make_examples)(config, family, numbers, folder) for family, numbers in jobs
    )
    read = [[e for e in map(read_example, paths) if len(e.scores)] for paths in made]
    names = read_npz(made[0][0])["names"].tolist()
    count = len(config.families)
    return [*chain(*read[:count])], [*chain(*read[count:])], names
