"""PPO for recurrent agents: a combinator that makes a `MetaStep`.

Trials are played with the current weights, so that the tasks of a step come from the environment, not from
data. With the ratio r = pi(a) / pi_old(a) and the advantage A, the loss is

    - min(r A, clip(r, 1 - e, 1 + e) A) + c_v (V - G)^2 - c_h H(pi),

summed over the steps of a trial. Minibatches consist of whole trials, as the recurrent state runs through
them. Advantages are estimated over a whole trial, across the ends of its episodes: an action may pay off in
the next one.

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

from ..batching import fold_over_tasks, over_tasks
from ..compiler import compiled
from ..errors import InputError
from ..records import MetaState, MetaStep, Metrics, Report
from ..sharding.meshes import count_tasks, of_all_hosts
from ..training.step import descended
from ..trees import all_finite
from ..validation import check_counts
from .environment import Environment, Trial
from .policy import Agent
from .rollout import History, rollout


class Experience(NamedTuple):
    """A trial to learn from.

    Attributes:
        history: the steps of the trial.
        advantages: [L] returns minus predicted values, normalised over a minibatch.
        returns: [L] targets of the predicted values.
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
    """The meta-step that plays a batch of trials and updates the agent on them.

    Args:
        agent: the agent to train.
        environment: the environment it acts in; draw trials with `trials(environment)`.
        optimizer: the optimiser; it takes epochs * minibatches steps per meta-step.
        steps: L, the maximum number of steps of a trial.
        episodes: the maximum number of episodes of a trial.
        epochs: number of passes over the trials.
        minibatches: number of minibatches that the trials are divided into.
        clip: e, the clipping range of the ratio.
        discount: discount factor of future rewards.
        trace: lambda of the advantage estimate: 1 uses rewards alone, 0 the next predicted value.
        value_weight: c_v.
        entropy_weight: c_h.
        mesh: the devices that the trials are distributed over; see `meta_step`.

    Returns:
        A `MetaStep` whose tasks are trials. Its report has the means of "loss", "entropy" and "ratio" over
        the steps of the updates that were made; the means of "reward" and the environment's `info` over
        trials; "skipped", the number of trials that became non-finite, or of all if no update was made; and
        "skipped_updates", the number of the epochs * minibatches updates that were not made, as their loss
        or gradient was not finite or no step counted.

    Raises:
        InputError: an argument is out of its range; from `update`, if `minibatches` does not divide the
            number of trials, or `steps` exceeds the limit of the agent's network.

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
        raise InputError(
            f"clip is {clip}, discount {discount} and trace {trace}; give clip > 0, the others from 0 to 1."
        )

    mesh = of_all_hosts(mesh)

    trial = partial(rollout, agent, environment, steps=steps, episodes=episodes)
    play = over_tasks(lambda params, task, key: trial(params, Trial(task, key)), shared=1, mesh=mesh)

    def summed(params: PyTree, experience: Experience, real: Array) -> tuple[tuple, tuple]:
        def total(params: PyTree) -> tuple[Array, Metrics]:
            losses, metrics = jax.vmap(
                partial(trial_loss, agent, params, clip, value_weight, entropy_weight)
            )(experience)
            sums = jax.tree.map(lambda each: jnp.sum(jnp.where(real, each, 0)), metrics)
            return jnp.sum(jnp.where(real, losses, 0)), sums

        (loss, metrics), gradient = jax.value_and_grad(total, has_aux=True)(params)
        return (loss, gradient, metrics), ()

    folded = fold_over_tasks(summed, mesh=mesh)

    def learn(state: MetaState, experience: Experience) -> tuple[MetaState, Metrics]:
        experience = normalised(experience)
        counted = jnp.sum(experience.history.counts)

        def means(params: PyTree) -> tuple[Array, PyTree, Metrics]:
            sums, _ = folded(params, experience)
            return jax.tree.map(lambda leaf: leaf / jnp.maximum(counted, 1).astype(leaf.dtype), sums)

        loss, gradient, report = means(state.meta)
        usable = all_finite((gradient, loss)) & (counted > 0)
        meta, opt, usable = descended(optimizer, state, gradient, loss, usable, lambda at: means(at)[:2])
        report = {name: jnp.where(usable, value, 0) for name, value in ({"loss": loss} | report).items()}
        return state._replace(meta=meta, opt=opt), report | {"skipped_updates": (~usable).astype(float)}

    def update(state: MetaState, tasks: Trial) -> tuple[MetaState, Report]:
        count = count_tasks(tasks)
        if count % minibatches:
            raise InputError(f"{minibatches} minibatches do not divide {count} trials; give a multiple.")
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
    """Advantage estimates  A_t = d_t + discount trace A_{t+1},  d_t = r_t + discount V_{t+1} - V_t.

    They are zero after the end of the trial, where V is zero; the ends of episodes make no difference.
    """
    following = jnp.append(history.values[1:] * history.counts[1:], 0)
    errors = history.counts * (history.rewards + discount * following - history.values)

    def back(later: Array, error: Array) -> tuple[Array, Array]:
        advantage = error + discount * trace * later
        return advantage, advantage

    return lax.scan(back, jnp.zeros(()), errors, reverse=True)[1]


def trial_loss(
    agent: Agent,
    params: PyTree,
    clip: float,
    value_weight: float,
    entropy_weight: float,
    experience: Experience,
) -> tuple[Float[Array, ""], Metrics]:
    """The loss, and the entropy and the ratio, each summed over the steps of one trial."""
    history, advantages, returns = experience
    logs, spread, values = evaluated(agent, params, history)
    counts = history.counts
    ratio = jnp.exp(jnp.where(counts > 0, logs - history.logs, 0))
    gain = jnp.minimum(ratio * advantages, jnp.clip(ratio, 1 - clip, 1 + clip) * advantages)
    each = -gain + value_weight * jnp.square(values - returns) - entropy_weight * spread
    return counts @ each, {"entropy": counts @ spread, "ratio": counts @ ratio}


def evaluated(
    agent: Agent, params: PyTree, history: History
) -> tuple[Float[Array, " L"], Float[Array, " L"], Float[Array, " L"]]:
    """The log-probabilities of the actions of a trial under other weights, the entropies, and the values.

    The gradient of log-probabilities times returns is that of the expected return: all policy gradients start
    here.

    Args:
        agent: that played the trial.
        params: weights, with respect to which all three are differentiable.
        history: of `rollout`.
    """
    start = jnp.arange(len(history.counts)) == 0
    outputs = agent.network.unroll(params, history.inputs, history.resets if agent.forgets else start)

    def one(outputs: Array, masks: tuple | None, action: Array) -> tuple[Array, Array, Array]:
        policy, value = agent.policy_and_value(outputs, masks)
        return agent.actions.log_probability(policy, action), agent.actions.entropy(policy), value

    return jax.vmap(one)(outputs, history.masks, history.actions)


def normalised(experience: Experience) -> Experience:
    """Normalises advantages to zero mean and unit deviation over all steps of a minibatch."""
    counts = experience.history.counts
    total = jnp.maximum(jnp.sum(counts), 1)
    centered = experience.advantages - jnp.sum(counts * experience.advantages) / total
    deviation = jnp.sqrt(jnp.sum(counts * jnp.square(centered)) / total)
    return experience._replace(advantages=counts * centered / (deviation + 1e-8))


def _finite(experience: Experience) -> tuple[Experience, Int[Array, ""]]:
    """Sets trials with non-finite values to zero, and counts them."""
    finite = jax.vmap(all_finite)(experience)

    def kept(leaf: Array) -> Array:
        mask = finite.reshape(-1, *[1] * (leaf.ndim - 1))
        return jnp.where(mask, leaf, jnp.zeros((), leaf.dtype))

    return jax.tree.map(kept, experience), jnp.sum(~finite)


def _report(metrics: Metrics, history: History, skipped: Int[Array, ""]) -> Report:
    """Means over the updates that were made and the trials that were kept, and the numbers of the others.

    Means over the updates are NaN where none was made.
    """
    missed = metrics["skipped_updates"]
    made, kept = jnp.sum(1 - missed), jnp.maximum(len(history.counts) - skipped, 1)
    means = {name: jnp.sum(values) / jnp.where(made > 0, made, jnp.nan) for name, values in metrics.items()}
    sums = history.info | {"reward": history.rewards}
    means |= {name: jnp.sum(values) / kept for name, values in sums.items()}
    means |= {"skipped_updates": jnp.sum(missed)}
    return Report(means.pop("loss"), jnp.where(made > 0, skipped, len(history.counts)), means)
