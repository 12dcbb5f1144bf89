"""The selector: from the meta-features of a problem to a strategy, before any candidate runs.

A strategy is an algorithm with its parameters, a number of clusters, and the internal criterion by which to
compare partitions. One network scores every candidate of a portfolio and every criterion; the score of a
criterion on a problem is that of the partition which the criterion prefers. The inputs are meta-features and
the scores of the candidates on the most similar known problems of other groups, as the group of a new problem
is not known.

Reference: Ferrari & de Castro 2015, Clustering algorithm selection by meta-learning systems.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from scipy.spatial.distance import cdist
from sklearn.preprocessing import StandardScaler

from ..errors import InputError
from ..metafeatures.partitions import NAMES
from ..metafeatures.problems import problem_features
from ..portfolio.candidates import Candidate
from ..portfolio.table import Table, check_portfolio
from .examples import Examples, Settings
from .scoring import ScoringModel, adapt_scoring_model, fit_scoring_model, mean_scores

CRITERIA = {
    "silhouette": "silhouette",
    "calinski_harabasz": "log Calinski-Harabasz",
    "davies_bouldin": "Davies-Bouldin, 1 / (1 + x)",
    "dunn": "log Dunn",
    "density_validity": "density validity",
    "near_neighbours": "25 alike",
    "gap": "gap",
    "most_agreement": "mean agreement",
}
"""Internal criteria that a strategy may name, each with the descriptor that it maximises."""
NEIGHBOURS = 5
"""Number of similar problems whose scores are averaged."""


class Strategy(NamedTuple):
    """The answer of a selector to a problem.

    Attributes:
        candidate: the algorithm and its parameters.
        clusters: the number of clusters to look for; None where the algorithm finds it.
        criterion: a name of `CRITERIA`.
    """

    candidate: Candidate
    clusters: int | None
    criterion: str


class Selector(NamedTuple):
    """A trained selector, with the problems that it was trained on.

    Attributes:
        model: the networks.
        candidates: A of the table.
        features: [C, F] meta-features of the instances of the table.
        scores: [C, A] of the candidates.
        known_k: whether the number of clusters is given with a problem.
    """

    model: ScoringModel
    candidates: tuple[Candidate, ...]
    features: Float[np.ndarray, "C F"]
    scores: Float[np.ndarray, "C A"]
    known_k: bool


def learn_selector(
    table: Table,
    candidate_inputs: Float[np.ndarray, "C A F"],
    key: Key[Array, ""],
    *,
    settings: Settings = Settings(),  # noqa: B008 - a record that is never written to
) -> Selector:
    """A selector trained on the scores of a table.

    Args:
        table: of problems with known answers.
        candidate_inputs: of its candidates, from `jmeta.selection.candidate_inputs`.
        key: a typed key.
        settings: of the networks.

    Raises:
        InputError: the problems are of one group, or as from `fit_scoring_model`.
    """
    features = table_features(table)
    examples = selector_examples(table, features, candidate_inputs)
    sizes = (table.scores.shape[1], len(CRITERIA))
    model = fit_scoring_model(examples, key, settings=settings, sizes=sizes)
    return Selector(model, table.candidates, features, table.scores, table.known_k)


def selector_examples(
    table: Table, features: Float[np.ndarray, "C F"], candidate_inputs: Float[np.ndarray, "C A F"]
) -> Examples:
    """The training examples of a selector: scores of candidates and of `CRITERIA`, side by side.

    Args:
        table: of problems with known answers.
        features: their meta-features, from `table_features`.
        candidate_inputs: of its candidates.

    Raises:
        InputError: the problems are of one group.
    """
    if len(set(table.groups)) < 2:
        raise InputError("a selector is trained on two groups of problems or more; give another group.")
    return Examples(
        inputs=selector_inputs(features, table.scores, table.weights, table.group_numbers),
        scores=np.concatenate([table.scores, criterion_scores(table, candidate_inputs)], 1),
        weights=table.weights,
        groups=table.group_numbers,
        problems=table.problem_numbers,
    )


def adapt_selector(
    selector: Selector,
    table: Table,
    candidate_inputs: Float[np.ndarray, "C A F"],
    *,
    steps: int = 5,
    rate: float | None = None,
) -> Selector:
    """The selector after some steps of gradient descent on problems of a new group, whose answers are known.

    Args:
        selector: from `learn_selector`; one with `settings.method` "maml" was trained for this.
        table: of the new problems.
        candidate_inputs: of its candidates.
        steps: of gradient descent.
        rate: learning rate; unless given those of the training.

    Raises:
        InputError: the table is of other candidates, or as from `adapt_scoring_model`.
    """
    check_portfolio(selector.candidates, table)
    inputs = _with_neighbours(selector, table_features(table))
    examples = Examples(
        inputs=inputs,
        scores=np.concatenate([table.scores, criterion_scores(table, candidate_inputs)], 1),
        weights=table.weights,
        groups=np.zeros(len(inputs), int),
        problems=table.problem_numbers,
    )
    return selector._replace(model=adapt_scoring_model(selector.model, examples, steps=steps, rate=rate))


def choose_strategy(
    selector: Selector, points: Float[np.ndarray, "N D"], clusters: int | None = None, *, seed: int = 0
) -> Strategy:
    """The strategy for a new problem, from its meta-features.

    Args:
        selector: from `learn_selector`.
        points: [N, D].
        clusters: the number of clusters, for a selector that was trained with it.
        seed: which landmarks.

    Raises:
        InputError: the number of clusters is missing, or given to a selector that was trained without; the
            points cannot be clustered, or the selector is of another version.
    """
    if (clusters is not None) != selector.known_k:
        raise InputError(
            f"the selector was trained {'with' if selector.known_k else 'without'} the number of clusters; "
            f"{'give' if selector.known_k else 'leave out'} clusters."
        )
    features = problem_features([points], None if clusters is None else [clusters], seed=seed)
    candidates, criteria = selector_scores(selector, features)
    chosen = selector.candidates[int(candidates[0].argmax())]
    return Strategy(chosen, chosen.clusters_for(clusters), tuple(CRITERIA)[int(criteria[0].argmax())])


def selector_scores(
    selector: Selector, features: Float[np.ndarray, "C F"]
) -> tuple[Float[np.ndarray, "C A"], Float[np.ndarray, "C Q"]]:
    """The scores of every candidate and of every one of `CRITERIA`, from `problem_features`.

    Raises:
        InputError: the selector is of another version.
    """
    scores = mean_scores(selector.model, _with_neighbours(selector, features))
    count = len(selector.candidates)
    return scores[:, :count], scores[:, count:]


def _with_neighbours(selector: Selector, features: Float[np.ndarray, "C F"]) -> Float[np.ndarray, "C G"]:
    """The inputs for new problems: their meta-features, and the scores on similar known problems."""
    if features.shape[1] != selector.features.shape[1]:
        raise InputError("the selector is of another version of jmeta; train it again.")
    every = np.concatenate([selector.features, features])
    scores = np.concatenate([selector.scores, np.zeros((len(features), selector.scores.shape[1]))])
    known = np.arange(len(every)) < len(selector.features)
    return selector_inputs(every, scores, known, np.where(known, 0, 1))[len(selector.features) :]


def table_features(table: Table, *, seed: int = 0) -> Float[np.ndarray, "C F"]:
    """The meta-features of the problem of every instance, with its number of clusters where K is known."""
    distinct = list(dict.fromkeys(table.visible))
    points = [table.problems[problem].points for problem, _ in distinct]
    clusters = [count for _, count in distinct if count is not None] if table.known_k else None
    features = problem_features(points, clusters, seed=seed)
    return features[[distinct.index(visible) for visible in table.visible]]


def selector_inputs(
    features: Float[np.ndarray, "C F"],
    scores: Float[np.ndarray, "C A"],
    known: Bool[np.ndarray, " C"] | Float[np.ndarray, " C"],
    groups: Int[np.ndarray, " C"],
) -> Float[np.ndarray, "C G"]:
    """The inputs of a selector: meta-features, and `neighbour_scores`."""
    return np.concatenate([features, neighbour_scores(features, scores, known, groups)], 1)


def neighbour_scores(
    features: Float[np.ndarray, "C F"],
    scores: Float[np.ndarray, "C A"],
    known: Bool[np.ndarray, " C"] | Float[np.ndarray, " C"],
    groups: Int[np.ndarray, " C"],
    *,
    nearest: int = NEIGHBOURS,
) -> Float[np.ndarray, "C A"]:
    """The mean centred scores of candidates on the most similar known problems of other groups.

    A score is centred by the mean over candidates.

    Instances of one problem are of one group, so that none sees its own scores.

    Args:
        features: [C, F] meta-features.
        scores: [C, A] of candidates; those that are not known are not read.
        known: [C] zero or False where the scores are not known.
        groups: [C] numbers.
        nearest: how many problems are averaged.
    """
    known = np.asarray(known) > 0
    scaled = StandardScaler().fit(features[known]).transform(features)
    scaled = np.clip(scaled, -3, 3)
    distances = cdist(scaled, scaled)
    allowed = known & (groups[:, None] != groups)
    order = np.argsort(np.where(allowed, distances, np.inf), 1, kind="stable")[:, :nearest]
    usable = np.take_along_axis(allowed, order, 1)[..., None]
    centered = np.where(known[:, None], scores - scores.mean(1, keepdims=True), 0)
    return (centered[order] * usable).sum(1) / np.maximum(usable.sum(1), 1)


def criterion_values(candidate_inputs: Float[np.ndarray, "C A F"]) -> Float[np.ndarray, "C A Q"]:
    """The value of each of `CRITERIA` for every candidate, better if larger; -inf without two clusters."""
    names = (*NAMES, "mean agreement")
    values = candidate_inputs[:, :, [names.index(name) for name in CRITERIA.values()]]
    several = candidate_inputs[:, :, names.index("log clusters")] > 0
    return np.where(several[..., None], values, -np.inf)


def criterion_scores(table: Table, candidate_inputs: Float[np.ndarray, "C A F"]) -> Float[np.ndarray, "C Q"]:
    """The score of the candidate that each of `CRITERIA` prefers."""
    values = np.where(table.usable[..., None], criterion_values(candidate_inputs), -np.inf)
    return np.take_along_axis(table.scores, values.argmax(1), 1)
