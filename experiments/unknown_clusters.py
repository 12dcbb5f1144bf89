"""Measures AutoCluster and the zero-shot clusterer, with and without a known number of clusters.

Batteries: the 71 sets of Gagolewski's six batteries with fewer than 10,000 points, at most 2,000 rows of
each, prepared as in AutoCluster. Nothing was trained on them or chosen by them. Generators: sets by pyclugen
(Fachada & de Andrade 2023) and by densired (Jahn et al. 2024), where these are installed; nothing was trained
on them. `ari/GROUP/unknown/...` and `ari/GROUP/known/...` are adjusted Rand indices, averaged over the
labellings of a set, then over sets; `gain/...` are differences of AutoCluster to the others on the same sets,
with 95 % bootstrap intervals:

- autocluster: `jm.AutoCluster()`
- zero_shot: `jm.ZeroShotClusterer()`, the network alone
- hdbscan: HDBSCAN(min_samples=8, min_cluster_size=10), noise to the nearest cluster
- genie: with Gini threshold 0.3; known K only
- oracle: the best of all candidates of AutoCluster

`exact/...` and `within_one/...` are the shares of labellings whose number of clusters is found, exactly and
within one, and `clusters_off/...` is the mean difference. `seconds/.../first` and `seconds/.../all` are
medians of the processor seconds of one fit in a process that has fitted a table of the same size before:
until the first answer, and until the end.

Toys: scikit-learn's moons, circles, blobs, anisotropic and unequal blobs, and bands of a rolled sheet, at
three levels of noise and `--seeds` seeds each. `toys/KIND` is the share with the right number of clusters
among the sets where HDBSCAN, or Ward's linkage at the true number, has an index of `CLEAR` or more.
`one_cluster/KIND` is the share of sets without clusters, of 2 to 20 columns, that are found to be one
cluster.

    python -m experiments.unknown_clusters --data-dir DIR

The quick preset takes a few small sets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import time
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from sklearn.datasets import make_blobs, make_circles, make_moons, make_swiss_roll

import jmeta as jm
from experiments import choosing
from experiments.autocluster import prepared
from jmeta import harness
from jmeta.compilation_cache import use_compilation_cache
from jmeta.metrics import Interval
from jmeta.portfolio.candidates import Candidate, candidate
from jmeta.portfolio.running import count_clusters, run_candidate
from jmeta.portfolio.table import score
from jmeta.tasks.problems import BATTERIES, Problem, batteries

HDBSCAN = candidate("hdbscan", min_samples=8, min_cluster_size=10, noise="nearest")
GENIE = candidate("genie", gini_threshold=0.3)
WARD = candidate("ward")
CLEAR = 0.95
"""Least adjusted Rand index of a classical method on a set whose clusters can be seen."""
NOISE = {
    "moons": (0.05, 0.08, 0.1),
    "circles": (0.02, 0.05, 0.08),
    "blobs": (0.4, 0.7, 1.0),
    "anisotropic": (0.4, 0.7, 1.0),
    "unequal": (0.4, 0.7, 1.0),
    "bands": (0.0, 0.2, 0.4),
}
"""Levels of noise of every kind of toy."""
GENERATORS = ("pyclugen", "densired")
"""Published generators, by package."""
SINGLE = ("uniform", "gaussian", "curve")
"""Kinds of sets without clusters."""
COLUMNS = (2, 3, 5, 10, 20)
"""Numbers of columns of sets without clusters."""


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    rows: int = 600
    """Rows of a toy."""
    seeds: int = 10
    """Sets of every kind and level of noise."""
    generated: int = 60
    """Sets of every published generator."""
    sets: int | None = None
    """Number of sets of the batteries; all unless given."""
    jobs: int = 2
    """Processes."""


PRESETS = {
    "quick": Config(preset="quick", rows=60, seeds=1, generated=2, jobs=1),
    "cpu": Config(),
    "gpu": Config(preset="gpu"),
}


class Measured(NamedTuple):
    """The results on one set with a known or an unknown number of clusters.

    Attributes:
        problem: name of the set.
        truth: true number of clusters.
        known: whether it was known.
        scores: adjusted Rand index, by method.
        clusters: number of clusters found, by method.
        seconds: processor seconds of AutoCluster until its first answer, and until its end.
    """

    problem: str
    truth: int
    known: bool
    scores: dict[str, float]
    clusters: dict[str, int]
    seconds: tuple[float, float]


def experiment(config: Config) -> harness.Metrics:
    """Measures batteries, toys and sets without clusters."""
    quick = config.preset == "quick"
    problems = choosing.small_problems()[:2] if quick else batteries(BATTERIES, data_dir=config.data_dir)
    problems = problems[: config.sets] + [
        generated(name, number)
        for name in GENERATORS
        if importlib.util.find_spec(name)
        for number in range(config.generated)
    ]
    problems = [prepared(problem, config.seed) for problem in problems]
    kinds = ("moons",) if quick else tuple(NOISE)
    toys = [toy for kind in kinds for toy in toys_of(kind, config)]
    single = [one for kind in SINGLE for one in single_of(kind, config)]
    with Parallel(n_jobs=config.jobs) as parallel:
        measured = parallel(delayed(measure)(problem, config.cache) for problem in problems)
        found_toys = parallel(delayed(toy_is_right)(*toy, config.cache) for toy in toys)
        found_single = parallel(delayed(clusters_of)(points, config.cache) for _, points in single)
    metrics: dict[str, Interval] = {}
    groups = ["batteries" if one.group not in GENERATORS else one.group for one in problems]
    for group in dict.fromkeys(groups):
        of_group = [m for many, name in zip(measured, groups, strict=True) if name == group for m in many]
        metrics |= summary(group, of_group, config.seed)
    for kind in kinds:
        right = [one for (name, *_), one in zip(toys, found_toys, strict=True) if name == kind]
        seen = np.array([one for one in right if one is not None], float)
        if len(seen):
            metrics[f"toys/{kind}"] = jm.interval(seen)
    for kind in SINGLE:
        counts = [count for (name, _), count in zip(single, found_single, strict=True) if name == kind]
        metrics[f"one_cluster/{kind}"] = jm.interval(np.array([float(count == 1) for count in counts]))
    return metrics


def measure(problem: Problem, cache: bool) -> list[Measured]:
    """All methods on one set, for every labelling with and without its number of clusters."""
    use_compilation_cache(None if cache else "")
    found = []
    unknown: tuple[dict[str, np.ndarray], np.ndarray, tuple[float, float]] | None = None
    for truth in problem.labellings:
        count = count_clusters(truth)
        for known in (False, True):
            if known or unknown is None:
                labels, pool, seconds = answers(problem.points, count if known else None)
                unknown = unknown if known else (labels, pool, seconds)
            else:
                labels, pool, seconds = unknown
            scores = {name: score(truth, one) for name, one in labels.items()}
            scores["oracle"] = max(score(truth, one) for one in pool)
            clusters = {name: count_clusters(one) for name, one in labels.items()}
            found.append(Measured(problem.name, count, known, scores, clusters, seconds))
    return found


def answers(
    points: np.ndarray, clusters: int | None
) -> tuple[dict[str, np.ndarray], np.ndarray, tuple[float, float]]:
    """The labels of every method, the partitions of AutoCluster's candidates, and its processor seconds."""
    model = jm.AutoCluster(clusters, scaling="none")
    fit(model, points)
    seconds = fit(model, points)
    with warnings.catch_warnings(action="ignore"):
        labels = {
            "autocluster": model.labels_,
            "zero_shot": jm.ZeroShotClusterer(clusters).fit(points).labels_,
        }
    others = {"hdbscan": HDBSCAN} if clusters is None else {"hdbscan": HDBSCAN, "genie": GENIE}
    labels |= {name: ran(one, points, clusters) for name, one in others.items()}
    return labels, model._result.pool.partitions, seconds  # type: ignore[union-attr]


def fit(model: jm.AutoCluster, points: np.ndarray) -> tuple[float, float]:
    """Fits a model; processor seconds until the first answer, and until the end."""
    first = 0.0
    began = time.process_time()

    def first_answer(labels: np.ndarray, expected: float) -> None:
        nonlocal first
        first = time.process_time() - began

    with warnings.catch_warnings(action="ignore"):
        model.fit(points, first_answer=first_answer)
    return first, time.process_time() - began


def ran(one: Candidate, points: np.ndarray, clusters: int | None) -> np.ndarray:
    """The labels of a candidate; all in one cluster where it fails."""
    with warnings.catch_warnings(action="ignore"):
        labels = run_candidate(one, points, clusters, 0).labels
    return np.zeros(len(points), int) if labels is None else labels


def summary(group: str, measured: list[Measured], seed: int) -> dict[str, Interval]:
    """Scores, gains of AutoCluster on the same sets, numbers of clusters, and times."""
    metrics: dict[str, Interval] = {}
    for known in (False, True):
        rows = [one for one in measured if one.known == known]
        word = "known" if known else "unknown"
        problems = np.unique([one.problem for one in rows], return_inverse=True)[1]
        by_set = {
            name: np.bincount(problems, [one.scores[name] for one in rows]) / np.bincount(problems)
            for name in rows[0].scores
        }
        metrics |= {f"ari/{group}/{word}/{name}": jm.interval(values) for name, values in by_set.items()}
        for name in (name for name in by_set if name != "autocluster"):
            difference = by_set["autocluster"] - by_set[name]
            metrics[f"gain/{group}/{word}/autocluster-{name}"] = choosing.bootstrap(difference, seed)
        for name, seconds in zip(
            ("first", "all"), zip(*(one.seconds for one in rows), strict=True), strict=True
        ):
            metrics[f"seconds/{group}/{word}/{name}"] = choosing.bootstrap(np.array(seconds), seed, np.median)
    unknown = [one for one in measured if not one.known]
    for name in ("autocluster", "zero_shot", "hdbscan"):
        off = np.array([abs(one.clusters[name] - one.truth) for one in unknown])
        metrics[f"exact/{group}/{name}"] = jm.interval((off == 0).astype(float))
        metrics[f"within_one/{group}/{name}"] = jm.interval((off <= 1).astype(float))
        metrics[f"clusters_off/{group}/{name}"] = jm.interval(off.astype(float))
    return metrics


def generated(name: str, number: int) -> Problem:
    """A set by a published generator."""
    random = np.random.default_rng([GENERATORS.index(name), number])
    columns, clusters = int(random.integers(2, 7)), int(random.integers(2, 16))
    rows = int(np.exp(random.uniform(np.log(200), np.log(1000))))
    if name == "pyclugen":
        import pyclugen

        found = pyclugen.clugen(
            columns,
            clusters,
            rows,
            random.normal(size=columns),
            random.uniform(0, np.pi / 2),
            np.full(columns, random.uniform(0.5, 4)),
            random.uniform(0, 15),
            random.uniform(0, 3),
            random.uniform(0.5, 2),
            rng=number,
        )
        points, labels = found.points, found.clusters
    else:
        from densired import densityDataGen

        cores = clusters * int(random.integers(5, 20))
        generator = densityDataGen(
            columns,
            clusters,
            core_num=cores,
            min_ratio=0.5 / clusters,
            ratio_noise=float(random.choice([0.0, 0.05])),
            momentum=random.uniform(0, 1),
            step=random.uniform(0.8, 1.2),
            seed=number,
        )
        with contextlib.redirect_stdout(None):  # it prints the number of points
            made = generator.generate_data(rows)
        points, labels = made[:, :-1], made[:, -1].astype(int)
    labels = np.where(labels >= 0, np.unique(labels, return_inverse=True)[1] - (labels.min() < 0), -1)
    return Problem(f"{name}/{number}", name, points, (labels,), name)


def toys_of(kind: str, config: Config) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The toys of one kind, with their labels."""
    for noise in NOISE[kind][: 1 if config.preset == "quick" else None]:
        for seed in range(config.seeds):
            yield kind, *toy(kind, config.rows, noise, seed)


def toy(kind: str, rows: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and labels of a toy."""
    random = np.random.default_rng(seed)
    if kind == "moons":
        return make_moons(rows, noise=noise, random_state=seed)
    if kind == "circles":
        return make_circles(rows, noise=noise, factor=0.5, random_state=seed)
    if kind == "bands":
        points, angle = make_swiss_roll(rows * 3 // 2, noise=noise, random_state=seed)
        at = (angle - angle.min()) / np.ptp(angle) * 3
        kept = at % 1 < 0.75  # three bands with gaps between
        return points[kept], np.minimum(at[kept].astype(int), 2)
    spread = noise * np.array([1.0, 2.5, 0.5]) if kind == "unequal" else noise
    points, labels = make_blobs(rows, centers=3, cluster_std=spread, random_state=seed + 100)
    return (points @ random.normal(size=(2, 2)) if kind == "anisotropic" else points), labels


def toy_is_right(kind: str, points: np.ndarray, truth: np.ndarray, cache: bool) -> bool | None:
    """Whether AutoCluster finds the number of clusters; None where no classical method finds the clusters."""
    count = count_clusters(truth)
    classical = max(score(truth, ran(HDBSCAN, points, None)), score(truth, ran(WARD, points, count)))
    return clusters_of(points, cache) == count if classical >= CLEAR else None


def single_of(kind: str, config: Config) -> Iterator[tuple[str, np.ndarray]]:
    """Sets without clusters, in 2 to 20 columns."""
    for columns in (2,) if config.preset == "quick" else COLUMNS:
        for seed in range(config.seeds):
            yield kind, single(kind, config.rows, columns, seed)


def single(kind: str, rows: int, columns: int, seed: int) -> np.ndarray:
    """A set without clusters."""
    random = np.random.default_rng([columns, seed])
    if kind == "uniform":
        return random.uniform(size=(rows, columns))
    if kind == "gaussian":
        return random.normal(size=(rows, columns))
    along = random.uniform(size=(rows, 1)) * 2
    waves = random.normal(size=(3, columns)), random.uniform(0, 6, (3, columns))
    points = sum(np.sin((i + 1) * along + waves[1][i]) * waves[0][i] / (i + 1) for i in range(3))
    return points + random.normal(scale=0.02, size=points.shape)


def clusters_of(points: np.ndarray, cache: bool) -> int:
    """The number of clusters that AutoCluster finds."""
    use_compilation_cache(None if cache else "")
    with warnings.catch_warnings(action="ignore"):
        return jm.AutoCluster().fit(points).n_clusters_


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
