"""PPO for agents with a memory: a combinator that makes a `MetaStep`.

Trials are played with the present weights, so that the tasks of a step are the environment's, not data. With
ratio r = pi(a) / pi_old(a) and advantage A, what is minimised is

    - min(r A, clip(r, 1 - e, 1 + e) A) + c_v (V - G)^2 - c_h H(pi),

summed over the steps of a trial; minibatches are of whole trials, since memory runs through all of one.
Advantages are estimated over a whole trial, across the ends of its episodes: an action may pay in the next.

References: Schulman et al. 2017, Proximal policy optimization algorithms; Schulman et al. 2016,
High-dimensional continuous control using generalized advantage estimation.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree

from ..batching import count_tasks, fold_over_tasks, of_all_hosts, over_tasks
from ..compiler import compiled
from ..errors import InputError
from ..records import MetaState, MetaStep, Metrics
from ..training.step import descended
from ..trees import all_finite
from ..validation import check_counts
from .environment import Environment, Trial
from .policy import Agent, entropy, log_probability, logits_and_value
from .rollout import History, rollout


class Experience(NamedTuple):
    """A trial to learn from.

    Attributes:
        history: of it.
        advantages: [L] how much better an action was than what was foretold, normalised over a minibatch.
        returns: [L] what is to be foretold.
    """

    history: History
    advantages: Float[Array, " L"]
    returns: Float[Array, " L"]


def ppo(
    agent: Agent,
    environment: Environment,
    optimizer: optax.GradientTransformation,
    *,
    steps: int,
    episodes: int,
    epochs: int = 2,
    minibatches: int = 4,
    clip: float = 0.2,
    discount: float = 0.99,
    trace: float = 0.95,
    value_weight: float = 0.5,
    entropy_weight: float = 0.002,
    mesh: Mesh | None = None,
) -> MetaStep:
    """The meta-step that plays a batch of trials and learns from them.

    Args:
        agent: that learns.
        environment: that it acts in; draw trials with `trials(environment)`.
        optimizer: takes epochs * minibatches steps of each meta-step.
        steps: L, the most of a trial.
        episodes: of a trial.
        epochs: how often each trial is learned from.
        minibatches: that share the trials out.
        clip: e, how far the ratio may move.
        discount: of rewards to come.
        trace: lambda of the advantage estimate: 1 trusts rewards alone, 0 the next value.
        value_weight: c_v.
        entropy_weight: c_h.
        mesh: the devices that share the trials out, as of `meta_step`.

    Returns:
        A `MetaStep` of trials. Metrics: "loss", "entropy" and "ratio" of a step, over the updates that were
        made; "reward" of a trial, and the environment's own; "skipped", how many trials left the numbers, or
        all where no update was made; and "skipped_updates", how many of the epochs * minibatches were not,
        as their loss or gradient was not finite, or no step counted.

    Raises:
        InputError: a number is out of its range; and, when it is called, minibatches do not divide the
            trials, or the agent's network cannot take so many steps.

    >>> import jmeta as jm
    >>> bandit = jm.rl.bernoulli_bandit(2)
    >>> agent = jm.rl.rl2(bandit, jm.networks.gru)
    >>> learn = ppo(agent, bandit, optax.adam(1e-3), steps=3, episodes=3)
    >>> start = learn.init(agent.network.init(jax.random.key(0)))
    >>> state = jm.train(learn, jm.rl.trials(bandit), start, jax.random.key(1), steps=2, tasks=8)
    >>> int(state.step)
    2
    """
    check_counts("ppo", steps=steps, episodes=episodes, epochs=epochs, minibatches=minibatches)
    if not (clip > 0 and 0 <= discount <= 1 and 0 <= trace <= 1):
        raise InputError(f"clip {clip} must be positive, discount {discount} and trace {trace} from 0 to 1.")

    mesh = of_all_hosts(mesh)

    def played(params: PyTree, task: PyTree, key: Array) -> History:
        return rollout(agent, environment, params, Trial(task, key), steps=steps, episodes=episodes)

    play = over_tasks(played, shared=1, mesh=mesh)

    def summed(params: PyTree, some: Experience, real: Array) -> tuple[tuple, tuple]:
        def total(params: PyTree) -> tuple[Array, Metrics]:
            losses, metrics = jax.vmap(
                partial(trial_loss, agent, params, clip, value_weight, entropy_weight)
            )(some)
            sums = jax.tree.map(lambda each: jnp.sum(jnp.where(real, each, 0)), metrics)
            return jnp.sum(jnp.where(real, losses, 0)), sums

        (loss, metrics), gradient = jax.value_and_grad(total, has_aux=True)(params)
        return (gradient, loss, metrics), ()

    folded = fold_over_tasks(summed, mesh=mesh)

    def learn(state: MetaState, some: Experience) -> tuple[MetaState, Metrics]:
        some = normalised(some)
        (gradient, loss, metrics), _ = folded(state.meta, some)
        counted = jnp.sum(some.history.counts)
        gradient, report = jax.tree.map(
            lambda leaf: leaf / jnp.maximum(counted, 1).astype(leaf.dtype),
            (gradient, {"loss": loss} | metrics),
        )
        usable = all_finite((gradient, loss)) & (counted > 0)
        meta, opt, usable = descended(optimizer, state, gradient, usable)
        report = {name: jnp.where(usable, value, 0) for name, value in report.items()}
        return state._replace(meta=meta, opt=opt), report | {"skipped_updates": (~usable).astype(float)}

    def update(state: MetaState, tasks: Trial) -> tuple[MetaState, Metrics]:
        count = count_tasks(tasks)
        if count % minibatches:
            raise InputError(f"{minibatches} minibatches do not divide {count} trials; choose a multiple.")
        history = play(state.meta, tasks.task, tasks.key)
        advantages = jax.vmap(partial(advantages_of, discount, trace))(history)
        experience, skipped = _finite(Experience(history, advantages, advantages + history.values))
        parts = jax.tree.map(
            lambda leaf: jnp.swapaxes(leaf.reshape(-1, minibatches, *leaf.shape[1:]), 0, 1), experience
        )

        def epoch(state: MetaState, _: None) -> tuple[MetaState, Metrics]:
            return lax.scan(learn, state, parts)

        state, metrics = lax.scan(epoch, state, None, length=epochs)
        return state._replace(step=state.step + 1), _report(metrics, experience.history, skipped)

    def init(meta: PyTree) -> MetaState:
        return MetaState(jnp.asarray(0), meta, optimizer.init(meta))

    return MetaStep(init, compiled(update), mesh)


def advantages_of(discount: float, trace: float, history: History) -> Float[Array, " L"]:
    """A_t = d_t + discount trace A_{t+1},  d_t = r_t + discount V_{t+1} - V_t; zero after the trial's end.

    The end of an episode is no end: only the trial's is, where V is zero.
    """
    following = jnp.append(history.values[1:] * history.counts[1:], 0)
    surprises = history.counts * (history.rewards + discount * following - history.values)

    def back(later: Array, surprise: Array) -> tuple[Array, Array]:
        now = surprise + discount * trace * later
        return now, now

    return lax.scan(back, jnp.zeros(()), surprises, reverse=True)[1]


def trial_loss(
    agent: Agent, params: PyTree, clip: float, value_weight: float, entropy_weight: float, some: Experience
) -> tuple[Float[Array, ""], Metrics]:
    """The loss summed over the steps of one trial, and the entropy and the ratio, summed likewise."""
    history, advantages, returns = some
    start = jnp.arange(len(history.counts)) == 0
    outputs = agent.network.unroll(params, history.inputs, history.resets if agent.forgets else start)

    def one(outputs: Array, masks: tuple | None, action: Array) -> tuple[Array, Array, Array]:
        logs, value = logits_and_value(outputs, agent.heads, masks)
        return log_probability(logs, action), entropy(logs), value

    logs, spread, values = jax.vmap(one)(outputs, history.masks, history.actions)
    counts = history.counts
    ratio = jnp.exp(jnp.where(counts > 0, logs - history.logs, 0))
    gain = jnp.minimum(ratio * advantages, jnp.clip(ratio, 1 - clip, 1 + clip) * advantages)
    each = -gain + value_weight * jnp.square(values - returns) - entropy_weight * spread
    return counts @ each, {"entropy": counts @ spread, "ratio": counts @ ratio}


def normalised(some: Experience) -> Experience:
    """Advantages at zero mean and unit deviation over all steps of a minibatch."""
    counts = some.history.counts
    total = jnp.maximum(jnp.sum(counts), 1)
    centered = some.advantages - jnp.sum(counts * some.advantages) / total
    deviation = jnp.sqrt(jnp.sum(counts * jnp.square(centered)) / total)
    return some._replace(advantages=counts * centered / (deviation + 1e-8))


def _finite(some: Experience) -> tuple[Experience, Int[Array, ""]]:
    """Trials that left the numbers do not count, and how many those are."""
    finite = jax.vmap(all_finite)(some)

    def kept(leaf: Array) -> Array:
        there = finite.reshape(-1, *[1] * (leaf.ndim - 1))
        return jnp.where(there, leaf, jnp.zeros((), leaf.dtype))

    return jax.tree.map(kept, some), jnp.sum(~finite)


def _report(metrics: Metrics, history: History, skipped: Int[Array, ""]) -> Metrics:
    """Means over updates that were made and over trials that were kept, and how many were not."""
    missed = metrics["skipped_updates"]
    made, kept = jnp.sum(1 - missed), jnp.maximum(len(history.counts) - skipped, 1)
    learned = {name: jnp.sum(values) / jnp.maximum(made, 1) for name, values in metrics.items()}
    told = history.info | {"reward": history.rewards}
    played = {name: jnp.sum(values) / kept for name, values in told.items()}
    skipped = jnp.where(made > 0, skipped, len(history.counts))
    return learned | played | {"skipped": skipped, "skipped_updates": jnp.sum(missed)}
