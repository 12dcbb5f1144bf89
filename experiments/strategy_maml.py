"""Adapting a strategy to a new battery or field, from a few of its problems with known answers.

The selector, from meta-features to one of seven candidates, and the criterion, from what a partition looks
like to a score, are trained on all groups but one; then they see `--support` problems of the group that was
left out, with known answers, and choose for the others. All ways see the same problems, drawn `--draws`
times; what is reported is the adjusted Rand index of the choice, averaged over draws, then over problems.

- unadapted: trained on all known cases; the support is not looked at
- fine_tuned: the same networks, after five steps of gradient descent on the support
- maml: trained so that these steps help, through them, their rates with them; reptile: by the displacement
- support_best: the candidate that is best on the support; single_best: on the known batteries or fields;
  group_best: on the whole of the new group, were its answers known

Rates that are not learned are those that are best when each of the known groups is left out in turn. With
`--practice 60` groups of shapes drawn at random, one a kind, are learned from beside the batteries or fields,
but never reported: they help the criterion, and mislead the selector.

    python -m experiments.strategy_maml --groups batteries --data-dir DIR
        more than half an hour on two cores
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Literal, NamedTuple

import jax
import numpy as np

import jmeta as jm
from experiments import choosing
from jmeta import harness
from jmeta.portfolio import portfolio
from jmeta.selection.examples import Examples, Method, Settings
from jmeta.selection.held_out import (
    Option,
    TableInputs,
    fit_option,
    score_of_best,
    table_inputs,
    without_failed,
)
from jmeta.selection.scoring import ScoringModel, adapt_scoring_model, mean_scores
from jmeta.selection.selector import selector_inputs
from jmeta.tasks.fields import FIELDS, field
from jmeta.tasks.problems import BATTERIES, Problem, batteries, drawn
from jmeta.tasks.shapes import KINDS, shapes

BASELINES = ("support_best", "single_best", "group_best", "oracle")


@dataclasses.dataclass(frozen=True)
class Config(choosing.Options):
    """Options of this experiment."""

    groups: Literal["batteries", "fields"] = "batteries"
    """What is left out in turn."""
    support: int = 5
    """Problems of the new group with known answers."""
    draws: int = 20
    """How often they are drawn."""
    practice: int | None = None
    """Problems of every kind of shape that are drawn to practise on; none unless given."""
    seeds: int = 3
    """How often everything is trained anew."""
    networks: int = 4


PRESETS = {
    "quick": Config(preset="quick", steps=5, networks=1, seeds=1, draws=2, support=1, practice=2),
    "cpu": Config(),
    "gpu": Config(preset="gpu", seeds=10),
}


class Plan(NamedTuple):
    """How networks are trained, and the rates at which they may then descend on the support.

    Attributes:
        training: of `Settings`.
        rates: of which the known groups choose one; None are those that were learned with the weights.
    """

    training: Method
    rates: tuple[float | None, ...]


RATES = (0.002, 0.01, 0.05)
PLANS = {
    "unadapted": Plan("pooled", (0.0,)),
    "fine_tuned": Plan("pooled", RATES),
    "maml": Plan("maml", (None,)),
    "reptile": Plan("reptile", RATES),
}
Trained = tuple[ScoringModel, np.ndarray]
Trainer = Callable[[Method, tuple[int, ...], int], Trained]
"""How networks are trained, the groups that are left out, and a seed -> they, and what they are to see."""


def experiment(config: Config) -> harness.Metrics:
    """Every way, for the selector and for the criterion, on every group that is left out."""
    problems = _problems(config)
    table = choosing.made_table(config, problems, portfolio("seven"))
    known = table_inputs(table, seed=config.seed)
    practised = {number for number, group in zip(known.groups, table.groups, strict=True) if group in KINDS}
    reported = [number for number in np.unique(known.groups) if number not in practised]
    metrics = {}
    for kind in ("selector", "criterion"):
        trained = trainer(config, known, kind)
        ways = {way: left_out(config, known, plan, trained, reported) for way, plan in PLANS.items()}
        if kind == "selector":
            ways |= _baselines(config, known, reported)
        asked = np.isfinite(ways["unadapted"])  # the same for all ways
        for way, values in ways.items():
            metrics[f"ari/{kind}/{way}"] = jm.interval(values[asked])
        for way in ("fine_tuned", "maml", "reptile"):
            difference = ways[way] - ways["unadapted"]
            metrics[f"gain/{kind}/{way}-unadapted"] = choosing.bootstrap(difference[asked], config.seed)
        for way in ("maml", "reptile"):
            difference = ways[way] - ways["fine_tuned"]
            metrics[f"gain/{kind}/{way}-fine_tuned"] = choosing.bootstrap(difference[asked], config.seed)
    return metrics


def trainer(config: Config, known: TableInputs, kind: str) -> Trainer:
    """Train the networks of a selector or of a criterion, and remember them."""
    scores = known.table.scores
    base = Settings(steps=config.steps, networks=config.networks, dropout=0.5, support=config.support)

    def inputs(weights: np.ndarray) -> np.ndarray:
        if kind == "criterion":
            return known.candidates
        return selector_inputs(known.problems, scores, weights, known.groups)

    @cache
    def trained(way: Method, out: tuple[int, ...], seed: int) -> Trained:
        weights = np.where(np.isin(known.groups, out), 0, known.table.weights)
        option = Option(base._replace(method=way, rate=0.5 if way == "reptile" else base.rate), inputs)
        key, seen = jax.random.fold_in(config.key, seed), inputs(weights)
        return fit_option(known, option, seen, scores, scores.shape[1:], weights, key), seen

    return trained


def left_out(
    config: Config, known: TableInputs, plan: Plan, trained: Trainer, reported: Sequence[int]
) -> np.ndarray:
    """The mean worth [P] of what is chosen for every problem of the groups that are left out in turn."""
    taken = dict.fromkeys(reported, 0)
    if len(plan.rates) > 1:
        found = {group: np.zeros(len(plan.rates)) for group in reported}
        for pair in itertools.combinations(reported, 2):
            one = trained(plan.training, pair, config.seeds)
            for (place, rate), (outer, inner) in itertools.product(enumerate(plan.rates), (pair, pair[::-1])):
                found[outer][place] += np.nansum(_adapted(config, known, *one, rate, inner))
        taken = {group: int(values.argmax()) for group, values in found.items()}
    total = np.full(len(known.table.problems), np.nan)
    for group, seed in itertools.product(reported, range(config.seeds)):
        one = trained(plan.training, (group,), seed)
        worths = _adapted(config, known, *one, plan.rates[taken[group]], group)
        total = np.where(np.isfinite(worths), np.nan_to_num(total) + worths / config.seeds, total)
    return total


def _adapted(
    config: Config,
    known: TableInputs,
    choice: ScoringModel,
    inputs: np.ndarray,
    rate: float | None,
    group: int,
) -> np.ndarray:
    """The mean worth [P], over draws, of what is chosen for a group's problems outside of the support."""
    rows, scores, usable = np.flatnonzero(known.groups == group), known.table.scores, known.table.usable
    parts = (inputs, scores, known.table.weights, known.groups, known.table.problem_numbers)
    cases = Examples(*(part[rows] for part in parts))
    found = np.full((config.draws, len(scores)), np.nan)
    for draw, (support, asked) in enumerate(_draws(config, cases.problems)):
        adapted = adapt_scoring_model(choice, Examples(*(part[support] for part in cases)), rate=rate)
        preferred = without_failed(mean_scores(adapted, cases.inputs), cases.inputs, usable[rows])
        found[draw, rows[asked]] = score_of_best(cases.scores, preferred)[asked]
    return _over_problems(known, found)


def _baselines(config: Config, known: TableInputs, reported: list[int]) -> dict[str, np.ndarray]:
    """The best candidate of the support, and of the known groups, on the same draws."""
    scores, weights = known.table.scores, known.table.weights
    found = {name: np.full((config.draws, len(scores)), np.nan) for name in BASELINES}
    for group in reported:
        rows = np.flatnonzero(known.groups == group)
        others = np.where(np.isin(known.groups, reported) & (known.groups != group), weights, 0)
        best = np.argmax(others @ scores)
        group_best = np.argmax(weights[rows] @ scores[rows])
        for draw, (support, asked) in enumerate(_draws(config, known.table.problem_numbers[rows])):
            own = np.argmax(scores[rows[support]].sum(0))
            worths = (scores[:, own], scores[:, best], scores[:, group_best], scores.max(1))
            for name, values in zip(BASELINES, worths, strict=True):
                found[name][draw, rows[asked]] = values[rows[asked]]
    return {name: _over_problems(known, values) for name, values in found.items()}


def _draws(config: Config, owners: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One case of some problems of a group, and all cases of its other problems; always the same."""
    random = np.random.default_rng(config.seed)
    for _ in range(config.draws):
        order = random.permutation(np.unique(owners))
        count = min(config.support, len(order) // 2)
        shown = [int(np.flatnonzero(owners == owner)[0]) for owner in order[:count]]
        yield np.array(shown, int), np.flatnonzero(~np.isin(owners, order[:count]))


def _over_problems(known: TableInputs, found: np.ndarray) -> np.ndarray:
    """Means [P] over draws and labellings of [draws, C]; NaN for problems that were never asked about."""
    counted = np.isfinite(found)
    per_case = np.where(counted, found, 0).sum(0)
    sums = np.bincount(known.table.problem_numbers, per_case)
    counts = np.bincount(known.table.problem_numbers, counted.sum(0))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _problems(config: Config) -> list[Problem]:
    """The groups that are left out, and those that are practised on."""
    if config.preset == "quick":
        found = choosing.small_problems()
    elif config.groups == "batteries":
        found = batteries(BATTERIES, data_dir=config.data_dir)
    else:
        found = [p for name in FIELDS for p in field(name, data_dir=config.data_dir, seed=config.seed)]
    if config.practice is None:
        return found
    kinds = KINDS[:1] if config.preset == "quick" else KINDS
    for place, kind in enumerate(kinds):
        key = jax.random.fold_in(config.key, place)
        found += drawn(shapes(kinds=[kind], clusters=(2, 10)), key, config.practice, group=kind)
    return found


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
