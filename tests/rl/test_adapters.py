"""Environments of other libraries, and ours in theirs."""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm
from jmeta.rl.adapters import from_gymnasium, from_gymnax, to_gymnasium

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    "environment",
    [jm.rl.bernoulli_bandit(3), jm.rl.gaussian_bandit(2), jm.rl.tabular_mdp(4, 2, 3), jm.rl.point_mass(3)],
)
def test_gymnasiums_checks_pass(environment):
    checker = pytest.importorskip("gymnasium.utils.env_checker")
    checker.check_env(to_gymnasium(environment), skip_render_check=True)


def test_there_and_back_an_environment_is_the_same():
    pytest.importorskip("gymnasium")
    environment = jm.rl.tabular_mdp(4, 2, 3)
    outside = to_gymnasium(environment)
    first, second = (outside.reset(seed=3)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    back = from_gymnasium(outside)
    assert (back.actions, back.observations.shape) == (environment.actions, environment.observations.shape)
    agent = jm.rl.rl2(back, partial(jm.networks.gru, width=4))
    trial = jm.rl.trials(back)(KEY)
    play = jax.jit(
        lambda trial: jm.rl.rollout(agent, back, agent.network.init(KEY), trial, steps=7, episodes=2)
    )
    history = play(trial)
    np.testing.assert_array_equal(history.counts, [1] * 6 + [0])
    np.testing.assert_array_equal(history.resets[:6], [True, False, False, True, False, False])
    assert len(np.unique(history.rewards)) >= 3
    np.testing.assert_array_equal(play(trial).rewards, history.rewards)


def outside(observations=None, actions=None):
    """An environment of gymnasium's that draws what it pays when it is seeded, and notes what it is told."""
    gymnasium = pytest.importorskip("gymnasium")
    spaces = gymnasium.spaces

    class Drawn(gymnasium.Env):
        observation_space = spaces.Box(-1, 1, (2,)) if observations is None else observations(spaces)
        action_space = spaces.Discrete(2) if actions is None else actions(spaces)

        def __init__(self):
            self.seeds, self.told = [], []

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.seeds.append(seed)
            if seed is not None:
                self.pays = float(self.np_random.integers(1000))
            return np.zeros(2, np.float32), {}

        def step(self, action):
            self.told.append(action)
            return np.zeros(2, np.float32), self.pays, len(self.told) % 2 == 0, False, {}

    return Drawn()


def test_what_is_drawn_at_seeding_is_one_task_in_all_episodes_of_a_trial():
    drawn = outside()
    inside = from_gymnasium(drawn)
    agent = jm.rl.rl2(inside, partial(jm.networks.gru, width=4))
    params = agent.network.init(KEY)
    play = jax.jit(lambda trial: jm.rl.rollout(agent, inside, params, trial, steps=6, episodes=3).rewards)
    first, second = jm.rl.Trial(jnp.asarray(5), KEY), jm.rl.Trial(jnp.asarray(6), KEY)
    rewards = np.asarray(play(first))
    assert set(drawn.seeds) == {5}
    assert len(drawn.seeds) >= 3
    assert len(set(rewards)) == 1
    np.testing.assert_array_equal(play(first._replace(key=jax.random.key(1))), rewards)
    assert not np.any(np.asarray(play(second)) == rewards)


@pytest.mark.parametrize("counts", [[2], [2, 3]])
def test_a_multi_discrete_environment_is_told_an_array(counts):
    drawn = outside(actions=lambda spaces: spaces.MultiDiscrete(counts))
    inside = from_gymnasium(drawn)
    assert inside.actions == tuple(counts)
    state, _ = inside.reset(jnp.asarray(0), KEY)
    after = inside.step(jnp.asarray(0), state, jnp.ones(len(counts), int), KEY)
    assert float(after.reward) == drawn.pays
    assert np.asarray(drawn.told[0]).tolist() == [1] * len(counts)


def test_a_box_of_actions_goes_there_and_back():
    pytest.importorskip("gymnasium")
    world = jm.rl.point_mass(3)
    outside = to_gymnasium(world)
    back = from_gymnasium(outside)
    assert back.actions == world.actions
    outside.reset(seed=3)
    assert outside.step(np.array([1.0, 0.0], np.float32))[0].tolist() == [0.25, 0.0]


@pytest.mark.parametrize(
    "actions",
    [
        lambda spaces: spaces.Box(-1, np.inf, (1,)),
        lambda spaces: spaces.Box(np.zeros(2, np.float32), np.array([1, 2], np.float32)),
        lambda spaces: spaces.Box(-1, 1, (2, 2)),
        lambda spaces: spaces.MultiBinary(3),
        lambda spaces: spaces.Discrete(3, start=1),
        lambda spaces: spaces.MultiDiscrete([3, 3], start=[0, 1]),
        lambda spaces: spaces.MultiDiscrete([[3, 3], [3, 3]]),
    ],
    ids=["endless box", "uneven box", "square box", "binary", "from one", "one from one", "square"],
)
def test_actions_that_have_no_distribution_are_refused(actions):
    with pytest.raises(jm.InputError, match="give Discrete or MultiDiscrete actions that start at 0"):
        from_gymnasium(outside(actions=actions))


@pytest.mark.parametrize(
    "observations",
    [
        lambda spaces: spaces.Dict({}),
        lambda spaces: spaces.MultiBinary(3),
        lambda spaces: spaces.MultiDiscrete([2, 3]),
        lambda spaces: spaces.Discrete(3),
    ],
    ids=["dict", "binary", "counts", "count"],
)
def test_observations_that_are_no_box_are_refused(observations):
    with pytest.raises(jm.InputError, match="flatten them"):
        from_gymnasium(outside(observations))


def test_without_gymnasium_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(jm.InputError, match="pip install"):
        to_gymnasium(jm.rl.bernoulli_bandit(2))
    with pytest.raises(jm.InputError, match="pip install"):
        from_gymnasium(None)


class _Walk:
    """As gymnax's environments are: one may step left or right, and is paid for being on the right."""

    class _Counted:
        n = 2

    class _Box:
        shape, low, high = (1,), -9.0, 9.0

    def action_space(self, params):
        return self._Counted()

    def observation_space(self, params):
        return self._Box()

    def reset_env(self, key, params):
        return jnp.zeros(1), jnp.asarray(0)

    def step_env(self, key, state, action, params):
        after = state + 2 * action - 1
        return after[None], after, (after > 0) * params["pay"], jnp.abs(after) >= 2, {}


def test_gymnaxs_are_pure_and_batched():
    walk = from_gymnax(_Walk(), {"pay": 2.0})
    agent = jm.rl.rl2(walk, partial(jm.networks.gru, width=4))
    trials = jax.vmap(jm.rl.trials(walk))(jax.random.split(KEY, 5))
    history = jax.vmap(
        lambda trial: jm.rl.rollout(agent, walk, agent.network.init(KEY), trial, steps=8, episodes=1)
    )(trials)
    assert set(np.unique(history.rewards)) == {0.0, 2.0}
    assert np.all(np.diff(history.counts, axis=1) <= 0)


def test_gymnaxs_own_bandit_runs():
    gymnax = pytest.importorskip("gymnax")
    walk = from_gymnax(*gymnax.make("BernoulliBandit-misc"))
    agent = jm.rl.rl2(walk, partial(jm.networks.gru, width=4))
    history = jm.rl.rollout(
        agent, walk, agent.network.init(KEY), jm.rl.trials(walk)(KEY), steps=4, episodes=4
    )
    assert history.counts[0] == 1
