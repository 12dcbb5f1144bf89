"""The selector: from meta-features alone, before anything is run, to a strategy.

A strategy is an algorithm with its parameters, a number of clusters, and the internal criterion by which to
judge what comes out. One network answers with a score for every candidate of a portfolio and, beside them,
for every criterion; what a criterion is worth on a problem is what the partition that it prefers is worth.
Among the meta-features is what the candidates were worth on the known problems that are most alike, those of
the same group left out, as the group of a new problem is not known.

Reference: Ferrari & de Castro 2015, Clustering algorithm selection by meta-learning systems.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from scipy.spatial.distance import cdist
from sklearn.preprocessing import StandardScaler

from ..clustering.validation import check_points
from ..compiler import QUICKLY
from ..records import InputError
from .choice import Cases, Choice, Settings, adapt_choice, choice_scores, learn_choice
from .descriptors import NAMES, landmarks
from .features import FEATURES, feature_names, meta_features
from .portfolio import Candidate
from .table import Table, check_portfolio

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
"""Criteria that a strategy may name, each with the descriptor that it maximises."""
NEAREST = 5
"""Known problems that are asked what was best."""


class Strategy(NamedTuple):
    """What the selector answers.

    Attributes:
        candidate: the algorithm and its parameters.
        clusters: how many to look for; None where the algorithm finds that itself.
        criterion: a name of `CRITERIA`.
    """

    candidate: Candidate
    clusters: int | None
    criterion: str


class Selector(NamedTuple):
    """What was learned from a table.

    Attributes:
        choice: the networks.
        candidates: of the table.
        known: [C, F] meta-features of its cases.
        worths: [C, A] of its candidates.
        told: whether the number of clusters is given with a problem.
    """

    choice: Choice
    candidates: tuple[Candidate, ...]
    known: Float[np.ndarray, "C F"]
    worths: Float[np.ndarray, "C A"]
    told: bool


def learn_selector(
    table: Table,
    candidate_inputs: Float[np.ndarray, "C A F"],
    key: Key[Array, ""],
    *,
    settings: Settings = Settings(),  # noqa: B008 - a record that is never written to
) -> Selector:
    """A selector from what the candidates of a table were worth.

    Args:
        table: of problems with known answers.
        candidate_inputs: of its candidates, from `criterion.candidate_inputs`.
        key: a typed key.
        settings: of the networks.

    Raises:
        InputError: the problems are of one group, or as from `learn_choice`.
    """
    known = table_inputs(table)
    cases = selector_cases(table, known, candidate_inputs)
    choice = learn_choice(cases, key, settings=settings, parts=(table.scores.shape[1], len(CRITERIA)))
    return Selector(choice, table.candidates, known, table.scores, table.told)


def selector_cases(
    table: Table, known: Float[np.ndarray, "C F"], candidate_inputs: Float[np.ndarray, "C A F"]
) -> Cases:
    """What a selector learns from: the worths of candidates and of `CRITERIA`, side by side.

    Args:
        table: of problems with known answers.
        known: their meta-features, from `table_inputs`.
        candidate_inputs: of its candidates.
    """
    if len(set(table.groups)) < 2:
        raise InputError("a selector is learned from problems of two groups or more, each left out in turn.")
    worths = np.concatenate([table.scores, criterion_worths(table, candidate_inputs)], 1)
    inputs = selector_inputs(known, table.scores, table.weights, table.numbers)
    return Cases(inputs, worths, table.weights, table.numbers, table.owners)


def adapt_selector(
    selector: Selector,
    table: Table,
    candidate_inputs: Float[np.ndarray, "C A F"],
    *,
    steps: int = 5,
    rate: float | None = None,
) -> Selector:
    """The selector after some steps of descent on problems of a new group, whose answers are known.

    Args:
        selector: from `learn_selector`; of `settings.way` "maml" it was trained for this.
        table: of the new problems.
        candidate_inputs: of its candidates.
        steps: of descent.
        rate: of descent.

    Raises:
        InputError: the table is of other candidates, or as from `adapt_choice`.
    """
    check_portfolio(selector.candidates, table)
    inputs = _beside_known(selector, table_inputs(table))
    worths = np.concatenate([table.scores, criterion_worths(table, candidate_inputs)], 1)
    cases = Cases(inputs, worths, table.weights, np.zeros(len(inputs), int), table.owners)
    return selector._replace(choice=adapt_choice(selector.choice, cases, steps=steps, rate=rate))


def answer(
    selector: Selector, points: Float[np.ndarray, "N D"], clusters: int | None = None, *, seed: int = 0
) -> Strategy:
    """The strategy for a new problem; only meta-features are looked at.

    Args:
        selector: from `learn_selector`.
        points: [N, D].
        clusters: how many there are, where that is given.
        seed: which landmarks.

    Raises:
        InputError: the number of clusters is missing, or given to a selector that was learned without; the
            points cannot be clustered, or the selector is of another version.
    """
    if (clusters is not None) != selector.told:
        raise InputError(
            f"the selector was learned {'with' if selector.told else 'without'} the number of clusters; "
            f"{'give' if selector.told else 'leave out'} clusters."
        )
    seen = problem_inputs([points], None if clusters is None else [clusters], seed=seed)
    candidates, criteria = selector_scores(selector, seen)
    chosen = selector.candidates[int(candidates[0].argmax())]
    return Strategy(chosen, chosen.sought(clusters), tuple(CRITERIA)[int(criteria[0].argmax())])


def selector_scores(
    selector: Selector, problems: Float[np.ndarray, "C F"]
) -> tuple[Float[np.ndarray, "C A"], Float[np.ndarray, "C Q"]]:
    """The scores of every candidate and of every one of `CRITERIA`, from what `problem_inputs` says.

    Raises:
        InputError: the selector is of another version.
    """
    scores = choice_scores(selector.choice, _beside_known(selector, problems))
    count = len(selector.candidates)
    return scores[:, :count], scores[:, count:]


def _beside_known(selector: Selector, seen: Float[np.ndarray, "C F"]) -> Float[np.ndarray, "C G"]:
    """What the selector sees of new problems: their own meta-features, and the answers of known ones."""
    if seen.shape[1] != selector.known.shape[1]:
        raise InputError("the selector is of another version of jmeta; learn it anew.")
    every = np.concatenate([selector.known, seen])
    worths = np.concatenate([selector.worths, np.zeros((len(seen), selector.worths.shape[1]))])
    known = np.arange(len(every)) < len(selector.known)
    return selector_inputs(every, worths, known, np.where(known, 0, 1))[len(selector.known) :]


def table_inputs(table: Table, *, seed: int = 0) -> Float[np.ndarray, "C F"]:
    """Meta-features of the problem of every case; with its number of clusters where that is given."""
    sights = list(dict.fromkeys(table.sights))
    points = [table.problems[place].points for place, _ in sights]
    clusters = [count for _, count in sights if count is not None] if table.told else None
    found = problem_inputs(points, clusters, seed=seed)
    return found[[sights.index(sight) for sight in table.sights]]


def problem_inputs(
    points: Sequence[Float[np.ndarray, "N D"]],
    clusters: Sequence[int] | None = None,
    *,
    groups: Sequence[str] = tuple(FEATURES),
    seed: int = 0,
) -> Float[np.ndarray, "C F"]:
    """Meta-features of problems of any size, by a thousand landmarks of each.

    Args:
        points: of every problem.
        clusters: how many each has; estimated unless given.
        groups: of meta-features.
        seed: which landmarks, and what is drawn while features are computed.

    Raises:
        InputError: there is no problem, or its points cannot be clustered.

    >>> np.exp(problem_inputs([np.eye(3), np.eye(4)], [2, 2], groups=["size"])).round(2)
    array([[3., 3., 1., 2.],
           [4., 4., 1., 2.]], dtype=float32)
    """
    found = []
    sizes = [feature_names(groups).index(name) for name in FEATURES["size"][:3] if "size" in groups]
    if not len(points):
        raise InputError("there is no problem to describe; give one or more.")
    for place, x in enumerate(map(np.asarray, points)):
        if x.ndim == 2 and len(x) < 2:
            raise InputError("fewer than two points have no meta-features; give two or more.")
        check_points(x, None)
        kept = landmarks(x, [], seed=seed)
        width = 1 << max(2, (x.shape[1] - 1).bit_length())  # few shapes, few programs
        wide = np.pad(kept.points, ((0, 0), (0, width - x.shape[1])))
        given = None if clusters is None else jnp.asarray(clusters[place])
        compute = _features if len(points) > 1 else _features_once
        one = np.array(compute(wide, kept.weights, jax.random.key(seed), given, tuple(groups)))
        if sizes:
            one[sizes[0]] = np.log(len(x))
            one[sizes[2]] = one[sizes[0]] - one[sizes[1]]
        found.append(one)
    return np.stack(found)


def selector_inputs(
    problems: Float[np.ndarray, "C F"],
    worths: Float[np.ndarray, "C A"],
    known: Bool[np.ndarray, " C"] | Float[np.ndarray, " C"],
    groups: Int[np.ndarray, " C"],
) -> Float[np.ndarray, "C G"]:
    """What the selector sees: meta-features, and what was best on the nearest known problems."""
    return np.concatenate([problems, nearest_worths(problems, worths, known, groups)], 1)


def nearest_worths(
    inputs: Float[np.ndarray, "C F"],
    worths: Float[np.ndarray, "C A"],
    known: Bool[np.ndarray, " C"] | Float[np.ndarray, " C"],
    groups: Int[np.ndarray, " C"],
    *,
    nearest: int = NEAREST,
) -> Float[np.ndarray, "C A"]:
    """What candidates were worth, less the mean of all, on the known cases most alike of other groups.

    Cases with the same points are of one group, so that no case is told its own answer.

    Args:
        inputs: [C, F] meta-features.
        worths: [C, A] of candidates; only known ones are looked at.
        known: [C] zero or False where the answer is not known.
        groups: [C].
        nearest: how many are averaged.
    """
    known = np.asarray(known) > 0
    scaled = StandardScaler().fit(inputs[known]).transform(inputs)
    scaled = np.clip(scaled, -3, 3)
    apart = cdist(scaled, scaled)
    allowed = known & (groups[:, None] != groups)
    order = np.argsort(np.where(allowed, apart, np.inf), 1, kind="stable")[:, :nearest]
    usable = np.take_along_axis(allowed, order, 1)[..., None]
    centered = np.where(known[:, None], worths - worths.mean(1, keepdims=True), 0)
    return (centered[order] * usable).sum(1) / np.maximum(usable.sum(1), 1)


def criterion_values(candidate_inputs: Float[np.ndarray, "C A F"]) -> Float[np.ndarray, "C A Q"]:
    """What each of `CRITERIA` says of every candidate, better if larger; -inf of fewer than two clusters."""
    names = (*NAMES, "mean agreement")
    values = candidate_inputs[:, :, [names.index(name) for name in CRITERIA.values()]]
    parted = candidate_inputs[:, :, names.index("log clusters")] > 0
    return np.where(parted[..., None], values, -np.inf)


def criterion_worths(table: Table, candidate_inputs: Float[np.ndarray, "C A F"]) -> Float[np.ndarray, "C Q"]:
    """The worth of the candidate that each of `CRITERIA` prefers."""
    values = np.where(table.usable[..., None], criterion_values(candidate_inputs), -np.inf)
    return np.take_along_axis(table.scores, values.argmax(1), 1)


def _seen(
    points: Array, weights: Array, key: Key[Array, ""], clusters: Array | None, groups: tuple[str, ...]
) -> Float[Array, " F"]:
    return meta_features(points, weights, key, clusters=clusters, groups=groups)


_features = jax.jit(_seen, static_argnames="groups")
_features_once = jax.jit(_seen, static_argnames="groups", compiler_options=QUICKLY)
"""For one problem alone."""
