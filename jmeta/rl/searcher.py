"""A trained search: which candidate to run next, after having seen what those before found.

It plays the game that it was trained in, live, within a budget, and commits to what its judge prefers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PyTree

from ..networks import gru
from ..records import InputError, Recurrent
from ..selection.advisor import Advisor, Judgement, order
from ..selection.criterion import look
from ..selection.judge import judge_alone
from ..selection.portfolio import Candidate
from ..selection.quantiles import standardised
from ..selection.search import SHARE, Found, judged_search
from ..selection.table import NOT_RUN, Table, parted_or_failed
from .clustering import UNPAID, Attempt, DataSets, Search, Searched, clustering_search
from .environment import Environment, Trial
from .live import HostRuns, Sight, live, live_set
from .policy import Agent, rl2
from .rollout import rollout


class Searcher(NamedTuple):
    """What was learned.

    Attributes:
        candidates: A, that are chosen from.
        sight: how they are seen.
        params: of the agent.
        memory: its width.
        most: candidates that it may run at most.
        spread: half-width of the judge's intervals in units of its networks' deviation.
    """

    candidates: tuple[Candidate, ...]
    sight: Sight
    params: PyTree
    memory: int
    most: int
    spread: float


def packed_searcher(searcher: Searcher) -> dict[str, Any]:
    """A searcher as `save_model` takes it; the part "search" of a model."""
    return searcher._asdict() | {"sight": searcher.sight._asdict()}


def unpacked_searcher(packed: dict[str, Any]) -> Searcher:
    """A searcher from the part "search" of a model."""
    return Searcher(**packed | {"sight": Sight(**packed["sight"])})


def searched(
    sight: Sight,
    table: Table,
    features: Float[np.ndarray, "C M"],
    partitions: Float[np.ndarray, "C A F"],
    quality: Float[np.ndarray, "C A"],
) -> Searched:
    """What a search may see of a table, and what it is paid.

    Args:
        sight: how it is seen.
        table: of candidates that were run.
        features: from `table_inputs`.
        partitions: from `table_partitions`.
        quality: how good each partition is judged to be; in training, by judges who did not learn from it.
    """
    seen = standardised(sight.judge.scale, sight.judge.varies, jnp.asarray(partitions, jnp.float32))
    parted = jnp.asarray(table.parted)
    worths = jnp.where(parted, jnp.asarray(table.scores, jnp.float32), 0)
    told = jnp.where(parted, jnp.asarray(quality, jnp.float32), 0)
    known = standardised(sight.quantiles, sight.varies, jnp.asarray(features, jnp.float32))
    return Searched(known, Attempt(seen, told, parted, worths))


def search_game(
    candidates: tuple[Candidate, ...],
    sets: DataSets,
    most: int,
    memory: int,
    network: Callable[..., Recurrent] = gru,
) -> tuple[Environment, Agent]:
    """The game of budgets up to `most`, and an agent with a memory of some width for it."""
    game = clustering_search(candidates, sets, budgets=range(1, most + 1))
    return game, rl2(game, partial(network, width=memory), sees=UNPAID)


class LearnedSearch:
    """A searcher that is ready to search, one table after the other; its programs serve tables of like size.

    Args:
        searcher: that was trained.

    Raises:
        InputError: it was trained for other inputs, as those of another version, or a candidate is of the
            device, where none can be stopped.
    """

    def __init__(self, searcher: Searcher) -> None:
        if own := [one.name for one in searcher.candidates if one.device]:
            raise InputError(
                f"{own[0]} cannot be stopped when time is over; search with candidates of the host."
            )
        self.searcher, self._lock, self._runs = searcher, threading.Lock(), HostRuns(searcher.candidates)
        sets = live(searcher.candidates, searcher.sight, run=self._runs)
        game, agent = search_game(searcher.candidates, sets, searcher.most, searcher.memory)
        expected = jax.eval_shape(agent.network.init, jax.random.key(0))
        if jax.tree.map(jnp.shape, expected) != jax.tree.map(jnp.shape, searcher.params):
            raise InputError(
                "this search was trained for other inputs; use the version of jmeta it comes from."
            )
        play = partial(rollout, agent, game, steps=searcher.most + 1, episodes=1, greedy=True)
        self._play: Any = jax.jit(play)
        self._programs: dict[tuple, Any] = {}

    def __call__(
        self,
        advisor: Advisor,
        points: Float[np.ndarray, "N D"],
        *,
        seconds: float = 60.0,
        most: int | None = None,
        seed: int = 0,
        progress: Callable[[int, int, Candidate], None] = lambda done, count, one: None,
    ) -> Found:
        """Run candidates one after the other, each chosen by what those before found, and judge them.

        Args:
            advisor: who describes the table, of the same candidates.
            points: [N, D].
            seconds: for the candidates, compilation left out; once they are over nothing more is run.
            most: candidates that are run at most; no more than the searcher was trained with.
            seed: everything random follows from it.
            progress: is told after each run: how many are done, how many there may be, and which it was.

        Raises:
            InputError: the advisor is of other candidates.
        """
        candidates, budget = self.searcher.candidates, min(most or self.searcher.most, self.searcher.most)
        if advisor.candidates != candidates:
            raise InputError("the search and the advisor are of other candidates; train both with the same.")
        promise = order(advisor, points, seed=seed)
        data = live_set(self.searcher.sight, points, features=promise.features, seed=seed)
        trial = Trial(Search(data, jnp.asarray(budget)), jax.random.key(seed))
        with self._lock:
            program = self._compiled(trial)
            self._runs.begin(SHARE * seconds, lambda done, one: progress(done, budget, one))
            jax.block_until_ready(program(self.searcher.params, trial))
            done = self._runs.ended()
        outcomes = [parted_or_failed(done.get(at, NOT_RUN)) for at in range(len(candidates))]
        judging = partial(self._judged, points, seed)
        judge = self.searcher.sight.judge
        return judged_search(advisor, points, outcomes, promise, judging, judge=judge, seed=seed)

    def _judged(
        self, points: Float[np.ndarray, "N D"], seed: int, partitions: list[Int[np.ndarray, " N"] | None]
    ) -> Judgement:
        usable = np.array([labels is not None for labels in partitions])
        seen = look(points, partitions, seed=seed)
        return judge_alone(
            self.searcher.sight.judge, self.searcher.spread, seen, self.searcher.candidates, usable
        )

    def _compiled(self, trial: Trial) -> Any:
        """The program of a search on such a table; no clock counts its making."""
        shape = trial.task.data.points.shape, trial.task.data.marks.shape
        if shape not in self._programs:
            self._programs[shape] = self._play.lower(self.searcher.params, trial).compile()
        return self._programs[shape]
