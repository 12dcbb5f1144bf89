"""A learned criterion: which of several partitions to believe, from what can be seen without labels.

Internal indices choose no better than chance among the partitions of a portfolio. Here a set-aware network
scores every partition from its descriptors, beside the others' and beside what is known of the problem; it is
trained on problems with known answers by the regret of its choice. Where a candidate is good is part of what
is learned, so that a criterion belongs to its portfolio.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .choice import Cases, Choice, Settings, adapt_choice, choice_scores, learn_choice
from .descriptors import describe, landmarks
from .portfolio import Candidate
from .table import Table, check_portfolio


class Criterion(NamedTuple):
    """What was learned from a table.

    Attributes:
        choice: the networks.
        candidates: whose partitions they judge.
    """

    choice: Choice
    candidates: tuple[Candidate, ...]


def learn_criterion(
    table: Table,
    key: Key[Array, ""],
    *,
    settings: Settings = Settings(),  # noqa: B008 - a record that is never written to
) -> Criterion:
    """A criterion from what the candidates of a table found and were worth."""
    cases = Cases(candidate_inputs(table), table.scores, table.weights, table.numbers, table.owners)
    return Criterion(learn_choice(cases, key, settings=settings), table.candidates)


def adapt_criterion(
    criterion: Criterion, table: Table, *, steps: int = 5, rate: float | None = None
) -> Criterion:
    """The criterion after some steps of descent on problems of a new group, whose answers are known."""
    check_portfolio(criterion.candidates, table)
    one_group = np.zeros(len(table.cases), int)
    cases = Cases(candidate_inputs(table), table.scores, table.weights, one_group, table.owners)
    return criterion._replace(choice=adapt_choice(criterion.choice, cases, steps=steps, rate=rate))


def criterion_scores(criterion: Criterion, table: Table) -> Float[np.ndarray, "C A"]:
    """The score of every candidate of every case, the highest the one to believe; -inf for what failed.

    Raises:
        InputError: the table is of other candidates, or of another version.
    """
    check_portfolio(criterion.candidates, table)
    return np.where(table.usable, choice_scores(criterion.choice, candidate_inputs(table)), -np.inf)


def candidate_inputs(table: Table, *, seed: int = 0) -> Float[np.ndarray, "C A F"]:
    """What the network sees of every candidate of every case; no label is looked at.

    Descriptors, mean and second largest agreement with the others, the same less their means over
    candidates, the logarithms of points, columns and, where it is given, the number of clusters, whether it
    failed, and which it is.
    """
    sights = table.sights
    made = {sight: _inputs_of(table, sights.index(sight), seed) for sight in dict.fromkeys(sights)}
    return np.stack([made[sight] for sight in sights])


def _inputs_of(table: Table, place: int, seed: int) -> Float[np.ndarray, "A F"]:
    case, outcomes = table.cases[place], table.outcomes[place]
    points = table.problems[case.problem].points
    found = landmarks(points, [outcome.labels for outcome in outcomes], seed=seed)
    own, agreement = jax.device_get(describe(*map(jnp.asarray, found)))
    count = len(outcomes)
    mean = (agreement.sum(1) - 1) / max(count - 1, 1)
    nearest = np.sort(agreement, 1)[:, max(count - 2, 0)]
    seen = np.concatenate([own, mean[:, None], nearest[:, None]], 1)
    known = np.log([len(points), points.shape[1], case.clusters][: 3 if table.told else 2])
    failed = np.array([[bool(outcome.failure)] for outcome in outcomes], float)
    kinds = [one._replace(clusters=None) for one in table.candidates]
    which = np.array([[kind == other for other in dict.fromkeys(kinds)] for kind in kinds], float)
    parts = (seen, seen - seen.mean(0), np.tile(known, (count, 1)), failed, which)
    return np.concatenate(parts, 1).astype(np.float32)
