"""Scoring models: networks that score candidates, trained by the regret of the candidate they would choose.

A network scores the candidates of a problem, and is trained on `Examples` in one of three ways: on all
examples at once ("pooled"), by MAML, or by Reptile, whose tasks are a few examples of one group to adapt to
and other examples of that group to be evaluated on. All three are the learner `maml` over the same network,
"pooled" with no inner step. The inner loop descends a ranking loss and not regret, whose gradient is zero
where a wrong choice is certain; the gradient is clipped to a norm of `CLIP_NORM`. MAML also learns the rate
of every weight array.
"""

from __future__ import annotations

import itertools
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Key, PyTree

from ..errors import InputError
from ..learners.gradient import Descent, maml
from ..learners.numbers import per_leaf
from ..learners.optimizers import descent
from ..losses import expected_regret, listwise, regret_and_error
from ..metafeatures.quantiles import known_quantiles, standardised
from ..networks import scorer
from ..networks.mlp import mlp
from ..records import Batch, Learner, Loss, Metrics, Model
from ..training.loop import train
from ..training.objectives import displacement, query_loss
from ..training.step import meta_step
from .examples import (
    Examples,
    Settings,
    as_batch,
    check_examples,
    check_settings,
    pooled_task,
    task_of_one_group,
)

CLIP_NORM = 10.0
"""Largest norm of an inner gradient, so that no rate makes the inner loop diverge."""


class ScoringModel(NamedTuple):
    """Trained networks.

    Attributes:
        quantiles: [Q, F] evenly spaced quantiles of every input, which map it to a standard normal.
        varies: [F] which inputs differed among the examples; the others are taken for zero.
        weights: of E networks.
        rates: of every weight array when the model adapts.
        settings: how the networks were trained.
        sizes: number of candidates in each group of candidates.
        set_aware: whether every candidate has inputs of its own, and all are seen together.
    """

    quantiles: Float[np.ndarray, "Q F"]
    varies: Bool[np.ndarray, " F"]
    weights: PyTree
    rates: PyTree
    settings: Settings
    sizes: tuple[int, ...]
    set_aware: bool


def fit_scoring_model(
    examples: Examples,
    key: Key[Array, ""],
    *,
    settings: Settings = Settings(),  # noqa: B008 - a record that is never written to
    sizes: tuple[int, ...] = (),
) -> ScoringModel:
    """Networks trained to choose with the least regret on the examples.

    Args:
        examples: what they learn from.
        key: a typed key.
        settings: how they are trained.
        sizes: number of candidates in each group of candidates; one group unless given. The regrets of the
            groups are added up.

    Raises:
        InputError: shapes disagree, a number is not finite, every weight is zero, a setting is out of range,
            or training diverges.
    """
    sizes = sizes or examples.scores.shape[1:]
    check_examples(examples, sizes)
    check_settings(settings)
    known = examples.inputs[examples.weights > 0].reshape(-1, examples.inputs.shape[-1])
    model = ScoringModel(
        quantiles=known_quantiles(known),
        varies=np.ptp(known, 0) > 0,
        weights=None,
        rates=None,
        settings=settings,
        sizes=sizes,
        set_aware=examples.inputs.ndim == 3,
    )
    prepared, groups = _prepared(model, examples), len(np.unique(examples.groups))
    static = settings._replace(dropout=0.0)  # one program for every rate of dropout
    start, logs = _trained(jax.tree.map(jnp.asarray, prepared), settings.dropout, key, static, sizes, groups)
    if not _finite(start):
        raise InputError(f"training with {settings} diverged; lower the rates.")
    return model._replace(weights=start, rates=jax.tree.map(jnp.exp, logs["learning_rate"]))


def adapt_scoring_model(
    model: ScoringModel, examples: Examples, *, steps: int = 5, rate: float | None = None
) -> ScoringModel:
    """The model after some steps of gradient descent on examples of a new group.

    Args:
        model: from `fit_scoring_model`.
        examples: those of weight zero are not read.
        steps: of gradient descent.
        rate: learning rate; unless given those of the training, which MAML learned.

    Raises:
        InputError: the examples do not match the model, or the adaptation diverges.
    """
    check_examples(examples, model.sizes)
    _check_inputs(model, examples.inputs)
    support = as_batch(_prepared(model, examples))
    rates = model.rates if rate is None else jax.tree.map(lambda old: jnp.full_like(old, rate), model.rates)
    weights = _adapted(model.weights, rates, support, model.settings, model.sizes, steps)
    if not _finite(weights):
        raise InputError(f"{steps} steps of rate {rate} diverge; lower the rate.")
    return model._replace(weights=weights)


def mean_scores(model: ScoringModel, inputs: Float[np.ndarray, "C ..."]) -> Float[np.ndarray, "C A"]:
    """The score of every candidate, the mean over all networks; the highest is the one to choose.

    Raises:
        InputError: as `network_scores`.
    """
    return network_scores(model, inputs).mean(0)


def network_scores(model: ScoringModel, inputs: Float[np.ndarray, "C ..."]) -> Float[np.ndarray, "E C A"]:
    """The score that each network gives to every candidate.

    Raises:
        InputError: the inputs do not match the model, as those of another portfolio or version.
    """
    _check_inputs(model, inputs)
    return np.asarray(traced_scores(model, jnp.asarray(inputs, jnp.float32)))


def traced_scores(model: ScoringModel, inputs: Float[Array, "C ..."]) -> Float[Array, "E C A"]:
    """As `network_scores`, also inside `jit`, where only shapes can be checked."""
    learned = jax.tree.map(jnp.asarray, (model.weights, model.quantiles, model.varies))
    return _scores(*learned, inputs, sum(model.sizes), model.settings.width)


@partial(jax.jit, static_argnames=("candidates", "width"))
def _scores(
    weights: PyTree,
    quantiles: Float[Array, "Q F"],
    varies: Bool[Array, " F"],
    inputs: Float[Array, "C ..."],
    candidates: int,
    width: int,
) -> Float[Array, "E C A"]:
    network, seen = _network(inputs.shape[1:], candidates, width), standardised(quantiles, varies, inputs)
    return jax.vmap(lambda one: network.apply(one, seen))(weights)


@cache
def _network(shape: tuple[int, ...], candidates: int, width: int) -> Model:
    """A set-aware scorer where every candidate has its own inputs; else an MLP with one output for each."""
    return scorer(shape[-1], width=width) if len(shape) == 2 else mlp([shape[-1], width, width, candidates])


@cache
def _summed_over_groups(loss: Loss, sizes: tuple[int, ...]) -> Loss:
    """The sum of a loss over the groups of candidates, with the metrics of the first group."""
    ends = np.cumsum((0, *sizes))

    def summed(
        outputs: Float[Array, "C A"], targets: Float[Array, "C A"], weights: Float[Array, " C"] | None = None
    ) -> tuple[Array, Metrics]:
        groups = [slice(start, end) for start, end in itertools.pairwise(ends)]
        each = [loss(outputs[:, group], targets[:, group], weights) for group in groups]
        return sum((value for value, _ in each), start=jnp.zeros(())), each[0][1]

    return summed


@partial(jax.jit, static_argnames=("settings", "sizes", "steps"))
def _adapted(
    weights: PyTree, rates: PyTree, support: Batch, settings: Settings, sizes: tuple[int, ...], steps: int
) -> PyTree:
    learner = _learner(support.inputs.shape[1:], sizes, settings.width, steps, settings.inner_rate)

    def one(start: PyTree, rates: PyTree) -> PyTree:
        meta = Descent(start, {"learning_rate": jax.tree.map(jnp.log, rates)})
        return learner.adapt(meta, support, jax.random.key(0))

    return jax.vmap(one)(weights, rates)


@partial(jax.jit, static_argnames=("settings", "sizes", "groups"))
def _trained(
    examples: Examples,
    dropout: float,
    key: Key[Array, ""],
    settings: Settings,
    sizes: tuple[int, ...],
    groups: int,
) -> Descent:
    pooled = settings.method == "pooled"
    steps = 0 if pooled else settings.inner_steps
    learner = _learner(examples.inputs.shape[1:], sizes, settings.width, steps, settings.inner_rate)
    rate = optax.cosine_decay_schedule(settings.rate, settings.steps)
    if settings.method == "reptile":
        step = meta_step(displacement(learner), optax.sgd(rate))
    else:
        loss = _summed_over_groups(regret_and_error if settings.absolute else expected_regret, sizes)
        step = meta_step(
            query_loss(learner, loss),
            optax.adamw(rate, weight_decay=settings.decay, mask=Descent(True, {"learning_rate": False})),
        )
    draw = (
        partial(pooled_task, size=settings.batch)
        if pooled
        else partial(task_of_one_group, size=settings.support, groups=groups)
    )
    sampler = jax.tree_util.Partial(draw, examples, dropout)
    tasks = 1 if pooled else settings.tasks

    def learned(key: Key[Array, ""]) -> Descent:
        start, draws = jax.random.split(key)
        state = step.init(learner.init(start))
        return train(step, sampler, state, draws, steps=settings.steps, tasks=tasks).meta

    return jax.vmap(learned)(jax.random.split(key, settings.networks))


def _learner(shape: tuple[int, ...], sizes: tuple[int, ...], width: int, steps: int, rate: float) -> Learner:
    return maml(
        _network(shape, sum(sizes), width),
        _summed_over_groups(listwise, sizes),
        steps=steps,
        optimizer=_clipped_descent,
        numbers={"learning_rate": per_leaf(rate)},
        learn=("learning_rate",),
    )


def _clipped_descent(learning_rate: PyTree) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(CLIP_NORM), descent(learning_rate))


def _prepared(model: ScoringModel, examples: Examples) -> Examples:
    """Examples with standardised inputs, zeros where the weight is zero, and numbers that count from zero."""
    known = examples.weights > 0
    inputs = np.where(known.reshape(-1, *[1] * (examples.inputs.ndim - 1)), examples.inputs, 0)
    groups, problems = (
        np.unique(part, return_inverse=True)[1] for part in (examples.groups, examples.problems)
    )
    return Examples(
        np.asarray(standardised(model.quantiles, model.varies, jnp.asarray(inputs, jnp.float32))),
        np.where(known[:, None], examples.scores, 0),
        examples.weights,
        groups,
        problems,
    )


def _finite(weights: PyTree) -> bool:
    return all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(weights))


def _check_inputs(model: ScoringModel, inputs: Float[np.ndarray, "C ..."]) -> None:
    learned, count = model.quantiles.shape[1], sum(model.sizes)
    shape = np.shape(inputs)
    if len(shape) != 2 + model.set_aware or shape[-1] != learned or (model.set_aware and shape[1] != count):
        raise InputError(
            f"the model takes {learned} inputs for {count} candidates, but the inputs have shape {shape}; "
            "use the portfolio and the version of jmeta that it was trained with."
        )
