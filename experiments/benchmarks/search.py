"""Steps per second of the search for a clustering: from a table, live, and as a loop over scikit-learn.

    python -m experiments.benchmarks.search --out FILE       # about two minutes on two cores
    python -m experiments.benchmarks.search --quick          # seconds

A step chooses any candidate that is still allowed, runs it or looks it up, describes the partition, judges it
and pays for it; trials have ten at most, and those played are counted. "table" plays many trials at once;
"live, device" runs jmeta's own algorithms inside `jit`, one trial alone; "live, host" scikit-learn's, by
callback, in a process that can be killed. The loop is scikit-learn's in this process: fit, silhouette,
adjusted Rand index. It is timed on algorithms of the same names, turn by turn with each of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score, silhouette_score

import jmeta as jm
from jmeta.metafeatures.partitions import NAMES
from jmeta.portfolio.candidates import Candidate, candidate
from jmeta.portfolio.running import candidate_labels
from jmeta.records import Recurrent
from jmeta.rl.environment import Environment, Trial
from jmeta.search.game import Attempt, Attempts, DataSets, Search, clustering_search, tabulated
from jmeta.search.live import View, live, live_set
from jmeta.selection.examples import Examples, Settings
from jmeta.selection.scoring import fit_scoring_model
from jmeta.selection.selector import problem_features
from jmeta.selection.single_quality import SingleQuality

from . import record
from .timing import compiled, race

NAMED = ("kmeans", "gaussian_mixture", "ward", "average")
COUNTS = (2, 3, 4)
STEPS = 10


def main(options: record.Options) -> None:
    """Time each back end beside the loop, print and write."""
    machine = record.machine({"scikit-learn": "scikit-learn"}, record.begin(options.quick, options.repeats))
    points, trials = (60, 64) if options.quick else (300, 8192)
    steps = 3 if options.quick else STEPS
    x, labels = make_blobs(points, centers=3, n_features=4, random_state=0)
    table = Table("back end", "trials", "steps/s", "loop, steps/s", "ratio", title=f"{points} x 4 points")
    rows = []
    for name, device in (("table", False), ("live, device", True), ("live, host", False)):
        candidates = portfolio_of(device)
        view = _view(candidates, x)
        count = trials if name == "table" else 1
        if name == "table":
            sets, data = tabulated(_known(len(candidates), view)), None
        else:
            sets, data = live(candidates, view), live_set(view, x, labels)
        ours = _played(candidates, sets, data, count, steps)
        loop = partial(_loop, portfolio_of(False), x, labels, steps)
        found = race(ours, loop, 1 if options.quick else options.repeats)
        taken = float(np.sum(ours()))
        rate, other = taken / found.ours, steps / found.theirs
        row = {"back_end": name, "trials": count, "points": points, "steps": steps, "note": ""}
        row |= {"ours_per_s": rate, "theirs_per_s": other, "ratio": found.ratio * taken / steps}
        rows.append(row | machine)
        text, style = record.verdict(row)
        table.add_row(name, str(count), f"{rate:,.0f}", f"{other:,.1f}", text, style=style)
    Console().print(table)
    record.write(rows, options.out)


def portfolio_of(device: bool) -> tuple[Candidate, ...]:
    """Four algorithms of two to four clusters."""
    return tuple(
        candidate(name, device=device)._replace(clusters=count) for name in NAMED for count in COUNTS
    )


def _view(candidates: tuple[Candidate, ...], x: np.ndarray) -> View:
    """How partitions are seen; the quality model is hardly trained, which makes it no faster."""
    features, width = problem_features([x]), len(NAMES) + 2 + len(NAMED)
    random = np.random.default_rng(0)
    inputs, groups = random.normal(size=(8, 1, width)).astype(np.float32), np.arange(8) % 2
    examples = Examples(inputs, random.random((8, 1)), np.ones(8), groups, np.arange(8))
    model = fit_scoring_model(examples, jax.random.key(0), settings=Settings(steps=1, absolute=True))
    quantiles = np.concatenate([features - 1, features + 1])
    return View(SingleQuality(model, candidates), quantiles, np.ones(features.shape[1], bool))


def _known(count: int, view: View) -> Attempts:
    """A table of 64 data sets."""
    random, sets = np.random.default_rng(0), 64
    shapes = (sets, len(view.varies)), (sets, count, len(view.quality.model.varies))
    features, partitions = (random.normal(size=shape).astype(np.float32) for shape in shapes)
    quality, worths = random.random((2, sets, count)).astype(np.float32)
    every = (features, partitions, quality, np.ones((sets, count), bool), worths)
    first, *rest = map(jnp.asarray, every)
    return Attempts(first, Attempt(*rest))


def _anyhow(game: Environment) -> jm.rl.Agent:
    """An agent that takes any allowed choice."""

    def anything(inputs: int, outputs: int) -> Recurrent:
        return Recurrent(
            lambda key: (),
            lambda params: (),
            lambda params, hidden, seen: ((), jnp.zeros(outputs)),
            lambda params, seen, resets: jnp.zeros((len(seen), outputs)),
        )

    return jm.rl.rl2(game, anything)


def _played(
    candidates: tuple[Candidate, ...], sets: DataSets, data: Any, trials: int, steps: int
) -> Callable[[], Any]:
    """A call that plays trials to their end; which candidates are tried differs from trial to trial."""
    game = clustering_search(candidates, sets, budgets=[steps])
    agent = _anyhow(game)

    def one(key: jax.Array) -> jax.Array:
        task = game.draw(key) if data is None else Search(data, jnp.asarray(steps))
        return jm.rl.rollout(agent, game, (), Trial(task, key), steps=steps, episodes=1).counts

    if trials == 1:
        return partial(compiled(one, jax.random.key(0)).call, jax.random.key(0))
    keys = jax.random.split(jax.random.key(0), trials)
    return partial(compiled(jm.over_tasks(one), keys).call, keys)


def _loop(candidates: tuple[Candidate, ...], x: np.ndarray, labels: np.ndarray, steps: int) -> float:
    """Any candidates, one after the other: the index of the one of the best silhouette."""
    best = (-2.0, 0.0)
    for at in np.random.default_rng(0).permutation(len(candidates))[:steps]:
        found = candidate_labels(candidates[at], x, None, 0)
        best = max(best, (silhouette_score(x, found), adjusted_rand_score(labels, found)))
    return best[1]


if __name__ == "__main__":
    main(tyro.cli(record.Options, description=__doc__))
