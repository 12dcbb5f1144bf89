"""Compares learned and fixed methods of clustering selection by leave-one-battery-out evaluation.

The problems are the batteries wut, sipu, fcps, graves, uci and other of Gagolewski's benchmark suite, sets of
fewer than 10,000 points; the number of clusters of each reference labelling is given, or with `--clusters
unknown` part of the choice. Every candidate of a portfolio clusters every set once; a selection method is
then scored by the adjusted Rand index of the partition that it chooses, averaged over labellings, then over
sets. Points that the reference marks as noise are dropped when scoring; a candidate that fails or exceeds the
time limit scores zero and is never chosen by a criterion. Everything learned, settings and inputs included,
is learned from the other batteries only: settings are those that are best when each of these is left out in
turn.

- random, oracle: the mean and the best score of all candidates
- single_best: the candidate that is best on the other batteries
- silhouette, calinski_harabasz, davies_bouldin, dunn, density_validity, near_neighbours, gap: the partition
  of best internal index; most_agreement: the partition most similar to the others; consensus: the consensus
  of all partitions
- nearest_neighbours, random_forest, meta_features: chosen from meta-features before any candidate runs, by
  the scores on the five most similar sets, by a random forest, and by networks
- chosen_criterion: the partition preferred by the internal criterion that the same networks choose
- learned_criterion: the partition that networks score highest from its descriptors

    python -m experiments.selection --portfolio seven --data-dir DIR
        9 minutes on two cores for the table, once, and 8 for the rest; ari/learned_criterion 0.73

`gain/A-B` is the mean difference over sets, with its interval by paired bootstrap; `gap_closed` is the share
of the gap between the single best and the oracle. The quick preset generates a few small sets.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal

import numpy as np

from experiments import choosing
from jmeta import harness
from jmeta.metafeatures.tables import FEATURES, feature_names
from jmeta.metrics import Interval
from jmeta.portfolio import portfolio
from jmeta.selection.examples import Settings
from jmeta.selection.held_out import Option, TableInputs, held_out_scores, score_of_best, table_inputs
from jmeta.selection.selector import CRITERIA, selector_inputs
from jmeta.tasks.problems import BATTERIES, Problem, batteries

COUNTS = (*range(2, 11), 15, 20)
"""Numbers of clusters that are tried where it is unknown."""


@dataclasses.dataclass(frozen=True)
class Config(choosing.Options):
    """Options of this experiment."""

    portfolio: Literal["seven", "genie", "grid", "all"] = "seven"
    """The portfolio of candidates."""
    clusters: Literal["given", "unknown"] = "given"
    """Whether the number of clusters is given, or chosen together with the algorithm."""
    seconds: float = 120.0
    """Time limit of a candidate."""
    seeds: int = 3
    """Number of training runs that are averaged."""


PRESETS = {
    "quick": Config(preset="quick", steps=5, networks=2, seeds=1),
    "cpu": Config(),
    "gpu": Config(preset="gpu", seeds=10, networks=16),
}


def experiment(config: Config) -> harness.Metrics:
    """Evaluates every selection method, leaving out one battery at a time."""
    quick = config.preset == "quick"
    problems = choosing.small_problems() if quick else batteries(BATTERIES, data_dir=config.data_dir)
    return report(config, problems)


def report(config: Config, problems: list[Problem]) -> harness.Metrics:
    """Makes the table and evaluates every selection method, leaving out one group at a time."""
    counts = COUNTS[:2] if config.preset == "quick" else COUNTS
    candidates = portfolio(config.portfolio, clusters=counts if config.clusters == "unknown" else ())
    table = choosing.make_table(config, problems, candidates, seconds=config.seconds)
    known = table_inputs(table, seed=config.seed)
    base = Settings(steps=config.steps, networks=config.networks)
    methods = choosing.baselines(known) | learned_methods(known, base, config)
    pairs = [
        *(("learned_criterion", other) for other in ("single_best", "consensus", "silhouette", "random")),
        *(("meta_features", other) for other in ("single_best", "random_forest", "nearest_neighbours")),
        *(("chosen_criterion", name) for name in CRITERIA if name in methods),
    ]
    metrics = choosing.summary(known, methods, [pair for pair in pairs if pair[1] in methods], config.seed)
    return metrics | {
        f"gap_closed/{method}": gap_closed(metrics, method)
        for method in ("learned_criterion", "meta_features")
    }


def learned_methods(known: TableInputs, base: Settings, config: Config) -> dict[str, np.ndarray]:
    """The scores of the networks' choices, averaged over seeds."""
    scores = known.table.scores
    count = scores.shape[1]
    criterion, _ = held_out_scores(
        known, criterion_options(known, base), scores, (count,), config.key, seeds=config.seeds
    )
    both = np.concatenate([scores, known.criteria], 1)
    parts = (count, both.shape[1] - count)
    selector, _ = held_out_scores(
        known, selector_options(known, base), both, parts, config.key, seeds=config.seeds
    )

    def mean(scores: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        return np.mean([score_of_best(scores, one) for one in predicted], 0)

    return {
        "learned_criterion": mean(scores, criterion),
        "meta_features": mean(scores, selector[..., :count]),
        "chosen_criterion": mean(known.criteria, selector[..., count:]),
    }


def criterion_options(known: TableInputs, base: Settings) -> list[Option]:
    """Options of the learned criterion: descriptors with or without meta-features, and the dropout."""
    count = known.candidates.shape[1]
    names = feature_names([group for group in FEATURES if group != "landmarks"])
    columns = [name in names for name in feature_names()]
    features = np.repeat(known.problems[:, None, columns], count, 1)
    choices = (known.candidates, np.concatenate([known.candidates, features], 2))
    return [
        Option(base._replace(dropout=dropout), partial(_same, inputs))
        for inputs in choices
        for dropout in (0.2, 0.5)
    ]


def selector_options(known: TableInputs, base: Settings) -> list[Option]:
    """Options of the selector, whose inputs include the scores on the nearest known problems: the dropout."""

    def inputs(weights: np.ndarray) -> np.ndarray:
        return selector_inputs(known.problems, known.table.scores, weights, known.groups)

    return [Option(base._replace(dropout=dropout), inputs) for dropout in (0.2, 0.5, 0.7)]


def gap_closed(metrics: harness.Metrics, method: str) -> Interval:
    """The gain over the single best as a share of the oracle's, with its interval on the same scale."""
    best, oracle, gain = (
        metrics[name] for name in ("ari/single_best", "ari/oracle", f"gain/{method}-single_best")
    )
    gap = max(oracle.mean - best.mean, 1e-9)
    return Interval(gain.mean / gap, gain.ci95 / gap, gain.n)


def _same(inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return inputs


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
