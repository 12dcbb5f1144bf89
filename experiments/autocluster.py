"""AutoCluster beside single algorithms, index picks, the nearest data set's advice and a search by Optuna.

The 71 sets of Gagolewski's six batteries with fewer than 10,000 points. The model that comes with jmeta has
seen none of them: it is learned from drawn shapes and from scikit-learn's tables (`experiments.pretrain`).
Adjusted Rand index, averaged over labellings, then over sets.

With the number of clusters given:

- kmeans, gaussian_mixture, ward, spectral, hdbscan: always that one; silhouette: of these five the partition
  that the silhouette prefers
- nearest_set: what was best on the known problem whose meta-features are nearest, as ML2DAC advises
- optuna: the best silhouette that tree-structured Parzen estimators find over the same algorithms and their
  parameters in the time that AutoCluster took; left out where optuna is not installed
- autocluster; autocluster/1, autocluster/3: after that many candidates

With the number unknown: kmeans_silhouette, k-means with the number in 2 to 20 that has the best silhouette;
optuna, over numbers too; autocluster, and after 5 and 25 candidates.

    python -m experiments.autocluster --data-dir DIR

The quick preset makes a few small sets of its own.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import time
import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

import jmeta as jm
from experiments import choosing, harness
from jmeta.clustering.host import host_labels
from jmeta.records import InputError
from jmeta.selection import performance_table, portfolio
from jmeta.selection.criterion import candidate_inputs
from jmeta.selection.saved import load_advisors
from jmeta.selection.search import run
from jmeta.selection.selector import CRITERIA, criterion_worths, nearest_worths, table_inputs
from jmeta.selection.table import Case, Table, cases_of, score
from jmeta.tasks.problems import BATTERIES, Problem, batteries

SINGLE = ("kmeans", "gaussian_mixture", "ward", "spectral", "hdbscan")
SPACE: dict[str, dict[str, tuple]] = {
    "kmeans": {},
    "gaussian_mixture": {"covariance_type": ("full", "tied", "diag", "spherical")},
    "ward": {},
    "average": {},
    "hdbscan": {"min_samples": (2, 4, 8, 16), "min_cluster_size": (5, 10, 30)},
}
"""What Optuna chooses from."""
MOST = 20
"""Clusters that are tried where their number is not known."""
JUDGED = 2_000
"""Points on which a silhouette is computed."""


@dataclasses.dataclass(frozen=True)
class Config(choosing.Options):
    """Options of this experiment."""

    time_limit: float = 60.0
    """Seconds of AutoCluster."""
    budgets: tuple[int, ...] = (1, 3)
    """Candidates that it may run besides all, the number of clusters given."""
    wide_budgets: tuple[int, ...] = (5, 25)
    """The same, the number unknown."""


PRESETS = {
    "quick": Config(preset="quick", time_limit=5.0, budgets=(1,), wide_budgets=(2,)),
    "cpu": Config(),
    "gpu": Config(preset="gpu"),
}


def experiment(config: Config) -> harness.Metrics:
    """Every way on every set, the number of clusters given and unknown."""
    quick = config.preset == "quick"
    problems = choosing.small_problems()[:3] if quick else batteries(BATTERIES, data_dir=config.data_dir)
    metrics: dict[str, jm.metrics.Interval] = {}
    for known in ("given", "unknown"):
        ways = _asked(config, problems, known == "given")
        if known == "given":
            ways |= _tabled(config, problems)
        owners = np.array([case.problem for case in cases_of(problems)])
        found = {name: np.bincount(owners, values) / np.bincount(owners) for name, values in ways.items()}
        metrics |= {f"ari/{known}/{name}": jm.interval(values) for name, values in found.items()}
        for name in sorted(set(found) - {"autocluster"}):
            difference = found["autocluster"] - found[name]
            metrics[f"gain/{known}/autocluster-{name}"] = choosing.bootstrap(difference, config.seed)
    return metrics


def _asked(config: Config, problems: list[Problem], given: bool) -> dict[str, np.ndarray]:
    """AutoCluster at every budget, and what is given the same time."""
    budgets = config.budgets if given else config.wide_budgets
    found: dict[str, list[float]] = {}
    cases = cases_of(problems)
    memory: dict[tuple, dict[str, np.ndarray]] = {}
    for case in cases:
        told = case.clusters if given else None
        place = (case.problem, told)
        if place not in memory:
            memory[place] = _labels(config, problems[case.problem], told, budgets)
        for name, labels in memory[place].items():
            found.setdefault(name, []).append(score(case.truth, labels))
    return {name: np.array(values) for name, values in found.items()}


def _labels(
    config: Config, problem: Problem, clusters: int | None, budgets: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """What every way that looks at the points makes of one problem."""
    x, seed = problem.points, config.seed
    began = time.perf_counter()
    found = {"autocluster": _auto(config, x, clusters, None)}
    seconds = time.perf_counter() - began
    found |= {f"autocluster/{budget}": _auto(config, x, clusters, budget) for budget in budgets}
    if importlib.util.find_spec("optuna"):
        found["optuna"] = _optuna(x, clusters, seconds, seed)
    if clusters is None:
        made = [KMeans(count, n_init=10, random_state=seed).fit_predict(x) for count in _counts(x)]
        found["kmeans_silhouette"] = max(made, key=lambda labels: _silhouette(x, labels, seed))
    return found


def _auto(config: Config, x: np.ndarray, clusters: int | None, budget: int | None) -> np.ndarray:
    model = jm.AutoCluster(
        clusters, time_limit=config.time_limit, n_candidates=budget, random_state=config.seed
    )
    return model.fit_predict(x)


def _counts(x: np.ndarray) -> range:
    return range(2, min(MOST, len(x) - 1) + 1)


def _silhouette(x: np.ndarray, labels: np.ndarray, seed: int) -> float:
    """The silhouette of points that are in clusters; -1 where there are fewer than two."""
    kept = np.flatnonzero(labels >= 0)
    kept = np.random.default_rng(seed).permutation(kept)[:JUDGED]
    count = len(np.unique(labels[kept]))
    return float(silhouette_score(x[kept], labels[kept])) if 1 < count < len(kept) else -1.0


def _optuna(x: np.ndarray, clusters: int | None, seconds: float, seed: int) -> np.ndarray:
    """The best silhouette that TPE finds in some seconds."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    best = (-2.0, np.zeros(len(x), int))

    def value(trial: optuna.Trial) -> float:
        nonlocal best
        name = trial.suggest_categorical("algorithm", tuple(SPACE))
        options = {key: trial.suggest_categorical(f"{name} {key}", of) for key, of in SPACE[name].items()}
        count = clusters or trial.suggest_int("clusters", 2, _counts(x)[-1])
        try:
            with warnings.catch_warnings(action="ignore"):
                labels = host_labels(name, x, None if name == "hdbscan" else count, seed=seed, **options)
        except InputError:
            return -1.0
        found = _silhouette(x, labels, seed)
        best = max(best, (found, labels), key=lambda pair: pair[0])
        return found

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(value, timeout=seconds)
    return best[1]


def _tabled(config: Config, problems: list[Problem]) -> dict[str, np.ndarray]:
    """Single algorithms, the silhouette's pick among them, and the nearest known set's advice."""
    singles = [one for one in portfolio("seven") if one.algorithm in SINGLE]
    table = performance_table(problems, singles, folder=config.table, seed=config.seed)
    ways = {one.algorithm: table.scores[:, place] for place, one in enumerate(singles)}
    picked = criterion_worths(table, candidate_inputs(table, seed=config.seed))
    ways["silhouette"] = picked[:, list(CRITERIA).index("silhouette")]
    ways["nearest_set"] = _nearest_set(config, table)
    return ways


def _nearest_set(config: Config, table: Table) -> np.ndarray:
    """The worth of what was best on the known problem whose meta-features are nearest."""
    selector = load_advisors()[0]["given"].selector
    seen = table_inputs(table, seed=config.seed)
    every = np.concatenate([selector.known, seen])
    worths = np.concatenate([selector.worths, np.zeros((len(seen), len(selector.candidates)))])
    known = np.arange(len(every)) < len(selector.known)
    advice = nearest_worths(every, worths, known, np.where(known, 0, 1), nearest=1)[len(selector.known) :]

    def worth(case: Case, place: int) -> float:
        points = table.problems[case.problem].points
        return score(case.truth, run(selector.candidates[place], points, case.clusters, config.seed).labels)

    return np.array([worth(case, int(row.argmax())) for case, row in zip(table.cases, advice, strict=True)])


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
