"""Searching for a clustering as a game: a trial is one data set, a step tries one candidate or stops.

An action names an algorithm, then its parameters, then a number of clusters; or it stops, and commits to
the best partition so far. What is best is judged without labels, by what can be seen of each partition. The
reward is by how much the adjusted Rand index of what is committed to has grown. Training learns from it,
but an agent must not see it (`sees` without "reward"): at test there are no answers, and it is zero.

What candidates find is a table, computed once, so that a step is a few look-ups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from ..batching import count_tasks
from ..records import InputError
from ..selection.portfolio import Candidate
from .environment import Action, Environment, Space, Transition
from .policy import Masks

FARTHEST = 3.0
"""Deviations beyond which what is seen is cut off."""


class Searched(NamedTuple):
    """One data set, as far as a search may look at it.

    Attributes:
        features: [M] meta-features, at unit scale.
        partitions: [A, F] what can be seen of the partition of every candidate, at unit scale.
        quality: [A] how good each is judged to be, without labels.
        usable: [A] whether the candidate finds something.
        worths: [A] the true index, that rewards are made of; zero where there are no answers.
        budget: how many candidates may be tried.
    """

    features: Float[Array, " M"]
    partitions: Float[Array, "A F"]
    quality: Float[Array, " A"]
    usable: Bool[Array, " A"]
    worths: Float[Array, " A"]
    budget: Int[Array, ""]


class Progress(NamedTuple):
    """How far a search is.

    Attributes:
        tried: [A] which candidates were tried.
        last: the place of the last one; A before the first.
        best: the place of the one that is committed to; A before the first.
        left: how many may still be tried.
    """

    tried: Bool[Array, " A"]
    last: Int[Array, ""]
    best: Int[Array, ""]
    left: Int[Array, ""]


def candidate_places(candidates: Sequence[Candidate]) -> Int[np.ndarray, "K V C"]:
    """The place of every candidate by algorithm, parameters and number of clusters; -1 where there is none.

    The last algorithm is to stop: its place is A.

    >>> from jmeta.selection import portfolio
    >>> places = candidate_places(portfolio("seven", clusters=(2, 3)))
    >>> places.shape, int(places[-1].max()), int(np.sum(places >= 0))
    ((8, 1, 2), 13, 14)
    """
    algorithms = list(dict.fromkeys(one.algorithm for one in candidates))
    kinds: dict[str, list[Candidate]] = {name: [] for name in algorithms}
    for one in candidates:
        kind = one._replace(clusters=None)
        if kind not in kinds[one.algorithm]:
            kinds[one.algorithm].append(kind)
    counts = sorted({one.clusters or 0 for one in candidates if one.told}) or [0]
    widest = max(map(len, kinds.values()))
    places = np.full((len(algorithms) + 1, widest, len(counts)), -1)
    for at, one in enumerate(candidates):
        variant = kinds[one.algorithm].index(one._replace(clusters=None))
        count = counts.index(one.clusters or 0) if one.told else 0
        places[algorithms.index(one.algorithm), variant, count] = at
    places[-1, 0, 0] = len(candidates)
    return places


def clustering_search(
    candidates: Sequence[Candidate], known: Searched, *, budgets: Sequence[int] = tuple(range(1, 11))
) -> Environment:
    """The environment of searches on data sets of which a table is known.

    Args:
        candidates: A, that are chosen from.
        known: P data sets to draw from; their own budgets are not looked at.
        budgets: that are drawn from.

    Raises:
        InputError: there is no data set, a budget is no count, or the table is of another number of
            candidates.

    >>> from jmeta.selection import portfolio
    >>> sets = Searched(*(np.zeros(shape) for shape in ((1, 2), (1, 7, 3), (1, 7))), np.ones((1, 7), bool),
    ...     np.full((1, 7), 0.5), np.ones(1, int))
    >>> game = clustering_search(portfolio("seven"), sets, budgets=[2])
    >>> task = game.draw(jax.random.key(0))
    >>> state, _ = game.reset(task, jax.random.key(1))
    >>> after = game.step(task, state, jnp.array([3, 0, 0]), jax.random.key(2))
    >>> float(after.reward), int(after.state.left), bool(after.terminated)
    (0.5, 1, False)
    """
    _check(candidates, known, budgets)
    count, most = len(candidates), max(budgets)
    places = jnp.asarray(candidate_places(candidates))
    stored, choices = jax.tree.map(jnp.asarray, known), jnp.asarray(list(budgets))

    def draw(key: Key[Array, ""]) -> Searched:
        which, how_many = jax.random.split(key)
        row = jax.random.randint(which, (), 0, count_tasks(known))
        return jax.tree.map(lambda leaf: leaf[row], stored)._replace(
            budget=jax.random.choice(how_many, choices)
        )

    def observed(task: Searched, now: Progress) -> Float[Array, " O"]:
        return jnp.concatenate(
            [
                task.features,
                *(_seen(task, place) for place in (now.last, now.best)),
                jnp.stack([now.left / most, task.budget / most]),
            ]
        )

    def reset(task: Searched, key: Key[Array, ""]) -> tuple[Progress, Array]:
        none = jnp.asarray(count)
        start = Progress(jnp.zeros(count, bool), none, none, task.budget)
        return start, observed(task, start)

    def masks(task: Searched, now: Progress) -> Masks:
        untried = jnp.append(~now.tried & (now.left > 0), now.last < count)
        allowed = (places >= 0) & untried[places]
        return jnp.any(allowed, (1, 2)), jnp.any(allowed, 2), allowed

    def step(task: Searched, now: Progress, action: Action, key: Key[Array, ""]) -> Transition:
        place = places[tuple(action)]
        stops = (place < 0) | (place >= count)
        tried = jnp.where(stops, count, place)
        after = Progress(
            now.tried | (jnp.arange(count) == tried),
            jnp.where(stops, now.last, tried),
            jnp.where(_quality(task, tried) > _quality(task, now.best), tried, now.best),
            now.left - ~stops,
        )
        worth = _worth(task, after.best)
        over = stops | (after.left <= 0)
        reward = worth - _worth(task, now.best)
        return Transition(after, observed(task, after), reward, over, jnp.bool_(False), {})

    size = stored.features.shape[1] + 2 * (stored.partitions.shape[2] + 3) + 2
    return Environment(draw, reset, step, Space((size,), -np.inf, np.inf), places.shape, masks)


def _seen(task: Searched, place: Int[Array, ""]) -> Float[Array, " S"]:
    """What is seen of a candidate's partition, its judged quality, whether it failed, if it is one."""
    real = place < len(task.usable)
    at = jnp.minimum(place, len(task.usable) - 1)
    found = real & task.usable[at]
    seen = jnp.append(jnp.clip(task.partitions[at], -FARTHEST, FARTHEST), task.quality[at])
    return jnp.append(jnp.where(found, seen, 0), jnp.stack([real & ~found, real]).astype(seen.dtype))


def _quality(task: Searched, place: Int[Array, ""]) -> Float[Array, ""]:
    """As it is judged; -inf where there is no partition."""
    at = jnp.minimum(place, len(task.usable) - 1)
    return jnp.where((place < len(task.usable)) & task.usable[at], task.quality[at], -jnp.inf)


def _worth(task: Searched, place: Int[Array, ""]) -> Float[Array, ""]:
    return jnp.where(place < len(task.worths), task.worths[jnp.minimum(place, len(task.worths) - 1)], 0)


def _check(candidates: Sequence[Candidate], known: Searched, budgets: Sequence[int]) -> None:
    sets, found = np.shape(known.quality)
    if not sets:
        raise InputError("there is no data set to search on; give one or more.")
    if found != len(candidates):
        raise InputError(
            f"the table is of {found} candidates, but {len(candidates)} were given; use the same."
        )
    if not budgets or min(budgets) < 1:
        raise InputError(f"budgets are {list(budgets)}; give whole numbers >= 1.")
