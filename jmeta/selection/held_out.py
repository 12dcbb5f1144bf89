"""Leave one group out: scores of problems by networks that were not trained on their group.

Each option, a setting with its inputs, is chosen within the training groups, by leaving each of them out in
turn; the group that is tested has no part in the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from ..portfolio.table import Table
from .examples import Examples, Settings
from .scoring import ScoringModel, fit_scoring_model, mean_scores
from .selector import criterion_scores, table_features
from .set_quality import candidate_inputs


class TableInputs(NamedTuple):
    """A table, with everything that a model may see of it.

    Attributes:
        table: outcomes and scores.
        problems: [C, F] meta-features.
        candidates: [C, A, F] inputs of a set-aware quality model.
        groups: [C] by number.
    """

    table: Table
    problems: Float[np.ndarray, "C F"]
    candidates: Float[np.ndarray, "C A F"]
    groups: Int[np.ndarray, " C"]

    @property
    def criteria(self) -> Float[np.ndarray, "C Q"]:
        """[C, Q] the score of the candidate that each internal criterion prefers."""
        return criterion_scores(self.table, self.candidates)


class Option(NamedTuple):
    """A setting that the training groups choose from.

    Attributes:
        settings: of the networks.
        inputs: weights of the training examples [C] -> inputs of all instances.
    """

    settings: Settings
    inputs: Callable[[Float[np.ndarray, " C"]], Float[np.ndarray, "C ..."]]


def table_inputs(table: Table, *, seed: int = 0) -> TableInputs:
    """Everything that a model may see of a table; no reference labelling is read."""
    features = table_features(table, seed=seed)
    return TableInputs(table, features, candidate_inputs(table, seed=seed), table.group_numbers)


def left_out_groups(known: TableInputs) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For every group, where it is, and the weights of the training examples without it."""
    for group in np.unique(known.groups):
        yield known.groups == group, np.where(known.groups == group, 0, known.table.weights)


def score_of_best(
    scores: Float[np.ndarray, "C A"], predicted: Float[np.ndarray, "C A"]
) -> Float[np.ndarray, " C"]:
    """The score of the candidate with the highest predicted score, for every instance."""
    return np.take_along_axis(scores, predicted.argmax(1)[:, None], 1)[:, 0]


def held_out_scores(
    known: TableInputs,
    options: Sequence[Option],
    scores: Float[np.ndarray, "C A"],
    sizes: tuple[int, ...],
    key: Key[Array, ""],
    *,
    seeds: int,
) -> tuple[Float[np.ndarray, "S C A"], list[int]]:
    """Scores of every instance by networks trained without its group, and the option chosen for each group.

    Args:
        known: the table and its inputs.
        options: to choose from.
        scores: [C, A] true scores.
        sizes: number of candidates in each group of candidates.
        key: a typed key.
        seeds: S, how many times networks are trained.
    """
    chosen = choose_options(known, options, scores, sizes, jax.random.fold_in(key, seeds))
    found = np.zeros((seeds, *scores.shape))
    for (out, weights), place in zip(left_out_groups(known), chosen, strict=True):
        for seed in range(seeds):
            one = jax.random.fold_in(key, seed)
            found[seed, out] = _predicted(known, options[place], scores, sizes, weights, one)[out]
    return found, chosen


def choose_options(
    known: TableInputs,
    options: Sequence[Option],
    scores: Float[np.ndarray, "C A"],
    sizes: tuple[int, ...],
    key: Key[Array, ""],
) -> list[int]:
    """For every group, the best option when each other group is left out of the rest in turn."""
    groups = np.unique(known.groups)
    weights, found = known.table.weights, np.zeros((len(groups), len(options)))
    if len(options) == 1 or len(groups) < 3:
        return [0] * len(groups)
    for first in range(len(groups)):
        for second in range(first):
            pair = [known.groups == groups[place] for place in (first, second)]
            kept = np.where(pair[0] | pair[1], 0, weights)
            for place, option in enumerate(options):
                predicted = _predicted(known, option, scores, sizes, kept, key)
                for outer, inner in ((first, pair[1]), (second, pair[0])):
                    value = score_of_best(scores[inner, : sizes[0]], predicted[inner, : sizes[0]])
                    found[outer, place] += weights[inner] @ value
    return [int(row.argmax()) for row in found]


def fit_option(
    known: TableInputs,
    option: Option,
    inputs: Float[np.ndarray, "C ..."],
    scores: Float[np.ndarray, "C A"],
    sizes: tuple[int, ...],
    weights: Float[np.ndarray, " C"],
    key: Key[Array, ""],
) -> ScoringModel:
    """Networks trained on the instances of positive weight."""
    examples = Examples(inputs, scores, weights, known.groups, known.table.problem_numbers)
    return fit_scoring_model(examples, key, settings=option.settings, sizes=sizes)


def without_failed(
    predicted: Float[np.ndarray, "C A"],
    inputs: Float[np.ndarray, "C ..."],
    usable: Bool[np.ndarray, "C A"],
) -> Float[np.ndarray, "C A"]:
    """-inf for candidates that failed, where the inputs are those of partitions; a selector cannot know."""
    return np.where(usable, predicted, -np.inf) if inputs.ndim == 3 else predicted


def _predicted(
    known: TableInputs,
    option: Option,
    scores: Float[np.ndarray, "C A"],
    sizes: tuple[int, ...],
    weights: Float[np.ndarray, " C"],
    key: Key[Array, ""],
) -> Float[np.ndarray, "C A"]:
    inputs = option.inputs(weights)
    model = fit_option(known, option, inputs, scores, sizes, weights, key)
    return without_failed(mean_scores(model, inputs), inputs, known.table.usable)
