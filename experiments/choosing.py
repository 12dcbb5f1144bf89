"""What the experiments on algorithm selection share: baselines, intervals, and small problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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


@dataclasses.dataclass(frozen=True)
class Options(harness.Options):
    """Options of every experiment on algorithm selection."""

    steps: int = 600
    """Training steps."""
    networks: int = 8
    """Networks that are averaged."""
    table: Path = Path("runs/table")
    """Folder of the outcomes of candidates, shared by all experiments."""


def made_table(
    config: Options, problems: Sequence[Problem], candidates: Sequence[Candidate], *, seconds: float = 120.0
) -> Table:
    """The performance table of a run; a quick one uses a single process, as others take longer to start."""
    quick: dict[str, Any] = {"jobs": 1, "backend": "threading"} if config.preset == "quick" else {}
    return performance_table(
        problems, candidates, folder=config.table, seconds=seconds, seed=config.seed, **quick
    )


def baselines(known: TableInputs) -> dict[str, np.ndarray]:
    """The score on every instance of methods that need no network."""
    scores = known.table.scores
    found = {"random": scores.mean(1), "oracle": scores.max(1)}
    for method in ("single_best", "nearest_neighbours", "random_forest"):
        found[method] = np.zeros(len(scores))
    for out, weights in left_out_groups(known):
        near = neighbour_scores(known.problems, scores, weights, known.groups)
        forest = RandomForestRegressor(300, min_samples_leaf=2, max_features=0.5, random_state=0, n_jobs=-1)
        kept, centered = ~out, scores - scores.mean(1, keepdims=True)
        forest.fit(known.problems[kept], centered[kept], weights[kept])
        found["single_best"][out] = scores[out, np.argmax(weights @ scores)]
        found["nearest_neighbours"][out] = score_of_best(scores[out], near[out])
        found["random_forest"][out] = score_of_best(scores[out], forest.predict(known.problems[out]))
    found |= dict(zip(CRITERIA, known.criteria.T, strict=True))
    if known.table.known_k:
        found["consensus"] = np.array([_consensus(known.table, place) for place in range(len(scores))])
    return found


def _consensus(table: Table, place: int) -> float:
    """The score of the consensus of all candidates."""
    instance = table.instances[place]
    labels = [outcome.labels for outcome in table.outcomes[place] if outcome.labels is not None]
    return score(instance.truth, consensus(np.stack(labels), instance.clusters)) if labels else 0.0


def per_problem(known: TableInputs, per_instance: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Means over the labellings of each problem."""
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
    """ari/METHOD of every method, for four also by group, and gain/A-B of every pair, by paired bootstrap."""
    found = per_problem(known, per_instance)
    metrics = {f"ari/{name}": jm.interval(values) for name, values in found.items()}
    groups = np.array([problem.group for problem in known.table.problems])
    for name in ("single_best", "meta_features", "learned_criterion", "oracle"):
        for group in np.unique(groups):
            metrics[f"ari/{name}/{group}"] = jm.interval(found[name][groups == group])
    return metrics | {f"gain/{a}-{b}": bootstrap(found[a] - found[b], seed) for a, b in pairs}


def bootstrap(differences: np.ndarray, seed: int) -> Interval:
    """The mean difference, and half the width of its 95 % interval over resampled problems."""
    random = np.random.default_rng(seed)
    rows = random.integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.quantile(differences[rows].mean(1), [0.025, 0.975])
    return Interval(float(differences.mean()), float(high - low) / 2, len(differences))


def small_problems() -> list[Problem]:
    """Three groups of a few small sets."""
    made = []
    for seed in range(2):
        for name, (points, labels) in {
            "round": make_blobs(40, centers=3, random_state=seed),
            "bent": make_moons(40, noise=0.05, random_state=seed),
            "nested": make_circles(40, noise=0.05, factor=0.4, random_state=seed),
        }.items():
            made.append(Problem(f"{name}{seed}", name, points, (labels,), "scikit-learn"))
    return made
