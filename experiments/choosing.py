"""What the experiments on choosing a clustering share: ways to choose, leaving a group out, and intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from sklearn.datasets import make_blobs, make_circles, make_moons
from sklearn.ensemble import RandomForestRegressor

import jmeta as jm
from jmeta import harness
from jmeta.metrics import Interval
from jmeta.portfolio import performance_table
from jmeta.portfolio.candidates import Candidate
from jmeta.portfolio.consensus import consensus
from jmeta.portfolio.table import Table, score
from jmeta.selection.examples import Examples, Settings
from jmeta.selection.scoring import ScoringModel, fit_scoring_model, mean_scores
from jmeta.selection.selector import CRITERIA, criterion_scores, neighbour_scores, table_features
from jmeta.selection.set_quality import candidate_inputs
from jmeta.tasks.problems import Problem

RESAMPLES = 10_000


@dataclasses.dataclass(frozen=True)
class Options(harness.Options):
    """Options of every experiment on choosing."""

    steps: int = 600
    """Of training."""
    networks: int = 8
    """That are averaged."""
    table: Path = Path("runs/table")
    """Where what candidates found is kept, for all experiments together."""


def made_table(
    config: Options, problems: Sequence[Problem], candidates: Sequence[Candidate], *, seconds: float = 120.0
) -> Table:
    """The table of a run; that of a quick one by a single process, as others take longer to start."""
    ways: dict[str, Any] = {"jobs": 1, "backend": "threading"} if config.preset == "quick" else {}
    return performance_table(
        problems, candidates, folder=config.table, seconds=seconds, seed=config.seed, **ways
    )


class Known(NamedTuple):
    """A table, and what may be seen of it.

    Attributes:
        table: outcomes and scores.
        problems: [C, F] meta-features.
        candidates: [C, A, F] inputs of the criterion.
        groups: [C] by number.
    """

    table: Table
    problems: np.ndarray
    candidates: np.ndarray
    groups: np.ndarray

    @property
    def criteria(self) -> np.ndarray:
        """[C, Q] what the partition is worth that each internal criterion prefers."""
        return criterion_scores(self.table, self.candidates)


class Option(NamedTuple):
    """One setting among which the training groups choose.

    Attributes:
        settings: of the networks.
        inputs: the weights of the cases that may be learned from -> what is seen of all cases.
    """

    settings: Settings
    inputs: Callable[[np.ndarray], np.ndarray]


def look(table: Table, seed: int) -> Known:
    """Everything that may be seen of a table."""
    return Known(
        table, table_features(table, seed=seed), candidate_inputs(table, seed=seed), table.group_numbers
    )


def left_out(known: Known) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For every group which cases it leaves out, and the weights of the others: one a problem."""
    for group in np.unique(known.groups):
        yield known.groups == group, np.where(known.groups == group, 0, known.table.weights)


def worth(scores: np.ndarray, preferred: np.ndarray) -> np.ndarray:
    """Of the highest of the preferred, for every case."""
    return np.take_along_axis(scores, preferred.argmax(1)[:, None], 1)[:, 0]


def fixed(known: Known) -> dict[str, np.ndarray]:
    """The worth, for every case, of what is chosen by ways that need no network."""
    scores = known.table.scores
    found = {"random": scores.mean(1), "oracle": scores.max(1)}
    for way in ("single_best", "nearest_neighbours", "random_forest"):
        found[way] = np.zeros(len(scores))
    for out, weights in left_out(known):
        near = neighbour_scores(known.problems, scores, weights, known.groups)
        forest = RandomForestRegressor(300, min_samples_leaf=2, max_features=0.5, random_state=0, n_jobs=-1)
        kept, centered = ~out, scores - scores.mean(1, keepdims=True)
        forest.fit(known.problems[kept], centered[kept], weights[kept])
        found["single_best"][out] = scores[out, np.argmax(weights @ scores)]
        found["nearest_neighbours"][out] = worth(scores[out], near[out])
        found["random_forest"][out] = worth(scores[out], forest.predict(known.problems[out]))
    found |= dict(zip(CRITERIA, known.criteria.T, strict=True))
    if known.table.known_k:
        found["consensus"] = np.array([_consensus(known.table, place) for place in range(len(scores))])
    return found


def _consensus(table: Table, place: int) -> float:
    """The worth of the clustering that all candidates agree on."""
    case = table.instances[place]
    labels = [outcome.labels for outcome in table.outcomes[place] if outcome.labels is not None]
    return score(case.truth, consensus(np.stack(labels), case.clusters)) if labels else 0.0


def chosen_inside(
    known: Known, options: Sequence[Option], worths: np.ndarray, parts: tuple[int, ...], key: jax.Array
) -> list[int]:
    """For every group the option that is best when each of the other groups is left out of them in turn."""
    groups = np.unique(known.groups)
    weights, found = known.table.weights, np.zeros((len(groups), len(options)))
    if len(options) == 1 or len(groups) < 3:
        return [0] * len(groups)
    for first in range(len(groups)):
        for second in range(first):
            pair = [known.groups == groups[place] for place in (first, second)]
            kept = np.where(pair[0] | pair[1], 0, weights)
            for place, option in enumerate(options):
                scores = _scores(known, option, worths, parts, kept, key)
                for outer, inner in ((first, pair[1]), (second, pair[0])):
                    value = worth(worths[inner, : parts[0]], scores[inner, : parts[0]])
                    found[outer, place] += weights[inner] @ value
    return [int(row.argmax()) for row in found]


def learned(
    known: Known,
    options: Sequence[Option],
    worths: np.ndarray,
    parts: tuple[int, ...],
    key: jax.Array,
    *,
    seeds: int,
) -> tuple[np.ndarray, list[int]]:
    """The scores [seeds, C, A] that networks give to what they were not trained on, and the options taken."""
    taken = chosen_inside(known, options, worths, parts, jax.random.fold_in(key, seeds))
    found = np.zeros((seeds, len(worths), worths.shape[1]))
    for (out, weights), place in zip(left_out(known), taken, strict=True):
        for seed in range(seeds):
            one = jax.random.fold_in(key, seed)
            found[seed, out] = _scores(known, options[place], worths, parts, weights, one)[out]
    return found, taken


def _scores(
    known: Known,
    option: Option,
    worths: np.ndarray,
    parts: tuple[int, ...],
    weights: np.ndarray,
    key: jax.Array,
) -> np.ndarray:
    inputs = option.inputs(weights)
    choice = train(known, option, inputs, worths, parts, weights, key)
    return allowed(mean_scores(choice, inputs), inputs, known.table.usable)


def allowed(scores: np.ndarray, inputs: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """-inf for what failed, which a criterion sees; a selector looks before anything is run."""
    return np.where(usable, scores, -np.inf) if inputs.ndim == 3 else scores


def train(
    known: Known,
    option: Option,
    inputs: np.ndarray,
    worths: np.ndarray,
    parts: tuple[int, ...],
    weights: np.ndarray,
    key: jax.Array,
) -> ScoringModel:
    """Networks that have seen the cases of positive weight."""
    cases = Examples(inputs, worths, weights, known.groups, known.table.problem_numbers)
    return fit_scoring_model(cases, key, settings=option.settings, sizes=parts)


def per_problem(known: Known, per_case: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Averages over the labellings of each problem."""
    owners = known.table.problem_numbers
    return {name: np.bincount(owners, values) / np.bincount(owners) for name, values in per_case.items()}


def summary(
    known: Known, per_case: Mapping[str, np.ndarray], pairs: Sequence[tuple[str, str]], seed: int
) -> dict[str, Interval]:
    """ari/WAY of every way, for four also by group, and gain/A-B of every pair, by paired bootstrap."""
    found = per_problem(known, per_case)
    metrics = {f"ari/{name}": jm.interval(values) for name, values in found.items()}
    groups = np.array([problem.group for problem in known.table.problems])
    for name in ("single_best", "meta_features", "learned_criterion", "oracle"):
        for group in np.unique(groups):
            metrics[f"ari/{name}/{group}"] = jm.interval(found[name][groups == group])
    return metrics | {f"gain/{a}-{b}": bootstrap(found[a] - found[b], seed) for a, b in pairs}


def bootstrap(differences: np.ndarray, seed: int) -> Interval:
    """The mean difference, and half the width of its 95 % interval over resampled problems."""
    random = np.random.default_rng(seed)
    rows = random.integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.quantile(differences[rows].mean(1), [0.025, 0.975])
    return Interval(float(differences.mean()), float(high - low) / 2, len(differences))


def small_problems() -> list[Problem]:
    """Three groups of a few small sets."""
    made = []
    for seed in range(2):
        for name, (points, labels) in {
            "round": make_blobs(40, centers=3, random_state=seed),
            "bent": make_moons(40, noise=0.05, random_state=seed),
            "nested": make_circles(40, noise=0.05, factor=0.4, random_state=seed),
        }.items():
            made.append(Problem(f"{name}{seed}", name, points, (labels,), "scikit-learn"))
    return made
