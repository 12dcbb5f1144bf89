"""Learn the model that `AutoCluster` comes with, and write it.

It is learned from problems that may be passed on alone: shapes drawn by `jmeta.shapes`, one group a kind,
clouds in many columns, and the tables that come with scikit-learn (iris, wine, breast cancer and digits, of
the UCI repository, CC BY 4.0). Every candidate of the portfolio "auto" clusters every problem, with the true
number of clusters and with every number of `COUNTS`. From these two tables a selector, which orders
candidates before any is run, and a criterion, which foretells the adjusted Rand index of what they found, are
learned, each for numbers of clusters given and unknown.

Leaving a group out at a time gives `ari/...` and how far what is foretold is off, from which the widths of
intervals come.

    python -m experiments.pretrain --out jmeta/models
        writes auto.npz; an hour on two cores for the table, once
"""

from __future__ import annotations

import dataclasses
import gc

import jax
import numpy as np

import jmeta as jm
from experiments import choosing
from jmeta import harness
from jmeta.artifacts.advisors import save_model
from jmeta.metrics import Interval
from jmeta.portfolio import portfolio
from jmeta.portfolio.table import Table
from jmeta.selection.advisor import Advisor, learn_advisor
from jmeta.selection.examples import Settings
from jmeta.selection.held_out import score_of_best
from jmeta.tasks.fields import bundled_tables
from jmeta.tasks.problems import Problem, drawn
from jmeta.tasks.shapes import KINDS, shapes

MOST = 500
"""Points of a table."""
COUNTS = (*range(2, 11), 12, 15, 20)
"""Clusters that are tried where their number is not known."""


@dataclasses.dataclass(frozen=True)
class Config(choosing.Options):
    """Options of this experiment."""

    count: int = 60
    """Problems of every kind."""
    seconds: float = 20.0
    """That a candidate may take."""
    thinnings: int = 3
    """How often the criterion sees a table again with candidates taken away."""
    batch: int = 64
    """Examples of a step of training."""
    hidden: float = harness.option(0.5, least=0)
    """The share of inputs that are hidden from a step of training."""
    width: int = 32
    """Of the networks."""


PRESETS = {
    "quick": Config(preset="quick", count=2, steps=5, networks=2, thinnings=1),
    "cpu": Config(),
    "gpu": Config(preset="gpu", count=500, networks=16),
}


def problems(config: Config) -> list[Problem]:
    """What may be passed on, by group."""
    if config.preset == "quick":
        return choosing.small_problems()
    found = [_some(problem) for problem in bundled_tables()]
    for place, kind in enumerate(KINDS):
        key = jax.random.fold_in(config.key, place)
        found += drawn(shapes(kinds=[kind], clusters=(2, 12)), key, config.count, group=kind)
    wide = shapes(kinds=["blobs", "motley"], clusters=(2, 12), columns=(10, 40))
    return found + drawn(wide, jax.random.fold_in(config.key, len(KINDS)), config.count, group="wide")


def _some(problem: Problem) -> Problem:
    """At most `MOST` points of a problem."""
    kept = np.random.default_rng(0).permutation(len(problem.points))[:MOST]
    return problem._replace(
        points=problem.points[kept], labellings=tuple(labels[kept] for labels in problem.labellings)
    )


def tables(config: Config) -> dict[str, Table]:
    """What the candidates find, numbers of clusters given and unknown."""
    every, table = problems(config), {}
    for known, counts in (("given", ()), ("unknown", COUNTS[:2] if config.preset == "quick" else COUNTS)):
        candidates = portfolio("auto", clusters=counts)
        table[known] = choosing.made_table(config, every, candidates, seconds=config.seconds)
    return table


def experiment(config: Config) -> harness.Metrics:
    """Learn both advisors, write them, and say what the criterion is worth on groups that were left out."""
    settings = Settings(config.width, config.steps, config.batch, config.networks, dropout=config.hidden)
    advisors: dict[str, Advisor] = {}
    metrics: dict[str, Interval] = {}
    sources: dict[str, str] = {}
    for place, (known, table) in enumerate(tables(config).items()):
        key = jax.random.fold_in(config.key, place)
        jax.clear_caches()  # Linux gives a process room for the programs of some twenty shapes
        gc.collect()
        advisors[known], scores = learn_advisor(table, key, settings=settings, thinnings=config.thinnings)
        worths = {
            "learned_criterion": score_of_best(table.scores, scores),
            "oracle": table.scores.max(1),
            "random": table.scores.mean(1),
            "single_best": table.scores[:, table.scores.mean(0).argmax()],
        }
        metrics |= {f"ari/{known}/{way}": jm.interval(values) for way, values in worths.items()}
        off = np.abs(scores - table.scores)[table.usable]
        metrics[f"error/{known}"] = jm.interval(off)
        sources |= {problem.group: problem.source for problem in table.problems}
    card = {
        "problems": len(table.problems),
        "groups": sources,
        "command": "python -m experiments.pretrain",
        "jmeta": jm.__version__,
        "measured": {name: [found.mean, found.ci95] for name, found in metrics.items()},
    }
    save_model(config.folder / "auto.npz", advisors, card)
    return metrics


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
