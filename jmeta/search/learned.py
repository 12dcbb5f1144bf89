"""Learned search: an agent chooses the next candidate to run from the outcomes of those before.

It plays the game that it was trained in, live, within a budget, and returns the partition with the best
predicted quality.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from ..errors import InputError
from ..metafeatures.quantiles import standardised
from ..networks import gru
from ..portfolio.candidates import Candidate
from ..portfolio.running import NOT_RUN, usable_or_failed
from ..portfolio.table import Table
from ..records import Recurrent
from ..rl.environment import Environment, Trial
from ..rl.policy import Agent, rl2
from ..rl.rollout import rollout
from ..selection.advisor import Advisor, rank_candidates
from .game import WITHOUT_REWARD, Attempt, Attempts, DataSets, Search, clustering_search
from .live import HostRunner, View, live, live_set
from .ranked import RUN_SHARE
from .result import SearchResult, search_result


class SearchPolicy(NamedTuple):
    """A trained agent, and how it sees.

    Attributes:
        view: how data sets and partitions are seen; its quality model names the candidates.
        params: of the agent's network.
        width: of its memory.
        max_candidates: the largest budget that it was trained with.
    """

    view: View
    params: PyTree
    width: int
    max_candidates: int

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The candidates that are chosen from."""
        return self.view.quality.candidates


def table_attempts(
    view: View,
    table: Table,
    features: Float[np.ndarray, "C M"],
    inputs: Float[np.ndarray, "C A F"],
    quality: Float[np.ndarray, "C A"],
) -> Attempts:
    """The attempts of every candidate on every instance of a table, for `tabulated`.

    Args:
        view: how they are seen.
        table: of candidates that were run.
        features: from `table_features`.
        inputs: from `table_single_inputs`.
        quality: predicted for each partition; in training, by models that were not trained on it.
    """
    model = view.quality.model
    usable = jnp.asarray(table.partitioned)
    attempts = Attempt(
        features=standardised(model.quantiles, model.varies, jnp.asarray(inputs, jnp.float32)),
        quality=jnp.where(usable, jnp.asarray(quality, jnp.float32), 0),
        usable=usable,
        score=jnp.where(usable, jnp.asarray(table.scores, jnp.float32), 0),
    )
    known = standardised(view.quantiles, view.varies, jnp.asarray(features, jnp.float32))
    return Attempts(known, attempts)


def search_game(
    candidates: tuple[Candidate, ...],
    sets: DataSets,
    max_candidates: int,
    width: int,
    network: Callable[..., Recurrent] = gru,
) -> tuple[Environment, Agent]:
    """The environment with budgets up to `max_candidates`, and an agent with a memory of `width` for it."""
    game = clustering_search(candidates, sets, budgets=range(1, max_candidates + 1))
    return game, rl2(game, partial(network, width=width), sees=WITHOUT_REWARD)


class LearnedSearch:
    """Runs a trained agent on one table after the other; compiled programs serve tables of similar size.

    Args:
        policy: that was trained.

    Raises:
        InputError: the policy was trained with other inputs, as by another version, or a candidate runs on
            the device, where it cannot be stopped after a time limit.
    """

    def __init__(self, policy: SearchPolicy) -> None:
        if on_device := [candidate.name for candidate in policy.candidates if candidate.device]:
            raise InputError(
                f"{on_device[0]} runs on the device and cannot be stopped; search with host candidates."
            )
        self.policy, self._lock, self._runner = policy, threading.Lock(), HostRunner(policy.candidates)
        sets = live(policy.candidates, policy.view, run=self._runner)
        game, agent = search_game(policy.candidates, sets, policy.max_candidates, policy.width)
        expected = jax.eval_shape(agent.network.init, jax.random.key(0))
        if jax.tree.map(jnp.shape, expected) != jax.tree.map(jnp.shape, policy.params):
            raise InputError("this search was trained with other inputs; use the version that trained it.")
        play = partial(rollout, agent, game, steps=policy.max_candidates + 1, episodes=1, greedy=True)
        self._play: Any = jax.jit(play)
        self._programs: dict[tuple, Any] = {}

    def __call__(
        self,
        advisor: Advisor,
        points: Float[np.ndarray, "N D"],
        *,
        seconds: float = 60.0,
        max_candidates: int | None = None,
        seed: int = 0,
        progress: Callable[[int, int, Candidate], None] = lambda done, total, candidate: None,
    ) -> SearchResult:
        """The result of running candidates one after the other, each chosen by the agent.

        Args:
            advisor: of the same candidates; its meta-features describe the table.
            points: [N, D].
            seconds: for the candidates, without compilation; after that no candidate is run.
            max_candidates: the largest number of candidates that are run; at most that of the policy.
            seed: all randomness follows from it.
            progress: called after each run with the number done, the largest possible, and the candidate.

        Raises:
            InputError: the advisor is of other candidates.
        """
        policy, candidates = self.policy, self.policy.candidates
        budget = min(max_candidates or policy.max_candidates, policy.max_candidates)
        if advisor.candidates != candidates:
            raise InputError("the search and the advisor are of other candidates; train both with the same.")
        ranking = rank_candidates(advisor, points, seed=seed)
        data = live_set(policy.view, points, features=ranking.features, seed=seed)
        trial = Trial(Search(data, jnp.asarray(budget)), jax.random.key(seed))
        with self._lock:
            program = self._compiled(trial)
            self._runner.begin(RUN_SHARE * seconds, lambda done, candidate: progress(done, budget, candidate))
            jax.block_until_ready(program(policy.params, trial))
            done = self._runner.end()
        outcomes = [usable_or_failed(done.get(place, NOT_RUN)) for place in range(len(candidates))]
        return search_result(advisor, policy.view.quality, points, outcomes, ranking, seed=seed)

    def _compiled(self, trial: Trial) -> Any:
        """The program for a table of this shape, which is compiled before any clock runs."""
        shape = trial.task.data.points.shape, trial.task.data.landmarks.shape
        if shape not in self._programs:
            self._programs[shape] = self._play.lower(self.policy.params, trial).compile()
        return self._programs[shape]
