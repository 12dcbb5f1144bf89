"""Which clustering to believe, and which to run, leaving a battery out: learned ways beside fixed ones.

The batteries wut, sipu, fcps, graves, uci and other of Gagolewski's benchmark suite, sets of fewer than
10,000 points, the number of clusters of each reference labelling given, or with `--clusters unknown` part of
what is chosen. Every candidate of a portfolio clusters every set once; then a way to choose is scored by the
adjusted Rand index of what it chose, averaged over labellings, then over sets. Points that the reference
calls noise are dropped when scoring; a candidate that fails or takes too long counts as zero and is never
chosen by a criterion. Whatever is learned, settings and inputs included, is learned from the other batteries
alone: settings are those that are best when each of these is left out in turn.

- random, oracle: the mean and the best of all candidates
- single_best: the candidate that is best on the other batteries
- silhouette, calinski_harabasz, davies_bouldin, dunn, density_validity, near_neighbours, gap: the partition
  that an index prefers; most_agreement: the one most like the others; consensus: what all agree on
- nearest_neighbours, random_forest: from meta-features, before anything is run, by what was best on the five
  most similar sets, and by a forest; meta_features: by networks
- chosen_criterion: the partition that the criterion prefers which the same networks name
- learned_criterion: networks that score partitions by their descriptors

    python -m experiments.selection --portfolio seven --data-dir DIR
        9 minutes on two cores for the table, once, and 8 for the rest; ari/learned_criterion 0.73

`gain/A-B` is the mean difference over sets with its interval by paired bootstrap; `gap_closed` is the share
of the way from the single best to the oracle. The quick preset makes a few small sets of its own.
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
"""Clusters that are tried where their number is not known."""


@dataclasses.dataclass(frozen=True)
class Config(choosing.Options):
    """Options of this experiment."""

    portfolio: Literal["seven", "genie", "grid", "all"] = "seven"
    """What is chosen from."""
    clusters: Literal["given", "unknown"] = "given"
    """Whether the number of clusters is told, or chosen together with the algorithm."""
    seconds: float = 120.0
    """That a candidate may take."""
    seeds: int = 3
    """How often everything learned is trained anew."""


PRESETS = {
    "quick": Config(preset="quick", steps=5, networks=2, seeds=1),
    "cpu": Config(),
    "gpu": Config(preset="gpu", seeds=10, networks=16),
}


def experiment(config: Config) -> harness.Metrics:
    """Choose in every way, leaving one battery out at a time."""
    quick = config.preset == "quick"
    problems = choosing.small_problems() if quick else batteries(BATTERIES, data_dir=config.data_dir)
    return report(config, problems)


def report(config: Config, problems: list[Problem]) -> harness.Metrics:
    """Make the table, and choose in every way, leaving out one group of problems at a time."""
    counts = COUNTS[:2] if config.preset == "quick" else COUNTS
    candidates = portfolio(config.portfolio, clusters=counts if config.clusters == "unknown" else ())
    table = choosing.made_table(config, problems, candidates, seconds=config.seconds)
    known = table_inputs(table, seed=config.seed)
    base = Settings(steps=config.steps, networks=config.networks)
    ways = choosing.baselines(known) | chosen(known, base, config)
    pairs = [
        *(("learned_criterion", other) for other in ("single_best", "consensus", "silhouette", "random")),
        *(("meta_features", other) for other in ("single_best", "random_forest", "nearest_neighbours")),
        *(("chosen_criterion", name) for name in CRITERIA if name in ways),
    ]
    metrics = choosing.summary(known, ways, [pair for pair in pairs if pair[1] in ways], config.seed)
    return metrics | {
        f"gap_closed/{way}": gap(metrics, way) for way in ("learned_criterion", "meta_features")
    }


def chosen(known: TableInputs, base: Settings, config: Config) -> dict[str, np.ndarray]:
    """The worth of what networks choose, the mean over seeds."""
    scores, count = known.table.scores, known.table.scores.shape[1]
    criterion, _ = held_out_scores(
        known, criterion_options(known, base), scores, (count,), config.key, seeds=config.seeds
    )
    both = np.concatenate([scores, known.criteria], 1)
    parts = (count, both.shape[1] - count)
    selector, _ = held_out_scores(
        known, selector_options(known, base), both, parts, config.key, seeds=config.seeds
    )

    def mean(scores: np.ndarray, found: np.ndarray) -> np.ndarray:
        return np.mean([score_of_best(scores, one) for one in found], 0)

    return {
        "learned_criterion": mean(scores, criterion),
        "meta_features": mean(scores, selector[..., :count]),
        "chosen_criterion": mean(known.criteria, selector[..., count:]),
    }


def criterion_options(known: TableInputs, base: Settings) -> list[Option]:
    """Descriptors alone or beside the meta-features, and how many inputs are hidden from a step."""
    count = known.candidates.shape[1]
    own = [name in feature_names([g for g in FEATURES if g != "landmarks"]) for name in feature_names()]
    beside = np.repeat(known.problems[:, None, own], count, 1)
    seen = (known.candidates, np.concatenate([known.candidates, beside], 2))
    return [
        Option(base._replace(dropout=hidden), partial(_same, inputs))
        for inputs in seen
        for hidden in (0.2, 0.5)
    ]


def selector_options(known: TableInputs, base: Settings) -> list[Option]:
    """Meta-features with what was best on the nearest known tasks, and how many inputs are hidden."""

    def inputs(weights: np.ndarray) -> np.ndarray:
        return selector_inputs(known.problems, known.table.scores, weights, known.groups)

    return [Option(base._replace(dropout=hidden), inputs) for hidden in (0.2, 0.5, 0.7)]


def gap(metrics: harness.Metrics, way: str) -> Interval:
    """The share of the way from the single best to the oracle, with the interval of the gain on its scale."""
    best, oracle, gain = (
        metrics[name] for name in ("ari/single_best", "ari/oracle", f"gain/{way}-single_best")
    )
    room = max(oracle.mean - best.mean, 1e-9)
    return Interval(gain.mean / room, gain.ci95 / room, gain.n)


def _same(inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return inputs


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
