"""AutoCluster beside single algorithms, index picks, the nearest data set's advice and a search by Optuna.

The 71 sets of Gagolewski's six batteries with fewer than 10,000 points, at most 2,000 rows of each, as
AutoCluster itself would take them. The model that comes with jmeta has seen none of them: it is learned from
drawn shapes and from scikit-learn's tables (`experiments.pretrain`). Adjusted Rand index, averaged over
labellings, then over sets. What AutoCluster takes is read off a table of what all its candidates find.

With the number of clusters given:

- kmeans, gaussian_mixture, ward, spectral, hdbscan: always that one; silhouette: of these five the partition
  that the silhouette prefers
- nearest_set: what was best on the known problem whose meta-features are nearest, as ML2DAC advises
- optuna: the best silhouette that tree-structured Parzen estimators find over the same algorithms and their
  parameters in the time that AutoCluster's candidates took; left out where optuna is not installed
- autocluster; autocluster/1, autocluster/3, ...: after that many candidates

With the number unknown: kmeans_silhouette, k-means with the number in 2 to 20 that has the best silhouette;
optuna, over numbers too; autocluster, and after 5, 10, 25 and 50 candidates.

    python -m experiments.autocluster --data-dir DIR

The quick preset makes a few small sets of its own.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import warnings

import numpy as np
from joblib import cpu_count
from sklearn.metrics import silhouette_score

import jmeta as jm
from experiments import choosing
from jmeta import harness
from jmeta.artifacts.advisors import load_model
from jmeta.errors import InputError
from jmeta.estimators.preparation import prepare
from jmeta.portfolio import portfolio
from jmeta.portfolio.candidates import Candidate, candidate
from jmeta.portfolio.running import candidate_labels
from jmeta.portfolio.table import Table, score
from jmeta.selection.advisor import Advisor, replayed_scores
from jmeta.selection.descriptions import describe_table
from jmeta.selection.held_out import score_of_best
from jmeta.selection.selector import CRITERIA, criterion_scores, neighbour_scores, table_features
from jmeta.selection.set_quality import candidate_inputs
from jmeta.tasks.problems import BATTERIES, Problem, batteries

SINGLE = ("kmeans", "gaussian_mixture", "ward", "spectral", "hdbscan")
SPACE: dict[str, dict[str, tuple]] = {
    "kmeans": {"scaled": (False, True)},
    "gaussian_mixture": {"covariance_type": ("full", "tied", "diag", "spherical")},
    "ward": {},
    "average": {},
    "spectral": {"affinity": ("nearest_neighbors",), "n_neighbors": (5, 10, 20)},
    "genie": {"gini_threshold": (0.1, 0.3, 0.6), "scaled": (False, True)},
    "hdbscan": {"min_samples": (2, 4, 8, 16), "min_cluster_size": (5, 10, 30)},
}
"""What Optuna chooses from."""
MOST = 20
"""Clusters that are tried where their number is not known."""
ROWS = 2_000
"""Of a set: as many as AutoCluster compares candidates on."""
BUDGETS = {"given": (1, 2, 3, 5), "unknown": (5, 10, 25, 50)}
"""Candidates that AutoCluster may run, besides all."""


@dataclasses.dataclass(frozen=True)
class Config(choosing.Options):
    """Options of this experiment."""

    seconds: float = 20.0
    """That a candidate may take."""
    optuna: bool = True
    """Whether Optuna searches, too, where it is installed."""


PRESETS = {
    "quick": Config(preset="quick"),
    "cpu": Config(),
    "gpu": Config(preset="gpu"),
}


def experiment(config: Config) -> harness.Metrics:
    """Every way on every set, the number of clusters given and unknown."""
    quick = config.preset == "quick"
    chosen = choosing.small_problems()[:3] if quick else batteries(BATTERIES, data_dir=config.data_dir)
    problems = [as_seen(problem, config.seed) for problem in chosen]
    metrics: dict[str, jm.metrics.Interval] = {}
    for known, advisor in load_model()[0].items():
        table = _table(config, problems, advisor.candidates)
        ways = _given(config, table, advisor) if known == "given" else _unknown(config, table)
        budgets = BUDGETS[known]
        looks = describe_table(table, seed=config.seed, folder=config.table)
        worths = replayed_scores(advisor, table, looks, (None, *budgets), seed=config.seed)
        ways |= dict(
            zip(("autocluster", *(f"autocluster/{most}" for most in budgets)), worths.T, strict=True)
        )
        ways["oracle"] = table.scores.max(1)
        if config.optuna and importlib.util.find_spec("optuna"):
            ways["optuna"] = _optunas(config, table)
        found = {
            name: np.bincount(table.problem_numbers, values) / np.bincount(table.problem_numbers)
            for name, values in ways.items()
        }
        metrics |= {f"ari/{known}/{name}": jm.interval(values) for name, values in found.items()}
        for name in sorted(set(found) - {"autocluster"}):
            difference = found["autocluster"] - found[name]
            metrics[f"gain/{known}/autocluster-{name}"] = choosing.bootstrap(difference, config.seed)
    return metrics


def as_seen(problem: Problem, seed: int) -> Problem:
    """A problem as AutoCluster would take it: columns scaled where they differ, and some of the rows."""
    points = prepare(problem.points, "auto", seed=seed)(problem.points)
    kept = np.sort(np.random.default_rng(seed).permutation(len(points))[:ROWS])
    return problem._replace(
        points=points[kept], labellings=tuple(labels[kept] for labels in problem.labellings)
    )


def _table(config: Config, problems: list[Problem], candidates: tuple[Candidate, ...]) -> Table:
    return choosing.made_table(config, problems, candidates, seconds=config.seconds)


def _given(config: Config, table: Table, advisor: Advisor) -> dict[str, np.ndarray]:
    """Single algorithms, the silhouette's pick among them, and the nearest known set's advice."""
    singles = tuple(one for one in portfolio("seven") if one.algorithm in SINGLE)
    made = _table(config, table.problems, singles)
    ways = {one.algorithm: made.scores[:, place] for place, one in enumerate(singles)}
    return ways | {
        "silhouette": _by_silhouette(config, made),
        "nearest_set": _nearest_set(config, table, advisor),
    }


def _unknown(config: Config, table: Table) -> dict[str, np.ndarray]:
    """k-means, its number of clusters by the silhouette."""
    counts = range(2, MOST + 1)
    means = tuple(candidate("kmeans", n_init=10)._replace(clusters=count) for count in counts)
    return {"kmeans_silhouette": _by_silhouette(config, _table(config, table.problems, means))}


def _by_silhouette(config: Config, table: Table) -> np.ndarray:
    picked = criterion_scores(table, candidate_inputs(table, seed=config.seed))
    return picked[:, list(CRITERIA).index("silhouette")]


def _nearest_set(config: Config, table: Table, advisor: Advisor) -> np.ndarray:
    """The worth of what was best on the known problem whose meta-features are nearest."""
    selector = advisor.selector
    seen = table_features(table, seed=config.seed)
    every = np.concatenate([selector.features, seen])
    worths = np.concatenate([selector.scores, np.zeros_like(table.scores)])
    known = np.arange(len(every)) < len(selector.features)
    advice = neighbour_scores(every, worths, known, np.where(known, 0, 1), nearest=1)[
        len(selector.features) :
    ]
    return score_of_best(table.scores, advice)


def _optunas(config: Config, table: Table) -> np.ndarray:
    """What Optuna finds of every case in the time that all candidates took, one on every core."""
    memory: dict[tuple[int, int | None], np.ndarray] = {}
    for sight, row in zip(table.visible, table.outcomes, strict=True):
        if sight not in memory:
            seconds = sum(outcome.seconds for outcome in row) / cpu_count()
            memory[sight] = _optuna(table.problems[sight[0]].points, sight[1], seconds, config.seed)
    return np.array(
        [score(case.truth, memory[sight]) for case, sight in zip(table.instances, table.visible, strict=True)]
    )


def _silhouette(x: np.ndarray, labels: np.ndarray) -> float:
    """The silhouette of points that are in clusters; -1 where there are fewer than two."""
    kept = labels >= 0
    count = len(np.unique(labels[kept]))
    return float(silhouette_score(x[kept], labels[kept])) if 1 < count < kept.sum() else -1.0


def _optuna(x: np.ndarray, clusters: int | None, seconds: float, seed: int) -> np.ndarray:
    """The best silhouette that TPE finds in some seconds."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    best = (-2.0, np.zeros(len(x), int))

    def value(trial: optuna.Trial) -> float:
        nonlocal best
        name = trial.suggest_categorical("algorithm", tuple(SPACE))
        options = {key: trial.suggest_categorical(f"{name} {key}", of) for key, of in SPACE[name].items()}
        count = clusters or trial.suggest_int("clusters", 2, min(MOST, len(x) - 1))
        try:
            with warnings.catch_warnings(action="ignore"):
                labels = candidate_labels(candidate(name, **options), x, count, seed)
        except InputError:
            return -1.0
        found = _silhouette(x, labels)
        best = max(best, (found, labels), key=lambda pair: pair[0])
        return found

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(value, timeout=seconds)
    return best[1]


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
