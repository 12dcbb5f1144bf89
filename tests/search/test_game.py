"""The game of searching for a clustering: what is allowed, seen and paid for."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import made

import jmeta as jm
from jmeta.portfolio import performance_table
from jmeta.portfolio.candidates import candidate
from jmeta.search.game import (
    WITHOUT_REWARD,
    Attempt,
    Attempts,
    Search,
    candidate_places,
    clustering_search,
    tabulated,
)
from jmeta.selection.descriptions import describe_table
from jmeta.selection.examples import Settings
from jmeta.selection.single_quality import learn_single_quality, left_out_scores, table_single_inputs
from jmeta.training.loop import loop

KEY = jax.random.key(0)
KINDS = (candidate("kmeans", n_init=2), candidate("ward"), candidate("hdbscan", min_samples=4))
CANDIDATES = tuple(
    one._replace(clusters=count) for one in KINDS for count in ((2, 3) if one.needs_clusters else (None,))
)
COUNT = len(CANDIDATES)


def sets(worths, quality=None, usable=None):
    worths = np.atleast_2d(np.asarray(worths, np.float32))
    count = len(worths)
    quality = worths if quality is None else np.atleast_2d(np.asarray(quality, np.float32))
    usable = np.ones(worths.shape, bool) if usable is None else np.atleast_2d(usable)
    random = np.random.default_rng(0)
    features, partitions = random.normal(size=(count, 2)), random.normal(size=(*worths.shape, 3))
    seen = (features.astype(np.float32), partitions.astype(np.float32))
    return Attempts(seen[0], Attempt(seen[1], quality, usable, worths))


@cache
def compiled_game(wide):
    game = clustering_search(CANDIDATES, tabulated(sets([0.0] * COUNT)), budgets=range(1, 5))
    return game._replace(reset=jax.jit(game.reset), masks=jax.jit(game.masks), step=jax.jit(game.step))


def begun(known, budget):
    game = compiled_game(jax.config.jax_enable_x64)
    task = Search(jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), known), jnp.asarray(budget))
    return game, task, game.reset(task, KEY)[0]


def test_every_candidate_has_one_place_and_stopping_another():
    places = candidate_places(CANDIDATES)
    assert places.shape == (4, 1, 2)
    assert sorted(places[places >= 0].tolist()) == list(range(COUNT + 1))
    assert places[2, 0, 1] == -1  # hdbscan is not told a number
    assert places[-1, 0, 0] == COUNT


def test_rewards_add_up_to_what_is_committed_to():
    game, task, now = begun(sets([0.2, 0.9, 0.1, 0.4, 0.3], quality=[0.5, 0.4, 0.6, 0.1, 0.7]), 3)
    total, ends = 0.0, []
    for action in ([0, 0, 0], [0, 0, 1], [1, 0, 0]):
        after = game.step(task, now, jnp.array(action), KEY)
        now, total = after.state, total + float(after.reward)
        ends.append(bool(after.terminated))
    assert ends == [False, False, True]
    assert total == pytest.approx(0.1)  # the third is judged best, and is not
    assert int(now.places[1]) == 2
    np.testing.assert_array_equal(now.tried, [True, True, True, False, False])


def test_what_failed_is_seen_to_have_and_costs_an_evaluation():
    usable = [False, True, True, True, True]
    game, task, now = begun(sets([0.0, 0.9, 0.1, 0.4, 0.3], usable=usable), 1)
    after = game.step(task, now, jnp.array([0, 0, 0]), KEY)
    assert (float(after.reward), bool(after.terminated), int(after.state.places[1])) == (0.0, True, COUNT)
    np.testing.assert_array_equal(after.observation[2:8], [0, 0, 0, 0, 1, 1])


def test_masks_allow_what_was_not_tried_and_to_stop_once_there_is_something():
    game, task, now = begun(sets([0.2, 0.9, 0.1, 0.4, 0.3]), 4)
    algorithms, variants, counts = game.masks(task, now)
    np.testing.assert_array_equal(algorithms, [True, True, True, False])
    now = game.step(task, now, jnp.array([0, 0, 0]), KEY).state
    now = game.step(task, now, jnp.array([2, 0, 0]), KEY).state
    algorithms, variants, counts = game.masks(task, now)
    np.testing.assert_array_equal(algorithms, [True, True, False, True])
    np.testing.assert_array_equal(counts[0, 0], [False, True])
    np.testing.assert_array_equal(variants[:, 0], algorithms)
    stopped = game.step(task, now, jnp.array([3, 0, 0]), KEY)
    assert bool(stopped.terminated)
    assert float(stopped.reward) == 0
    assert int(stopped.state.left) == 2


def test_no_answer_is_ever_seen():
    known = sets([[0.2, 0.9, 0.1, 0.4, 0.3]])
    game = clustering_search(CANDIDATES, tabulated(known), budgets=[3])
    agent = jm.rl.rl2(game, partial(jm.networks.gru, width=4), sees=WITHOUT_REWARD)
    trial = jm.rl.trials(game)(KEY)
    attempts = trial.task.data.attempts
    swapped = trial.task.data._replace(attempts=attempts._replace(score=1 - attempts.score))
    other = trial._replace(task=trial.task._replace(data=swapped))
    params = agent.network.init(KEY)
    play = jax.jit(partial(jm.rl.rollout, agent, game, steps=4, episodes=1))
    seen, changed = (play(params, one) for one in (trial, other))
    np.testing.assert_array_equal(seen.inputs, changed.inputs)
    np.testing.assert_array_equal(seen.actions, changed.actions)
    assert np.any(np.asarray(seen.rewards) != np.asarray(changed.rewards))


def test_a_table_of_single_precision_is_played_in_double(float64):
    game, task, now = begun(sets([0.2, 0.9, 0.1, 0.4, 0.3]), 2)
    after = game.step(task, now, jnp.array([0, 0, 1]), KEY)
    assert float(after.reward) == pytest.approx(0.9)
    types = [[leaf.dtype for leaf in state.best] for state in (after.state, now)]
    assert types[0] == types[1]


def test_what_is_hidden_is_hidden_from_the_whole_trial():
    known = sets(np.full((4, COUNT), 0.5))
    sources = tabulated(known, dropout=0.5), tabulated(known)
    keys = jax.random.split(KEY, 200)
    data, whole = (jax.jit(jax.vmap(source.draw))(keys) for source in sources)
    gone = np.asarray(data.attempts.features == 0)
    np.testing.assert_array_equal(gone, np.broadcast_to(gone[:, :1], gone.shape))
    assert 0.4 < gone.mean() < 0.6
    assert 0.4 < np.mean(data.features == 0) < 0.6
    assert np.all(whole.features != 0)
    np.testing.assert_array_equal(data.attempts.score, whole.attempts.score)
    with pytest.raises(jm.InputError, match="dropout"):
        tabulated(known, dropout=1.0)


def test_an_agent_learns_where_the_good_candidates_are():
    random = np.random.default_rng(1)
    worths = random.uniform(0, 0.2, (32, COUNT))
    which = random.integers(0, 2, 32)
    worths[np.arange(32), 3 * which] = 1.0
    known = sets(worths)
    known = known._replace(features=np.stack([which, 1 - which], 1).astype(np.float32))
    game = clustering_search(CANDIDATES, tabulated(known), budgets=[1])
    agent = jm.rl.rl2(game, partial(jm.networks.gru, width=16), sees=WITHOUT_REWARD)
    learn = jm.rl.ppo(agent, game, optax.adam(1e-2), steps=2, episodes=1, minibatches=1)
    _, rows = loop(
        learn, jm.rl.trials(game), learn.init(agent.network.init(KEY)), KEY, steps=60, tasks=64, every=20
    )
    assert rows[0]["reward"] < 0.75 < 0.9 < rows[-1]["reward"]


def test_judges_tell_good_partitions_from_bad_ones(tmp_path):
    problems = [made(seed, kind) for seed in range(3) for kind in ("blobs", "moons")]
    table = performance_table(problems, CANDIDATES, folder=tmp_path, jobs=1, backend="threading")
    inputs = table_single_inputs(table, describe_table(table))
    settings = Settings(steps=60, networks=2)
    predicted = learn_single_quality(table, inputs, KEY, settings).network_scores(inputs).mean(0)
    assert predicted.shape == table.scores.shape
    assert np.corrcoef(predicted[table.usable], table.scores[table.usable])[0, 1] > 0.7
    hidden = [
        problem._replace(labellings=tuple(labels[::-1] for labels in problem.labellings))
        for problem in problems
    ]
    again = performance_table(hidden, CANDIDATES, folder=tmp_path, jobs=1, backend="threading")
    np.testing.assert_array_equal(table_single_inputs(again, describe_table(again)), inputs)
    left = left_out_scores(table, inputs, KEY, settings).mean(0)
    assert np.all(np.isfinite(left))
    assert not np.allclose(left, predicted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budgets": []}, "budgets"),
        ({"budgets": [0]}, "budgets"),
        ({"candidates": ()}, "no candidate"),
        ({"known": sets([[0.1] * 3])}, "3 candidates, but 5"),
        ({"known": sets(np.zeros((0, 5)))}, "no data set"),
    ],
)
def test_what_is_no_game_is_refused(change, message):
    asked = {"candidates": CANDIDATES, "known": sets([[0.1] * COUNT]), "budgets": [1]} | change
    with pytest.raises(jm.InputError, match=message):
        clustering_search(asked["candidates"], tabulated(asked["known"]), budgets=asked["budgets"])
