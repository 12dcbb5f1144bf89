"""Which clustering to believe, leaving a battery out: a learned criterion beside indices and fixed choices.

The batteries wut, sipu, fcps, graves, uci and other of Gagolewski's benchmark suite, sets of fewer than
10,000 points, the number of clusters of each reference labelling given. Every candidate of a portfolio
clusters every set once; then a way to choose is scored by the adjusted Rand index of what it chose, averaged
over labellings, then over sets. Points that the reference calls noise are dropped when scoring; a candidate
that fails or takes too long counts as zero and is never chosen by a criterion. Whatever is learned, the
single best included, is learned from the other batteries alone.

- random, oracle: the mean and the best of all candidates
- single_best: the candidate that is best on the other batteries
- silhouette, calinski_harabasz, davies_bouldin: the partition that an index prefers
- consensus: the partition that agrees most with the others
- learned_criterion: networks that score partitions by their descriptors, the mean over seeds

    python -m experiments.selection --portfolio seven --data-dir DIR
        9 minutes on two cores for the table, once, and 3.3 for the rest; ari/learned_criterion 0.73

`gain/A-B` is the mean difference over sets with its interval by paired bootstrap. The quick preset makes a
few small sets of its own.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from sklearn.datasets import make_blobs, make_circles, make_moons

import jmeta as jm
from experiments import harness
from jmeta.metrics import Interval
from jmeta.selection import performance_table, portfolio
from jmeta.selection.criterion import candidate_inputs, criterion_scores, train_criterion
from jmeta.selection.descriptors import NAMES
from jmeta.selection.table import Table
from jmeta.tasks.problems import BATTERIES, Problem, batteries

INDICES = {
    "silhouette": "silhouette",
    "calinski_harabasz": "log Calinski-Harabasz",
    "davies_bouldin": "Davies-Bouldin, 1 / (1 + x)",
}
RESAMPLES = 10_000


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    portfolio: Literal["seven", "genie", "grid", "all"] = "seven"
    """What is chosen from."""
    seconds: float = 120.0
    """That a candidate may take."""
    seeds: int = 3
    """How often the criterion is trained anew."""
    steps: int = 600
    """Of its training."""
    networks: int = 8
    """That are averaged."""
    table: Path = Path("runs/table")
    """Where what candidates found is kept, for all experiments together."""


PRESETS = {
    "quick": Config(preset="quick", steps=5, networks=2, seeds=1),
    "cpu": Config(),
    "gpu": Config(preset="gpu"),
}


def experiment(config: Config) -> harness.Metrics:
    """Make the table, choose in every way, leaving one battery out at a time."""
    quick = config.preset == "quick"
    problems = small_problems() if quick else batteries(BATTERIES, data_dir=config.data_dir)
    table = performance_table(
        problems, portfolio(config.portfolio), folder=config.table, seconds=config.seconds, seed=config.seed
    )
    inputs = candidate_inputs(table, seed=config.seed)
    per_case = choices(table, inputs) | {"learned_criterion": learned(config, table, inputs)}
    owners = np.array([case.problem for case in table.cases])
    sizes = np.bincount(owners)
    per_set = {name: np.bincount(owners, values) / sizes for name, values in per_case.items()}
    metrics = {f"ari/{name}": jm.interval(values) for name, values in per_set.items()}
    for other in ("single_best", "consensus", "silhouette", "random"):
        difference = per_set["learned_criterion"] - per_set[other]
        metrics[f"gain/learned_criterion-{other}"] = bootstrap(difference, config.seed)
    return metrics


def choices(table: Table, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The worth of what every fixed way chooses, for every case."""
    scores, usable = table.scores, table.usable

    def chosen(values: np.ndarray) -> np.ndarray:
        return _at(scores, np.where(usable, values, -np.inf))

    found = {"random": scores.mean(1), "oracle": scores.max(1), "single_best": np.zeros(len(scores))}
    for left_out, weights in _splits(table):
        found["single_best"][left_out] = scores[left_out, np.argmax(weights @ scores)]
    for name, descriptor in INDICES.items():
        found[name] = chosen(inputs[:, :, NAMES.index(descriptor)])
    return found | {"consensus": chosen(inputs[:, :, len(NAMES)])}


def learned(config: Config, table: Table, inputs: np.ndarray) -> np.ndarray:
    """The worth of what the criterion chooses, the mean over seeds."""
    scores, usable = table.scores, table.usable
    worth = np.zeros((config.seeds, len(scores)))
    for seed in range(config.seeds):
        for place, (left_out, weights) in enumerate(_splits(table)):
            key = jax.random.fold_in(jax.random.fold_in(config.key, seed), place)
            kept = ~left_out
            criterion = train_criterion(
                inputs[kept], scores[kept], weights[kept], key, steps=config.steps, networks=config.networks
            )
            found = criterion_scores(criterion, inputs[left_out], usable[left_out])
            worth[seed, left_out] = _at(scores[left_out], found)
    return worth.mean(0)


def bootstrap(differences: np.ndarray, seed: int) -> Interval:
    """The mean difference, and half the width of its 95 % interval over resampled sets."""
    random = np.random.default_rng(seed)
    rows = random.integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.quantile(differences[rows].mean(1), [0.025, 0.975])
    return Interval(float(differences.mean()), float(high - low) / 2, len(differences))


def small_problems() -> list[Problem]:
    """Two groups of a few small sets."""
    made = []
    for seed in range(3):
        for name, (points, labels) in {
            "blobs": make_blobs(40, centers=3, random_state=seed),
            "moons": make_moons(40, noise=0.05, random_state=seed),
            "circles": make_circles(40, noise=0.05, factor=0.4, random_state=seed),
        }.items():
            group = "round" if name == "blobs" else "bent"
            made.append(Problem(f"{name}{seed}", group, points, (labels,), "scikit-learn"))
    return made


def _at(scores: np.ndarray, preferred: np.ndarray) -> np.ndarray:
    return np.take_along_axis(scores, preferred.argmax(1)[:, None], 1)[:, 0]


def _splits(table: Table) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every group the cases that it leaves out, and the weights of the others: one a set."""
    groups, owners = np.array(table.groups), np.array([case.problem for case in table.cases])
    weights = 1 / np.bincount(owners)[owners]
    return [(groups == group, np.where(groups == group, 0, weights)) for group in sorted(set(table.groups))]


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
