"""What the few-shot classification experiments share: methods, training, and the table of test tasks."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import partial
from typing import Literal, NamedTuple

import jax
import optax

import jmeta as jm
from experiments import harness
from jmeta.records import Learner, MetaStep, Model, Sampler

Method = Literal["maml", "fomaml", "reptile", "imaml", "anil", "metasgd", "protonet"]
DataSet = Literal["omniglot", "cifar100", "digits"]


@dataclasses.dataclass(frozen=True)
class Config(harness.Options):
    """Options of a few-shot experiment."""

    method: Method = "maml"
    """Which method is trained and tested."""
    dataset: DataSet = "omniglot"
    """Where classes are from; digits are bundled: trained on 0 to 4, tested on 5 to 9."""
    ways: int = 5
    """W, classes per task."""
    shots: int = 1
    """S, labelled images per class."""
    queries: int = 1
    """Q, images to be named per class while training."""
    test_queries: int = 1
    """Q of test tasks."""
    train_ways: int = 5
    """W of training tasks; only protonet may differ from ways."""
    train_shots: int = 1
    """S of training tasks."""
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
    schedule: Literal["constant", "cosine", "halving"] = "constant"
    """How it changes: not, to zero along a cosine, or halved every 2,000 meta-steps."""
    inner_rate: float = 0.4
    """Learning rate of the inner descent; where it is learned, at the start."""
    inner_steps: int = 1
    """Steps of the inner descent while training."""
    test_steps: int = 10
    """And at test time."""
    test_tasks: int = 600
    """Tasks of the table."""
    validation_tasks: int = 100
    """Tasks of a validation, of classes that are in neither training nor test where there are such."""
    every: int = 1000
    """Meta-steps between two validations."""


class Setting(NamedTuple):
    """A learner to train, the same to test, and how it is trained."""

    tested: Learner
    step: MetaStep
    start: Learner


def run(config: Config) -> harness.Metrics:
    """Train one method, watch it on validation classes, and look at the test classes once."""
    if config.method != "protonet" and config.train_ways != config.ways:
        raise jm.InputError(
            f"{config.method} trains with as many ways as it is tested; leave train-ways out."
        )
    start_key, train_key, validation_key, test_key = jax.random.split(config.key, 4)
    train, validation, test = _samplers(config)
    shape = jax.eval_shape(test, test_key).support.inputs.shape[1:]
    setting = _setting(config, (shape[0], shape[1], shape[2]))

    def evaluate(meta: object) -> dict[str, float]:
        found = jm.evaluate(setting.tested, validation, meta, validation_key, tasks=config.validation_tasks)
        return {"validation_accuracy": found.intervals()["accuracy"].mean}

    state, curve = jm.loop(
        setting.step,
        train,
        setting.step.init(setting.start.init(start_key)),
        train_key,
        steps=config.steps,
        tasks=config.tasks,
        every=config.every,
        evaluate=evaluate,
        log=config.folder / f"training_{config.method}.jsonl",
        checkpoints=config.folder / f"states_{_digest(config)}",
        title=config.method,
    )
    figure = jm.report.learning_curves({config.method: curve}, "validation_accuracy")
    figure.savefig(config.folder / f"learning_curve_{config.method}.png")
    kinds = {"transductive": setting.tested, "inductive": jm.inductive(setting.tested)}
    return {
        f"accuracy/{config.method}/{kind}": jm.evaluate(
            learner, test, state.meta, test_key, tasks=config.test_tasks
        ).intervals()["accuracy"]
        for kind, learner in kinds.items()
    }


def _digest(config: Config) -> str:
    """Tells runs apart: a state is taken up by a run of the same options alone, wherever its files are."""
    options = dataclasses.asdict(config) | {"out": None, "data_dir": None}
    return hashlib.sha256(repr(options).encode()).hexdigest()[:12]


def _samplers(config: Config) -> tuple[Sampler, Sampler, Sampler]:
    """Tasks of classes to learn from, to choose by, and never seen."""
    digits = config.dataset == "digits"
    splits = ("train", "train" if digits else "val", "test")
    train, validation, test = (jm.load(config.dataset, split, data_dir=config.data_dir) for split in splits)
    sample = partial(jm.episodes, rotations=config.dataset == "omniglot")
    tested = partial(sample, ways=config.ways, shots=config.shots, queries=config.test_queries)
    learned = sample(train, ways=config.train_ways, shots=config.train_shots, queries=config.queries)
    return learned, tested(validation), tested(test)


def _setting(config: Config, shape: tuple[int, int, int]) -> Setting:
    """A method, said with the parts of the library."""
    conv = partial(jm.networks.conv4, config.width, shape=shape, strided=config.strided)
    rate = {"learning_rate": config.inner_rate}
    cross_entropy = jm.cross_entropy
    if config.method == "protonet":
        body = conv()
        start = jm.prototypes(body, ways=config.train_ways)
        step = jm.meta_step(jm.query_loss(start, cross_entropy), optax.adam(_schedule(config)))
        return Setting(jm.prototypes(body, ways=config.ways), step, start)
    if config.method == "anil":
        body = conv()
        features = jax.eval_shape(_features(body), jax.ShapeDtypeStruct((1, *shape), float)).shape[1]
        head = partial(jm.maml, jm.networks.mlp([features, config.ways]), cross_entropy, numbers=rate)
        learner = partial(_on_features, body, head)
    else:
        learner = partial(jm.maml, conv(outputs=config.ways), cross_entropy, **_parts(config, rate))
    start, tested = learner(steps=config.inner_steps), learner(steps=config.test_steps)
    if config.method == "reptile":
        outer = optax.sgd(_schedule(config))
        return Setting(tested, jm.meta_step(jm.displacement(start), outer), start)
    step = jm.meta_step(jm.query_loss(start, cross_entropy), optax.adam(_schedule(config)))
    return Setting(tested, step, start)


def _parts(config: Config, rate: dict) -> dict:
    """What tells the relatives of MAML apart."""
    match config.method:
        case "fomaml":
            return {"numbers": rate, "diff": jm.straight_through()}
        case "reptile":  # Adam without momentum, on minibatches of ten
            adam = partial(optax.adam, b1=0.0)
            return {"numbers": rate, "optimizer": adam, "minibatch": 10, "diff": jm.straight_through()}
        case "imaml":
            return {"numbers": rate, "proximal": 2.0, "diff": jm.implicit(jm.conjugate_gradient(5))}
        case "metasgd":
            rates = {"learning_rate": jm.per_weight(jm.signed(config.inner_rate))}
            return {"numbers": rates, "learn": ("learning_rate",)}
        case _:
            return {"numbers": rate}


def _on_features(body: Model, head: partial[Learner], steps: int) -> Learner:
    return jm.on_features(body, head(steps=steps))


def _features(body: Model):
    return lambda images: body.apply(body.init(jax.random.key(0)), images)


def _schedule(config: Config) -> optax.Schedule | float:
    match config.schedule:
        case "cosine":
            return optax.cosine_decay_schedule(config.rate, config.steps)
        case "halving":
            return optax.exponential_decay(config.rate, 2000, 0.5, staircase=True)
        case _:
            return config.rate
