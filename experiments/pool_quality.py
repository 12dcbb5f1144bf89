"""Trains the choice of `AutoCluster` among all candidates, and writes it.

Tasks of every family of `jmeta.tasks.synthetic` are drawn, one cluster among them. Every task becomes a pool:
the partitions of all candidates with their descriptors, once with the number of clusters unknown and once
with it known. Boosted trees (LightGBM) learn from the descriptors of a partition its adjusted Rand index, and
by how much that falls short of the best of the pool. No data set is used.

The temperature of the choice and the width of its intervals are chosen by leaving families out: the trees
are trained on the other families, in `--folds` folds. `ari/unknown/...` and `ari/known/...` are the mean over
all tasks of more than one cluster, each predicted by trees that saw no task of its family:

- choice: the partition of greatest expected index
- best_quality: that of the highest prediction
- expected_ari: that of greatest expected index under the zero-shot network alone
- hdbscan: HDBSCAN(min_samples=8, min_cluster_size=10), noise to the nearest cluster; unknown K only
- oracle: the best partition of the pool

`one_cluster/found` is the share of the tasks without clusters that are found to have none, and
`one_cluster/wrong` that of the others that are put into one cluster. `regret/FAMILY` is the oracle less the
choice.

    python -m experiments.pool_quality --network RUN/zero_shot.npz
        half an hour on two cores for the pools, kept in RUN/pools; writes RUN/quality.npz
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import lightgbm
import numpy as np
from jaxtyping import Float
from joblib import Parallel, delayed

import jmeta as jm
from jmeta import harness
from jmeta.artifacts.advisors import save_model
from jmeta.artifacts.recipes import load_trained
from jmeta.compilation_cache import use_compilation_cache
from jmeta.estimators.preparation import prepare
from jmeta.files import read_npz, write_npz
from jmeta.metafeatures.expected import adjusted_rand
from jmeta.metrics import Interval
from jmeta.search.pooled import predict_together
from jmeta.selection.boosted import BoostedTrees, boosted_trees
from jmeta.selection.pool import Pool, make_pool
from jmeta.selection.pool_quality import PoolQuality, agreements
from jmeta.tasks.synthetic import FAMILIES, synthetic

TEMPERATURES = (0.02, 0.05, 0.1, 0.2)
HDBSCAN = "hdbscan(min_cluster_size=10, min_samples=8, noise=nearest)"
COVERAGE = 0.8
"""Share of partitions whose true index lies in the interval."""
LIKELY = 60


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    network: str = "zero_shot"
    """File of the zero-shot network; the one that comes with jmeta unless given."""
    count: int = 60
    """Tasks of every family."""
    points: tuple[int, int] = (100, 1000)
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
    folds: int = 5
    """Folds of families that are left out."""
    jobs: int = 2
    """Processes that make pools."""


PRESETS = {
    "quick": Config(
        preset="quick", count=2, points=(24, 40), clusters=4, columns=4, rounds=5, leaves=4, folds=2, jobs=1
    ),
    "cpu": Config(),
    "gpu": Config(preset="gpu", count=600),
}


class Example(NamedTuple):
    """A pool with the true scores of its partitions.

    Attributes:
        family: of its task.
        clusters: true number of clusters.
        known: whether the pool was made with it.
        methods: [A] names of the candidates without their number of clusters.
        inputs: [A, F] descriptors, in the order of sorted names.
        scores: [A] true adjusted Rand index.
        partitions: [A, N].
    """

    family: str
    clusters: int
    known: bool
    methods: list[str]
    inputs: Float[np.ndarray, "A F"]
    scores: Float[np.ndarray, " A"]
    partitions: np.ndarray


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


def make_examples(config: Config, family: str, folder: Path) -> list[Path]:
    """Writes the pools of the tasks of a family, which continues where it was interrupted."""
    use_compilation_cache(None if config.cache else "")
    network = load_trained(config.network)
    made: Any = network.made

    def predict(points: np.ndarray, clusters: int) -> np.ndarray:
        return predict_together(made, network.params, points, clusters)

    paths = []
    for number in range(config.count):
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
        methods=np.array([one._replace(clusters=None).name for one in pool.candidates]),
        names=np.array(names),
        inputs=np.stack([pool.columns[name] for name in names], 1).astype(np.float32)
        if names
        else np.zeros((0, 0), np.float32),
        scores=np.array([score_of(labels, truth) for labels in pool.partitions], np.float32),
        partitions=pool.partitions.astype(np.int8),
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


def inputs_of(example: Example, methods: tuple[str, ...]) -> np.ndarray:
    """The inputs of the trees, as `pool_inputs` makes them."""
    indicators = [[name == method for method in methods] for name in example.methods]
    return np.column_stack([example.inputs, np.array(indicators, np.float32)]).astype(np.float32)


def fit(
    config: Config, examples: list[Example], methods: tuple[str, ...]
) -> tuple[BoostedTrees, BoostedTrees]:
    """Trees that predict the index of a partition, and its shortfall; every pool has the same weight."""
    inputs = np.concatenate([inputs_of(example, methods) for example in examples])
    weights = np.concatenate([np.full(len(e.scores), 1 / len(e.scores)) for e in examples])
    quality = np.concatenate([e.scores for e in examples])
    shortfall = np.concatenate([e.scores - e.scores.max() for e in examples])
    options = {
        "objective": "l2",
        "learning_rate": config.rate,
        "num_leaves": config.leaves,
        "min_data_in_leaf": 60 if config.preset != "quick" else 2,
        "lambda_l2": 1.0,
        "feature_fraction": 0.4,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": config.seed,
        "num_threads": 1,
        "verbosity": -1,
    }
    found = []
    for target in (quality, shortfall):
        data = lightgbm.Dataset(inputs, target, weight=weights / weights.mean())
        model = lightgbm.train(options, data, config.rounds)
        found.append(boosted_trees([tree["tree_structure"] for tree in model.dump_model()["tree_info"]]))
    return found[0], found[1]


class Scored(NamedTuple):
    """The true scores of what is chosen from one pool, by way of choosing; and errors of predictions."""

    example: Example
    scores: dict[str, float]
    clusters_of: dict[str, int]
    errors: np.ndarray


def scored(example: Example, quality: np.ndarray, shortfall: np.ndarray, names: list[str]) -> Scored:
    """What is chosen from a pool at every temperature, and in other ways."""
    scores = quality + shortfall
    likely = np.argsort(-scores, kind="stable")[:LIKELY]
    agreement = agreements(example.partitions[likely])
    places = {
        "best_quality": int(scores.argmax()),
        "expected_ari": int(example.inputs[:, names.index("expected ARI")].argmax()),
        "oracle": int(example.scores.argmax()),
    }
    for temperature in TEMPERATURES:
        weights = np.exp((scores[likely] - scores[likely[0]]) / temperature)
        places[f"choice_{temperature}"] = int(likely[(agreement @ weights).argmax()])
    if HDBSCAN in example.methods and not example.known:
        places["hdbscan"] = example.methods.index(HDBSCAN)
    clusters = {way: int(example.partitions[place].max() + 1) for way, place in places.items()}
    found = {way: float(example.scores[place]) for way, place in places.items()}
    return Scored(example, found, clusters, np.abs(quality - example.scores))


def leave_families_out(
    config: Config, examples: list[Example], methods: tuple[str, ...], names: list[str]
) -> list[Scored]:
    """What is chosen from every pool by trees that saw no task of its family."""
    families = [family for family in FAMILIES if any(e.family == family for e in examples)]
    result = []
    for fold in range(config.folds):
        out = set(families[fold :: config.folds])
        quality, shortfall = fit(config, [e for e in examples if e.family not in out], methods)
        for example in (e for e in examples if e.family in out):
            inputs = inputs_of(example, methods)
            result.append(scored(example, quality.predict(inputs), shortfall.predict(inputs), names))
    return result


def summary(prefix: str, found: list[Scored]) -> tuple[dict[str, Interval], float]:
    """The metrics of pools that were predicted with their family left out, and the best temperature."""
    several = [one for one in found if one.example.clusters > 1]
    temperature = max(TEMPERATURES, key=lambda t: np.mean([one.scores[f"choice_{t}"] for one in found]))
    chosen = f"choice_{temperature}"
    ways = ("best_quality", "expected_ari", "hdbscan", "oracle", chosen)
    metrics = {
        f"ari/{prefix}/{way.split('_0')[0]}": jm.interval(
            np.array([s.scores[way] for s in several if way in s.scores])
        )
        for way in ways
        if any(way in s.scores for s in several)
    }
    for family in sorted({s.example.family for s in several}):
        regrets = [s.scores["oracle"] - s.scores[chosen] for s in several if s.example.family == family]
        metrics[f"regret/{prefix}/{family}"] = jm.interval(np.array(regrets))
    metrics[f"error/{prefix}"] = jm.interval(np.array([s.errors.mean() for s in found]))
    single = [s for s in found if s.example.clusters == 1]
    if single and prefix == "unknown":
        one = [float(s.clusters_of[chosen] == 1) for s in single]
        wrong = [float(s.clusters_of[chosen] == 1) for s in several]
        exact = [float(s.clusters_of[chosen] == s.example.clusters) for s in several]
        metrics["one_cluster/found"] = jm.interval(np.array(one))
        metrics["one_cluster/wrong"] = jm.interval(np.array(wrong))
        metrics["exact_clusters"] = jm.interval(np.array(exact))
    return metrics, temperature


def experiment(config: Config) -> harness.Metrics:
    """Makes the pools, trains on them, writes the model, and scores it with families left out."""
    folder = config.folder / "pools"
    folder.mkdir(parents=True, exist_ok=True)
    paths = Parallel(n_jobs=config.jobs)(
        delayed(make_examples)(config, family, folder) for family in FAMILIES
    )
    files = [path for family in paths for path in family]
    names = read_npz(files[0])["names"].tolist()
    everything = [example for example in map(read_example, files) if len(example.scores)]
    metrics: dict[str, Interval] = {}
    parts: dict[str, PoolQuality] = {}
    for prefix in ("unknown", "known"):
        examples = [example for example in everything if example.known == (prefix == "known")]
        methods = tuple(sorted({name for example in examples for name in example.methods}))
        found = leave_families_out(config, examples, methods, names)
        measured, temperature = summary(prefix, found)
        spread = float(np.quantile(np.concatenate([one.errors for one in found]), COVERAGE))
        metrics |= measured
        parts[prefix] = PoolQuality(
            tuple(names), methods, *fit(config, examples, methods), temperature, spread
        )
    card = {
        "trained on": "tasks drawn by jmeta.tasks.synthetic; no data set",
        "families": list(FAMILIES),
        "pools": len(everything),
        "command": "python -m experiments.pool_quality",
        "jmeta": jm.__version__,
        "measured": {name: [interval.mean, interval.ci95] for name, interval in metrics.items()},
    }
    save_model(config.folder / "quality.npz", parts, card)
    return metrics


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
