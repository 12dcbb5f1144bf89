"""Learning to choose, and to adapt how one chooses: what the selector and the criterion have in common.

A `Cases` holds what is seen of problems with known answers and what every choice was worth there; a network
scores the choices, and learns by the regret of its choice. It does so in one of three ways, of which the
others are to be measured against the first: on all cases at once, by MAML, or by Reptile, whose tasks are a
few cases of one group to adapt to and the others of that group to be asked about. All are the learner
`maml` over the same network, the first with no inner step.
"""

from __future__ import annotations

import itertools
from functools import cache, partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree
from sklearn.preprocessing import QuantileTransformer

from ..learners.gradient import Descent, maml
from ..losses import expected_regret
from ..networks import scorer
from ..networks.mlp import mlp
from ..records import Batch, InputError, Learner, Loss, Metrics, Model, Task
from ..training.loop import train
from ..training.objectives import displacement, query_loss
from ..training.step import meta_step

FARTHEST = 2.5
"""Deviations beyond which an input is cut off."""
ASKED = 32
"""Cases of its group that a task asks about, at most, beside its support."""
Way = Literal["pooled", "maml", "reptile"]


class Cases(NamedTuple):
    """Problems with known answers.

    Attributes:
        inputs: [C, F] of every problem, or [C, A, F] of every choice, as the network is to see them.
        worths: [C, A] of every choice; of several kinds of choices, side by side.
        weights: [C] zero where a case may not be learned from: it is not even looked at.
        groups: [C] the battery or field, by number.
        owners: [C] the problem, by number: cases of one problem differ in their labelling.
    """

    inputs: Float[np.ndarray, "C ..."]
    worths: Float[np.ndarray, "C A"]
    weights: Float[np.ndarray, " C"]
    groups: Int[np.ndarray, " C"]
    owners: Int[np.ndarray, " C"]


class Settings(NamedTuple):
    """How a network is trained.

    Attributes:
        width: of its layers.
        steps: of training.
        networks: E, each from a start of its own; their scores are averaged.
        rate: of AdamW, or of Reptile's plain descent; it falls along a cosine.
        decay: of the weights.
        hidden: the share of all inputs that are hidden from a step, so that none is relied on.
        way: "pooled", "maml" or "reptile".
        support: cases that a task adapts to, in training.
        inner_steps: of gradient descent when it adapts.
        inner_rate: of that.
        tasks: groups at each step of MAML and Reptile.
    """

    width: int = 32
    steps: int = 600
    networks: int = 8
    rate: float = 1e-2
    decay: float = 1e-2
    hidden: float = 0.2
    way: Way = "pooled"
    support: int = 8
    inner_steps: int = 5
    inner_rate: float = 0.1
    tasks: int = 4


class Choice(NamedTuple):
    """What was learned.

    Attributes:
        scale: what maps every input to a standard normal distribution.
        weights: of E networks.
        settings: how they were trained.
        parts: how many choices there are of each kind.
    """

    scale: QuantileTransformer
    weights: PyTree
    settings: Settings
    parts: tuple[int, ...]


def learn_choice(
    cases: Cases,
    key: Key[Array, ""],
    *,
    settings: Settings = Settings(),  # noqa: B008 - a record that is never written to
    parts: tuple[int, ...] = (),
) -> Choice:
    """Networks whose choice has the least regret on the given cases.

    Args:
        cases: what they learn from.
        key: a typed key.
        settings: how.
        parts: how many choices there are of each kind; one kind unless given. Regrets are added up.

    Raises:
        InputError: shapes disagree, something is not finite, no case may be learned from, or a setting is
            out of its range.
    """
    parts = parts or cases.worths.shape[1:]
    _check(cases, settings, parts)
    known = cases.inputs[cases.weights > 0].reshape(-1, cases.inputs.shape[-1])
    scale = QuantileTransformer(n_quantiles=min(100, len(known)), output_distribution="normal").fit(known)
    seen = cases._replace(inputs=_scaled(scale, cases.inputs))
    groups = int(cases.groups.max()) + 1
    static = settings._replace(hidden=0.0)  # one program for every share
    weights = _learned(jax.tree.map(jnp.asarray, seen), settings.hidden, key, static, parts, groups)
    return Choice(scale, weights, settings, parts)


def adapt_choice(choice: Choice, cases: Cases, *, steps: int, rate: float) -> Choice:
    """The networks after some steps of gradient descent on cases of a new group with known answers.

    Args:
        choice: from `learn_choice`.
        cases: those of weight zero are not looked at.
        steps: of descent.
        rate: of descent.
    """
    seen = _batch(cases._replace(inputs=_scaled(choice.scale, cases.inputs)))
    return choice._replace(weights=_adapted(choice.weights, seen, choice.settings, choice.parts, steps, rate))


def choice_scores(choice: Choice, inputs: Float[np.ndarray, "C ..."]) -> Float[np.ndarray, "C A"]:
    """The score of every choice, the highest the one to take.

    Raises:
        InputError: the inputs are not such as were learned from, as those of another portfolio or of
            another version.
    """
    learned = choice.scale.n_features_in_
    ranked, count = inputs.ndim - 1, sum(choice.parts)
    if inputs.shape[-1] != learned or (ranked == 2 and inputs.shape[1] != count):
        raise InputError(
            f"what was learned takes {learned} numbers for {count} choices, but the inputs have shape "
            f"{inputs.shape}; use the portfolio and the version of jmeta that it was learned with."
        )
    seen = jnp.asarray(_scaled(choice.scale, inputs))
    network = _network(seen.shape[1:], count, choice.settings.width)
    return np.asarray(jnp.mean(jax.vmap(lambda weights: network.apply(weights, seen))(choice.weights), 0))


@cache
def _network(shape: tuple[int, ...], choices: int, width: int) -> Model:
    """A scorer of sets where every choice has inputs of its own; else a network with one output each."""
    return scorer(shape[-1], width=width) if len(shape) == 2 else mlp([shape[-1], width, width, choices])


@cache
def _regret(parts: tuple[int, ...]) -> Loss:
    ends = np.cumsum((0, *parts))

    def loss(
        outputs: Float[Array, "C A"], targets: Float[Array, "C A"], weights: Float[Array, " C"] | None = None
    ) -> tuple[Array, Metrics]:
        kinds = [slice(start, end) for start, end in itertools.pairwise(ends)]
        each = [expected_regret(outputs[:, kind], targets[:, kind], weights) for kind in kinds]
        return sum((value for value, _ in each), start=jnp.zeros(())), each[0][1]

    return loss


@partial(jax.jit, static_argnames=("settings", "parts", "steps", "rate"))
def _adapted(
    weights: PyTree, support: Batch, settings: Settings, parts: tuple[int, ...], steps: int, rate: float
) -> PyTree:
    learner = _learner(support.inputs.shape[1:], parts, settings.width, steps, rate)

    def one(start: PyTree) -> PyTree:
        return learner.adapt(Descent(start, {}), support, jax.random.key(0))

    return jax.vmap(one)(weights)


@partial(jax.jit, static_argnames=("settings", "parts", "groups"))
def _learned(
    cases: Cases, hidden: float, key: Key[Array, ""], settings: Settings, parts: tuple[int, ...], groups: int
) -> PyTree:
    pooled = settings.way == "pooled"
    steps = 0 if pooled else settings.inner_steps
    learner = _learner(cases.inputs.shape[1:], parts, settings.width, steps, settings.inner_rate)
    rate = optax.cosine_decay_schedule(settings.rate, settings.steps)
    if settings.way == "reptile":
        step = meta_step(displacement(learner), optax.sgd(rate))
    else:
        step = meta_step(query_loss(learner, _regret(parts)), optax.adamw(rate, weight_decay=settings.decay))
    draw = _pooled if pooled else partial(_of_one_group, size=settings.support, groups=groups)
    sampler = jax.tree_util.Partial(draw, cases, hidden)
    tasks = 1 if pooled else settings.tasks

    def learned(key: Key[Array, ""]) -> PyTree:
        start, draws = jax.random.split(key)
        state = step.init(learner.init(start))
        return train(step, sampler, state, draws, steps=settings.steps, tasks=tasks).meta.start

    return jax.vmap(learned)(jax.random.split(key, settings.networks))


def _learner(shape: tuple[int, ...], parts: tuple[int, ...], width: int, steps: int, rate: float) -> Learner:
    network = _network(shape, sum(parts), width)
    return maml(network, _regret(parts), steps=steps, numbers={"learning_rate": rate})


def _pooled(cases: Cases, hidden: Array, key: Key[Array, ""]) -> Task:
    """All cases, as a task without support."""
    query = _batch(cases, key, hidden)
    return Task(jax.tree.map(lambda leaf: leaf[:0], query), query, None, key)


def _of_one_group(cases: Cases, hidden: Array, key: Key[Array, ""], *, size: int, groups: int) -> Task:
    """A few cases of a group to adapt to, half of them at most, and its other problems to be asked about."""
    group_key, order_key, hide_key, task_key = jax.random.split(key, 4)
    known = cases.weights > 0
    sizes = jax.ops.segment_sum(known.astype(int), cases.groups, num_segments=groups)
    group = jax.random.categorical(group_key, jnp.where(sizes > 1, 0.0, -jnp.inf))
    inside = known & (cases.groups == group)
    order = jnp.where(inside, jax.random.uniform(order_key, inside.shape)[cases.owners], 2)
    rows = jnp.argsort(order)[: size + ASKED]
    batch = _batch(jax.tree.map(lambda part: part[rows], cases), hide_key, hidden)
    weights = cases.weights[rows]
    shown = jnp.arange(len(rows)) < jnp.minimum(size, sizes[group] // 2)
    asked = inside[rows] & (order[rows] > jnp.max(jnp.where(shown, order[rows], -1)))
    support = jax.tree.map(lambda leaf: leaf[:size], batch)
    return Task(
        support._replace(weights=jnp.where(shown, weights, 0)[:size]),
        batch._replace(weights=jnp.where(asked, weights, 0)),
        None,
        task_key,
    )


def _batch(cases: Cases, key: Key[Array, ""] | None = None, hidden: Array | float = 0.0) -> Batch:
    """Cases as a network takes them, a random share of the inputs set to their median, zero."""
    inputs = jnp.asarray(cases.inputs)
    if key is not None:
        seen = jax.random.bernoulli(key, 1 - hidden, inputs.shape)
        inputs = jnp.where(seen, inputs / (1 - hidden), 0)
    return Batch(inputs, jnp.asarray(cases.worths, inputs.dtype), jnp.asarray(cases.weights, inputs.dtype))


def _scaled(scale: QuantileTransformer, inputs: Float[np.ndarray, "C ..."]) -> Float[np.ndarray, "C ..."]:
    flat = scale.transform(inputs.reshape(-1, inputs.shape[-1]))
    return np.clip(flat, -FARTHEST, FARTHEST).reshape(inputs.shape).astype(np.float32)


def _check(cases: Cases, settings: Settings, parts: tuple[int, ...]) -> None:
    count = len(cases.inputs)
    shapes = (cases.worths.shape[:1], *(part.shape for part in cases[2:]))
    sets = cases.inputs.ndim == 3
    if cases.inputs.ndim not in (2, 3) or any(shape != (count,) for shape in shapes):
        raise InputError(
            f"inputs {cases.inputs.shape}, worths {cases.worths.shape}, weights {cases.weights.shape}, "
            f"groups {cases.groups.shape} and owners {cases.owners.shape} do not match; give one of each for "
            "every case."
        )
    if sum(parts) != cases.worths.shape[1] or (sets and cases.inputs.shape[1] != sum(parts)):
        raise InputError(
            f"worths {cases.worths.shape} and inputs {cases.inputs.shape} are not of {sum(parts)} choices."
        )
    known = cases.weights > 0
    if not known.any():
        raise InputError("there is no case to learn from; give one with a positive weight.")
    if not all(np.all(np.isfinite(part[known])) for part in (cases.inputs, cases.worths, cases.weights)):
        raise InputError("nothing can be learned from numbers that are not finite.")
    if settings.way not in get_args(Way) or not 0 <= settings.hidden < 1:
        raise InputError(f"settings are {settings}; the way is one of {get_args(Way)}, hidden in [0, 1).")
