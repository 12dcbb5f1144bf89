"""Shared parts of the experiments on algorithm selection: baselines, intervals and small problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import make_blobs, make_circles, make_moons
from sklearn.ensemble import RandomForestRegressor

import jmeta as jm
from jmeta import harness
from jmeta.metrics import Interval
from jmeta.portfolio import performance_table
from jmeta.portfolio.candidates import Candidate
from jmeta.portfolio.consensus import consensus
from jmeta.portfolio.table import Table, score
from jmeta.selection.held_out import TableInputs, left_out_groups, score_of_best
from jmeta.selection.selector import CRITERIA, neighbour_scores
from jmeta.tasks.problems import Problem

RESAMPLES = 10_000
"""Resamples of a bootstrap."""


@dataclasses.dataclass(frozen=True)
class Options(harness.Options):
    """Options of every experiment on algorithm selection."""

    steps: int = 600
    """Training steps."""
    networks: int = 8
    """Number of networks in the ensemble."""
    table: Path = Path("runs/table")
    """Folder of candidates' outcomes, shared by all experiments."""


def make_table(
    config: Options, problems: Sequence[Problem], candidates: Sequence[Candidate], *, seconds: float = 120.0
) -> Table:
    """The performance table of a run; the quick preset uses a single process, which starts sooner."""
    quick: dict[str, Any] = {"jobs": 1, "backend": "threading"} if config.preset == "quick" else {}
    return performance_table(
        problems, candidates, folder=config.table, seconds=seconds, seed=config.seed, **quick
    )


def baselines(known: TableInputs) -> dict[str, np.ndarray]:
    """The score on every instance of methods without a trained network."""
    scores = known.table.scores
    results = {"random": scores.mean(1), "oracle": scores.max(1)}
    for method in ("single_best", "nearest_neighbours", "random_forest"):
        results[method] = np.zeros(len(scores))
    for out, weights in left_out_groups(known):
        near = neighbour_scores(known.problems, scores, weights, known.groups)
        forest = RandomForestRegressor(300, min_samples_leaf=2, max_features=0.5, random_state=0, n_jobs=-1)
        kept = ~out
        centered = scores - scores.mean(1, keepdims=True)
        forest.fit(known.problems[kept], centered[kept], weights[kept])
        results["single_best"][out] = scores[out, np.argmax(weights @ scores)]
        results["nearest_neighbours"][out] = score_of_best(scores[out], near[out])
        results["random_forest"][out] = score_of_best(scores[out], forest.predict(known.problems[out]))
    results |= dict(zip(CRITERIA, known.criteria.T, strict=True))
    if known.table.known_k:
        results["consensus"] = np.array([_consensus(known.table, number) for number in range(len(scores))])
    return results


def _consensus(table: Table, number: int) -> float:
    """The score of the consensus of all candidates on one instance."""
    instance = table.instances[number]
    labels = [outcome.labels for outcome in table.outcomes[number] if outcome.labels is not None]
    return score(instance.truth, consensus(np.stack(labels), instance.clusters)) if labels else 0.0


def per_problem(known: TableInputs, per_instance: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The mean scores over the labellings of each problem."""
    numbers = known.table.problem_numbers
    return {
        name: np.bincount(numbers, values) / np.bincount(numbers) for name, values in per_instance.items()
    }


def summary(
    known: TableInputs,
    per_instance: Mapping[str, np.ndarray],
    pairs: Sequence[tuple[str, str]],
    seed: int,
) -> dict[str, Interval]:
    """ari/METHOD of every method, for four of them also by group, and gain/A-B by paired bootstrap."""
    results = per_problem(known, per_instance)
    metrics = {f"ari/{name}": jm.interval(values) for name, values in results.items()}
    groups = np.array([problem.group for problem in known.table.problems])
    for name in ("single_best", "meta_features", "learned_criterion", "oracle"):
        for group in np.unique(groups):
            metrics[f"ari/{name}/{group}"] = jm.interval(results[name][groups == group])
    return metrics | {f"gain/{a}-{b}": bootstrap(results[a] - results[b], seed) for a, b in pairs}


def bootstrap(values: np.ndarray, seed: int, statistic: Callable[..., Any] = np.mean) -> Interval:
    """The mean or another statistic of problems, and the half-width of its 95 % bootstrap interval."""
    random = np.random.default_rng(seed)
    rows = random.integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(statistic(values[rows], axis=1), [0.025, 0.975])
    return Interval(float(statistic(values)), float(high - low) / 2, len(values))


def small_problems() -> list[Problem]:
    """Three groups of two small sets each."""
    problems = []
    for seed in range(2):
        for name, (points, labels) in {
            "round": make_blobs(40, centers=3, random_state=seed),
            "bent": make_moons(40, noise=0.05, random_state=seed),
            "nested": make_circles(40, noise=0.05, factor=0.4, random_state=seed),
        }.items():
            problems.append(
                Problem(
                    name=f"{name}{seed}",
                    group=name,
                    points=points,
                    labellings=(labels,),
                    source="scikit-learn",
                )
            )
    return problems
