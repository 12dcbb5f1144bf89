"""RL2: an agent that learns within a trial by its recurrent state.

At every step a recurrent network receives the observation, the last action and its reward, whether an episode
ended with it, and the elapsed share of the trial. Its state is kept across the episodes of a trial and reset
before the next trial: the state holds what has been learned about a task, the weights how to learn it.

Reference: Duan et al. 2016, RL2: Fast reinforcement learning via slow reinforcement learning; Wang et al.
2016, Learning to reinforcement learn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ..errors import InputError
from ..records import Recurrent
from ..weights import LOG_ZERO
from .environment import Action, Environment

SEES = ("observation", "action", "reward", "done", "clock")
"""Possible inputs of an agent; action, reward and done are those of the previous step."""
Masks = tuple[Bool[Array, "..."], ...]


class Last(NamedTuple):
    """The outcome of the previous step; all zero at the start of a trial.

    Attributes:
        action: [H].
        reward: the reward of the action.
        done: 1 if it ended an episode.
        any: 1 if there was a previous step.
    """

    action: Int[Array, " H"]
    reward: Float[Array, ""]
    done: Float[Array, ""]
    any: Float[Array, ""]


class Agent(NamedTuple):
    """A recurrent policy with a value estimate.

    Attributes:
        network: from inputs to the logits of all heads and the value.
        heads: number of choices of each head.
        see: `(observation, last, clock) -> inputs [F]`.
        forgets: whether the recurrent state is reset before every episode, not only before a trial.
    """

    network: Recurrent
    heads: tuple[int, ...]
    see: Callable[[Array, Last, Array], Float[Array, " F"]]
    forgets: bool


def rl2(
    environment: Environment,
    network: Callable[[int, int], Recurrent],
    *,
    sees: Sequence[str] = SEES,
    forgets: bool = False,
) -> Agent:
    """An agent for an environment.

    Args:
        environment: the environment to act in.
        network: `(inputs, outputs) -> Recurrent`, such as `jm.networks.gru`.
        sees: inputs of the network, out of `SEES`; without the reward and the action an agent cannot learn
            within a trial.
        forgets: whether the recurrent state is reset before every episode; for comparison.

    Raises:
        InputError: `sees` is empty or names an unknown input.

    >>> import jmeta as jm
    >>> agent = rl2(jm.rl.bernoulli_bandit(5), jm.networks.gru)
    >>> agent.see(jnp.zeros(1), before_first_step(1), jnp.zeros(())).shape
    (9,)
    """
    if not sees or set(sees) - set(SEES):
        raise InputError(f"sees is {list(sees)}; name some of {', '.join(SEES)}.")
    heads = environment.actions

    def see(observation: Array, last: Last, clock: Array) -> Float[Array, " F"]:
        acted = [last.any * jax.nn.one_hot(one, count) for one, count in zip(last.action, heads, strict=True)]
        parts = {
            "observation": jnp.ravel(observation),
            "action": jnp.concatenate(acted),
            "reward": last.reward[None],
            "done": last.done[None],
            "clock": clock[None],
        }
        return jnp.concatenate([parts[name] for name in SEES if name in sees])

    shape = jax.ShapeDtypeStruct(environment.observations.shape, jnp.float32)
    inputs = jax.eval_shape(see, shape, before_first_step(len(heads)), jnp.zeros(())).shape[0]
    outputs = sum(itertools.accumulate(heads, lambda a, b: a * b)) + 1
    return Agent(network(inputs, outputs), heads, see, forgets)


def before_first_step(heads: int) -> Last:
    """The `Last` of the first step of a trial."""
    return Last(jnp.zeros(heads, int), jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))


def logits_and_value(
    outputs: Float[Array, " O"], heads: tuple[int, ...], masks: Masks | None
) -> tuple[list[Float[Array, "..."]], Float[Array, ""]]:
    """The log-probabilities of every head, given the choices of earlier heads, and the value.

    Head i has an array [n_1, ..., n_i], normalised over its last axis.

    >>> logs, value = logits_and_value(jnp.zeros(2 + 6 + 1), (2, 3), None)
    >>> [log.shape for log in logs], jnp.exp(logs[1]).sum(-1).round(4).tolist()
    ([(2,), (2, 3)], [1.0, 1.0])
    """
    outputs = outputs.astype(jnp.float32)
    logs: list[Float[Array, "..."]] = []
    offset = 0
    for place in range(len(heads)):
        shape = heads[: place + 1]
        logits = outputs[offset : offset + math.prod(shape)].reshape(shape)
        offset += math.prod(shape)
        logits = logits if masks is None else jnp.where(masks[place], logits, LOG_ZERO)
        logs.append(jax.nn.log_softmax(logits, -1))
    return logs, outputs[-1]


def sample(logs: list[Float[Array, "..."]], key: Key[Array, ""] | None) -> Action:
    """Draws an action, head by head; takes the most probable choices if `key` is None."""
    action: list[Array] = []
    for place, log in enumerate(logs):
        conditional = log[tuple(action)]
        chosen = (
            jnp.argmax(conditional)
            if key is None
            else jax.random.categorical(jax.random.fold_in(key, place), conditional)
        )
        action.append(chosen)
    return jnp.stack(action)


def log_probability(logs: list[Float[Array, "..."]], action: Action) -> Float[Array, ""]:
    """The log-probability of an action: the sum over heads, each given the earlier choices.

    >>> logs, _ = logits_and_value(jnp.zeros(2 + 6 + 1), (2, 3), None)
    >>> print(f"{jnp.exp(log_probability(logs, jnp.array([1, 2]))):.4f}")
    0.1667
    """
    return sum((log[tuple(action[: place + 1])] for place, log in enumerate(logs)), start=jnp.zeros(()))


def entropy(logs: list[Float[Array, "..."]]) -> Float[Array, ""]:
    """The entropy H = -sum_a p(a) log p(a) over all actions a; forbidden actions add nothing.

    It equals the sum of the entropies of all heads, each averaged over the earlier choices.

    >>> logs, _ = logits_and_value(jnp.zeros(2 + 6 + 1), (2, 3), None)
    >>> print(f"{jnp.exp(entropy(logs)):.4f}")
    6.0000
    """
    joint = reduce(lambda earlier, log: earlier[..., None] + log, logs)
    return -jnp.sum(jnp.exp(joint) * joint)
