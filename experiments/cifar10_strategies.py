"""CIFAR-10 as ten clustering tasks of six classes, and a strategy that is meta-trained for them.

As the article that jmeta grew from describes it: ten tasks, each of six of the ten classes, are described by
dimension, number of images, number of clusters, density and dispersion of the histogram of intensities, and
the signal-to-noise ratio after Gaussian noise is added; a network of two layers answers with a strategy, one
of seven algorithms; it is trained by MAML on some tasks and judged on others. A task is many sets of images
of its classes: some with known answers, to adapt to, and others to be asked about.

- literal: six of ten classes; any two tasks share two classes or more, held-out tasks too
- disjoint: three of five classes; those of the held-out tasks are the other five

Images are clustered by their pixels on 50 principal axes. Reported is the regret, the adjusted Rand index of
the best algorithm less that of the chosen, on the sets of held-out tasks that are asked about, averaged over
sets, then over `--draws` draws of the ten tasks, with its interval over draws; these share sets, as there are
but 210 and 120 tasks in all, so that the interval is that of drawing tasks, not of drawing images.

    python -m experiments.cifar10_strategies --data-dir DIR
        19 minutes on two cores

The quick preset takes scikit-learn's digits.
"""

from __future__ import annotations

import dataclasses
import itertools

import jax
import numpy as np

import jmeta as jm
from experiments import choosing
from jmeta import harness
from jmeta.metafeatures.images import image_features
from jmeta.metrics import Interval
from jmeta.portfolio import portfolio
from jmeta.portfolio.table import Table
from jmeta.selection.examples import Examples, Settings
from jmeta.selection.held_out import score_of_best
from jmeta.selection.scoring import adapt_scoring_model, fit_scoring_model, mean_scores
from jmeta.tasks.fields import reduced, some_images
from jmeta.tasks.problems import Problem

MODES = {"literal": 6, "disjoint": 3}
"""Classes of a task."""
TRAINED, ADAPTED = 7, 3
"""Of the ten tasks those that are trained on; of the sets of a task those whose answers are known."""


@dataclasses.dataclass(frozen=True)
class Config(choosing.Options):
    """Options of this experiment."""

    draws: int = 30
    """Of the ten tasks."""
    sets: int = 6
    """Of images, of every task."""
    most: int = 60
    """Images of a class in a set; the least are 20."""
    steps: int = 300


PRESETS = {
    "quick": Config(preset="quick", draws=2, sets=4, most=21, steps=5, networks=1),
    "cpu": Config(),
    "gpu": Config(preset="gpu", draws=100),
}


def experiment(config: Config) -> harness.Metrics:
    """Every way, in both modes, over the draws."""
    images = jm.load("digits") if config.preset == "quick" else jm.load("cifar10", data_dir=config.data_dir)
    metrics: dict[str, Interval] = {}
    for mode, classes in MODES.items():
        random = np.random.default_rng(config.seed)
        draws = [ten_tasks(mode, classes, random) for _ in range(config.draws)]
        kinds = sorted({task for draw in draws for task in draw})
        problems, seen = make_sets(config, images, kinds, random)
        table = choosing.made_table(config, problems, portfolio("seven"))
        places = [[kinds.index(task) for task in draw] for draw in draws]
        regrets = [regret(config, table, seen, np.array(draw), at) for at, draw in enumerate(places)]
        metrics |= _summary(config, mode, regrets)
        metrics[f"ari/{mode}/oracle"] = jm.interval(table.scores.max(1))
        metrics[f"ari/{mode}/random"] = jm.interval(table.scores.mean(1))
    return metrics


def ten_tasks(mode: str, classes: int, random: np.random.Generator) -> list[tuple[int, ...]]:
    """Ten different sets of classes, those to train on first."""
    order = random.permutation(10)
    halves = (order, order) if mode == "literal" else (order[:5], order[5:])
    known, other = (list(itertools.combinations(sorted(half.tolist()), classes)) for half in halves)
    trained = [known[place] for place in random.permutation(len(known))[:TRAINED]]
    left = [task for task in other if task not in trained]
    return trained + [left[place] for place in random.permutation(len(left))[: 10 - TRAINED]]


def make_sets(
    config: Config, images: jm.ClassImages, kinds: list[tuple[int, ...]], random: np.random.Generator
) -> tuple[list[Problem], np.ndarray]:
    """The sets of every task, one after the other, and their meta-features [tasks * sets, 6]."""
    problems, seen = [], []
    look = jax.jit(image_features)
    for kind in kinds:
        for place in range(config.sets):
            each = int(random.integers(20, config.most + 1))
            drawn, labels = some_images(images, kind, each, random)
            room = np.zeros((len(kind) * config.most, *drawn.shape[1:]), np.float32)
            room[: len(drawn)] = drawn / 255
            found = look(room, (np.arange(len(room)) < len(drawn)).astype(np.float32), jax.random.key(place))
            seen.append([np.prod(drawn.shape[1:]), len(drawn), len(kind), *np.asarray(found)])
            name = f"{'-'.join(map(str, kind))}/{place}"
            problems.append(Problem(name, str(kind), reduced(drawn / 255), (labels,), images.source))
    return problems, np.array(seen, np.float32)


def regret(config: Config, table: Table, seen: np.ndarray, tasks: np.ndarray, at: int) -> dict[str, float]:
    """Of every way, on the sets of the held-out tasks that are asked about."""
    rows = (tasks[:, None] * config.sets + np.arange(config.sets)).ravel()
    groups = np.repeat(np.arange(len(tasks)), config.sets)
    trained = groups < TRAINED
    own = table.scores[rows]
    cases = Examples(seen[rows], own, trained.astype(float), groups, np.arange(len(rows)))
    shown = np.tile(np.arange(config.sets) < ADAPTED, len(tasks))
    found = {f"always {one.algorithm}": worths for one, worths in zip(table.candidates, own.T, strict=True)}
    found |= {"random": own.mean(1), "single_best": own[:, own[trained].mean(0).argmax()]}
    key = jax.random.fold_in(config.key, at)
    base = Settings(steps=config.steps, networks=config.networks, support=ADAPTED)
    for way in ("pooled", "maml", "reptile"):
        rate = 0.5 if way == "reptile" else base.rate
        choice = fit_scoring_model(cases, key, settings=base._replace(method=way, rate=rate))
        values = np.zeros(len(rows))
        for task in range(TRAINED, len(tasks)):
            here = groups == task
            known = jax.tree.map(lambda part: part[here & shown], cases)  # noqa: B023
            known = known._replace(weights=np.ones(len(known.inputs)))
            values[here] = score_of_best(own, mean_scores(adapt_scoring_model(choice, known), cases.inputs))[
                here
            ]
        found["fine_tuned" if way == "pooled" else way] = values
        if way == "pooled":
            found["unadapted"] = score_of_best(own, mean_scores(choice, cases.inputs))
    asked = ~trained & ~shown
    support = [own[(groups == task) & shown].mean(0).argmax() for task in range(len(tasks))]
    found["support_best"] = own[np.arange(len(rows)), np.array(support)[groups]]
    return {name: float((own.max(1) - values)[asked].mean()) for name, values in found.items()}


def _summary(config: Config, mode: str, regrets: list[dict[str, float]]) -> dict[str, Interval]:
    columns = {name: np.array([row[name] for row in regrets]) for name in regrets[0]}
    metrics = {f"regret/{mode}/{way}": jm.interval(values) for way, values in columns.items()}
    for way, other in itertools.product(("maml", "reptile"), sorted(set(columns) - {"maml", "reptile"})):
        difference = columns[other] - columns[way]
        metrics[f"gain/{mode}/{way}-{other}"] = choosing.bootstrap(difference, config.seed)
    return metrics


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
