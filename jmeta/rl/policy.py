"""RL2: an agent that learns within a trial by its recurrent state.

At every step a recurrent network receives the observation, the last action and its reward, whether an episode
ended with it, and the elapsed share of the trial. Its state is kept across the episodes of a trial and reset
before the next trial: the state holds what has been learned about a task, the weights how to learn it.

Reference: Duan et al. 2016, RL2: Fast reinforcement learning via slow reinforcement learning; Wang et al.
2016, Learning to reinforcement learn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, PyTree

from ..errors import InputError
from ..records import Recurrent
from .actions import Actions, Masks, actions_of
from .environment import Environment

SEES = ("observation", "action", "reward", "done", "clock")
"""Possible inputs of an agent; action, reward and done are those of the previous step."""


class Last(NamedTuple):
    """The outcome of the previous step; all zero at the start of a trial.

    Attributes:
        action: [H].
        reward: the reward of the action.
        done: 1 if it ended an episode.
        any: 1 if there was a previous step.
    """

    action: Num[Array, " H"]
    reward: Float[Array, ""]
    done: Float[Array, ""]
    any: Float[Array, ""]


class Agent(NamedTuple):
    """A recurrent policy with a value estimate.

    Attributes:
        network: from inputs to the outputs of `actions`, and the value.
        actions: the distributions of its actions.
        see: `(observation, last, clock) -> inputs [F]`.
        forgets: whether the recurrent state is reset before every episode, not only before a trial.
    """

    network: Recurrent
    actions: Actions
    see: Callable[[Array, Last, Array], Float[Array, " F"]]
    forgets: bool

    def policy_and_value(
        self, outputs: Float[Array, " O"], masks: Masks | None
    ) -> tuple[PyTree, Float[Array, ""]]:
        """The parameters of the distribution of the next action, and the value, in float32 or wider."""
        outputs = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
        return self.actions.distribution(outputs[:-1], masks), outputs[-1]


def rl2(
    environment: Environment,
    network: Callable[[int, int], Recurrent],
    *,
    sees: Sequence[str] = SEES,
    forgets: bool = False,
) -> Agent:
    """An agent for an environment, whose actions are choices or numbers.

    Args:
        environment: the environment to act in.
        network: `(inputs, outputs) -> Recurrent`, such as `jm.networks.gru`.
        sees: inputs of the network, out of `SEES`; without the reward and the action an agent cannot learn
            within a trial.
        forgets: whether the recurrent state is reset before every episode; for comparison.

    Raises:
        InputError: `sees` is empty or names an unknown input, or the space of actions has no finite bounds.

    >>> import jmeta as jm
    >>> agent = rl2(jm.rl.bernoulli_bandit(5), jm.networks.gru)
    >>> agent.see(jnp.zeros(1), before_first_step(agent.actions), jnp.zeros(())).shape
    (9,)
    """
    if not sees or set(sees) - set(SEES):
        raise InputError(f"sees is {list(sees)}; name some of {', '.join(SEES)}.")
    actions = actions_of(environment.actions)

    def see(observation: Array, last: Last, clock: Array) -> Float[Array, " F"]:
        parts = {
            "observation": jnp.ravel(observation),
            "action": last.any * actions.seen(last.action),
            "reward": last.reward[None],
            "done": last.done[None],
            "clock": clock[None],
        }
        return jnp.concatenate([parts[name] for name in SEES if name in sees])

    shape = jax.ShapeDtypeStruct(environment.observations.shape, jnp.float32)
    inputs = jax.eval_shape(see, shape, before_first_step(actions), jnp.zeros(())).shape[0]
    return Agent(network(inputs, actions.outputs + 1), actions, see, forgets)


def before_first_step(actions: Actions) -> Last:
    """The `Last` of the first step of a trial."""
    return Last(jnp.zeros(actions.size, actions.dtype), jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))
