"""Adapts algorithm selection to a new battery or field, from a few of its problems with known answers.

The selector, which maps meta-features to one of seven candidates, and the criterion, which maps the
description of a partition to a score, are trained on all groups but one. Then they are given `--support`
problems of the group left out, with known answers, and choose for its other problems. All methods see the
same problems, drawn `--draws` times; the metric is the adjusted Rand index of the chosen partition, averaged
over draws, then over problems.

- unadapted: trained on all known groups, without the support
- fine_tuned: the same networks after five steps of gradient descent on the support
- maml: trained through these steps, with learned rates; reptile: trained by the displacement
- support_best: the best candidate on the support; single_best: on the known batteries or fields; group_best:
  on the whole new group, as if its answers were known

Rates that are not learned are those that are best when each of the known groups is left out in turn. With
`--practice 60`, groups of generated shapes, one for each kind, are added to training but not to the results:
they improve the criterion and worsen the selector.

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
"""Methods without networks."""


@dataclasses.dataclass(frozen=True)
class Config(choosing.Options):
    """Options of this experiment."""

    groups: Literal["batteries", "fields"] = "batteries"
    """The groups that are left out in turn."""
    support: int = 5
    """Problems of the new group with known answers."""
    draws: int = 20
    """Draws of the support."""
    practice: int | None = None
    """Training problems of every kind of generated shape; none unless given."""
    seeds: int = 3
    """Number of training runs that are averaged."""
    networks: int = 4


PRESETS = {
    "quick": Config(preset="quick", steps=5, networks=1, seeds=1, draws=2, support=1, practice=2),
    "cpu": Config(),
    "gpu": Config(preset="gpu", seeds=10),
}


class Plan(NamedTuple):
    """How networks are trained and adapted.

    Attributes:
        training: the method of `Settings`.
        rates: learning rates of the adaptation, of which the known groups choose one; None for learned rates.
    """

    training: Method
    rates: tuple[float | None, ...]


RATES = (0.002, 0.01, 0.05)
"""Learning rates of the adaptation that are tried."""
PLANS = {
    "unadapted": Plan("pooled", (0.0,)),
    "fine_tuned": Plan("pooled", RATES),
    "maml": Plan("maml", (None,)),
    "reptile": Plan("reptile", RATES),
}
Trained = tuple[ScoringModel, np.ndarray]
"""Trained networks, and their inputs for all instances."""
Trainer = Callable[[Method, tuple[int, ...], int], Trained]
"""(training method, groups left out, seed) -> the trained networks and their inputs."""


def experiment(config: Config) -> harness.Metrics:
    """Evaluates every method, for the selector and for the criterion, on every group left out."""
    problems = _problems(config)
    table = choosing.make_table(config, problems, portfolio("seven"))
    known = table_inputs(table, seed=config.seed)
    practice = {number for number, group in zip(known.groups, table.groups, strict=True) if group in KINDS}
    reported = [number for number in np.unique(known.groups) if number not in practice]
    metrics = {}
    for model in ("selector", "criterion"):
        train = trainer(config, known, model)
        methods = {method: left_out(config, known, plan, train, reported) for method, plan in PLANS.items()}
        if model == "selector":
            methods |= _baselines(config, known, reported)
        tested = np.isfinite(methods["unadapted"])  # equal for all methods
        for method, values in methods.items():
            metrics[f"ari/{model}/{method}"] = jm.interval(values[tested])
        for method in ("fine_tuned", "maml", "reptile"):
            difference = methods[method] - methods["unadapted"]
            metrics[f"gain/{model}/{method}-unadapted"] = choosing.bootstrap(difference[tested], config.seed)
        for method in ("maml", "reptile"):
            difference = methods[method] - methods["fine_tuned"]
            metrics[f"gain/{model}/{method}-fine_tuned"] = choosing.bootstrap(difference[tested], config.seed)
    return metrics


def trainer(config: Config, known: TableInputs, model: str) -> Trainer:
    """The cached function that trains the networks of a selector or of a criterion."""
    scores = known.table.scores
    base = Settings(steps=config.steps, networks=config.networks, dropout=0.5, support=config.support)

    def inputs(weights: np.ndarray) -> np.ndarray:
        if model == "criterion":
            return known.candidates
        return selector_inputs(known.problems, scores, weights, known.groups)

    @cache
    def train(method: Method, out: tuple[int, ...], seed: int) -> Trained:
        weights = np.where(np.isin(known.groups, out), 0, known.table.weights)
        settings = base._replace(method=method, rate=0.5 if method == "reptile" else base.rate)
        key = jax.random.fold_in(config.key, seed)
        values = inputs(weights)
        option = Option(settings, inputs)
        return fit_option(known, option, values, scores, scores.shape[1:], weights, key), values

    return train


def left_out(
    config: Config, known: TableInputs, plan: Plan, train: Trainer, reported: Sequence[int]
) -> np.ndarray:
    """The mean score [P] of the choices for every problem, with its group left out of training."""
    best_rates = dict.fromkeys(reported, 0)
    if len(plan.rates) > 1:
        totals = {group: np.zeros(len(plan.rates)) for group in reported}
        for pair in itertools.combinations(reported, 2):
            trained = train(plan.training, pair, config.seeds)
            for (place, rate), (outer, inner) in itertools.product(enumerate(plan.rates), (pair, pair[::-1])):
                totals[outer][place] += np.nansum(_adapted_scores(config, known, *trained, rate, inner))
        best_rates = {group: int(values.argmax()) for group, values in totals.items()}
    result = np.full(len(known.table.problems), np.nan)
    for group, seed in itertools.product(reported, range(config.seeds)):
        trained = train(plan.training, (group,), seed)
        scores = _adapted_scores(config, known, *trained, plan.rates[best_rates[group]], group)
        result = np.where(np.isfinite(scores), np.nan_to_num(result) + scores / config.seeds, result)
    return result


def _adapted_scores(
    config: Config,
    known: TableInputs,
    model: ScoringModel,
    inputs: np.ndarray,
    rate: float | None,
    group: int,
) -> np.ndarray:
    """The mean score [P], over draws, of the choices for a group's problems outside the support."""
    rows = np.flatnonzero(known.groups == group)
    usable = known.table.usable[rows]
    examples = Examples(
        inputs=inputs[rows],
        scores=known.table.scores[rows],
        weights=known.table.weights[rows],
        groups=known.groups[rows],
        problems=known.table.problem_numbers[rows],
    )
    scores = np.full((config.draws, len(known.table.scores)), np.nan)
    for draw, (support, query) in enumerate(_draws(config, examples.problems)):
        adapted = adapt_scoring_model(model, Examples(*(part[support] for part in examples)), rate=rate)
        predicted = without_failed(mean_scores(adapted, examples.inputs), examples.inputs, usable)
        scores[draw, rows[query]] = score_of_best(examples.scores, predicted)[query]
    return _over_problems(known, scores)


def _baselines(config: Config, known: TableInputs, reported: list[int]) -> dict[str, np.ndarray]:
    """The mean scores [P] of `BASELINES` on the same draws."""
    scores = known.table.scores
    weights = known.table.weights
    results = {name: np.full((config.draws, len(scores)), np.nan) for name in BASELINES}
    for group in reported:
        rows = np.flatnonzero(known.groups == group)
        others = np.where(np.isin(known.groups, reported) & (known.groups != group), weights, 0)
        single_best = np.argmax(others @ scores)
        group_best = np.argmax(weights[rows] @ scores[rows])
        for draw, (support, query) in enumerate(_draws(config, known.table.problem_numbers[rows])):
            support_best = np.argmax(scores[rows[support]].sum(0))
            columns = (scores[:, support_best], scores[:, single_best], scores[:, group_best], scores.max(1))
            for name, values in zip(BASELINES, columns, strict=True):
                results[name][draw, rows[query]] = values[rows[query]]
    return {name: _over_problems(known, values) for name, values in results.items()}


def _draws(config: Config, owners: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draws of a support, one instance of each of some problems, and a query, the other problems' instances.

    The draws are the same in every call.
    """
    random = np.random.default_rng(config.seed)
    for _ in range(config.draws):
        order = random.permutation(np.unique(owners))
        count = min(config.support, len(order) // 2)
        support = [int(np.flatnonzero(owners == owner)[0]) for owner in order[:count]]
        yield np.array(support, int), np.flatnonzero(~np.isin(owners, order[:count]))


def _over_problems(known: TableInputs, scores: np.ndarray) -> np.ndarray:
    """Means [P] over draws and labellings of scores [draws, C]; NaN for problems that were never tested."""
    counted = np.isfinite(scores)
    per_instance = np.where(counted, scores, 0).sum(0)
    sums = np.bincount(known.table.problem_numbers, per_instance)
    counts = np.bincount(known.table.problem_numbers, counted.sum(0))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _problems(config: Config) -> list[Problem]:
    """The problems of the groups that are left out, and the generated training problems."""
    if config.preset == "quick":
        result = choosing.small_problems()
    elif config.groups == "batteries":
        result = batteries(BATTERIES, data_dir=config.data_dir)
    else:
        result = [p for name in FIELDS for p in field(name, data_dir=config.data_dir, seed=config.seed)]
    if config.practice is None:
        return result
    kinds = KINDS[:1] if config.preset == "quick" else KINDS
    for number, kind in enumerate(kinds):
        key = jax.random.fold_in(config.key, number)
        result += drawn(shapes(kinds=[kind], clusters=(2, 10)), key, config.practice, group=kind)
    return result


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
