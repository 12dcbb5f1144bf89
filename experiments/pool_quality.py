"""Trains the choice of `AutoCluster` among all candidates, and writes it.

Tasks of every family of `jmeta.tasks.synthetic` are drawn, one cluster among them. Every task becomes a pool:
the partitions of all candidates with their descriptors, once with the number of clusters unknown and once
with it known. Boosted trees (LightGBM) learn from the descriptors of a partition its adjusted Rand index, and
by how much that falls short of the best of the pool. No data set is used.

The temperature of the choice, one of four, and the width of its intervals are chosen by leaving families
out: the trees are trained on the other families, in `--folds` folds. `ari/unknown/...` and `ari/known/...`
are the mean over all tasks of more than one cluster, each predicted by trees that saw no task of its family:

- choice: the partition of greatest expected index
- choice_of_SHARE: the same with that share of the tasks
- choice_by_network: the same by a network that scores the partitions of a pool together, trained by expected
  regret and squared error, in place of the trees
- best_quality: that of the highest prediction
- expected_ari: that of greatest expected index under the zero-shot network alone
- hdbscan: HDBSCAN(min_samples=8, min_cluster_size=10), noise to the nearest cluster; unknown K only
- oracle: the best partition of the pool

`one_cluster/found` is the share of the tasks without clusters that are found to have none, and
`one_cluster/wrong` that of the others that are put into one cluster. `regret/FAMILY` is the oracle less the
choice.

    python -m experiments.pool_quality --network RUN/zero_shot.npz
        half an hour on two cores for the pools, kept in RUN; writes RUN/quality.npz
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import lightgbm
import numpy as np
from joblib import Parallel, delayed

import jmeta as jm
from experiments.pool_choices import Example, Prediction, Scored, choice_of, scored, summary
from jmeta import harness
from jmeta.artifacts.advisors import save_model
from jmeta.artifacts.recipes import load_trained
from jmeta.compilation_cache import use_compilation_cache
from jmeta.estimators.preparation import prepare
from jmeta.files import read_npz, write_npz
from jmeta.metafeatures.expected import adjusted_rand
from jmeta.metrics import Interval
from jmeta.portfolio.candidates import ONE_CLUSTER
from jmeta.search.pooled import predict_together
from jmeta.selection.boosted import BoostedTrees, boosted_trees
from jmeta.selection.examples import Examples, Settings
from jmeta.selection.pool import Pool, make_pool
from jmeta.selection.pool_quality import PoolQuality, table_inputs, tree_inputs
from jmeta.selection.quality import COVERAGE
from jmeta.selection.scoring import fit_scoring_model, mean_scores
from jmeta.tasks.synthetic import FAMILIES, synthetic
from jmeta.tasks.synthetic.families import TABLE

SINGLE_SHARE = 0.25
"""Probability of one cluster before a table is seen."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    network: str = "zero_shot"
    """File of the zero-shot network; the one that comes with jmeta unless given."""
    families: tuple[str, ...] = FAMILIES
    """Families of tasks."""
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
    folds: int = harness.option(5, least=2)
    """Folds of families that are left out."""
    shares: tuple[float, ...] = (0.25, 0.5)
    """Shares of the tasks that trees are also trained on, for a learning curve."""
    network_steps: int = harness.option(1500, least=0)
    """Training steps of the network that is compared with the trees; 0 leaves it out."""
    more: int = 3
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


def inputs_of(example: Example, methods: tuple[str, ...]) -> np.ndarray:
    """The inputs of the trees."""
    return tree_inputs(example.inputs, example.methods, methods)


def fit(
    config: Config, examples: list[Example], methods: tuple[str, ...]
) -> tuple[BoostedTrees, BoostedTrees]:
    """Trees that predict the index of a partition, and its shortfall, where there are several clusters."""
    several = [example for example in examples if example.clusters > 1]
    inputs = np.concatenate([inputs_of(example, methods) for example in several])
    weights = np.concatenate([np.full(len(e.scores), 1 / len(e.scores)) for e in several])
    quality = np.concatenate([e.scores for e in several])
    shortfall = np.concatenate([e.scores - e.scores.max() for e in several])
    shape = {"num_leaves": config.leaves, "min_data_in_leaf": 60, "feature_fraction": 0.4}
    return (
        boosted(config, inputs, quality, weights, config.rounds, objective="l2", **shape),
        boosted(config, inputs, shortfall, weights, config.rounds, objective="l2", **shape),
    )


def fit_single(config: Config, examples: list[Example]) -> BoostedTrees | None:
    """Trees that predict the log-odds of one cluster, to which `SINGLE_SHARE` of the weight is given."""
    single = np.array([example.clusters == 1 for example in examples])
    if single.all() or not single.any():
        return None
    inputs = np.concatenate([single_inputs(example) for example in examples])
    weights = np.where(single, SINGLE_SHARE / single.sum(), (1 - SINGLE_SHARE) / (~single).sum())
    shape = {"num_leaves": 8, "min_data_in_leaf": 10, "feature_fraction": 0.3}
    return boosted(config, inputs, single.astype(float), weights, config.rounds, objective="binary", **shape)


def single_inputs(example: Example) -> np.ndarray:
    """The inputs of the trees for one cluster."""
    others = [method != ONE_CLUSTER.algorithm for method in example.methods]
    return table_inputs(example.inputs[others])


def boosted(
    config: Config, inputs: np.ndarray, target: np.ndarray, weights: np.ndarray, rounds: int, **options: Any
) -> BoostedTrees:
    """Boosted trees, trained by LightGBM."""
    options |= {
        "learning_rate": config.rate,
        "lambda_l2": 1.0,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": config.seed,
        "num_threads": config.jobs,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    if config.preset == "quick":
        options["min_data_in_leaf"] = 2
    data = lightgbm.Dataset(inputs, target, weight=weights / weights.mean())
    model = lightgbm.train(options, data, rounds)
    return boosted_trees([tree["tree_structure"] for tree in model.dump_model()["tree_info"]])


Predict = Callable[[Example], Prediction]
Train = Callable[[Config, list[Example], tuple[str, ...]], Predict]


def by_trees(config: Config, examples: list[Example], methods: tuple[str, ...]) -> Predict:
    """Predicts by boosted trees that are trained on examples."""
    return predict_by(*fit(config, examples, methods), methods)


def predict_by(quality: BoostedTrees, shortfall: BoostedTrees, methods: tuple[str, ...]) -> Predict:
    """Predicts by boosted trees."""

    def predict(example: Example) -> Prediction:
        inputs = inputs_of(example, methods)
        return Prediction(quality.predict(inputs), shortfall.predict(inputs))

    return predict


def by_fewer_trees(
    config: Config, examples: list[Example], methods: tuple[str, ...], *, share: float
) -> Predict:
    """The same, trained on a share of the examples."""
    order = np.random.default_rng(config.seed).permutation(len(examples))
    return by_trees(config, [examples[place] for place in order[: round(share * len(examples))]], methods)


def by_network(config: Config, examples: list[Example], methods: tuple[str, ...]) -> Predict:
    """Predicts by a network that is trained on examples; smaller pools are repeated to the largest size."""
    most = max(len(example.scores) for example in examples)

    def repeated(array: np.ndarray) -> np.ndarray:
        return array[np.arange(most) % len(array)]

    several = [example for example in examples if example.clusters > 1]
    known = Examples(
        inputs=np.stack([repeated(inputs_of(example, methods)) for example in several]),
        scores=np.stack([repeated(example.scores) for example in several]),
        weights=np.ones(len(several)),
        groups=np.zeros(len(several), int),
        problems=np.arange(len(several)),
    )
    settings = Settings(width=64, steps=config.network_steps, batch=16, networks=1, rate=3e-3, absolute=True)
    model = fit_scoring_model(known, config.key, settings=settings)

    def predict(example: Example) -> Prediction:
        inputs = inputs_of(example, methods)
        parts = [inputs[start : start + most] for start in range(0, len(inputs), most)]
        scores = np.concatenate([mean_scores(model, repeated(part)[None])[0][: len(part)] for part in parts])
        return Prediction(scores, scores - scores.max())

    return predict


def leave_families_out(
    config: Config,
    examples: list[Example],
    methods: tuple[str, ...],
    names: list[str],
    more: list[Example],
    train: Train = by_trees,
) -> list[Scored]:
    """What is chosen from every pool by a model that saw no task of its family.

    The probability of one cluster is learned from `more` too, from which nothing is chosen.
    """
    families = [family for family in config.families if any(e.family == family for e in examples)]
    result = []
    for fold in range(config.folds):
        out = set(families[fold :: config.folds])
        kept = [e for e in examples if e.family not in out]
        predict = train(config, kept, methods)
        single = fit_single(config, kept + [e for e in more if e.family not in out])
        for example in (e for e in examples if e.family in out):
            chance = 0.0 if single is None else logistic(single.predict(single_inputs(example))[0])
            result.append(scored(example, predict(example)._replace(single=chance), names))
    return result


def logistic(value: float) -> float:
    """1 / (1 + exp(-value))."""
    return float(1 / (1 + np.exp(-value)))


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


def experiment(config: Config) -> harness.Metrics:
    """Makes the pools, trains on them, writes the model, and scores it with families left out."""
    everything, more, names = pools(config)
    metrics: dict[str, Interval] = {}
    parts: dict[str, PoolQuality] = {}
    for prefix in ("unknown", "known"):
        examples = [example for example in everything if example.known == (prefix == "known")]
        methods = tuple(sorted({name for example in examples for name in example.methods}))
        data = (examples, methods, names, more if prefix == "unknown" else [])
        found = leave_families_out(config, *data)
        measured, temperature = summary(prefix, found)
        others: dict[str, Train] = {"by_network": by_network} if config.network_steps else {}
        others |= {f"of_{share:g}": partial(by_fewer_trees, share=share) for share in config.shares}
        for name, train in others.items():
            measured[f"ari/{prefix}/choice_{name}"] = choice_of(leave_families_out(config, *data, train))
        metrics |= measured
        parts[prefix] = PoolQuality(
            features=tuple(names),
            methods=methods,
            **dict(zip(("quality", "shortfall"), fit(config, examples, methods), strict=True)),
            single=fit_single(config, [*examples, *data[-1]]),
            temperature=temperature,
            spread=float(np.quantile([one.errors[f"choice_{temperature}"] for one in found], COVERAGE)),
        )
    card = {
        "trained on": "tasks drawn by jmeta.tasks.synthetic; no data set",
        "families": list(config.families),
        "pools": len(everything),
        "command": "python -m experiments.pool_quality",
        "jmeta": jm.__version__,
        "measured": {name: [interval.mean, interval.ci95] for name, interval in metrics.items()},
    }
    save_model(config.folder / "quality.npz", parts, card)
    return metrics


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
