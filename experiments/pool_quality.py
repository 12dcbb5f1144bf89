"""Trains the choice of `AutoCluster` among all candidates, and writes it.

Tasks of every family of `jmeta.tasks.synthetic` are drawn, one cluster among them. Every task becomes a pool:
the partitions of all candidates with their descriptors, once with the number of clusters unknown and once
with it known. Boosted trees (LightGBM) learn from the descriptors of a partition its adjusted Rand index, and
by how much that falls short of the best of the pool. With an unknown number of clusters, pools without a good
partition are left out of the training. No data set is used.

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

from collections.abc import Callable
from functools import partial
from typing import Any

import lightgbm
import numpy as np
from scipy.special import expit

import jmeta as jm
from experiments.pool_choices import Example, Prediction, Scored, choice_of, scored, summary
from experiments.pools import PRESETS, Config, pools
from jmeta import harness
from jmeta.artifacts.advisors import save_model
from jmeta.metrics import Interval
from jmeta.portfolio.candidates import ONE_CLUSTER
from jmeta.selection.boosted import BoostedTrees, boosted_trees
from jmeta.selection.examples import Examples, Settings
from jmeta.selection.pool_quality import PoolQuality, table_inputs, tree_inputs
from jmeta.selection.quality import COVERAGE
from jmeta.selection.scoring import fit_scoring_model, mean_scores

SINGLE_SHARE = 0.25
"""Probability of one cluster before a table is seen."""
FOUND = 0.8
"""Least index of the best partition of a pool to train on, if the number of clusters is unknown: elsewhere no
candidate shows what their number is."""


def inputs_of(example: Example, methods: tuple[str, ...]) -> np.ndarray:
    """The inputs of the trees."""
    return tree_inputs(example.inputs, example.methods, methods)


def fit(
    config: Config, examples: list[Example], methods: tuple[str, ...]
) -> tuple[BoostedTrees, BoostedTrees]:
    """Trees that predict the index of a partition, and its shortfall, where there are several clusters."""
    several = [example for example in instructive(examples) if example.clusters > 1]
    inputs = np.concatenate([inputs_of(example, methods) for example in several])
    weights = np.concatenate([np.full(len(e.scores), 1 / len(e.scores)) for e in several])
    quality = np.concatenate([e.scores for e in several])
    shortfall = np.concatenate([e.scores - e.scores.max() for e in several])
    shape = {"num_leaves": config.leaves, "min_data_in_leaf": 60, "feature_fraction": 0.4}
    return (
        boosted(config, inputs, quality, weights, config.rounds, objective="l2", **shape),
        boosted(config, inputs, shortfall, weights, config.rounds, objective="l2", **shape),
    )


def instructive(examples: list[Example]) -> list[Example]:
    """The examples of a known number of clusters, or with an index of `FOUND` or more; all if none has."""
    return [example for example in examples if example.known or example.scores.max() >= FOUND] or examples


def fit_single(config: Config, examples: list[Example], names: list[str]) -> BoostedTrees | None:
    """Trees that predict the log-odds of one cluster, to which `SINGLE_SHARE` of the weight is given."""
    examples = instructive(examples)
    single = np.array([example.clusters == 1 for example in examples])
    if single.all() or not single.any():
        return None
    inputs = np.concatenate([single_inputs(example, names) for example in examples])
    weights = np.where(single, SINGLE_SHARE / single.sum(), (1 - SINGLE_SHARE) / (~single).sum())
    shape = {"num_leaves": 8, "min_data_in_leaf": 10, "feature_fraction": 0.3}
    return boosted(config, inputs, single.astype(float), weights, config.rounds, objective="binary", **shape)


def single_inputs(example: Example, names: list[str]) -> np.ndarray:
    """The inputs of the trees for one cluster."""
    others = [method != ONE_CLUSTER.algorithm for method in example.methods]
    return table_inputs(example.inputs[others], names)


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
        single = fit_single(config, kept + [e for e in more if e.family not in out], names)
        for example in (e for e in examples if e.family in out):
            chance = 0.0 if single is None else float(expit(single.predict(single_inputs(example, names))[0]))
            result.append(scored(example, predict(example)._replace(single=chance), names))
    return result


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
        quality, shortfall = fit(config, examples, methods)
        parts[prefix] = PoolQuality(
            features=tuple(names),
            methods=methods,
            quality=quality,
            shortfall=shortfall,
            single=fit_single(config, [*examples, *data[-1]], names),
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
