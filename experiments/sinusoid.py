"""Meta-learn weights from which a few gradient steps fit a new sine wave: MAML, FOMAML, Reptile.

Protocol of Finn et al. 2017: y = a sin(x - p), a from U[0.1, 5], p from U[0, pi], x from U[-5, 5]; a
network 1-40-40-1 with ReLU; 25 tasks of 10 shots per meta-step, one inner step of rate 0.01, Adam
1e-3, 70,000 meta-steps. Test: mean squared error on 10 query points of 600 tasks after 0, 1, 5 and
10 inner steps on 10 shots. The same tasks for all rows.

Reptile (Nichol et al. 2018) has no query: it descends 50 points of every training task, for 10 inner
steps of rate 0.02, and its outer rate falls linearly from 1 to 0. It is tested at rate 0.02.

    python -m experiments.sinusoid --preset cpu
        3 minutes on two cores; mse/maml/1 0.35, mse/maml/5 0.20

The cpu preset is the full protocol, and so is the gpu one.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal

import jax
import optax

import jmeta as jm
from experiments import harness
from jmeta.metrics import Interval
from jmeta.records import Learner, MetaStep, Sampler

Method = Literal["maml", "fomaml", "reptile"]


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    methods: tuple[Method, ...] = ("maml", "fomaml", "reptile")
    """Which rows to train."""
    steps: int = 70_000
    """Meta-steps."""
    tasks: int = 25
    """Tasks per meta-step."""
    shots: int = 10
    """S, points to adapt to."""
    queries: int = 10
    """Q, points to be asked about."""
    hidden: int = 40
    """Width of the two hidden layers."""
    test_steps: tuple[int, ...] = (0, 1, 5, 10)
    """Inner steps after which the test tasks are scored."""
    test_tasks: int = 600
    """Tasks of the table."""
    every: int = 1000
    """Meta-steps between two rows of the log."""


PRESETS = {
    "quick": Config(preset="quick", steps=20, tasks=4, every=10, test_tasks=20),
    "cpu": Config(),
    "gpu": Config(preset="gpu"),
}


def experiment(config: Config) -> harness.Metrics:
    """Train each method from the same start, and score all on the same tasks."""
    start_key, train_key, test_key = jax.random.split(config.key, 3)
    test = jm.sinusoid(shots=config.shots, queries=config.queries)
    metrics: dict[str, Interval] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    for method in config.methods:
        learner, step, sampler = _method(config, method)
        state, curves[method] = jm.loop(
            step,
            sampler,
            step.init(learner(steps=1).init(start_key)),
            train_key,
            steps=config.steps,
            tasks=config.tasks,
            every=config.every,
            log=config.folder / f"training_{method}.jsonl",
            title=method,
        )
        for steps in config.test_steps:
            found = jm.evaluate(
                learner(steps=steps), test, state.meta, test_key, tasks=config.test_tasks, chunk=50
            )
            metrics[f"mse/{method}/{steps}"] = found.intervals()["mse"]
    jm.report.learning_curves(curves, "loss").savefig(config.folder / "learning_curves.png")
    return metrics


def _method(config: Config, method: Method) -> tuple[partial[Learner], MetaStep, Sampler]:
    """A learner that lacks its number of inner steps, how it is trained, and on what."""
    net = jm.networks.mlp([1, config.hidden, config.hidden, 1])
    descend = partial(jm.maml, net, jm.squared_error)
    if method == "reptile":
        learner = partial(descend, numbers={"learning_rate": 0.02}, diff=jm.straight_through())
        outer = optax.sgd(optax.linear_schedule(1.0, 0.0, config.steps))
        return learner, jm.meta_step(jm.displacement(learner(steps=10)), outer), jm.sinusoid(shots=50)
    rule = jm.unroll() if method == "maml" else jm.straight_through()
    learner = partial(descend, numbers={"learning_rate": 0.01}, diff=rule)
    loss = jm.query_loss(learner(steps=1), jm.squared_error)
    tasks = jm.sinusoid(shots=config.shots, queries=config.queries)
    return learner, jm.meta_step(loss, optax.adam(1e-3)), tasks


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
