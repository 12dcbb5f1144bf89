"""Measures steps per second of the search for a clustering: from a table, live, and in a scikit-learn loop.

    python -m experiments.benchmarks.search --out FILE       # about two minutes on two cores
    python -m experiments.benchmarks.search --quick          # seconds

A step chooses a random allowed candidate, runs it or looks it up, describes the partition, predicts its
quality and computes the reward; trials have at most ten steps, and only the steps taken are counted. "table"
plays many trials at once; "live, device" runs jmeta's own algorithms inside `jit`, one trial at a time;
"live, host" runs scikit-learn's by callback, in a process that can be killed. The loop runs scikit-learn in
this process: fit, silhouette, adjusted Rand index. It uses algorithms of the same names, and is timed
alternately with each of ours.
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

ALGORITHMS = ("kmeans", "gaussian_mixture", "ward", "average")
"""Algorithms of the portfolio."""
COUNTS = (2, 3, 4)
"""Numbers of clusters of the portfolio."""
STEPS = 10
"""Largest number of steps of a trial."""


def main(options: record.Options) -> None:
    """Runs the benchmark, prints its table and writes its rows."""
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
            sets, data = tabulated(_random_attempts(len(candidates), view)), None
        else:
            sets, data = live(candidates, view), live_set(view, x, labels)
        ours = _play(candidates, sets, data, count, steps)
        loop = partial(_loop, portfolio_of(False), x, labels, steps)
        result = race(ours, loop, 1 if options.quick else options.repeats)
        taken = float(np.sum(ours()))
        rate = taken / result.ours
        other = steps / result.theirs
        row = {"back_end": name, "trials": count, "points": points, "steps": steps, "note": ""}
        row |= {"ours_per_s": rate, "theirs_per_s": other, "ratio": result.ratio * taken / steps}
        rows.append(row | machine)
        text, style = record.verdict(row)
        table.add_row(name, str(count), f"{rate:,.0f}", f"{other:,.1f}", text, style=style)
    Console().print(table)
    record.write(rows, options.out)


def portfolio_of(device: bool) -> tuple[Candidate, ...]:
    """Four algorithms with two to four clusters, on the device or on the host."""
    return tuple(
        candidate(name, device=device)._replace(clusters=count) for name in ALGORITHMS for count in COUNTS
    )


def _view(candidates: tuple[Candidate, ...], x: np.ndarray) -> View:
    """The view of a search; its quality model is trained for one step, which does not affect its speed."""
    features = problem_features([x])
    width = len(NAMES) + 2 + len(ALGORITHMS)
    random = np.random.default_rng(0)
    examples = Examples(
        inputs=random.normal(size=(8, 1, width)).astype(np.float32),
        scores=random.random((8, 1)),
        weights=np.ones(8),
        groups=np.arange(8) % 2,
        problems=np.arange(8),
    )
    model = fit_scoring_model(examples, jax.random.key(0), settings=Settings(steps=1, absolute=True))
    quantiles = np.concatenate([features - 1, features + 1])
    return View(SingleQuality(model, candidates), quantiles, np.ones(features.shape[1], bool))


def _random_attempts(count: int, view: View) -> Attempts:
    """A table of random attempts on 64 data sets."""
    random = np.random.default_rng(0)
    sets = 64
    shapes = (sets, len(view.varies)), (sets, count, len(view.quality.model.varies))
    problems, partitions = (random.normal(size=shape).astype(np.float32) for shape in shapes)
    quality, scores = random.random((2, sets, count)).astype(np.float32)
    attempts = Attempt(
        features=jnp.asarray(partitions),
        quality=jnp.asarray(quality),
        usable=jnp.ones((sets, count), bool),
        score=jnp.asarray(scores),
    )
    return Attempts(jnp.asarray(problems), attempts)


def _random_agent(game: Environment) -> jm.rl.Agent:
    """An agent whose allowed choices are equally likely."""

    def network(inputs: int, outputs: int) -> Recurrent:
        return Recurrent(
            lambda key: (),
            lambda params: (),
            lambda params, hidden, x: ((), jnp.zeros(outputs)),
            lambda params, x, resets: jnp.zeros((len(x), outputs)),
        )

    return jm.rl.rl2(game, network)


def _play(
    candidates: tuple[Candidate, ...], sets: DataSets, data: Any, trials: int, steps: int
) -> Callable[[], Any]:
    """A call that plays trials to their end, each with other random candidates, and counts their steps."""
    game = clustering_search(candidates, sets, budgets=[steps])
    agent = _random_agent(game)

    def play(key: jax.Array) -> jax.Array:
        task = game.draw(key) if data is None else Search(data, jnp.asarray(steps))
        return jm.rl.rollout(agent, game, (), Trial(task, key), steps=steps, episodes=1).counts

    if trials == 1:
        return partial(compiled(play, jax.random.key(0)).call, jax.random.key(0))
    keys = jax.random.split(jax.random.key(0), trials)
    return partial(compiled(jm.over_tasks(play), keys).call, keys)


def _loop(candidates: tuple[Candidate, ...], x: np.ndarray, labels: np.ndarray, steps: int) -> float:
    """Runs random candidates in turn; returns the adjusted Rand index of the one of best silhouette."""
    best = (-2.0, 0.0)
    for number in np.random.default_rng(0).permutation(len(candidates))[:steps]:
        predicted = candidate_labels(candidates[number], x, None, 0)
        best = max(best, (silhouette_score(x, predicted), adjusted_rand_score(labels, predicted)))
    return best[1]


if __name__ == "__main__":
    main(tyro.cli(record.Options, description=__doc__))
