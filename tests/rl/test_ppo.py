"""RL2: what is played, what is learned from it, and that agents learn."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta as jm
from jmeta.rl.actions import (
    choice_logs,
    entropy_of_choices,
    log_probability_of_choices,
    sample_choices,
)
from jmeta.rl.environment import Environment, Space, Transition
from jmeta.rl.ppo import Experience, advantages_of, normalised, trial_loss
from jmeta.rl.rollout import History
from jmeta.training.loop import draw_tasks, loop

KEY = jax.random.key(0)
BANDIT = jm.rl.bernoulli_bandit(3)
AGENT = jm.rl.rl2(BANDIT, partial(jm.networks.gru, width=8))
PARAMS = jax.tree.map(lambda leaf: leaf + 0.1, AGENT.network.init(KEY))
OPTIMIZER = optax.adam(3e-3)
rollout = jax.jit(jm.rl.rollout, static_argnums=(0, 1), static_argnames=("steps", "episodes"))
play = jax.jit(jm.rl.play, static_argnums=(0, 1), static_argnames=("steps", "episodes", "greedy"))


@cache
def ladder(length=3):
    """Two heads of which the second may only name numbers below the first; reward is their sum."""

    def step(task, state, action, key):
        reward = (action[0] + action[1]).astype(float) * task
        nothing = jnp.zeros(1)
        return Transition(state + 1, nothing, reward, state + 1 >= length, jnp.bool_(False), {})

    def masks(task, state):
        return jnp.arange(3) >= (state == 1), jnp.arange(3) <= jnp.arange(3)[:, None]

    return Environment(
        lambda key: jnp.ones(()),
        lambda task, key: (jnp.asarray(0), jnp.zeros(1)),
        step,
        Space((1,), 0.0, 0.0),
        (3, 3),
        masks,
    )


def some(values, rewards, counts):
    arrays = (jnp.asarray(x, float) for x in (values, rewards, counts))
    values, rewards, counts = arrays
    return History(None, None, None, None, values, rewards, None, counts, {})


def test_advantages_by_hand_run_across_the_ends_of_episodes():
    history = some([1.0, 2.0, 3.0, 9.0], [1.0, 0.0, 4.0, 0.0], [1, 1, 1, 0])
    found = advantages_of(0.5, 0.5, history)
    last = 4.0 - 3.0
    middle = 0.0 + 0.5 * 3.0 - 2.0 + 0.25 * last
    first = 1.0 + 0.5 * 2.0 - 1.0 + 0.25 * middle
    np.testing.assert_allclose(found, [first, middle, last, 0.0], rtol=1e-6)
    plain = advantages_of(1.0, 1.0, some([0.0] * 3, [1.0, 2.0, 3.0], [1, 1, 1]))
    np.testing.assert_allclose(plain, [6.0, 5.0, 3.0])


def test_heads_are_distributions_and_masks_forbid():
    environment = ladder()
    outputs = jax.random.normal(KEY, (3 + 9,))
    logs = choice_logs((3, 3), outputs, environment.masks(jnp.ones(()), jnp.asarray(1)))
    chances = jnp.exp(logs[0])[:, None] * jnp.exp(logs[1])
    np.testing.assert_allclose(chances.sum(), 1, rtol=1e-6)
    assert float(chances[0].sum()) == 0
    assert all(float(chances[a, b]) == 0 for a in range(3) for b in range(a + 1, 3))
    actions = jax.vmap(partial(sample_choices, logs))(jax.random.split(KEY, 2000))
    assert np.all(actions[:, 0] >= 1)
    assert np.all(actions[:, 1] <= actions[:, 0])
    shares = np.zeros((3, 3))
    np.add.at(shares, tuple(actions.T), 1 / 2000)
    np.testing.assert_allclose(shares, chances, atol=0.05)
    best = sample_choices(logs, None)
    given = jnp.argmax(logs[0])
    np.testing.assert_array_equal(best, [given, jnp.argmax(logs[1][given])])
    np.testing.assert_allclose(
        log_probability_of_choices(logs, best), jnp.log(chances[tuple(best)]), rtol=1e-5
    )


def test_entropy_by_hand():
    never = -1e30
    logs = [jnp.log(jnp.full(2, 0.5)), jnp.array([[0.0, never], [np.log(0.5), np.log(0.5)]])]
    np.testing.assert_allclose(entropy_of_choices(logs), np.log(2) + 0.5 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(entropy_of_choices([jnp.array([0.0, never])]), 0, atol=1e-6)


def test_entropy_and_its_gradient_are_those_of_all_actions():
    first, second = jnp.array([False, True, True]), jnp.array([[0, 0], [1, 0], [1, 1]]) > 0
    masks = first, second, jnp.arange(12).reshape(3, 2, 2) % 4 != 1
    allowed = [(1, 0, 0), (2, 0, 0), (2, 1, 0), (2, 1, 1)]

    def conditionals(outputs):
        return choice_logs((3, 2, 2), outputs, masks)

    def enumerated(outputs):
        logs = conditionals(outputs)
        each = jnp.stack([log_probability_of_choices(logs, jnp.array(action)) for action in allowed])
        return -jnp.sum(jnp.exp(each) * each)

    outputs = jax.random.normal(KEY, (3 + 6 + 12,))
    found, slope = jax.jit(jax.value_and_grad(lambda outputs: entropy_of_choices(conditionals(outputs))))(
        outputs
    )
    expected, expected_slope = jax.jit(jax.value_and_grad(enumerated))(outputs)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(slope, expected_slope, atol=1e-6)
    assert float(jnp.abs(slope).max()) > 0.1


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("environment", [BANDIT, ladder()], ids=["bandit", "masked"])
def test_the_ratio_is_one_before_anything_was_learned(environment, forgets):
    agent = jm.rl.rl2(environment, partial(jm.networks.gru, width=8), forgets=forgets)
    params = jax.tree.map(lambda leaf: leaf + 0.1, agent.network.init(KEY))
    trial = jm.rl.trials(environment)(KEY)
    history = rollout(agent, environment, params, trial, steps=7, episodes=2)
    experience = Experience(history, history.rewards, history.rewards)
    _, metrics = jax.jit(trial_loss, static_argnums=0)(agent, params, 0.2, 0.5, 0.0, experience)
    np.testing.assert_allclose(metrics["ratio"], history.counts.sum(), rtol=1e-5)
    assert history.counts.sum() == (2 if environment is BANDIT else 6)


def test_memory_lasts_over_episodes_and_not_over_trials():
    environment = ladder()
    agent = jm.rl.rl2(environment, partial(jm.networks.gru, width=8))
    history = rollout(
        agent, environment, agent.network.init(KEY), jm.rl.trials(environment)(KEY), steps=6, episodes=2
    )
    np.testing.assert_array_equal(history.resets, [True, False, False, True, False, False])
    heads = slice(1, 1 + 6)
    assert float(jnp.abs(history.inputs[0, heads]).sum()) == 0
    assert np.all(history.inputs[1:, heads].sum(1) == 2)  # one of each head, also where an episode began


def test_rewards_are_of_the_actions_and_seen_a_step_later():
    sure = jm.rl.Trial(jnp.array([0.0, 1.0, 0.0]), KEY)
    history = rollout(AGENT, BANDIT, PARAMS, sure, steps=20, episodes=20)
    np.testing.assert_array_equal(history.rewards, history.actions[:, 0] == 1)
    np.testing.assert_array_equal(history.inputs[1:, 4], history.rewards[:-1])
    np.testing.assert_allclose(history.inputs[:, -1], np.arange(20) / 20, rtol=1e-6)
    assert 0 < history.rewards.sum() < 20


def test_permuting_trials_permutes_what_is_earned():
    trials = draw_tasks(jm.rl.trials(BANDIT), KEY, 0, 6)
    order = np.array([3, 1, 0, 5, 4, 2])
    found = play(AGENT, BANDIT, PARAMS, trials, steps=5, episodes=5)
    earned = found["reward"]
    assert found["returns"].shape == (6, 5)  # a pull is an episode
    np.testing.assert_array_equal(found["returns"].sum(1), earned)
    moved = jax.tree.map(lambda leaf: leaf[order], trials)
    again = play(AGENT, BANDIT, PARAMS, moved, steps=5, episodes=5)["reward"]
    np.testing.assert_array_equal(again, earned[order])


def test_where_no_action_is_valid_the_trial_is_over():
    blocked = ladder()._replace(
        masks=lambda task, state: (jnp.arange(3) < 3 * (state < 2), jnp.ones((3, 3), bool))
    )
    agent = jm.rl.rl2(blocked, partial(jm.networks.gru, width=8))
    trial = jm.rl.trials(blocked)(KEY)
    history = rollout(agent, blocked, agent.network.init(KEY), trial, steps=5, episodes=9)
    np.testing.assert_array_equal(history.counts, [1, 1, 0, 0, 0])


def spoiled():
    """The ladder, that ends after two steps; what comes then is the task, wherever a number can be."""
    plain = ladder()

    def step(task, state, action, key):
        found = plain.step(1.0, state, action, key)
        spoil = partial(jnp.where, state >= 2, task)
        return found._replace(
            observation=spoil(found.observation),
            reward=spoil(found.reward),
            terminated=jnp.bool_(False),
            info={"sum": spoil(found.reward)},
        )

    def masks(task, state):
        return jnp.arange(3) < 3 * (state < 2), jnp.ones((3, 3), bool)

    return plain._replace(step=step, masks=masks)


@cache
def spoiled_learner():
    """Weights, their compiled update and play, and four trials."""
    game = spoiled()
    agent = jm.rl.rl2(game, partial(jm.networks.gru, width=4))
    params = agent.network.init(KEY)
    learn = jm.rl.ppo(agent, game, OPTIMIZER, steps=5, episodes=9, epochs=1, minibatches=1)
    earn = partial(play, agent, game, steps=5, episodes=9)
    return (
        params,
        jax.jit(partial(learn.update, learn.init(params))),
        earn,
        draw_tasks(jm.rl.trials(game), KEY, 0, 4),
    )


@pytest.mark.parametrize("after", [np.inf, np.nan])
def test_nothing_that_comes_after_the_end_of_a_trial_is_learned_from(after):
    params, update, earn, trials = spoiled_learner()
    found = []
    for late in (after, 0.0):
        some = trials._replace(task=jnp.full(4, late))
        state, report = update(some)
        found.append((state.meta, report, earn(params, some)))
    jax.tree.map(np.testing.assert_array_equal, *found)
    meta, report, earned = found[0]
    assert (int(report.skipped), int(report.metrics["skipped_updates"])) == (0, 0)
    assert np.all(earned["steps"] == 2)
    assert float(earned["sum"].sum()) > 0
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((meta, report)))
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (meta, params)), strict=True))


def test_steps_that_do_not_count_have_no_gradient_however_unlikely_they_were():
    history = rollout(AGENT, BANDIT, PARAMS, jm.rl.trials(BANDIT)(KEY), steps=3, episodes=2)
    np.testing.assert_array_equal(history.counts, [1, 1, 0])
    unlikely = history._replace(logs=history.logs - 200 * (history.counts == 0))

    @jax.jit
    def slope(history):
        some = Experience(history, history.rewards, history.rewards)
        return jax.grad(lambda params: trial_loss(AGENT, params, 0.2, 0.5, 0.1, some)[0])(PARAMS)

    jax.tree.map(np.testing.assert_array_equal, slope(unlikely), slope(history))


@pytest.mark.parametrize(
    ("wide", "kind"), [(False, int), (True, int), (True, jnp.float32)], ids=["int", "wide int", "wide single"]
)
def test_rewards_of_any_kind_are_played_and_learned_from(wide, kind):
    with jax.enable_x64(wide):
        plain = ladder()

        def step(task, state, action, key):
            found = plain.step(task, state, action, key)
            return found._replace(reward=found.reward.astype(kind), info={"sum": jnp.sum(action)})

        game = plain._replace(step=step)
        agent = jm.rl.rl2(game, partial(jm.networks.gru, width=4))
        params, trials = agent.network.init(KEY), draw_tasks(jm.rl.trials(game), KEY, 0, 2)
        earned = play(agent, game, params, trials, steps=4, episodes=1)
        np.testing.assert_array_equal(earned["reward"], earned["sum"])
        assert earned["reward"].dtype == jnp.zeros(()).dtype
        learn = jm.rl.ppo(agent, game, OPTIMIZER, steps=4, episodes=1, epochs=1, minibatches=1)
        assert float(jax.jit(learn.update)(learn.init(params), trials)[1].metrics["reward"]) > 0


def test_it_learns_which_arm_pays_within_a_trial():
    bandit = jm.rl.bernoulli_bandit(2)._replace(
        draw=lambda key: jax.nn.one_hot(jax.random.bernoulli(key).astype(int), 2)
    )
    agent = jm.rl.rl2(bandit, partial(jm.networks.gru, width=16))
    learn = jm.rl.ppo(agent, bandit, optax.adam(1e-2), steps=4, episodes=4, minibatches=2)
    state, rows = loop(
        learn, jm.rl.trials(bandit), learn.init(agent.network.init(KEY)), KEY, steps=60, tasks=64, every=20
    )
    trials = draw_tasks(jm.rl.trials(bandit), jax.random.key(9), 0, 256)
    earned = play(agent, bandit, state.meta, trials, steps=4, episodes=4, greedy=True)["reward"]
    assert rows[0]["reward"] < rows[-1]["reward"]
    assert float(earned.mean()) > 3.3  # 3.5 is the most: the first pull is a guess


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
    learn = jm.rl.ppo(AGENT, BANDIT, OPTIMIZER, steps=3, episodes=3, minibatches=2)
    sampler, start = jm.rl.trials(BANDIT), learn.init(PARAMS)
    whole, _ = loop(learn, sampler, start, KEY, steps=4, tasks=8, every=2)
    loop(learn, sampler, start, KEY, steps=2, tasks=8, every=2, hooks=[jm.SaveStates(tmp_path)])
    resumed, _ = loop(learn, sampler, start, KEY, steps=4, tasks=8, every=2, hooks=[jm.SaveStates(tmp_path)])
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)


@cache
def gaussian_learner():
    """The learner and its compiled update, for eight trials in two minibatches that are used twice."""
    gaussian = jm.rl.gaussian_bandit(3)
    agent = jm.rl.rl2(gaussian, partial(jm.networks.gru, width=8))
    learn = jm.rl.ppo(agent, gaussian, OPTIMIZER, steps=3, episodes=3, epochs=2, minibatches=2)
    return learn, jax.jit(learn.update), draw_tasks(jm.rl.trials(gaussian), KEY, 0, 8)


@pytest.mark.parametrize(
    ("mean", "where", "skipped", "updates"),
    [
        (np.nan, [2], 1, 0),
        (np.nan, range(8), 8, 4),
        (3e38, [2], 1, 0),  # rewards are numbers, their sum is not
        (1e25, [2], 0, 2),  # the sum is a number, its square is not
        (1e25, range(8), 8, 4),
    ],
)
def test_what_leaves_the_numbers_is_left_out_and_counted(mean, where, skipped, updates):
    learn, update, trials = gaussian_learner()
    broken = trials._replace(task=trials.task.at[np.array(where)].set(mean))
    start = learn.init(PARAMS)
    state, report = update(start, broken)
    assert (int(report.skipped), int(report.metrics["skipped_updates"])) == (skipped, updates)
    none = {name for name, value in report.metrics.items() if np.isnan(value)}
    assert np.isnan(report.loss) == bool(none) == (updates == 4)  # a mean of no update has no value
    assert not none & {"reward", "skipped_updates"}
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))
    same = jax.tree.leaves(jax.tree.map(np.array_equal, state.meta, start.meta))
    assert all(same) == (updates == 4)
    if updates < 4:
        np.testing.assert_allclose(report.metrics["ratio"], 1, atol=0.1)
        assert 0.5 < float(report.metrics["entropy"]) < np.log(3) + 1e-3


def test_normalised_advantages_count_only_the_steps_of_trials():
    history = some([[0.0] * 3] * 2, [[0.0] * 3] * 2, [[1, 1, 0], [1, 1, 1]])
    found = jax.jit(normalised)(Experience(history, jnp.array([[1.0, 2, 99], [3, 4, 5]]), None)).advantages
    kept = np.array([found[0, 0], found[0, 1], *found[1]])
    np.testing.assert_allclose([kept.mean(), kept.std(), found[0, 2]], [0, 1, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jm.rl.rl2(BANDIT, jm.networks.gru, sees=["colour"]), "name some of"),
        (lambda: jm.rl.rl2(BANDIT, jm.networks.gru, sees=[]), "name some of"),
        (lambda: jm.rl.bernoulli_bandit(0), "arms"),
        (lambda: jm.rl.tabular_mdp(horizon=0), "horizon"),
        (lambda: jm.rl.ppo(AGENT, BANDIT, OPTIMIZER, steps=3, episodes=3, clip=0.0), "clip is 0.0"),
        (lambda: _odd(), "minibatches do not divide"),
        (lambda: _played(5), "steps is 5, but the network can take 4"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(jm.InputError, match=message):
        make()


def test_a_transformer_takes_as_many_steps_as_it_is_long():
    assert _played(4).counts.shape == (4,)


def _played(steps):
    agent = jm.rl.rl2(BANDIT, partial(jm.networks.transformer, length=4, width=4, layers=1, heads=1))
    play = partial(jm.rl.rollout, agent, BANDIT, steps=steps, episodes=4)
    return jax.eval_shape(play, jax.eval_shape(agent.network.init, KEY), jm.rl.trials(BANDIT)(KEY))


def _odd():
    learn = jm.rl.ppo(AGENT, BANDIT, OPTIMIZER, steps=3, episodes=3, minibatches=2)
    return learn.update(learn.init(PARAMS), draw_tasks(jm.rl.trials(BANDIT), KEY, 0, 3))
