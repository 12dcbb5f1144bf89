"""What the few-shot classification experiments share: methods, training, and the table of test tasks."""

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
    """Which method is trained and tested."""
    dataset: DataSet = "omniglot"
    """Where classes are from; digits are bundled: trained on 0 to 4, tested on 5 to 9."""
    ways: int = 5
    """W, classes per task."""
    shots: int = 1
    """S, labelled images per class."""
    queries: int | None = None
    """Q, images to be named per class while training; as many as shots unless given."""
    test_queries: int | None = None
    """Q of test tasks; as many as shots unless given."""
    train_ways: int | None = None
    """W of training tasks, which is that of all unless given; only protonet may differ."""
    train_shots: int | None = None
    """S of training tasks, which is that of all unless given."""
    width: int = 64
    """Filters of each of the four blocks."""
    strided: bool = True
    """Blocks halve the image by a stride, as MAML does on Omniglot, or by pooling."""
    steps: int = 60_000
    """Meta-steps."""
    tasks: int = 32
    """Tasks per meta-step."""
    rate: float = 1e-3
    """Outer learning rate at the start: of Adam, for reptile of plain descent."""
    schedule: Literal["constant", "cosine", "linear", "halving"] = "constant"
    """How it changes: not, to zero along a cosine or a line, or halved every 2,000 meta-steps."""
    inner_rate: float = 0.4
    """Learning rate of the inner descent; where it is learned, at the start."""
    inner_steps: int = 1
    """Steps of the inner descent while training."""
    test_steps: int = 10
    """And at test time."""
    minibatch: int = 10
    """Images that an inner step of reptile looks at."""
    test_tasks: int = 600
    """Tasks of the table."""
    validation_tasks: int = 100
    """Tasks of a validation, of classes that are in neither training nor test where there are such."""
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
"""What the quick presets change: seconds, on the bundled digits."""


def presets(
    full: Config,
    methods: Mapping[Method, Mapping[str, Any]],
    short: Mapping[Method, Mapping[str, Any]],
    ways: Mapping[Method, Mapping[str, Any]] | None = None,
    **quick: Any,
) -> dict[str, Config]:
    """The presets of every method, by scale, method and ways; without a method those of MAML.

    Args:
        full: the full protocol of MAML.
        methods: what every method changes in it.
        short: what its run on a CPU changes in that, beside a cosine schedule.
        ways: what a method changes where there are 20 ways.
        quick: what the quick run changes beside `QUICK`.
    """
    found: dict[str, Config] = {}
    for method, changes in methods.items():
        whole = dataclasses.replace(full, **({"method": method} | dict(changes)))
        found[f"gpu-{method}"] = whole
        found[f"cpu-{method}"] = dataclasses.replace(
            whole, **({"preset": "cpu", "schedule": "cosine"} | dict(short[method]))
        )
        found[f"quick-{method}"] = dataclasses.replace(whole, **(QUICK | quick))
        for scale in ("cpu", "gpu") if ways else ():
            changed = {"ways": 20} | dict((ways or {}).get(method, {}))
            found[f"{scale}-{method}-20"] = dataclasses.replace(found[f"{scale}-{method}"], **changed)
    return found | {name.replace("-maml", ""): found[name] for name in found if "-maml" in name}


def run(config: Config) -> harness.Metrics:
    """Train one method, watch it on validation classes, and look at the test classes once."""
    if config.method != "protonet" and config.train_ways not in (None, config.ways):
        raise jm.InputError(
            f"{config.method} trains with as many ways as it is tested; leave train-ways out."
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
    kinds = {"transductive": tested, "inductive": jm.inductive(tested)}
    return {
        f"accuracy/{config.method}/{kind}": jm.evaluate(
            learner, test, state.meta, test_key, tasks=config.test_tasks
        ).intervals()["accuracy"]
        for kind, learner in kinds.items()
    }


def _samplers(config: Config) -> tuple[Sampler, Sampler, Sampler]:
    """Tasks of classes to learn from, to choose by, and never seen."""
    train, validation, test = harness.class_splits(config.dataset, data_dir=config.data_dir)
    sample = partial(jm.episodes, rotations=config.dataset == "omniglot")
    shots = config.shots
    tested = partial(sample, ways=config.ways, shots=shots, queries=config.test_queries or shots)
    learned = sample(
        train,
        ways=config.train_ways or config.ways,
        shots=config.train_shots or shots,
        queries=config.queries or shots,
    )
    return learned, tested(validation), tested(test)


def _learners(config: Config, shape: tuple[int, int, int]) -> tuple[Learner, Learner]:
    """A learner to train, and the same to test."""
    conv = partial(jm.networks.conv4, config.width, shape=shape, strided=config.strided)
    if config.method == "protonet":
        body = conv()
        return jm.prototypes(body, ways=config.train_ways or config.ways), jm.prototypes(
            body, ways=config.ways
        )
    rate = {"learning_rate": config.inner_rate}
    if config.method == "anil":
        body = conv()
        image = jnp.zeros((1, *shape))
        features = jax.eval_shape(lambda key: body.apply(body.init(key), image), config.key).shape[1]
        head = partial(jm.maml, jm.networks.mlp([features, config.ways]), jm.cross_entropy, numbers=rate)
        start, tested = (head(steps=steps) for steps in (config.inner_steps, config.test_steps))
        return jm.on_features(body, start), jm.on_features(body, tested)
    learner = partial(jm.maml, conv(outputs=config.ways), jm.cross_entropy, **_parts(config, rate))
    return learner(steps=config.inner_steps), learner(steps=config.test_steps)


def _step(config: Config, learner: Learner) -> MetaStep:
    """Reptile descends the displacement, all others the loss of the query."""
    if config.method == "reptile":
        return jm.meta_step(jm.displacement(learner), optax.sgd(_schedule(config)))
    return jm.meta_step(jm.query_loss(learner, jm.cross_entropy), optax.adam(_schedule(config)))


def _parts(config: Config, rate: dict) -> dict:
    """What tells the relatives of MAML apart."""
    match config.method:
        case "fomaml":
            return {"numbers": rate, "diff": jm.straight_through()}
        case "reptile":  # Adam without momentum, on minibatches
            adam, rows = partial(optax.adam, b1=0.0), config.minibatch
            return {"numbers": rate, "optimizer": adam, "minibatch": rows, "diff": jm.straight_through()}
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
