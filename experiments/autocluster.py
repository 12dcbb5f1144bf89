"""Compares AutoCluster with single algorithms, internal indices, the nearest data set's best and Optuna.

The test problems are the 71 sets of Gagolewski's six batteries with fewer than 10,000 points, with at most
2,000 rows of each, as AutoCluster itself would use. The model that comes with jmeta was trained on none of
them, but on generated shapes and scikit-learn's tables (`experiments.pretrain`). The metric is the adjusted
Rand index, averaged over labellings, then over sets. AutoCluster's result is looked up in a table of the
outcomes of all its candidates.

With the number of clusters given:

- kmeans, gaussian_mixture, ward, spectral, hdbscan: always that algorithm; silhouette: the partition among
  these five with the best silhouette
- nearest_set: the best candidate on the known problem with the nearest meta-features, as in ML2DAC
- optuna: the best silhouette found by tree-structured Parzen estimators over the same algorithms and their
  parameters, in the time that AutoCluster's candidates took; skipped where optuna is not installed
- autocluster; autocluster/1, autocluster/3, ...: after that number of candidates

With the number unknown: kmeans_silhouette, k-means with the number from 2 to 20 that has the best silhouette;
optuna, which also searches over numbers; autocluster, and after 5, 10, 25 and 50 candidates.

    python -m experiments.autocluster --data-dir DIR

The quick preset generates a few small sets.
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
"""Algorithms that are compared with singly."""
SPACE: dict[str, dict[str, tuple]] = {
    "kmeans": {"scaled": (False, True)},
    "gaussian_mixture": {"covariance_type": ("full", "tied", "diag", "spherical")},
    "ward": {},
    "average": {},
    "spectral": {"affinity": ("nearest_neighbors",), "n_neighbors": (5, 10, 20)},
    "genie": {"gini_threshold": (0.1, 0.3, 0.6), "scaled": (False, True)},
    "hdbscan": {"min_samples": (2, 4, 8, 16), "min_cluster_size": (5, 10, 30)},
}
"""The search space of Optuna."""
MAX_CLUSTERS = 20
"""The largest number of clusters that is tried where it is unknown."""
MAX_ROWS = 2_000
"""Rows of a set on which AutoCluster compares candidates."""
BUDGETS = {"given": (1, 2, 3, 5), "unknown": (5, 10, 25, 50)}
"""Numbers of candidates that AutoCluster may run, besides all."""


@dataclasses.dataclass(frozen=True)
class Config(choosing.Options):
    """Options of this experiment."""

    seconds: float = 20.0
    """Time limit of a candidate."""
    optuna: bool = True
    """Whether to include Optuna, if it is installed."""


PRESETS = {
    "quick": Config(preset="quick"),
    "cpu": Config(),
    "gpu": Config(preset="gpu"),
}


def experiment(config: Config) -> harness.Metrics:
    """Runs every method on every set, with the number of clusters given and unknown."""
    quick = config.preset == "quick"
    problems = choosing.small_problems()[:3] if quick else batteries(BATTERIES, data_dir=config.data_dir)
    problems = [prepared(problem, config.seed) for problem in problems]
    metrics: dict[str, jm.metrics.Interval] = {}
    for known, advisor in load_model()[0].items():
        table = _table(config, problems, advisor.candidates)
        methods = _given(config, table, advisor) if known == "given" else _unknown(config, table)
        budgets = BUDGETS[known]
        descriptions = describe_table(table, seed=config.seed, folder=config.table)
        scores = replayed_scores(advisor, table, descriptions, (None, *budgets), seed=config.seed)
        names = ("autocluster", *(f"autocluster/{budget}" for budget in budgets))
        methods |= dict(zip(names, scores.T, strict=True))
        methods["oracle"] = table.scores.max(1)
        if config.optuna and importlib.util.find_spec("optuna"):
            methods["optuna"] = _optuna_scores(config, table)
        results = {
            name: np.bincount(table.problem_numbers, values) / np.bincount(table.problem_numbers)
            for name, values in methods.items()
        }
        metrics |= {f"ari/{known}/{name}": jm.interval(values) for name, values in results.items()}
        for name in sorted(set(results) - {"autocluster"}):
            difference = results["autocluster"] - results[name]
            metrics[f"gain/{known}/autocluster-{name}"] = choosing.bootstrap(difference, config.seed)
    return metrics


def prepared(problem: Problem, seed: int) -> Problem:
    """A problem as AutoCluster prepares it: columns scaled if their scales differ, rows subsampled."""
    points = prepare(problem.points, "auto", seed=seed)(problem.points)
    kept = np.sort(np.random.default_rng(seed).permutation(len(points))[:MAX_ROWS])
    return problem._replace(
        points=points[kept], labellings=tuple(labels[kept] for labels in problem.labellings)
    )


def _table(config: Config, problems: list[Problem], candidates: tuple[Candidate, ...]) -> Table:
    return choosing.make_table(config, problems, candidates, seconds=config.seconds)


def _given(config: Config, table: Table, advisor: Advisor) -> dict[str, np.ndarray]:
    """The scores of single algorithms, of the silhouette among them, and of the nearest known set."""
    singles = tuple(one for one in portfolio("seven") if one.algorithm in SINGLE)
    single_table = _table(config, table.problems, singles)
    methods = {one.algorithm: single_table.scores[:, column] for column, one in enumerate(singles)}
    return methods | {
        "silhouette": _silhouette_choice(config, single_table),
        "nearest_set": _nearest_set(config, table, advisor),
    }


def _unknown(config: Config, table: Table) -> dict[str, np.ndarray]:
    """The scores of k-means with the number of clusters of best silhouette."""
    counts = range(2, MAX_CLUSTERS + 1)
    means = tuple(candidate("kmeans", n_init=10)._replace(clusters=count) for count in counts)
    return {"kmeans_silhouette": _silhouette_choice(config, _table(config, table.problems, means))}


def _silhouette_choice(config: Config, table: Table) -> np.ndarray:
    """The score of the candidate with the best silhouette, for every instance."""
    scores = criterion_scores(table, candidate_inputs(table, seed=config.seed))
    return scores[:, list(CRITERIA).index("silhouette")]


def _nearest_set(config: Config, table: Table, advisor: Advisor) -> np.ndarray:
    """The score of the best candidate on the known problem with the nearest meta-features."""
    selector = advisor.selector
    known_count = len(selector.features)
    features = np.concatenate([selector.features, table_features(table, seed=config.seed)])
    scores = np.concatenate([selector.scores, np.zeros_like(table.scores)])
    known = np.arange(len(features)) < known_count
    predicted = neighbour_scores(features, scores, known, np.where(known, 0, 1), nearest=1)
    return score_of_best(table.scores, predicted[known_count:])


def _optuna_scores(config: Config, table: Table) -> np.ndarray:
    """Optuna's score on every instance, in the time that all candidates took on all cores."""
    labels: dict[tuple[int, int | None], np.ndarray] = {}
    for view, row in zip(table.visible, table.outcomes, strict=True):
        if view not in labels:
            seconds = sum(outcome.seconds for outcome in row) / cpu_count()
            labels[view] = _optuna(table.problems[view[0]].points, view[1], seconds, config.seed)
    instances = zip(table.instances, table.visible, strict=True)
    return np.array([score(instance.truth, labels[view]) for instance, view in instances])


def _silhouette(x: np.ndarray, labels: np.ndarray) -> float:
    """The silhouette of the points that are in clusters; -1 if there are fewer than two clusters."""
    kept = labels >= 0
    count = len(np.unique(labels[kept]))
    return float(silhouette_score(x[kept], labels[kept])) if 1 < count < kept.sum() else -1.0


def _optuna(x: np.ndarray, clusters: int | None, seconds: float, seed: int) -> np.ndarray:
    """The labels with the best silhouette that TPE finds within a time limit."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    best = (-2.0, np.zeros(len(x), int))

    def value(trial: optuna.Trial) -> float:
        nonlocal best
        name = trial.suggest_categorical("algorithm", tuple(SPACE))
        options = {
            key: trial.suggest_categorical(f"{name} {key}", values) for key, values in SPACE[name].items()
        }
        count = clusters or trial.suggest_int("clusters", 2, min(MAX_CLUSTERS, len(x) - 1))
        try:
            with warnings.catch_warnings(action="ignore"):
                labels = candidate_labels(candidate(name, **options), x, count, seed)
        except InputError:
            return -1.0
        silhouette = _silhouette(x, labels)
        best = max(best, (silhouette, labels), key=lambda pair: pair[0])
        return silhouette

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(value, timeout=seconds)
    return best[1]


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
