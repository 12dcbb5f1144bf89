"""Meta-learns weights from which a few gradient steps fit a new sine wave, by MAML and related methods.

Protocol of Finn et al. 2017: y = a sin(x - p), a from U[0.1, 5], p from U[0, pi], x from U[-5, 5]; a
network 1-40-40-1 with ReLU; 25 tasks of 10 shots per meta-step, one inner step of rate 0.01, Adam
1e-3, 70,000 meta-steps. Test: mean squared error on 10 query points of 600 tasks after 0, 1, 5 and
10 inner steps on 10 shots. All rows are tested on the same tasks.

- maml, fomaml: second and first order
- reptile (Nichol et al. 2018): no query set; 10 inner steps of rate 0.02 on 50 points of every training task,
  with an outer rate that decays linearly from 1 to 0; tested at rate 0.02
- imaml (Rajeswaran et al. 2019): 64 inner steps of rate 0.003 with a proximal term of strength 1, so that
  they converge; ten steps of conjugate gradients; inner gradients clipped to norm 10, the outer one to 1
- anil, boil: only the last layer adapts, or all layers but the last
- metasgd (Li et al. 2017): a learned rate for every weight
- mamlpp (Antoniou et al. 2019): 5 inner steps, a learned rate for each layer and step, a loss after every
  step whose weight moves to the last step within a seventh of the meta-steps, first order for the first
  third, cosine decay
- metacurvature (Park & Oliva 2019): learned matrices that transform every layer's gradient
- cavia (Zintgraf et al. 2019): five context parameters as additional inputs, inner rate 1

    python -m experiments.sinusoid --preset cpu
        15 minutes on two cores; mse/maml/1 0.32, mse/maml/5 0.12

The cpu and gpu presets are the full protocol.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax

import jmeta as jm
from jmeta import harness
from jmeta.metrics import Interval
from jmeta.records import Learner, MetaStep, Sampler

Method = Literal[
    "maml", "fomaml", "reptile", "imaml", "anil", "boil", "metasgd", "mamlpp", "metacurvature", "cavia"
]


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of this experiment."""

    methods: tuple[Method, ...] = get_args(Method)
    """Which rows to train."""
    steps: int = 70_000
    """Meta-steps."""
    tasks: int = 25
    """Tasks per meta-step."""
    shots: int = 10
    """S, support points per task."""
    queries: int = 10
    """Q, query points per task."""
    hidden: int = 40
    """Width of the two hidden layers."""
    test_steps: tuple[int, ...] = (0, 1, 5, 10)
    """Numbers of inner steps to test with."""
    test_tasks: int = 600
    """Number of test tasks."""
    every: int = 1000
    """Meta-steps between two rows of the log."""


PRESETS = {
    "quick": Config(preset="quick", steps=20, tasks=4, every=10, test_tasks=20),
    "cpu": Config(),
    "gpu": Config(preset="gpu"),
}
INNER_STEPS = {"imaml": 64, "mamlpp": 5, "reptile": 10}
"""Inner steps in training, one for all other methods; every method is also tested with that number."""


class Training(NamedTuple):
    """How a method is trained.

    Attributes:
        phases: for each, the number of meta-steps at its end, and its meta-step.
        tasks: the sampler of training tasks.
    """

    phases: list[tuple[int, MetaStep]]
    tasks: Sampler


def experiment(config: Config) -> harness.Metrics:
    """Trains each method from the same start and tests all of them on the same tasks."""
    start_key, train_key, test_key = jax.random.split(config.key, 3)
    test = jm.sinusoid(shots=config.shots, queries=config.queries)
    metrics: dict[str, Interval] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    for method in config.methods:
        learner = _learner(config, method)
        training = _training(config, method, learner)
        state = training.phases[0][1].init(learner(steps=1).init(start_key))
        curves[method] = []
        for last, step in training.phases:
            state, rows = harness.train(
                config,
                f"{method}_{last}",
                step,
                training.tasks,
                state,
                train_key,
                steps=last - int(state.step),
                tasks=config.tasks,
                every=config.every,
            )
            curves[method] += rows
        for steps in sorted({*config.test_steps, INNER_STEPS.get(method, 1)}):
            evaluation = jm.evaluate(
                learner(steps=steps), test, state.meta, test_key, tasks=config.test_tasks
            )
            metrics[f"mse/{method}/{steps}"] = evaluation.intervals()["mse"]
    jm.report.learning_curves(curves, "loss").savefig(config.folder / "learning_curves.png")
    return metrics


def _learner(config: Config, method: Method) -> partial[Learner]:
    """A learner, except for its number of inner steps."""
    net = jm.networks.mlp([1, config.hidden, config.hidden, 1])
    rate: dict[str, Any] = {"numbers": {"learning_rate": 0.01}}
    last = "layers/2"
    options: dict[str, dict[str, Any]] = {
        "fomaml": rate | {"diff": jm.straight_through()},
        "reptile": {"numbers": {"learning_rate": 0.02}, "diff": jm.straight_through()},
        "imaml": {
            "numbers": {"learning_rate": 0.003},
            "optimizer": _clipped_sgd,
            "proximal": 1.0,
            "diff": jm.implicit(jm.conjugate_gradient(10)),
        },
        "anil": rate | {"adapts": lambda path: path.startswith(last)},
        "boil": rate | {"adapts": lambda path: not path.startswith(last)},
        "metasgd": _learned("learning_rate", jm.per_weight(jm.signed(0.01))),
        "mamlpp": _learned("learning_rate", jm.per_step(jm.per_leaf(0.01), INNER_STEPS["mamlpp"])),
        "metacurvature": _learned("factors", jm.factors(), learning_rate=0.01) | {"optimizer": jm.curvature},
    }
    if method == "cavia":
        wide = jm.networks.mlp([1 + 5, config.hidden, config.hidden, 1])
        return partial(jm.cavia, wide, jm.squared_error, size=5, numbers={"learning_rate": 1.0})
    return partial(jm.maml, net, jm.squared_error, **options.get(method, rate))


def _clipped_sgd(learning_rate: float) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(10.0), optax.sgd(learning_rate))


def _learned(name: str, number: jm.Number, **fixed: float) -> dict[str, Any]:
    return {"numbers": {name: number} | fixed, "learn": (name,)}


def _training(config: Config, method: Method, learner: partial[Learner]) -> Training:
    """The meta-steps and the training tasks of a method."""
    tasks = jm.sinusoid(shots=config.shots, queries=config.queries)
    inner = learner(steps=INNER_STEPS.get(method, 1))
    if method == "reptile":
        outer = optax.sgd(optax.linear_schedule(1.0, 0.0, config.steps))
        return Training([(config.steps, jm.meta_step(jm.displacement(inner), outer))], jm.sinusoid(shots=50))
    if method == "mamlpp":
        gradients = (config.steps // 3, jm.first_order), (config.steps, jm.mixed_mode)
        phases = [(last, _every_step(config, learner, gradient)) for last, gradient in gradients]
        return Training(phases, tasks)
    outer = optax.adam(1e-3)
    if method == "imaml":
        outer = optax.chain(optax.clip_by_global_norm(1.0), outer)
    return Training([(config.steps, jm.meta_step(jm.query_loss(inner, jm.squared_error), outer))], tasks)


def _every_step(config: Config, learner: partial[Learner], gradient: Any) -> MetaStep:
    """The MAML++ step: losses after all inner steps at first, after a seventh of training only the last."""
    steps = INNER_STEPS["mamlpp"]
    inner = learner(steps=steps, gradient=gradient, diff=jm.every_step())
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, config.steps))
    all_steps = jnp.arange(steps + 1) > 0
    last = jnp.arange(steps + 1) == steps

    def weighted(i: jax.Array) -> MetaStep:
        share = jnp.clip(7 * i / config.steps, 0, 1)
        weights = (1 - share) * all_steps / steps + share * last
        return jm.meta_step(jm.multi_step_loss(inner, jm.squared_error, weights), optimizer)

    return jm.scheduled(weighted)


if __name__ == "__main__":
    harness.run(experiment, PRESETS)
