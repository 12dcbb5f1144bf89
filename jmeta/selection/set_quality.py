"""A quality model that sees the partitions of all candidates of a problem together.

Internal indices choose no better than chance among the partitions of a portfolio. Here a set-aware network
scores every partition from its descriptors, beside those of the others and the size of the problem; it is
trained on problems with known answers by the regret of its choice. Where a candidate is good is part of what
it learns, so that a model belongs to its portfolio.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Key

from ..metafeatures.partitions import NAMES
from ..portfolio.candidates import Candidate, method_indicators
from ..portfolio.table import Table, check_portfolio
from .descriptions import Description, describe_table
from .examples import Examples, Settings
from .scoring import ScoringModel, adapt_scoring_model, fit_scoring_model, mean_scores, network_scores


class SetQuality(NamedTuple):
    """The set-aware `QualityModel`.

    Attributes:
        model: the networks.
        candidates: whose partitions they score.
        spread: half-width of the interval, in units of the standard deviation of the networks.
    """

    model: ScoringModel
    candidates: tuple[Candidate, ...]
    spread: float = float("nan")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the inputs that describe a partition; as many follow that are relative to the mean."""
        return (*NAMES, "mean agreement", "nearest agreement")

    def inputs(
        self, description: Description, clusters: int | None, usable: Bool[np.ndarray, " A"]
    ) -> Float[np.ndarray, "A F"]:
        """As `set_inputs`."""
        return set_inputs(description, self.candidates, clusters, usable)

    def replaced(
        self, inputs: Float[np.ndarray, "A F"], candidate: int, feature: int, value: float
    ) -> Float[np.ndarray, "A F"]:
        """A copy of the inputs in which one feature of one candidate has the mean value of all."""
        changed = inputs.copy()
        changed[candidate, feature] = value
        changed[candidate, len(self.feature_names) + feature] = 0  # the same relative to the mean
        return changed

    def network_scores(self, inputs: Float[np.ndarray, "C A F"]) -> Float[np.ndarray, "E C A"]:
        """The scores of every network."""
        return network_scores(self.model, inputs)


def learn_set_quality(
    table: Table,
    key: Key[Array, ""],
    *,
    settings: Settings = Settings(),  # noqa: B008 - a record that is never written to
    thinnings: int = 0,
) -> SetQuality:
    """A quality model trained on the scores of a table; its `spread` is not measured.

    Args:
        table: of problems with known answers.
        key: a typed key.
        settings: of the networks.
        thinnings: as of `set_examples`.
    """
    examples = set_examples(table, thinnings)
    return SetQuality(fit_scoring_model(examples, key, settings=settings), table.candidates)


def set_examples(table: Table, thinnings: int = 0) -> Examples:
    """The training examples of a set-aware quality model.

    Args:
        table: of problems with known answers.
        thinnings: how many copies of the table are added with a random part of the candidates removed, so
            that the model also learns to score where only some were run.
    """
    random, every = np.random.default_rng(0), np.ones_like(table.usable)
    shares = [random.uniform(0.1, 1, (len(table.instances), 1)) for _ in range(thinnings)]
    runs = [every, *(random.random(every.shape) < share for share in shares)]
    descriptions = describe_table(table)
    inputs = np.concatenate([table_set_inputs(table, descriptions, table.usable & run) for run in runs])
    scores = np.concatenate([np.where(run, table.scores, 0) for run in runs])
    weights, groups, problems = (
        np.tile(x, len(runs)) for x in (table.weights, table.group_numbers, table.problem_numbers)
    )
    return Examples(inputs, scores, weights, groups, problems)


def adapt_set_quality(
    quality: SetQuality, table: Table, *, steps: int = 5, rate: float | None = None
) -> SetQuality:
    """The model after some steps of gradient descent on problems of a new group, whose answers are known.

    Raises:
        InputError: the table is of other candidates, or as from `adapt_scoring_model`.
    """
    check_portfolio(quality.candidates, table)
    examples = Examples(
        inputs=candidate_inputs(table),
        scores=table.scores,
        weights=table.weights,
        groups=np.zeros(len(table.instances), int),
        problems=table.problem_numbers,
    )
    return quality._replace(model=adapt_scoring_model(quality.model, examples, steps=steps, rate=rate))


def set_quality_scores(quality: SetQuality, table: Table) -> Float[np.ndarray, "C A"]:
    """The score of every candidate on every instance, the highest the one to choose; -inf where it failed.

    Raises:
        InputError: the table is of other candidates, or of another version.
    """
    check_portfolio(quality.candidates, table)
    return np.where(table.usable, mean_scores(quality.model, candidate_inputs(table)), -np.inf)


def candidate_inputs(table: Table, *, seed: int = 0) -> Float[np.ndarray, "C A F"]:
    """The inputs of every candidate on every instance; no reference labelling is read."""
    return table_set_inputs(table, describe_table(table, seed=seed), table.usable)


def table_set_inputs(
    table: Table, descriptions: Sequence[Description], usable: Bool[np.ndarray, "C A"]
) -> Float[np.ndarray, "C A F"]:
    """The inputs of every candidate on every instance, as if only the `usable` ones had been run."""
    known = [clusters for _, clusters in table.visible]
    return np.stack(
        [set_inputs(*each) for each in zip(descriptions, repeat(table.candidates), known, usable)]
    )


def set_inputs(
    description: Description,
    candidates: Sequence[Candidate],
    clusters: int | None,
    usable: Bool[np.ndarray, " A"],
) -> Float[np.ndarray, "A F"]:
    """The inputs of the network for every candidate of one problem.

    They are the descriptors, the mean and the second largest agreement with the other partitions, both again
    relative to the mean over candidates, the logarithms of the numbers of points, of columns and, where it is
    known, of clusters, whether the candidate failed, and which method it is. A candidate that failed has
    descriptors and agreement of zero.
    """
    count = usable.sum()
    agreement = np.where(usable, description.agreement, 0)
    mean = (agreement.sum(1) - 1) / max(count - 1, 1)
    nearest = np.sort(agreement, 1)[:, max(len(agreement) - 2, 0)]
    features = np.concatenate([description.descriptors, mean[:, None], nearest[:, None]], 1)
    features = np.where(usable[:, None], features, 0)
    centered = np.where(usable[:, None], features - features.sum(0) / max(count, 1), 0)
    size = np.log(description.shape if clusters is None else (*description.shape, clusters))
    failed = ~usable[:, None]
    parts = (features, centered, np.tile(size, (len(usable), 1)), failed, method_indicators(candidates))
    return np.concatenate(parts, 1).astype(np.float32)
