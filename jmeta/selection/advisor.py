"""Advisors: a selector and a quality model, learned from one table, for new problems.

The selector ranks candidates before any is run; the quality model predicts the adjusted Rand index of the
partitions that they return.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from ..portfolio.candidates import Candidate, fallback
from ..portfolio.table import Table, check_portfolio
from .descriptions import Description
from .examples import Settings
from .quality import interval_spread
from .scoring import fit_scoring_model, network_scores
from .selector import CRITERIA, Selector, problem_features, selector_examples, selector_scores, table_features
from .set_quality import SetQuality, set_examples, table_set_inputs


class Advisor(NamedTuple):
    """A selector and a quality model of the same candidates.

    Attributes:
        selector: scores candidates before they run.
        quality: scores their partitions.
    """

    selector: Selector
    quality: SetQuality

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The candidates that are chosen from."""
        return self.selector.candidates


class Ranking(NamedTuple):
    """The candidates as the selector ranks them.

    Attributes:
        candidates: [A] their places, the highest predicted score first.
        criterion: the place in `CRITERIA` of the internal criterion to trust.
        features: [F] the meta-features that the ranking follows from.
    """

    candidates: Int[np.ndarray, " A"]
    criterion: int
    features: Float[np.ndarray, " F"]


def learn_advisor(
    table: Table, key: Key[Array, ""], *, settings: Settings, thinnings: int = 0
) -> tuple[Advisor, Float[np.ndarray, "C A"]]:
    """An advisor trained on a table, and what its quality model predicts of groups left out.

    Args:
        table: of problems with known answers.
        key: a typed key.
        settings: of the networks; the scores of the quality model are made absolute.
        thinnings: as of `set_examples`.

    Returns:
        The advisor, whose `spread` is measured on every group after training on the others, and the mean
        scores [C, A] that it was measured by; -inf where a candidate failed.

    Raises:
        InputError: as `learn_selector`.
    """
    selector_key, quality_key, left_out_key = jax.random.split(key, 3)
    examples, count = set_examples(table, thinnings), len(table.instances)
    features, inputs = table_features(table), examples.inputs[:count]
    scoring = fit_scoring_model(
        selector_examples(table, features, inputs),
        selector_key,
        settings=settings,
        sizes=(table.scores.shape[1], len(CRITERIA)),
    )
    selector = Selector(scoring, table.candidates, features, table.scores, table.known_k)
    absolute = settings._replace(absolute=True)
    model = fit_scoring_model(examples, quality_key, settings=absolute)
    left_out = np.zeros((settings.networks, *table.scores.shape))
    for group in np.unique(examples.groups):
        others = examples._replace(weights=np.where(examples.groups == group, 0, examples.weights))
        out = examples.groups[:count] == group
        trained = fit_scoring_model(others, left_out_key, settings=absolute)
        left_out[:, out] = network_scores(trained, inputs[out])
    spread = interval_spread(table.scores, left_out, table.usable)
    advisor = Advisor(selector, SetQuality(model, table.candidates, spread))
    return advisor, np.where(table.usable, left_out.mean(0), -np.inf)


def rank_candidates(
    advisor: Advisor, points: Float[np.ndarray, "N D"], clusters: int | None = None, *, seed: int = 0
) -> Ranking:
    """The candidates ranked by the selector, from meta-features alone."""
    features = problem_features([points], None if clusters is None else [clusters], seed=seed)
    candidates, criteria = selector_scores(advisor.selector, features)
    return Ranking(np.argsort(-candidates[0], kind="stable"), int(criteria[0].argmax()), features[0])


def replayed_scores(
    advisor: Advisor,
    table: Table,
    descriptions: Sequence[Description],
    budgets: Sequence[int | None],
    *,
    seed: int = 0,
) -> Float[np.ndarray, "C B"]:
    """The score of the partition that a search would return, given enough time for its budget.

    Args:
        advisor: ranks the candidates and predicts their quality.
        table: of the same candidates; the reference labellings are only read for the result.
        descriptions: from `describe_table`.
        budgets: B numbers of candidates that are run; None for all.
        seed: as of a search.

    Raises:
        InputError: the table is of other candidates.
    """
    check_portfolio(advisor.candidates, table)
    ranked = selector_scores(advisor.selector, table_features(table, seed=seed))[0]
    ranks = np.argsort(np.argsort(-ranked, 1, kind="stable"), 1)
    count = ranks.shape[1]
    runs = [ranks < (count if budget is None else budget) for budget in budgets]
    return np.stack([chosen_scores(advisor, table, descriptions, run) for run in runs], 1)


def chosen_scores(
    advisor: Advisor, table: Table, descriptions: Sequence[Description], run: Bool[np.ndarray, "C A"]
) -> Float[np.ndarray, " C"]:
    """The score of the partition that the quality model prefers among the candidates that were run.

    Where all of them failed it is the score of the fallback, as in a search.
    """
    inputs = table_set_inputs(table, descriptions, run & table.partitioned)
    return preferred_scores(table, advisor.quality.network_scores(inputs).mean(0), run)


def preferred_scores(
    table: Table, predicted: Float[np.ndarray, "C A"], run: Bool[np.ndarray, "C A"]
) -> Float[np.ndarray, " C"]:
    """The score of the candidate with the highest predicted score among those run, else of the fallback."""
    found = run & table.partitioned
    best = np.where(found, predicted, -np.inf).argmax(1)
    best = np.where(found.any(1), best, fallback(table.candidates))
    return table.scores[np.arange(len(best)), best]
