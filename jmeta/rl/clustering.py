"""Searching for a clustering as a game: a trial is one data set, a step tries one candidate or stops.

An action names an algorithm, then its parameters, then a number of clusters; or it stops, and commits to
the best partition so far. What is best is judged without labels, by what can be seen of each partition. The
reward is by how much the adjusted Rand index of what is committed to has grown. Training learns from it,
but an agent must not see it (`sees` without "reward"): at test there are no answers, and it is zero.

What candidates find comes from a table that was computed once (`tabulated`), so that a step is a few
look-ups, or from running them (`live`), for data sets that no table knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from ..batching import count_tasks
from ..records import InputError
from ..selection.portfolio import Candidate
from .environment import Action, Environment, Space, Transition
from .policy import SEES, Masks

UNPAID = tuple(part for part in SEES if part != "reward")
"""What an agent may see here: not the reward, which is made of answers."""


class Attempt(NamedTuple):
    """What came of one candidate.

    Attributes:
        partition: [F] what can be seen of its partition, at unit scale.
        quality: how good that is judged to be, without labels.
        usable: whether it found something.
        worth: the true index, that rewards are made of; zero where there are no answers.
    """

    partition: Float[Array, " F"]
    quality: Float[Array, ""]
    usable: Bool[Array, ""]
    worth: Float[Array, ""]


class DataSets(NamedTuple):
    """Data sets, and how candidates are tried on them.

    Attributes:
        draw: `key -> data`, one of them.
        features: `data -> [M]`, its meta-features at unit scale.
        attempt: `(data, place) -> Attempt`, of the candidate at that place.
        sizes: A, M and F.
    """

    draw: Callable[[Key[Array, ""]], PyTree]
    features: Callable[[PyTree], Float[Array, " M"]]
    attempt: Callable[[PyTree, Int[Array, ""]], Attempt]
    sizes: tuple[int, int, int]


class Search(NamedTuple):
    """A task: a data set, and how many candidates may be tried on it."""

    data: PyTree
    budget: Int[Array, ""]


class Searched(NamedTuple):
    """What is known of data sets all of whose candidates were run: of one, or of P with a leading axis.

    Attributes:
        features: [M] meta-features, at unit scale.
        attempts: what came of each of the A candidates.
    """

    features: Float[Array, " M"]
    attempts: Attempt


class Progress(NamedTuple):
    """How far a search is.

    Attributes:
        tried: [A] which candidates were tried.
        left: how many may still be tried.
        places: [2] of the last candidate and of the one that is committed to; A where there is none.
        last: what came of the last.
        best: what is committed to.
    """

    tried: Bool[Array, " A"]
    left: Int[Array, ""]
    places: Int[Array, " 2"]
    last: Attempt
    best: Attempt


def candidate_places(candidates: Sequence[Candidate]) -> Int[np.ndarray, "K V C"]:
    """The place of every candidate by algorithm, parameters and number of clusters; -1 where there is none.

    The last algorithm is to stop: its place is A.

    >>> from jmeta.selection import portfolio
    >>> places = candidate_places(portfolio("seven", clusters=(2, 3)))
    >>> places.shape, int(places[-1].max()), int(np.sum(places >= 0))
    ((8, 1, 2), 13, 14)
    """
    kinds: dict[tuple[bool, str], list[Candidate]] = {}
    for one in candidates:
        variants = kinds.setdefault((one.device, one.algorithm), [])
        if one._replace(clusters=None) not in variants:
            variants.append(one._replace(clusters=None))
    algorithms = list(kinds)
    counts = sorted({one.clusters or 0 for one in candidates if one.told}) or [0]
    places = np.full((len(kinds) + 1, max(map(len, kinds.values())), len(counts)), -1)
    for at, one in enumerate(candidates):
        name = one.device, one.algorithm
        variant = kinds[name].index(one._replace(clusters=None))
        count = counts.index(one.clusters or 0) if one.told else 0
        places[algorithms.index(name), variant, count] = at
    places[-1, 0, 0] = len(candidates)
    return places


def clustering_search(
    candidates: Sequence[Candidate], sets: DataSets, *, budgets: Sequence[int] = tuple(range(1, 11))
) -> Environment:
    """The environment of searches on data sets.

    Args:
        candidates: A, that are chosen from.
        sets: `tabulated`, or `live`.
        budgets: that are drawn from.

    Raises:
        InputError: there is no candidate, they are not those of the data sets, or a budget is no count.

    >>> from jmeta.selection import portfolio
    >>> known = Searched(np.zeros((1, 2)), Attempt(np.zeros((1, 7, 3)), np.zeros((1, 7)),
    ...     np.ones((1, 7), bool), np.full((1, 7), 0.5)))
    >>> game = clustering_search(portfolio("seven"), tabulated(known), budgets=[2])
    >>> task = game.draw(jax.random.key(0))
    >>> state, _ = game.reset(task, jax.random.key(1))
    >>> after = game.step(task, state, jnp.array([3, 0, 0]), jax.random.key(2))
    >>> float(after.reward), int(after.state.left), bool(after.terminated)
    (0.5, 1, False)
    """
    if not candidates:
        raise InputError("there is no candidate to choose; give one or more.")
    if not budgets or min(budgets) < 1:
        raise InputError(f"budgets are {list(budgets)}; give whole numbers >= 1.")
    count, most = len(candidates), max(budgets)
    places, choices = jnp.asarray(candidate_places(candidates)), jnp.asarray(list(budgets))
    found, features, width = sets.sizes
    if found != count:
        raise InputError(f"the data sets are of {found} candidates, but {count} were given; use the same.")
    nothing = Attempt(jnp.zeros(width), jnp.zeros(()), jnp.bool_(False), jnp.zeros(()))

    def draw(key: Key[Array, ""]) -> Search:
        which, how_many = jax.random.split(key)
        return Search(sets.draw(which), jax.random.choice(how_many, choices))

    def observed(task: Search, now: Progress) -> Float[Array, " O"]:
        last, best = now.places < count
        clock = jnp.stack([now.left / most, task.budget / most])
        return jnp.concatenate(
            [sets.features(task.data), _seen(now.last, last), _seen(now.best, best), clock]
        )

    def reset(task: Search, key: Key[Array, ""]) -> tuple[Progress, Array]:
        none = jnp.full(2, count)
        start = Progress(jnp.zeros(count, bool), task.budget, none, nothing, nothing)
        return start, observed(task, start)

    def masks(task: Search, now: Progress) -> Masks:
        untried = jnp.append(~now.tried & (now.left > 0), now.places[0] < count)
        allowed = (places >= 0) & untried[places]
        return jnp.any(allowed, (1, 2)), jnp.any(allowed, 2), allowed

    def step(task: Search, now: Progress, action: Action, key: Key[Array, ""]) -> Transition:
        place = places[tuple(action)]
        stops = (place < 0) | (place >= count)
        tried = jnp.where(stops, count, place)
        found = lax.cond(stops, lambda: nothing, lambda: _like(nothing, sets.attempt(task.data, tried)))
        better = found.usable & (~now.best.usable | (found.quality > now.best.quality))
        best = optax.tree.where(better, found, now.best)
        after = Progress(
            now.tried | (jnp.arange(count) == tried),
            now.left - ~stops,
            jnp.stack([jnp.where(stops, now.places[0], tried), jnp.where(better, tried, now.places[1])]),
            optax.tree.where(stops, now.last, found),
            best,
        )
        over = stops | (after.left <= 0)
        reward = best.worth - now.best.worth
        return Transition(after, observed(task, after), reward, over, jnp.bool_(False), {})

    size = features + 2 * (width + 3) + 2
    return Environment(draw, reset, step, Space((size,), -np.inf, np.inf), places.shape, masks)


def tabulated(known: Searched, *, hidden: float = 0.0) -> DataSets:
    """Data sets all of whose candidates were run: an attempt is a look into a table.

    Args:
        known: P data sets.
        hidden: the share of meta-features, and of what is seen of partitions, that is hidden from a whole
            trial, so that an agent relies on none.

    Raises:
        InputError: there is no data set, or everything is hidden.
    """
    if not len(known.features):
        raise InputError("there is no data set to search on; give one or more.")
    if not 0 <= hidden < 1:
        raise InputError(f"a share of {hidden} is hidden; give a number in [0, 1).")
    stored = jax.tree.map(jnp.asarray, known)
    _, count, width = known.attempts.partition.shape

    def attempt(data: Searched, place: Int[Array, ""]) -> Attempt:
        return jax.tree.map(lambda leaf: leaf[place], data.attempts)

    def draw(key: Key[Array, ""]) -> Searched:
        row, features, partitions = jax.random.split(key, 3)
        data = drawn_row(stored, row)
        return data._replace(
            features=_hide(data.features, hidden, features),
            attempts=data.attempts._replace(partition=_hide(data.attempts.partition, hidden, partitions)),
        )

    return DataSets(
        draw,
        lambda data: data.features,
        attempt,
        (count, known.features.shape[-1], width),
    )


def drawn_row(stored: PyTree, key: Key[Array, ""]) -> PyTree:
    """One of several records that are stacked."""
    row = jax.random.randint(key, (), 0, count_tasks(stored))
    return jax.tree.map(lambda leaf: leaf[row], stored)


def _hide(x: Float[Array, "... F"], share: float, key: Key[Array, ""]) -> Float[Array, "... F"]:
    """The same with some of the F numbers set to zero."""
    return jnp.where(jax.random.bernoulli(key, 1 - share, x.shape[-1:]), x, 0)


def _like(other: Attempt, found: Attempt) -> Attempt:
    """The same numbers in the types of another."""
    return jax.tree.map(lambda x, y: jnp.asarray(y, x.dtype), other, found)


def _seen(one: Attempt, real: Bool[Array, ""]) -> Float[Array, " S"]:
    """What is seen of a candidate's partition, its judged quality, whether it failed, if there is one."""
    seen = jnp.where(one.usable, jnp.append(one.partition, one.quality), 0)
    return jnp.append(seen, jnp.stack([real & ~one.usable, real]).astype(seen.dtype))
