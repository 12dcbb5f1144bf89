"""Learning to choose, and to adapt how one chooses: what the selector and the criterion have in common.

A `Cases` holds what is seen of problems with known answers and what every choice was worth there; a network
scores the choices, and learns by the regret of its choice. It does so in one of three ways, of which the
others are to be measured against the first: on all cases at once, by MAML, or by Reptile, whose tasks are a
few cases of one group to adapt to and the others of that group to be asked about. All are the learner `maml`
over the same network, the first with no inner step. What is descended when it adapts is not regret, which has
no slope where the wrong choice is certain, but a ranking loss, its gradient cut to a length of `LONGEST`.
MAML learns the rate of every array of weights, too.
"""

from __future__ import annotations

import itertools
import math
from functools import cache, partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from ..learners.gradient import Descent, maml
from ..learners.numbers import per_leaf
from ..learners.optimizers import descent
from ..losses import expected_regret, listwise, regret_and_error
from ..networks import scorer
from ..networks.mlp import mlp
from ..records import Batch, InputError, Learner, Loss, Metrics, Model, Task
from ..training.loop import train
from ..training.objectives import displacement, query_loss
from ..training.step import meta_step
from .quantiles import known_quantiles, standardised

LONGEST = 10.0
"""Length beyond which a gradient is cut when it adapts, so that no rate leaves the numbers."""
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
        batch: cases of a pooled step, drawn at random; all of them unless given.
        networks: E, each from a start of its own; their scores are averaged.
        rate: of AdamW, or of Reptile's plain descent; it falls along a cosine.
        decay: of the weights, but for Reptile.
        hidden: the share of all inputs that are hidden from a step, so that none is relied on.
        way: "pooled", "maml" or "reptile".
        support: cases that a task adapts to, in training.
        inner_steps: of gradient descent when it adapts.
        inner_rate: of that; for MAML, which learns it, at the start.
        tasks: groups at each step of MAML and Reptile.
        absolute: whether scores are to be the worths themselves, not only to choose well.
    """

    width: int = 32
    steps: int = 600
    batch: int | None = None
    networks: int = 8
    rate: float = 1e-2
    decay: float = 1e-2
    hidden: float = 0.2
    way: Way = "pooled"
    support: int = 8
    inner_steps: int = 5
    inner_rate: float = 0.02
    tasks: int = 4
    absolute: bool = False


class Choice(NamedTuple):
    """What was learned.

    Attributes:
        scale: [Q, F] evenly spaced quantiles of every input, which map it to a standard normal distribution.
        varies: [F] which inputs differed among the known cases; the others are taken for zero.
        weights: of E networks.
        rates: of every array of these weights when it adapts.
        settings: how they were trained.
        parts: how many choices there are of each kind.
        sets: whether every choice has inputs of its own.
    """

    scale: Float[np.ndarray, "Q F"]
    varies: Bool[np.ndarray, " F"]
    weights: PyTree
    rates: PyTree
    settings: Settings
    parts: tuple[int, ...]
    sets: bool


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
    _check(cases, parts)
    _check_settings(settings)
    known = cases.inputs[cases.weights > 0].reshape(-1, cases.inputs.shape[-1])
    choice = Choice(
        known_quantiles(known), np.ptp(known, 0) > 0, None, None, settings, parts, cases.inputs.ndim == 3
    )
    seen, groups = _seen(choice, cases), len(np.unique(cases.groups))
    static = settings._replace(hidden=0.0)  # one program for every share
    start, logs = _learned(jax.tree.map(jnp.asarray, seen), settings.hidden, key, static, parts, groups)
    if not _finite(start):
        raise InputError(f"training with {settings} left the numbers; lower the rates.")
    return choice._replace(weights=start, rates=jax.tree.map(jnp.exp, logs["learning_rate"]))


def adapt_choice(choice: Choice, cases: Cases, *, steps: int = 5, rate: float | None = None) -> Choice:
    """The networks after some steps of gradient descent on cases of a new group with known answers.

    Args:
        choice: from `learn_choice`.
        cases: those of weight zero are not looked at.
        steps: of descent.
        rate: of descent; unless given those it was trained with, which MAML learned.

    Raises:
        InputError: the cases are not such as were learned from, or the descent leaves the numbers.
    """
    _check(cases, choice.parts)
    _check_inputs(choice, cases.inputs)
    support = _batch(_seen(choice, cases))
    rates = choice.rates if rate is None else jax.tree.map(lambda old: jnp.full_like(old, rate), choice.rates)
    weights = _adapted(choice.weights, rates, support, choice.settings, choice.parts, steps)
    if not _finite(weights):
        raise InputError(f"{steps} steps of rate {rate} leave the numbers; lower the rate.")
    return choice._replace(weights=weights)


def choice_scores(choice: Choice, inputs: Float[np.ndarray, "C ..."]) -> Float[np.ndarray, "C A"]:
    """The score of every choice, the mean of all networks', the highest the one to take.

    Raises:
        InputError: as `network_scores`.
    """
    return network_scores(choice, inputs).mean(0)


def network_scores(choice: Choice, inputs: Float[np.ndarray, "C ..."]) -> Float[np.ndarray, "E C A"]:
    """The score that each network gives to every choice.

    Raises:
        InputError: the inputs are not such as were learned from, as those of another portfolio or of
            another version.
    """
    _check_inputs(choice, inputs)
    return np.asarray(traced_scores(choice, jnp.asarray(inputs, jnp.float32)))


def traced_scores(choice: Choice, inputs: Float[Array, "C ..."]) -> Float[Array, "E C A"]:
    """What `network_scores` gives, also inside `jit`, where nothing can be checked but shapes."""
    learned = jax.tree.map(jnp.asarray, (choice.weights, choice.scale, choice.varies))
    return _scores(*learned, inputs, sum(choice.parts), choice.settings.width)


@partial(jax.jit, static_argnames=("choices", "width"))
def _scores(
    weights: PyTree,
    scale: Float[Array, "Q F"],
    varies: Bool[Array, " F"],
    inputs: Float[Array, "C ..."],
    choices: int,
    width: int,
) -> Float[Array, "E C A"]:
    network, seen = _network(inputs.shape[1:], choices, width), standardised(scale, varies, inputs)
    return jax.vmap(lambda one: network.apply(one, seen))(weights)


@cache
def _network(shape: tuple[int, ...], choices: int, width: int) -> Model:
    """A scorer of sets where every choice has inputs of its own; else a network with one output each."""
    return scorer(shape[-1], width=width) if len(shape) == 2 else mlp([shape[-1], width, width, choices])


@cache
def _of_parts(loss: Loss, parts: tuple[int, ...]) -> Loss:
    """The sum of a loss over every kind of choice, and the metrics of the first."""
    ends = np.cumsum((0, *parts))

    def summed(
        outputs: Float[Array, "C A"], targets: Float[Array, "C A"], weights: Float[Array, " C"] | None = None
    ) -> tuple[Array, Metrics]:
        kinds = [slice(start, end) for start, end in itertools.pairwise(ends)]
        each = [loss(outputs[:, kind], targets[:, kind], weights) for kind in kinds]
        return sum((value for value, _ in each), start=jnp.zeros(())), each[0][1]

    return summed


@partial(jax.jit, static_argnames=("settings", "parts", "steps"))
def _adapted(
    weights: PyTree, rates: PyTree, support: Batch, settings: Settings, parts: tuple[int, ...], steps: int
) -> PyTree:
    learner = _learner(support.inputs.shape[1:], parts, settings.width, steps, settings.inner_rate)

    def one(start: PyTree, rates: PyTree) -> PyTree:
        meta = Descent(start, {"learning_rate": jax.tree.map(jnp.log, rates)})
        return learner.adapt(meta, support, jax.random.key(0))

    return jax.vmap(one)(weights, rates)


@partial(jax.jit, static_argnames=("settings", "parts", "groups"))
def _learned(
    cases: Cases, hidden: float, key: Key[Array, ""], settings: Settings, parts: tuple[int, ...], groups: int
) -> Descent:
    pooled = settings.way == "pooled"
    steps = 0 if pooled else settings.inner_steps
    learner = _learner(cases.inputs.shape[1:], parts, settings.width, steps, settings.inner_rate)
    rate = optax.cosine_decay_schedule(settings.rate, settings.steps)
    if settings.way == "reptile":
        step = meta_step(displacement(learner), optax.sgd(rate))
    else:
        step = meta_step(
            query_loss(learner, _of_parts(regret_and_error if settings.absolute else expected_regret, parts)),
            optax.adamw(rate, weight_decay=settings.decay, mask=Descent(True, {"learning_rate": False})),
        )
    draw = (
        partial(_pooled, size=settings.batch)
        if pooled
        else partial(_of_one_group, size=settings.support, groups=groups)
    )
    sampler = jax.tree_util.Partial(draw, cases, hidden)
    tasks = 1 if pooled else settings.tasks

    def learned(key: Key[Array, ""]) -> Descent:
        start, draws = jax.random.split(key)
        state = step.init(learner.init(start))
        return train(step, sampler, state, draws, steps=settings.steps, tasks=tasks).meta

    return jax.vmap(learned)(jax.random.split(key, settings.networks))


def _learner(shape: tuple[int, ...], parts: tuple[int, ...], width: int, steps: int, rate: float) -> Learner:
    return maml(
        _network(shape, sum(parts), width),
        _of_parts(listwise, parts),
        steps=steps,
        optimizer=_cut_descent,
        numbers={"learning_rate": per_leaf(rate)},
        learn=("learning_rate",),
    )


def _cut_descent(learning_rate: PyTree) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(LONGEST), descent(learning_rate))


def _pooled(cases: Cases, hidden: Array, key: Key[Array, ""], *, size: int | None) -> Task:
    """All cases, or some, as a task without support."""
    if size is not None:
        rows = jax.random.randint(jax.random.fold_in(key, 0), (size,), 0, len(cases.weights))
        cases = jax.tree.map(lambda part: part[rows], cases)
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


def _seen(choice: Choice, cases: Cases) -> Cases:
    """As networks see them: what may not be looked at is zero, and groups and problems count from zero."""
    known = cases.weights > 0
    inputs = np.where(known.reshape(-1, *[1] * (cases.inputs.ndim - 1)), cases.inputs, 0)
    groups, owners = (np.unique(part, return_inverse=True)[1] for part in (cases.groups, cases.owners))
    return Cases(
        np.asarray(standardised(choice.scale, choice.varies, jnp.asarray(inputs, jnp.float32))),
        np.where(known[:, None], cases.worths, 0),
        cases.weights,
        groups,
        owners,
    )


def _finite(weights: PyTree) -> bool:
    return all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(weights))


def _check(cases: Cases, parts: tuple[int, ...]) -> None:
    shapes = [np.shape(part)[:1] for part in cases]
    ranks = (np.ndim(cases.inputs) in (2, 3), np.ndim(cases.worths) == 2, np.ndim(cases.weights) == 1)
    if not all(ranks) or len(set(shapes)) > 1:
        raise InputError(
            f"inputs {np.shape(cases.inputs)}, worths {np.shape(cases.worths)}, weights "
            f"{np.shape(cases.weights)}, groups {np.shape(cases.groups)} and owners {np.shape(cases.owners)} "
            "do not match; give one of each for every case."
        )
    sets = cases.inputs.ndim == 3
    if sum(parts) != cases.worths.shape[1] or (sets and cases.inputs.shape[1] != sum(parts)):
        raise InputError(
            f"worths {cases.worths.shape} and inputs {cases.inputs.shape} are not of {sum(parts)} choices."
        )
    known = cases.weights > 0
    if not known.any():
        raise InputError("there is no case to learn from; give one with a positive weight.")
    if not all(np.all(np.isfinite(part[known])) for part in (cases.inputs, cases.worths, cases.weights)):
        raise InputError("nothing can be learned from numbers that are not finite.")


def _check_settings(settings: Settings) -> None:
    counts = ("width", "steps", "networks", "support", "inner_steps", "tasks")
    least = min(getattr(settings, name) for name in counts)
    if min(least, least if settings.batch is None else settings.batch) < 1 or settings.way not in get_args(
        Way
    ):
        raise InputError(f"settings are {settings}; the way is one of {get_args(Way)}, and counts are >= 1.")
    rates = (settings.rate, settings.inner_rate)
    if not all(0 < rate < math.inf for rate in rates) or not 0 <= settings.hidden < 1 or settings.decay < 0:
        raise InputError(f"settings are {settings}; rates are positive, and a share is hidden in [0, 1).")


def _check_inputs(choice: Choice, inputs: Float[np.ndarray, "C ..."]) -> None:
    learned, count = choice.scale.shape[1], sum(choice.parts)
    shape = np.shape(inputs)
    if len(shape) != 2 + choice.sets or shape[-1] != learned or (choice.sets and shape[1] != count):
        raise InputError(
            f"what was learned takes {learned} numbers for {count} choices, but the inputs have shape "
            f"{shape}; use the portfolio and the version of jmeta that it was learned with."
        )
