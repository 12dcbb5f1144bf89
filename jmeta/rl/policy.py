"""RL2: an agent that learns inside its memory, and what it sees.

At every step a recurrent network sees the observation, the last action and its reward, whether an episode
ended with it, and how much of the trial is over. Its memory lasts for the whole trial, over the ends of
episodes, and is empty at the start of the next: what is learned about a task is in it alone, how to learn is
in the weights.

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
from .environment import Action, Environment

SEES = ("observation", "action", "reward", "done", "clock")
"""What an agent may see at a step; all but the first of the step before."""
FORBIDDEN = -1e30
"""Logarithm of the probability of what is not allowed."""
Masks = tuple[Bool[Array, "..."], ...]


class Last(NamedTuple):
    """What came of the step before; all zero at the start of a trial.

    Attributes:
        action: [H].
        reward: for it.
        done: 1 where it ended an episode.
        any: 1 where there was one.
    """

    action: Int[Array, " H"]
    reward: Float[Array, ""]
    done: Float[Array, ""]
    any: Float[Array, ""]


class Agent(NamedTuple):
    """How to act.

    Attributes:
        network: from what is seen to the logits of all heads and the value.
        heads: choices of every head.
        see: `(observation, last, clock) -> inputs [F]`.
        forgets: whether the memory is emptied before every episode, not only before a trial.
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
        environment: that it is to act in.
        network: `(inputs, outputs) -> Recurrent`, such as `jm.networks.gru`.
        sees: a part of `SEES`; without the reward and the action nothing can be learned in a trial.
        forgets: whether memory lasts for an episode only; for comparison.

    Raises:
        InputError: `sees` names something else, or nothing.

    >>> import jmeta as jm
    >>> agent = rl2(jm.rl.bernoulli_bandit(5), jm.networks.gru)
    >>> agent.see(jnp.zeros(1), nothing_yet(1), jnp.zeros(())).shape
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
    inputs = jax.eval_shape(see, shape, nothing_yet(len(heads)), jnp.zeros(())).shape[0]
    outputs = sum(itertools.accumulate(heads, lambda a, b: a * b)) + 1
    return Agent(network(inputs, outputs), heads, see, forgets)


def nothing_yet(heads: int) -> Last:
    """Before the first step."""
    return Last(jnp.zeros(heads, int), jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))


def logits_and_value(
    outputs: Float[Array, " O"], heads: tuple[int, ...], masks: Masks | None
) -> tuple[list[Float[Array, "..."]], Float[Array, ""]]:
    """The log-probabilities of every head, given the choices of those before, and the value.

    Head i has an array [n_1, ..., n_i]; its last axis is normalised.

    >>> logs, value = logits_and_value(jnp.zeros(2 + 6 + 1), (2, 3), None)
    >>> [log.shape for log in logs], jnp.exp(logs[1]).sum(-1).round(4).tolist()
    ([(2,), (2, 3)], [1.0, 1.0])
    """
    outputs, found, at = outputs.astype(jnp.float32), [], 0
    for place in range(len(heads)):
        shape = heads[: place + 1]
        logits = outputs[at : at + math.prod(shape)].reshape(shape)
        at += math.prod(shape)
        logits = logits if masks is None else jnp.where(masks[place], logits, FORBIDDEN)
        found.append(jax.nn.log_softmax(logits, -1))
    return found, outputs[-1]


def sample(logs: list[Float[Array, "..."]], key: Key[Array, ""] | None) -> Action:
    """An action, head by head; the most probable choices where there is no key."""
    action: list[Array] = []
    for place, log in enumerate(logs):
        given = log[tuple(action)]
        chosen = (
            jnp.argmax(given)
            if key is None
            else jax.random.categorical(jax.random.fold_in(key, place), given)
        )
        action.append(chosen)
    return jnp.stack(action)


def log_probability(logs: list[Float[Array, "..."]], action: Action) -> Float[Array, ""]:
    """Of an action: the sum over heads, each given the choices before.

    >>> logs, _ = logits_and_value(jnp.zeros(2 + 6 + 1), (2, 3), None)
    >>> print(f"{jnp.exp(log_probability(logs, jnp.array([1, 2]))):.4f}")
    0.1667
    """
    return sum((log[tuple(action[: place + 1])] for place, log in enumerate(logs)), start=jnp.zeros(()))


def entropy(logs: list[Float[Array, "..."]]) -> Float[Array, ""]:
    """H = -sum_a p(a) log p(a) over all actions a, exactly; those that are forbidden add nothing.

    It is the sum of the entropies of all heads, each averaged over the choices before.

    >>> logs, _ = logits_and_value(jnp.zeros(2 + 6 + 1), (2, 3), None)
    >>> print(f"{jnp.exp(entropy(logs)):.4f}")
    6.0000
    """
    whole = reduce(lambda before, log: before[..., None] + log, logs)
    return -jnp.sum(jnp.exp(whole) * whole)
