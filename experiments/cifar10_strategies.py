"""CIFAR-10 as ten clustering tasks of six classes, and an algorithm selector that is meta-trained for them.

The setup follows the article that jmeta grew from: ten tasks, each of six of the ten classes, are described
by dimension, number of images, number of clusters, density and dispersion of the histogram of intensities,
and the signal-to-noise ratio after Gaussian noise is added; a two-layer network answers with a strategy, one
of seven algorithms; it is trained by MAML on some tasks and tested on others. A task is many sets of images
of its classes: a support of sets with known answers, to adapt to, and query sets.

- literal: six of ten classes; any two tasks, held-out ones included, share at least two classes
- disjoint: three of five classes; the held-out tasks use the other five

Images are clustered by their pixels on 50 principal axes. The metric is the regret, the adjusted Rand index
of the best algorithm minus that of the chosen one, on the query sets of held-out tasks, averaged over sets,
then over `--draws` draws of the ten tasks. Its interval is over draws; these share sets, as there are only
210 and 120 tasks in all, so that it covers the variation from drawing tasks, not from drawing images.

    python -m experiments.cifar10_strategies --data-dir DIR
        19 minutes on two cores

The quick preset uses scikit-learn's digits.
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
"""Number of classes of a task."""
TRAINED = 7
"""How many of the ten tasks are for training."""
SUPPORT = 3
"""How many sets of a task have known answers."""


@dataclasses.dataclass(frozen=True)
class Config(choosing.Options):
    """Options of this experiment."""

    draws: int = 30
    """Draws of the ten tasks."""
    sets: int = 6
    """Sets of images of every task."""
    most: int = 60
    """Largest number of images of a class in a set; the smallest is 20."""
    steps: int = 300


PRESETS = {
    "quick": Config(preset="quick", draws=2, sets=4, most=21, steps=5, networks=1),
    "cpu": Config(),
    "gpu": Config(preset="gpu", draws=100),
}


def experiment(config: Config) -> harness.Metrics:
    """Compares all methods in both modes, over all draws."""
    images = jm.load("digits") if config.preset == "quick" else jm.load("cifar10", data_dir=config.data_dir)
    metrics: dict[str, Interval] = {}
    for mode, classes in MODES.items():
        random = np.random.default_rng(config.seed)
        draws = [ten_tasks(mode, classes, random) for _ in range(config.draws)]
        tasks = sorted({task for draw in draws for task in draw})
        problems, features = make_sets(config, images, tasks, random)
        table = choosing.make_table(config, problems, portfolio("seven"))
        numbers = [np.array([tasks.index(task) for task in draw]) for draw in draws]
        regrets = [regret(config, table, features, draw, number) for number, draw in enumerate(numbers)]
        metrics |= _summary(config, mode, regrets)
        metrics[f"ari/{mode}/oracle"] = jm.interval(table.scores.max(1))
        metrics[f"ari/{mode}/random"] = jm.interval(table.scores.mean(1))
    return metrics


def ten_tasks(mode: str, classes: int, random: np.random.Generator) -> list[tuple[int, ...]]:
    """Ten different sets of classes, the training tasks first."""
    order = random.permutation(10)
    halves = (order, order) if mode == "literal" else (order[:5], order[5:])
    first, second = (list(itertools.combinations(sorted(half.tolist()), classes)) for half in halves)
    trained = [first[place] for place in random.permutation(len(first))[:TRAINED]]
    others = [task for task in second if task not in trained]
    return trained + [others[place] for place in random.permutation(len(others))[: 10 - TRAINED]]


def make_sets(
    config: Config, images: jm.ClassImages, tasks: list[tuple[int, ...]], random: np.random.Generator
) -> tuple[list[Problem], np.ndarray]:
    """The sets of every task, one after the other, and their meta-features [tasks * sets, 6]."""
    problems = []
    rows = []
    describe = jax.jit(image_features)
    for task in tasks:
        for number in range(config.sets):
            per_class = int(random.integers(20, config.most + 1))
            drawn, labels = some_images(images, task, per_class, random)
            padded = np.zeros((len(task) * config.most, *drawn.shape[1:]), np.float32)
            padded[: len(drawn)] = drawn / 255
            weights = (np.arange(len(padded)) < len(drawn)).astype(np.float32)
            features = describe(padded, weights, jax.random.key(number))
            rows.append([np.prod(drawn.shape[1:]), len(drawn), len(task), *np.asarray(features)])
            problems.append(
                Problem(
                    name=f"{'-'.join(map(str, task))}/{number}",
                    group=str(task),
                    points=reduced(drawn / 255),
                    labellings=(labels,),
                    source=images.source,
                )
            )
    return problems, np.array(rows, np.float32)


def regret(
    config: Config, table: Table, features: np.ndarray, tasks: np.ndarray, draw: int
) -> dict[str, float]:
    """The mean regret of every method on the query sets of the held-out tasks."""
    rows = (tasks[:, None] * config.sets + np.arange(config.sets)).ravel()
    groups = np.repeat(np.arange(len(tasks)), config.sets)
    trained = groups < TRAINED
    scores = table.scores[rows]
    examples = Examples(
        inputs=features[rows],
        scores=scores,
        weights=trained.astype(float),
        groups=groups,
        problems=np.arange(len(rows)),
    )
    support = np.tile(np.arange(config.sets) < SUPPORT, len(tasks))
    results = {
        f"always {candidate.algorithm}": values
        for candidate, values in zip(table.candidates, scores.T, strict=True)
    }
    results |= {"random": scores.mean(1), "single_best": scores[:, scores[trained].mean(0).argmax()]}
    key = jax.random.fold_in(config.key, draw)
    base = Settings(steps=config.steps, networks=config.networks, support=SUPPORT)
    for method in ("pooled", "maml", "reptile"):
        rate = 0.5 if method == "reptile" else base.rate
        model = fit_scoring_model(examples, key, settings=base._replace(method=method, rate=rate))
        values = np.zeros(len(rows))
        for task in range(TRAINED, len(tasks)):
            here = groups == task
            known = jax.tree.map(lambda part: part[here & support], examples)  # noqa: B023
            known = known._replace(weights=np.ones(len(known.inputs)))
            predicted = mean_scores(adapt_scoring_model(model, known), examples.inputs)
            values[here] = score_of_best(scores, predicted)[here]
        results["fine_tuned" if method == "pooled" else method] = values
        if method == "pooled":
            results["unadapted"] = score_of_best(scores, mean_scores(model, examples.inputs))
    query = ~trained & ~support
    best = [scores[(groups == task) & support].mean(0).argmax() for task in range(len(tasks))]
    results["support_best"] = scores[np.arange(len(rows)), np.array(best)[groups]]
    return {name: float((scores.max(1) - values)[query].mean()) for name, values in results.items()}


def _summary(config: Config, mode: str, regrets: list[dict[str, float]]) -> dict[str, Interval]:
    columns = {name: np.array([row[name] for row in regrets]) for name in regrets[0]}
    metrics = {f"regret/{mode}/{method}": jm.interval(values) for method, values in columns.items()}
    for method, other in itertools.product(("maml", "reptile"), sorted(set(columns) - {"maml", "reptile"})):
        difference = columns[other] - columns[method]
        metrics[f"gain/{mode}/{method}-{other}"] = choosing.bootstrap(difference, config.seed)
    return metrics


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
