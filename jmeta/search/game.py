"""The search for a clustering as a reinforcement learning environment.

A trial is one data set; a step tries one candidate or stops. An action names an algorithm, its parameters and
a number of clusters; or it stops, and returns the best partition so far. Which partition is best is predicted
without labels. The reward is the increase of the adjusted Rand index of the best partition. It is for
training
only: an agent must not see it (`sees` without "reward"), as it is zero where there are no reference labels.

Candidates are looked up in a table that was computed once (`tabulated`), or run when they are tried (`live`).
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

from ..errors import InputError
from ..portfolio.candidates import Candidate
from ..rl.actions import Masks
from ..rl.environment import Action, Environment, Space, Transition
from ..rl.policy import SEES
from ..sharding.meshes import count_tasks

WITHOUT_REWARD = tuple(part for part in SEES if part != "reward")
"""What an agent may see of a search: everything but the reward, which is made of reference labels."""


class Attempt(NamedTuple):
    """The outcome of one candidate, as an agent and the reward see it.

    Attributes:
        features: [F] standardised inputs that describe its partition.
        quality: predicted adjusted Rand index.
        usable: whether the candidate did not fail.
        score: true adjusted Rand index, from which rewards are computed; zero without reference labels.
    """

    features: Float[Array, " F"]
    quality: Float[Array, ""]
    usable: Bool[Array, ""]
    score: Float[Array, ""]


class DataSets(NamedTuple):
    """Data sets, and how candidates are tried on them.

    Attributes:
        draw: `key -> data`, one data set.
        features: `data -> [M]`, its standardised meta-features.
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


class Attempts(NamedTuple):
    """A data set all of whose candidates were run; or P of them, with a leading axis.

    Attributes:
        features: [M] standardised meta-features.
        attempts: of each of the A candidates.
    """

    features: Float[Array, " M"]
    attempts: Attempt


class Progress(NamedTuple):
    """The state of a search.

    Attributes:
        tried: [A] which candidates were tried.
        left: how many may still be tried.
        places: [2] of the last candidate and of the best one; A where there is none.
        last: the attempt of the last candidate.
        best: the attempt of the best one.
    """

    tried: Bool[Array, " A"]
    left: Int[Array, ""]
    places: Int[Array, " 2"]
    last: Attempt
    best: Attempt


def candidate_places(candidates: Sequence[Candidate]) -> Int[np.ndarray, "K V C"]:
    """The place of every candidate by algorithm, parameters and number of clusters; -1 where there is none.

    The last algorithm is to stop; its place is A.

    >>> from jmeta.portfolio import portfolio
    >>> places = candidate_places(portfolio("seven", clusters=(2, 3)))
    >>> places.shape, int(places[-1].max()), int(np.sum(places >= 0))
    ((8, 1, 2), 13, 14)
    """
    variants: dict[tuple[bool, str], list[Candidate]] = {}
    for one in candidates:
        methods = variants.setdefault((one.device, one.algorithm), [])
        if one._replace(clusters=None) not in methods:
            methods.append(one._replace(clusters=None))
    algorithms = list(variants)
    counts = sorted({one.clusters or 0 for one in candidates if one.needs_clusters}) or [0]
    places = np.full((len(variants) + 1, max(map(len, variants.values())), len(counts)), -1)
    for place, one in enumerate(candidates):
        name = one.device, one.algorithm
        variant = variants[name].index(one._replace(clusters=None))
        count = counts.index(one.clusters or 0) if one.needs_clusters else 0
        places[algorithms.index(name), variant, count] = place
    places[-1, 0, 0] = len(candidates)
    return places


def clustering_search(
    candidates: Sequence[Candidate], sets: DataSets, *, budgets: Sequence[int] = tuple(range(1, 11))
) -> Environment:
    """The environment of searches on data sets.

    Args:
        candidates: A that are chosen from.
        sets: `tabulated` or `live`.
        budgets: from which the number of candidates that may be tried is drawn.

    Raises:
        InputError: there is no candidate, the data sets are of other candidates, or a budget is below one.

    >>> from jmeta.portfolio import portfolio
    >>> known = Attempts(np.zeros((1, 2)), Attempt(np.zeros((1, 7, 3)), np.zeros((1, 7)),
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
    count, largest = len(candidates), max(budgets)
    places, choices = jnp.asarray(candidate_places(candidates)), jnp.asarray(list(budgets))
    found, features, width = sets.sizes
    if found != count:
        raise InputError(f"the data sets are of {found} candidates, but {count} were given; use the same.")
    nothing = Attempt(jnp.zeros(width), jnp.zeros(()), jnp.bool_(False), jnp.zeros(()))

    def draw(key: Key[Array, ""]) -> Search:
        data_key, budget_key = jax.random.split(key)
        return Search(sets.draw(data_key), jax.random.choice(budget_key, choices))

    def observed(task: Search, now: Progress) -> Float[Array, " O"]:
        last, best = now.places < count
        clock = jnp.stack([now.left / largest, task.budget / largest])
        return jnp.concatenate(
            [sets.features(task.data), _observed(now.last, last), _observed(now.best, best), clock]
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
        attempt = lax.cond(
            stops, lambda: nothing, lambda: _with_types_of(nothing, sets.attempt(task.data, tried))
        )
        better = attempt.usable & (~now.best.usable | (attempt.quality > now.best.quality))
        best = optax.tree.where(better, attempt, now.best)
        last_place = jnp.where(stops, now.places[0], tried)
        after = Progress(
            tried=now.tried | (jnp.arange(count) == tried),
            left=now.left - ~stops,
            places=jnp.stack([last_place, jnp.where(better, tried, now.places[1])]),
            last=optax.tree.where(stops, now.last, attempt),
            best=best,
        )
        over = stops | (after.left <= 0)
        reward = best.score - now.best.score
        return Transition(after, observed(task, after), reward, over, jnp.bool_(False), {})

    size = features + 2 * (width + 3) + 2
    return Environment(draw, reset, step, Space((size,), -np.inf, np.inf), places.shape, masks)


def tabulated(known: Attempts, *, dropout: float = 0.0) -> DataSets:
    """Data sets all of whose candidates were run: an attempt is looked up.

    Args:
        known: P data sets.
        dropout: the share of meta-features, and of the features of partitions, that is set to zero for a
            whole trial, so that an agent relies on none.

    Raises:
        InputError: there is no data set, or `dropout` is not in [0, 1).
    """
    if not len(known.features):
        raise InputError("there is no data set to search on; give one or more.")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout is {dropout}; give a number in [0, 1).")
    stored = jax.tree.map(jnp.asarray, known)
    _, count, width = known.attempts.features.shape

    def attempt(data: Attempts, place: Int[Array, ""]) -> Attempt:
        return jax.tree.map(lambda leaf: leaf[place], data.attempts)

    def draw(key: Key[Array, ""]) -> Attempts:
        row_key, meta_key, partition_key = jax.random.split(key, 3)
        data = draw_row(stored, row_key)
        features = _drop(data.attempts.features, dropout, partition_key)
        return Attempts(_drop(data.features, dropout, meta_key), data.attempts._replace(features=features))

    return DataSets(
        draw,
        lambda data: data.features,
        attempt,
        (count, known.features.shape[-1], width),
    )


def draw_row(stored: PyTree, key: Key[Array, ""]) -> PyTree:
    """One of several stacked records, drawn at random."""
    row = jax.random.randint(key, (), 0, count_tasks(stored))
    return jax.tree.map(lambda leaf: leaf[row], stored)


def _drop(x: Float[Array, "... F"], share: float, key: Key[Array, ""]) -> Float[Array, "... F"]:
    """`x` with a random share of the F features set to zero."""
    return jnp.where(jax.random.bernoulli(key, 1 - share, x.shape[-1:]), x, 0)


def _with_types_of(other: Attempt, found: Attempt) -> Attempt:
    """`found` with the types of `other`."""
    return jax.tree.map(lambda x, y: jnp.asarray(y, x.dtype), other, found)


def _observed(attempt: Attempt, exists: Bool[Array, ""]) -> Float[Array, " S"]:
    """What an agent sees of an attempt: features, predicted quality, whether it failed, whether it exists."""
    shown = jnp.where(attempt.usable, jnp.append(attempt.features, attempt.quality), 0)
    return jnp.append(shown, jnp.stack([exists & ~attempt.usable, exists]).astype(shown.dtype))
