"""A learned criterion: which of several partitions to believe, from what can be seen without labels.

Internal indices choose no better than chance among the partitions of a portfolio. Here a set-aware network
scores every partition from its descriptors, beside the others' and beside what is known of the problem; it is
trained on problems with known answers by the regret of its choice. Where a candidate is good is part of what
is learned, so that a criterion belongs to its portfolio.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from ..records import InputError
from ..tasks.datasets import read_npz, write_npz
from .choice import Cases, Choice, Settings, adapt_choice, choice_scores, learn_choice
from .descriptors import NAMES, describe, landmarks
from .portfolio import Candidate, which_kind
from .table import FORMAT, Table, check_portfolio


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
    thinnings: int = 0,
) -> Criterion:
    """A criterion from what the candidates of a table found and were worth.

    Args:
        table: of problems with known answers.
        key: a typed key.
        settings: of the networks.
        thinnings: as of `criterion_cases`.
    """
    return Criterion(
        learn_choice(criterion_cases(table, thinnings), key, settings=settings), table.candidates
    )


def criterion_cases(table: Table, thinnings: int = 0) -> Cases:
    """What a criterion learns from.

    Args:
        table: of problems with known answers.
        thinnings: how often the table is seen again, after itself, with a random part of its candidates taken
            away, so that the criterion also judges where only some were run.
    """
    random, every = np.random.default_rng(0), np.ones_like(table.usable)
    shares = [random.uniform(0.1, 1, (len(table.cases), 1)) for _ in range(thinnings)]
    runs = [every, *(random.random(every.shape) < share for share in shares)]
    looks = all_looks(table)
    inputs = np.concatenate([inputs_of(table, looks, table.usable & run) for run in runs])
    worths = np.concatenate([np.where(run, table.scores, 0) for run in runs])
    weights, numbers, owners = (np.tile(x, len(runs)) for x in (table.weights, table.numbers, table.owners))
    return Cases(inputs, worths, weights, numbers, owners)


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
    """What the network sees of every candidate of every case; no label is looked at."""
    return inputs_of(table, all_looks(table, seed=seed), table.usable)


def inputs_of(
    table: Table, looks: Sequence[Look], usable: Bool[np.ndarray, "C A"]
) -> Float[np.ndarray, "C A F"]:
    """What the network sees of cases of which only some candidates, those `usable`, were run."""
    told = [clusters for _, clusters in table.sights]
    return np.stack([criterion_inputs(*each) for each in zip(looks, repeat(table.candidates), told, usable)])


def all_looks(table: Table, *, seed: int = 0, folder: Path | None = None) -> list[Look]:
    """Of every case; cases that look alike are looked at once.

    Args:
        table: of candidates that were run.
        seed: as of `look`.
        folder: where looks are kept by what they are of, and found again; such as the table's.
    """
    sights = table.sights
    found = {}
    for place, sight in enumerate(sights):
        if sight not in found:
            points = table.problems[table.cases[place].problem].points
            labels = [outcome.labels for outcome in table.outcomes[place]]
            found[sight] = (
                _kept_look(folder, points, labels, seed) if folder else look(points, labels, seed=seed)
            )
    return [found[sight] for sight in sights]


class Look(NamedTuple):
    """What can be seen of a problem's partitions.

    Attributes:
        shape: numbers of points and columns.
        own: [A, F] descriptors.
        agreement: [A, A] adjusted Rand indices.
    """

    shape: tuple[int, int]
    own: Float[np.ndarray, "A F"]
    agreement: Float[np.ndarray, "A A"]


def look(
    points: Float[np.ndarray, "N D"], partitions: Sequence[Int[np.ndarray, " N"] | None], *, seed: int = 0
) -> Look:
    """Describe partitions; None is one that failed."""
    found = landmarks(points, partitions, seed=seed)
    return Look(points.shape, *jax.device_get(describe(*map(jnp.asarray, found[:3]))))


def _kept_look(
    folder: Path, points: Float[np.ndarray, "N D"], labels: Sequence[Int[np.ndarray, " N"] | None], seed: int
) -> Look:
    digest = hashlib.sha256(repr((FORMAT, points.shape, NAMES, seed)).encode() + points.tobytes())
    for one in labels:
        digest.update(b"none" if one is None else np.asarray(one, np.int64).tobytes())
    path = folder / f"look-{digest.hexdigest()[:32]}.npz"
    try:
        kept = read_npz(path) if path.exists() else {}
        return Look(points.shape, kept["own"], kept["agreement"])
    except (InputError, KeyError):
        found = look(points, labels, seed=seed)
    write_npz(path, own=found.own, agreement=found.agreement)
    return found


def criterion_inputs(
    seen: Look, candidates: Sequence[Candidate], clusters: int | None, usable: Bool[np.ndarray, " A"]
) -> Float[np.ndarray, "A F"]:
    """What the network sees of every candidate of one problem.

    Its descriptors, its mean and second largest agreement with the others, the same less their means over
    candidates, the logarithms of points, columns and, where it is given, the number of clusters, whether it
    failed, and which it is. What failed has no descriptors and agrees with nothing.
    """
    count = usable.sum()
    agreement = np.where(usable, seen.agreement, 0)
    mean = (agreement.sum(1) - 1) / max(count - 1, 1)
    nearest = np.sort(agreement, 1)[:, max(len(agreement) - 2, 0)]
    described = np.concatenate([seen.own, mean[:, None], nearest[:, None]], 1)
    described = np.where(usable[:, None], described, 0)
    centered = np.where(usable[:, None], described - described.sum(0) / max(count, 1), 0)
    known = np.log(seen.shape if clusters is None else (*seen.shape, clusters))
    failed = ~usable[:, None]
    parts = (described, centered, np.tile(known, (len(usable), 1)), failed, which_kind(candidates))
    return np.concatenate(parts, 1).astype(np.float32)
