"""Shared parts of the few-shot classification experiments: methods, training and evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

import jmeta as jm
from jmeta import harness
from jmeta.records import Learner, MetaStep, Sampler

Method = Literal["maml", "fomaml", "reptile", "imaml", "anil", "metasgd", "protonet"]
DataSet = Literal["omniglot", "cifar100", "digits"]


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of a few-shot experiment."""

    variants = ("dataset", "method", "ways")

    method: Method = "maml"
    """The method to train and test."""
    dataset: DataSet = "omniglot"
    """The data set; digits are bundled: trained on 0 to 4, tested on 5 to 9."""
    ways: int = 5
    """W, classes per task."""
    shots: int = 1
    """S, labelled images per class."""
    queries: int | None = None
    """Q, query images per class of training tasks; equal to shots unless given."""
    test_queries: int | None = None
    """Q of test tasks; equal to shots unless given."""
    train_ways: int | None = None
    """W of training tasks; equal to ways unless given. Only protonet may differ."""
    train_shots: int | None = None
    """S of training tasks; equal to shots unless given."""
    width: int = 64
    """Filters of each of the four blocks."""
    strided: bool = True
    """Whether blocks halve the image by a stride, as in MAML on Omniglot, or by pooling."""
    steps: int = 60_000
    """Meta-steps."""
    tasks: int = 32
    """Tasks per meta-step."""
    rate: float = 1e-3
    """Initial outer learning rate: of Adam, for reptile of gradient descent."""
    schedule: Literal["constant", "cosine", "linear", "halving"] = "constant"
    """Its schedule: constant, cosine or linear decay to zero, or halved every 2,000 meta-steps."""
    inner_rate: float = 0.4
    """Inner learning rate; its initial value where it is learned."""
    inner_steps: int = 1
    """Inner steps in training."""
    test_steps: int = 10
    """Inner steps at test time."""
    minibatch: int = 10
    """Images per inner step of reptile."""
    test_tasks: int = 600
    """Number of test tasks."""
    validation_tasks: int = 100
    """Validation tasks, of unseen classes; for digits, of the training classes."""
    every: int = 1000
    """Meta-steps between two validations."""


QUICK: dict[str, Any] = {
    "dataset": "digits",
    "preset": "quick",
    "width": 4,
    "steps": 4,
    "tasks": 2,
    "every": 2,
    "test_tasks": 10,
    "validation_tasks": 4,
    "train_ways": None,
}
"""Changes of the quick presets, which take seconds on the bundled digits."""


def presets(
    full: Config,
    methods: Mapping[Method, Mapping[str, Any]],
    short: Mapping[Method, Mapping[str, Any]],
    ways: Mapping[Method, Mapping[str, Any]] | None = None,
    **quick: Any,
) -> dict[str, Config]:
    """The presets of every method, named SCALE-METHOD-WAYS; without METHOD they are those of MAML.

    Args:
        full: the full protocol of MAML.
        methods: changes of every method to the full protocol.
        short: changes of every method in the cpu preset, besides a cosine schedule.
        ways: changes of every method for 20 ways; no presets for 20 ways unless given.
        quick: changes of the quick preset, besides `QUICK`.
    """
    result: dict[str, Config] = {}
    for method, changes in methods.items():
        protocol = dataclasses.replace(full, **({"method": method} | dict(changes)))
        result[f"gpu-{method}"] = protocol
        result[f"cpu-{method}"] = dataclasses.replace(
            protocol, **({"preset": "cpu", "schedule": "cosine"} | dict(short[method]))
        )
        result[f"quick-{method}"] = dataclasses.replace(protocol, **(QUICK | quick))
        for scale in ("cpu", "gpu") if ways else ():
            changed = {"ways": 20} | dict((ways or {}).get(method, {}))
            result[f"{scale}-{method}-20"] = dataclasses.replace(result[f"{scale}-{method}"], **changed)
    return result | {name.replace("-maml", ""): result[name] for name in result if "-maml" in name}


def run(config: Config) -> harness.Metrics:
    """Trains one method, validates it in training, and evaluates it on the test classes."""
    if config.method != "protonet" and config.train_ways not in (None, config.ways):
        raise jm.InputError(
            f"train-ways is {config.train_ways}, but {config.method} is trained on {config.ways} ways; "
            "leave train-ways out."
        )
    start_key, train_key, validation_key, test_key = jax.random.split(config.key, 4)
    train, validation, test = _samplers(config)
    shape = jax.eval_shape(test, test_key).support.inputs.shape[1:]
    start, tested = _learners(config, (shape[0], shape[1], shape[2]))
    step = _step(config, start)

    validate = harness.validation_accuracy(tested, validation, validation_key, tasks=config.validation_tasks)
    state, curve = harness.train(
        config,
        config.method,
        step,
        train,
        step.init(start.init(start_key)),
        train_key,
        steps=config.steps,
        tasks=config.tasks,
        every=config.every,
        evaluate=validate,
    )
    figure = jm.report.learning_curves({config.method: curve}, "validation_accuracy")
    figure.savefig(config.folder / f"learning_curve_{config.method}.png")
    learners = {"transductive": tested, "inductive": jm.inductive(tested)}
    return {
        f"accuracy/{config.method}/{statistics}": jm.evaluate(
            learner, test, state.meta, test_key, tasks=config.test_tasks
        ).intervals()["accuracy"]
        for statistics, learner in learners.items()
    }


def _samplers(config: Config) -> tuple[Sampler, Sampler, Sampler]:
    """Samplers of training, validation and test tasks."""
    train, validation, test = harness.class_splits(config.dataset, data_dir=config.data_dir)
    sample = partial(jm.episodes, rotations=config.dataset == "omniglot")
    shots = config.shots
    test_tasks = partial(sample, ways=config.ways, shots=shots, queries=config.test_queries or shots)
    train_tasks = sample(
        train,
        ways=config.train_ways or config.ways,
        shots=config.train_shots or shots,
        queries=config.queries or shots,
    )
    return train_tasks, test_tasks(validation), test_tasks(test)


def _learners(config: Config, shape: tuple[int, int, int]) -> tuple[Learner, Learner]:
    """The learner in training, and the same at test time."""
    conv = partial(jm.networks.conv4, config.width, shape=shape, strided=config.strided)
    if config.method == "protonet":
        body = conv()
        start = jm.prototypes(body, ways=config.train_ways or config.ways)
        return start, jm.prototypes(body, ways=config.ways)
    rate = {"learning_rate": config.inner_rate}
    if config.method == "anil":
        body = conv()
        image = jnp.zeros((1, *shape))
        features = jax.eval_shape(lambda key: body.apply(body.init(key), image), config.key).shape[1]
        head = partial(jm.maml, jm.networks.mlp([features, config.ways]), jm.cross_entropy, numbers=rate)
        start, tested = (head(steps=steps) for steps in (config.inner_steps, config.test_steps))
        return jm.on_features(body, start), jm.on_features(body, tested)
    learner = partial(jm.maml, conv(outputs=config.ways), jm.cross_entropy, **_options(config, rate))
    return learner(steps=config.inner_steps), learner(steps=config.test_steps)


def _step(config: Config, learner: Learner) -> MetaStep:
    """The meta-step: of the displacement for Reptile, else of the query loss."""
    if config.method == "reptile":
        return jm.meta_step(jm.displacement(learner), optax.sgd(_schedule(config)))
    return jm.meta_step(jm.query_loss(learner, jm.cross_entropy), optax.adam(_schedule(config)))


def _options(config: Config, rate: dict) -> dict:
    """The options of `maml` that make it one of its variants."""
    match config.method:
        case "fomaml":
            return {"numbers": rate, "diff": jm.straight_through()}
        case "reptile":  # Adam without momentum, on minibatches
            return {
                "numbers": rate,
                "optimizer": partial(optax.adam, b1=0.0),
                "minibatch": config.minibatch,
                "diff": jm.straight_through(),
            }
        case "imaml":
            return {"numbers": rate, "proximal": 2.0, "diff": jm.implicit(jm.conjugate_gradient(5))}
        case "metasgd":
            rates = {"learning_rate": jm.per_weight(jm.signed(config.inner_rate))}
            return {"numbers": rates, "learn": ("learning_rate",)}
        case _:
            return {"numbers": rate}


def _schedule(config: Config) -> optax.Schedule | float:
    match config.schedule:
        case "cosine":
            return optax.cosine_decay_schedule(config.rate, config.steps)
        case "linear":
            return optax.linear_schedule(config.rate, 0.0, config.steps)
        case "halving":
            return optax.exponential_decay(config.rate, 2000, 0.5, staircase=True)
        case _:
            return config.rate
