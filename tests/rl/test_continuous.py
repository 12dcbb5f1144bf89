"""Actions that are numbers: their distribution, and agents that learn with them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

import jmeta as jm
from jmeta.rl.actions import gaussian
from jmeta.rl.environment import Space
from jmeta.training.loop import draw_tasks

KEY = jax.random.key(0)
WORLD = jm.rl.point_mass(horizon=4)


def test_probabilities_and_entropy_are_those_of_a_normal_distribution():
    some = gaussian(Space((2,), -1.0, 3.0))
    normal = some.distribution(jnp.array([0.5, -0.25, 0.3, -0.4]), None)
    mean, deviation = np.array([2.0, 0.5]), np.exp([0.3, -0.4])
    theirs = scipy.stats.norm(mean, deviation)
    action = jnp.array([1.2, 4.0])
    np.testing.assert_allclose(some.log_probability(normal, action), theirs.logpdf(action).sum(), rtol=1e-5)
    np.testing.assert_allclose(some.entropy(normal), theirs.entropy().sum(), rtol=1e-5)
    np.testing.assert_allclose(some.sample(normal, None), mean, rtol=1e-6)
    drawn = jax.vmap(partial(some.sample, normal))(jax.random.split(KEY, 4000))
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.1)
    np.testing.assert_allclose(drawn.std(0), deviation, rtol=0.1)
    np.testing.assert_array_equal(some.applied(jnp.array([-5.0, 9.0])), [-1, 3])
    np.testing.assert_array_equal(some.seen(jnp.array([-5.0, 2.0])), [-1, 0.5])


def test_the_gradient_of_log_probabilities_times_returns_is_that_of_the_expected_return():
    """For a mean m and a return -a^2 the gradient is that of -(m^2 + s^2)."""
    some = gaussian(Space((1,), -1.0, 1.0))
    at = jnp.array([0.5, 0.0])

    def surrogate(outputs, key):
        normal = some.distribution(outputs, None)
        action = some.sample(normal, key)
        return some.log_probability(normal, action) * -jnp.sum(action**2)

    slopes = jax.vmap(jax.grad(surrogate), (None, 0))(at, jax.random.split(KEY, 40_000))
    np.testing.assert_allclose(slopes.mean(0), [-2 * 0.5, -2 * 0.25], atol=0.04)


def test_the_ratio_is_one_and_what_comes_after_the_end_is_zero():
    agent = jm.rl.rl2(WORLD, partial(jm.networks.gru, width=4))
    params = agent.network.init(KEY)
    trial = jm.rl.trials(WORLD)(KEY)
    history = jax.jit(partial(jm.rl.rollout, agent, WORLD, steps=6, episodes=1))(params, trial)
    np.testing.assert_array_equal(history.counts, [1, 1, 1, 1, 0, 0])
    assert np.all(history.actions[4:] == 0)
    logs, entropies, values = jax.jit(partial(jm.rl.evaluated, agent))(params, history)
    np.testing.assert_allclose(logs[:4], history.logs[:4], rtol=1e-5)
    np.testing.assert_allclose(values[:4], history.values[:4], rtol=1e-5)
    assert np.all(np.isfinite(entropies))
    moves = np.diff(history.inputs[:4, :2], axis=0) / 0.25
    np.testing.assert_allclose(moves, np.clip(history.actions[:3], -1, 1), atol=1e-5)


def test_an_agent_learns_where_the_goal_is_within_a_trial():
    agent = jm.rl.rl2(WORLD, partial(jm.networks.gru, width=32))
    options = dict(steps=12, episodes=3, epochs=4, discount=0.8, entropy_weight=0.0)
    learn = jm.rl.ppo(agent, WORLD, optax.adam(1e-2), **options)
    start = learn.init(agent.network.init(KEY))
    state = jm.train(learn, jm.rl.trials(WORLD), start, KEY, steps=150, tasks=256)
    trials = draw_tasks(jm.rl.trials(WORLD), jax.random.key(9), 0, 256)
    found = jm.rl.play(agent, WORLD, state.meta, trials, steps=12, episodes=3, greedy=True)["returns"]
    first, _, last = found.mean(0)
    still = -4 * np.linalg.norm(trials.task, axis=1).mean()
    assert last > first + 0.5 > still + 0.5


@pytest.mark.parametrize(
    "space", [Space((2, 2), -1.0, 1.0), Space((2,), -np.inf, 1.0), Space((2,), 1.0, 1.0)]
)
def test_a_space_without_finite_bounds_is_refused(space):
    with pytest.raises(jm.InputError, match="give a Space of vectors"):
        jm.rl.rl2(WORLD._replace(actions=space), jm.networks.gru)
