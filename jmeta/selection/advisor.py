"""Advisors: a selector and a criterion, learned from one table, for whoever has a new problem.

The selector orders candidates before any is run; the criterion foretells the adjusted Rand index of what they
found. How far what is foretold may be off is measured on groups that were left out: for y the true index, p
the mean and s the deviation of the networks, the half-width of the interval is the quantile `SURE` of
abs(y - p) / (s + `FLOOR`), times s + `FLOOR`: a normalised conformal interval.

Reference: Papadopoulos et al. 2008, Normalized nonconformity measures for regression conformal prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from .choice import Settings, learn_choice, network_scores
from .criterion import Criterion, Look, criterion_cases, criterion_inputs, inputs_of, look
from .portfolio import Candidate, last_resort
from .selector import CRITERIA, Selector, problem_inputs, selector_cases, selector_scores, table_inputs
from .table import Table, check_portfolio

SURE, FLOOR = 0.8, 0.05


class Advisor(NamedTuple):
    """What was learned from a table.

    Attributes:
        selector: before candidates are run.
        criterion: after.
        spread: half-width of the interval in units of the networks' deviation.
    """

    selector: Selector
    criterion: Criterion
    spread: float

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """That are chosen from."""
        return self.selector.candidates


class Promise(NamedTuple):
    """What is expected before anything is run.

    Attributes:
        candidates: [A] their places, the most promising first.
        criterion: the place among `CRITERIA` of the one to trust.
        features: [F] the meta-features that say so.
    """

    candidates: Int[np.ndarray, " A"]
    criterion: int
    features: Float[np.ndarray, " F"]


class Judgement(NamedTuple):
    """What is foretold of candidates.

    Attributes:
        quality: [A] adjusted Rand index, as the networks say it: it may pass 1, and orders those that do;
            -inf of those that found nothing.
        width: [A] half of the interval that holds it for four problems in five.
        seen: what was looked at.
    """

    quality: Float[np.ndarray, " A"]
    width: Float[np.ndarray, " A"]
    seen: Look


def learn_advisor(
    table: Table, key: Key[Array, ""], *, settings: Settings, thinnings: int = 0
) -> tuple[Advisor, Float[np.ndarray, "C A"]]:
    """A selector and a criterion from one table, and what the criterion foretells of groups left out.

    Args:
        table: of problems with known answers.
        key: a typed key.
        settings: of the networks; the criterion's scores are made absolute.
        thinnings: as of `criterion_cases`.

    Returns:
        The advisor, its `spread` measured on every group after learning from the others, and the mean scores
        [C, A] that it was measured by; -inf for what failed.

    Raises:
        InputError: as `learn_selector`.
    """
    first, second, third = jax.random.split(key, 3)
    cases, count = criterion_cases(table, thinnings), len(table.cases)
    known, seen = table_inputs(table), cases.inputs[:count]
    parts = (table.scores.shape[1], len(CRITERIA))
    choice = learn_choice(selector_cases(table, known, seen), first, settings=settings, parts=parts)
    selector = Selector(choice, table.candidates, known, table.scores, table.told)
    absolute = settings._replace(absolute=True)
    criterion = Criterion(learn_choice(cases, second, settings=absolute), table.candidates)
    left = np.zeros((settings.networks, *table.scores.shape))
    for group in np.unique(cases.groups):
        others = cases._replace(weights=np.where(cases.groups == group, 0, cases.weights))
        out = cases.groups[:count] == group
        left[:, out] = network_scores(learn_choice(others, third, settings=absolute), seen[out])
    spread = measured_spread(table.scores, left, table.usable)
    return Advisor(selector, criterion, spread), np.where(table.usable, left.mean(0), -np.inf)


def order(
    advisor: Advisor, points: Float[np.ndarray, "N D"], clusters: int | None = None, *, seed: int = 0
) -> Promise:
    """What the selector expects of candidates, from meta-features alone."""
    seen = problem_inputs([points], None if clusters is None else [clusters], seed=seed)
    candidates, criteria = selector_scores(advisor.selector, seen)
    return Promise(np.argsort(-candidates[0], kind="stable"), int(criteria[0].argmax()), seen[0])


def judge(
    advisor: Advisor,
    points: Float[np.ndarray, "N D"],
    partitions: Sequence[Int[np.ndarray, " N"] | None],
    clusters: int | None = None,
    *,
    seed: int = 0,
) -> Judgement:
    """What the criterion foretells of partitions, one of every candidate; None where there is none."""
    usable = np.array([labels is not None for labels in partitions])
    seen = look(points, partitions, seed=seed)
    inputs = criterion_inputs(seen, advisor.candidates, clusters, usable)
    scores = network_scores(advisor.criterion.choice, inputs[None])[:, 0]
    quality = np.where(usable, scores.mean(0), -np.inf)
    return Judgement(quality, advisor.spread * (scores.std(0) + FLOOR), seen)


def replayed(
    advisor: Advisor, table: Table, looks: Sequence[Look], budgets: Sequence[int | None], *, seed: int = 0
) -> Float[np.ndarray, "C B"]:
    """The worth of what a search would take that may run so many candidates, had it time for them.

    Args:
        advisor: whose order and judgement it follows.
        table: of the same candidates; answers are looked at last.
        looks: from `all_looks`.
        budgets: B numbers of candidates; None for all.
        seed: as of a search.

    Raises:
        InputError: the table is of other candidates.
    """
    check_portfolio(advisor.candidates, table)
    promised = selector_scores(advisor.selector, table_inputs(table, seed=seed))[0]
    places = np.argsort(np.argsort(-promised, 1, kind="stable"), 1)
    count = places.shape[1]
    runs = [places < (count if budget is None else budget) for budget in budgets]
    return np.stack([worth_of_runs(advisor, table, looks, run) for run in runs], 1)


def worth_of_runs(
    advisor: Advisor, table: Table, looks: Sequence[Look], run: Bool[np.ndarray, "C A"]
) -> Float[np.ndarray, " C"]:
    """The worth of what the criterion prefers of the candidates that were run on every case.

    Where these found nothing it is that of the last resort, as in a search.
    """
    scores = network_scores(advisor.criterion.choice, inputs_of(table, looks, run & table.parted)).mean(0)
    return worth_of_preferred(table, scores, run)


def worth_of_preferred(
    table: Table, scores: Float[np.ndarray, "C A"], run: Bool[np.ndarray, "C A"]
) -> Float[np.ndarray, " C"]:
    """The worth of the highest score among what was run, of the last resort where that found nothing."""
    found = run & table.parted
    best = np.where(found, scores, -np.inf).argmax(1)
    best = np.where(found.any(1), best, last_resort(table.candidates))
    return table.scores[np.arange(len(best)), best]


def measured_spread(
    worths: Float[np.ndarray, "C A"], scores: Float[np.ndarray, "E C A"], usable: Bool[np.ndarray, "C A"]
) -> float:
    """`spread` from what was foretold of groups that were left out, and what was true.

    >>> worths, scores = np.array([[0.5, 0.6]]), np.array([[[0.5, 0.5]], [[0.5, 0.5]]])
    >>> print(f"{measured_spread(worths, scores, np.ones((1, 2), bool)):.2f}")
    1.60
    """
    off = np.abs(worths - scores.mean(0)) / (scores.std(0) + FLOOR)
    return float(np.quantile(off[usable], SURE))
