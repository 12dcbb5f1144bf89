"""Chooses the settings of the choice of `AutoCluster` where the number of clusters is unknown.

Sets by published generators, toys and sets without clusters become pools, as in `unknown_clusters` but from
other seeds; no battery is used. The trees that come with jmeta predict the quality of all partitions. Two
settings follow from their choices:

- the weight of the expected index under the zero-shot network: `ari/WEIGHT/GROUP` is the mean adjusted Rand
  index of the choice, and `exact/WEIGHT/GROUP` the share with the right number of clusters, where one cluster
  is left out
- the probability of one cluster before a table is seen: `one_cluster/PRIOR/KIND` is the share of the sets
  without clusters that are found to have none, `one_cluster/PRIOR/all` that of all kinds, and
  `wrong/PRIOR/GROUP` that of the others

`chosen/weight` has the greatest mean of index and share over the groups, and `chosen/prior` is the smallest
by which nine of ten sets without clusters are found; both are constants of `jmeta.selection.pool_quality`.

    python -m experiments.choice_settings
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed

import jmeta as jm
from experiments.autocluster import prepared
from experiments.unknown_clusters import COLUMNS, GENERATORS, NOISE, SINGLE, generated, single, toy
from jmeta import harness
from jmeta.compilation_cache import use_compilation_cache
from jmeta.estimators.models import pair_network, pool_quality
from jmeta.metrics import Interval
from jmeta.portfolio.candidates import ONE_CLUSTER
from jmeta.portfolio.running import count_clusters
from jmeta.portfolio.table import score
from jmeta.search.pooled import predict_together
from jmeta.selection.pool import make_pool
from jmeta.selection.pool_quality import (
    agreements,
    expectations,
    likely_places,
    pool_descriptors,
    table_inputs,
    total_scores,
    tree_inputs,
    with_prior,
)
from jmeta.tasks.problems import Problem

WEIGHTS = (0.0, 0.5, 1.0, 2.0)
PRIORS = (0.05, 0.08, 0.11, 0.14, 0.17, 0.2, 0.25)
FOUND = 0.9
"""Least share of sets without clusters that are found."""
FIRST = 1000
"""Seed of the first set of every kind."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    rows: int = 600
    """Rows of a toy, and of a set without clusters."""
    seeds: int = 5
    """Sets of every kind, and of every level of noise or number of columns."""
    generated: int = 30
    """Sets of every published generator."""
    jobs: int = 2
    """Processes."""


PRESETS = {
    "quick": Config(preset="quick", rows=40, seeds=1, generated=1, jobs=1),
    "cpu": Config(),
    "gpu": Config(preset="gpu", seeds=20, generated=120),
}


class Predicted(NamedTuple):
    """A pool with what the trees predict of it.

    Attributes:
        group: of its set.
        clusters: true number of clusters.
        truth: [A] true adjusted Rand index of the partitions, that into one cluster left out.
        partitions: [A, N].
        quality: [A] predicted index.
        shortfall: [A] predicted shortfall.
        expected: [A] expected index under P.
        log_odds: of one cluster, as trained.
    """

    group: str
    clusters: int
    truth: np.ndarray
    partitions: np.ndarray
    quality: np.ndarray
    shortfall: np.ndarray
    expected: np.ndarray
    log_odds: np.ndarray


def experiment(config: Config) -> harness.Metrics:
    """Measures and chooses the settings."""
    with Parallel(n_jobs=config.jobs) as parallel:
        pools = parallel(delayed(predicted)(problem, config.cache) for problem in problems_of(config))
    several = [pool for pool in pools if pool.clusters > 1]
    groups = list(dict.fromkeys(pool.group for pool in several))
    metrics: dict[str, Interval] = {}
    for weight in WEIGHTS:
        places = [choice(pool, weight)[0] for pool in several]
        for name, values in (
            ("ari", [pool.truth[place] for pool, place in zip(several, places, strict=True)]),
            ("exact", [right(pool, place) for pool, place in zip(several, places, strict=True)]),
        ):
            metrics |= by_group(f"{name}/{weight:g}", several, values)
    best = max(
        WEIGHTS,
        key=lambda w: sum(
            metrics[f"{name}/{w:g}/{group}"].mean for name in ("ari", "exact") for group in groups
        ),
    )
    expected = [choice(pool, best)[1] for pool in pools]
    for prior in PRIORS:
        found = [is_one(pool, value, prior) for pool, value in zip(pools, expected, strict=True)]
        one = [pool.clusters == 1 for pool in pools]
        for name, wanted in (("one_cluster", True), ("wrong", False)):
            chosen = [place for place, is_single in enumerate(one) if is_single == wanted]
            values = [found[place] for place in chosen]
            metrics |= by_group(f"{name}/{prior:g}", [pools[place] for place in chosen], values)
            metrics[f"{name}/{prior:g}/all"] = jm.interval(np.array(values, float))
    enough = [prior for prior in PRIORS if metrics[f"one_cluster/{prior:g}/all"].mean >= FOUND]
    return metrics | {
        "chosen/weight": jm.interval(np.array([best])),
        "chosen/prior": jm.interval(np.array([min(enough, default=max(PRIORS))])),
    }


def problems_of(config: Config) -> Iterator[Problem]:
    """All sets, as AutoCluster prepares them; the group is the kind."""
    most = 1 if config.preset == "quick" else None

    def made(kind: str, points: np.ndarray, labels: np.ndarray) -> Problem:
        return prepared(Problem(kind, kind, points, (labels,), kind), config.seed)

    numbers = range(FIRST, FIRST + config.generated)
    for name in GENERATORS:
        if importlib.util.find_spec(name):
            yield from (prepared(generated(name, number), config.seed) for number in numbers)
    seeds = range(FIRST, FIRST + config.seeds)
    for kind, levels in NOISE.items():
        for noise in levels[:most]:
            for seed in seeds:
                yield made(kind, *toy(kind, config.rows, noise, seed))
    for kind in SINGLE:
        for columns in COLUMNS[:most]:
            for seed in seeds:
                points = single(kind, config.rows, columns, seed)
                labels = np.zeros(len(points), int)
                yield prepared(
                    Problem(f"{kind}/{columns}/{seed}", kind, points, (labels,), kind), config.seed
                )


def predicted(problem: Problem, cache: bool) -> Predicted:
    """The pool of a set, and what the trees that come with jmeta predict of it."""
    use_compilation_cache(None if cache else "")
    network, model = pair_network(), pool_quality(known=False)

    def predict(points: np.ndarray, clusters: int) -> np.ndarray:
        return predict_together(network.made, network.params, points, clusters)  # type: ignore[arg-type]

    pool = make_pool(problem.points, predict)
    several = np.array([one != ONE_CLUSTER for one in pool.candidates])
    descriptors = pool_descriptors(pool, model.features)[several]
    methods = [name for name, kept in zip(pool.methods, several, strict=True) if kept]
    inputs, truth = tree_inputs(descriptors, methods, model.methods), problem.labellings[0]
    assert model.single is not None
    return Predicted(
        group=problem.group,
        clusters=count_clusters(truth),
        truth=np.array([score(truth, labels) for labels in pool.partitions[several]]),
        partitions=pool.partitions[several],
        quality=model.quality.predict(inputs),
        shortfall=model.shortfall.predict(inputs),
        expected=pool.columns["expected ARI"][several],
        log_odds=model.single.predict(table_inputs(descriptors, model.features)),
    )


def choice(pool: Predicted, weight: float) -> tuple[int, float]:
    """The place of the choice among partitions of several clusters, and its expected index."""
    scores = total_scores(pool.quality, pool.shortfall, pool.expected, weight)
    likely = likely_places(scores)
    agreement = agreements(pool.partitions[likely])
    _, expected = expectations(scores, likely, agreement, pool_quality(known=False).temperature)
    return int(expected.argmax()), float(expected.max())


def right(pool: Predicted, place: int) -> bool:
    """Whether a partition has the true number of clusters."""
    return count_clusters(pool.partitions[place]) == pool.clusters


def is_one(pool: Predicted, expected: float, prior: float) -> bool:
    """Whether one cluster is chosen over a partition with an expected index."""
    chance = float(with_prior(pool.log_odds, prior)[0])
    return chance > (1 - chance) * expected


def by_group(name: str, pools: list[Predicted], values: list) -> dict[str, Interval]:
    """The mean of values over the pools of every group."""
    groups = np.array([pool.group for pool in pools])
    return {
        f"{name}/{group}": jm.interval(np.array(values, float)[groups == group])
        for group in dict.fromkeys(groups.tolist())
    }


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
