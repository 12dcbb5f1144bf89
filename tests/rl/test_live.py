"""Searches on data sets that no table knows: live results are those of the table; what fails is no end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import made

import jmeta as jm
from jmeta.rl.clustering import Search, clustering_search, tabulated
from jmeta.rl.live import HostRuns, Sight, live, live_set
from jmeta.rl.searcher import LearnedSearch, Searcher, search_game, searched
from jmeta.selection import performance_table
from jmeta.selection.advisor import learn_advisor
from jmeta.selection.choice import Settings
from jmeta.selection.criterion import all_looks
from jmeta.selection.judge import judged, learn_judge, table_partitions
from jmeta.selection.portfolio import candidate
from jmeta.selection.quantiles import known_quantiles
from jmeta.selection.selector import table_inputs

KEY = jax.random.key(0)
CANDIDATES = (
    *(candidate("kmeans", n_init=2)._replace(clusters=count) for count in (2, 3)),
    candidate("hdbscan", min_samples=4),
    candidate("kmeans", device=True, restarts=2)._replace(clusters=2),
    candidate("dbscan", device=True),
    candidate("kmeans", n_init=-1)._replace(clusters=2),
)
HOST, GROUPED, OWN, DENSE, BROKEN = (0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0), (0, 1, 0)
BUDGET = 4
SETTINGS = Settings(steps=30, networks=2)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    problems = [made(seed, kind) for seed in range(2) for kind in ("blobs", "moons")]
    single = [one._replace(points=one.points.astype(np.float32).astype(float)) for one in problems]
    folder = tmp_path_factory.mktemp("table")
    return performance_table(single, CANDIDATES, folder=folder, jobs=1, backend="threading")


@pytest.fixture(scope="module")
def known(table):
    """How a search sees, and what it knows of the table.

    Its quantiles are even: two algorithms that find the same differ by rounding, which ranks would magnify.
    """
    features, partitions = table_inputs(table), table_partitions(table, all_looks(table))
    judge = learn_judge(table, partitions, KEY, SETTINGS)
    judge = judge._replace(scale=np.linspace(judge.scale[0], judge.scale[-1], 9))
    sight = Sight(judge, known_quantiles(features), np.ptp(features, 0) > 0)
    return sight, searched(sight, table, features, partitions, judged(judge, partitions))


@pytest.fixture(scope="module")
def both(table, known):
    """The same four data sets by table and live, and the games."""
    sight, found = known
    runs = HostRuns(CANDIDATES, 60.0)
    sets = [live_set(sight, one.points, one.labellings[0]) for one in table.problems]
    games = [
        clustering_search(CANDIDATES, source, budgets=[BUDGET])
        for source in (tabulated(found), live(CANDIDATES, sight, run=runs))
    ]
    rows = [jax.tree.map(lambda leaf, at=at: leaf[at], found) for at in range(len(sets))]
    return games, list(zip(rows, sets, strict=True)), runs


def played(game, data, actions):
    """The observations and rewards of some actions."""
    task = Search(data, jnp.asarray(BUDGET))
    state, seen = game.reset(task, KEY)
    step, rows, paid = jax.jit(game.step), [seen], []
    for action in actions:
        after = step(task, state, jnp.array(action), KEY)
        state = after.state
        rows.append(after.observation)
        paid.append(after.reward)
    return np.stack(rows), np.stack(paid)


def test_what_a_live_search_sees_and_earns_is_what_the_table_says(both):
    games, sets, _ = both
    for row, data in sets:
        (seen, paid), (other, earned) = (
            played(game, one, (HOST, GROUPED, OWN, DENSE))
            for game, one in zip(games, (row, data), strict=True)
        )
        np.testing.assert_allclose(other, seen, atol=2e-3)
        np.testing.assert_allclose(earned, paid, atol=1e-5)
    assert np.ptp(seen, 0).max() > 0.5


def test_trials_that_are_vmapped_are_those_alone(both):
    games, sets, _ = both
    data = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[one for _, one in sets[:2]])
    task = Search(data, jnp.full(2, BUDGET))
    state, _ = jax.vmap(games[1].reset, (0, None))(task, KEY)
    step = jax.jit(jax.vmap(games[1].step, (0, 0, 0, None)))
    after = step(task, state, jnp.array([HOST, OWN]), KEY)
    for at, action in enumerate((HOST, OWN)):
        alone, _ = played(games[1], sets[at][1], [action])
        np.testing.assert_allclose(after.observation[at], alone[1], atol=1e-4)


def test_what_fails_is_seen_to_have_failed_and_costs_an_evaluation(both):
    games, sets, runs = both
    seen, paid = played(games[1], sets[0][1], [BROKEN, HOST])
    assert "n_init" in runs.outcomes[len(CANDIDATES) - 1].failure
    width = (seen.shape[1] - 2 - len(sets[0][1].features)) // 2
    last = seen[1, len(sets[0][1].features) :][:width]
    np.testing.assert_array_equal(last, [*[0] * (width - 2), 1, 1])
    assert paid[0] == 0 < paid[1]
    np.testing.assert_allclose(seen[:, -2], [1, 0.75, 0.5])


@pytest.mark.parametrize(("seconds", "failure"), [(0.5, "took more than 0.5 seconds"), (-1.0, "not run")])
def test_what_takes_too_long_is_given_up(both, seconds, failure):
    endless = candidate("gaussian_mixture", n_init=10**8)._replace(clusters=2)
    runs = HostRuns((endless, *CANDIDATES[1:]), seconds)
    data = both[1][0][1]
    labels = runs(jnp.asarray(0), data.points, data.weights, data.seed)
    assert failure in runs.outcomes[0].failure
    assert np.all(labels == -1)
    assert np.all(runs(jnp.asarray(3), data.points, data.weights, data.seed) == -1)  # of the device
    assert list(runs.outcomes) == [0]


def test_without_host_algorithms_nothing_is_called_back(known, both):
    kinds = [candidate(name, device=True) for name in ("kmeans", "ward", "average", "single", "dbscan")]
    own = [one._replace(clusters=2) if one.told else one for one in kinds]
    found = jax.jit(live(own, known[0]).attempt)
    data = both[1][0][1]
    assert "callback" not in found.lower(data, jnp.asarray(0)).as_text()
    assert bool(found(data, jnp.asarray(0)).usable)


def test_a_data_set_larger_than_its_room_is_refused(known):
    with pytest.raises(jm.InputError, match="129 points, but room for 128"):
        live_set(known[0], np.random.default_rng(0).normal(size=(129, 2)), room=128)


def test_candidates_must_say_how_many_clusters(known):
    with pytest.raises(jm.InputError, match="must be told a number"):
        live([candidate("kmeans")], known[0])
    with pytest.raises(jm.InputError, match="no data set to draw"):
        live(CANDIDATES, known[0]).draw(KEY)


@pytest.fixture(scope="module")
def trained(table, known):
    """A search that learned nothing, and an advisor."""
    _, agent = search_game(CANDIDATES, tabulated(known[1]), BUDGET, 8)
    params = agent.network.init(KEY)
    advisor, _ = learn_advisor(table, KEY, settings=SETTINGS)
    return LearnedSearch(Searcher(CANDIDATES, known[0], params, 8, BUDGET)), advisor


def test_a_learned_search_runs_no_more_than_it_may(trained):
    find, advisor = trained
    heard: list[tuple[int, int]] = []
    found = find(advisor, made(7, "blobs").points, most=2, progress=lambda *told: heard.append(told[:2]))
    run = [outcome.failure != "not run" for outcome in found.outcomes]
    assert 1 <= sum(run) <= 2
    assert heard == [(done + 1, 2) for done in range(sum(run))]  # nothing is run beyond the budget
    again = find(advisor, made(7, "blobs").points, most=2)
    np.testing.assert_array_equal(again.ranking, found.ranking)
    np.testing.assert_array_equal(again.judgement.quality, found.judgement.quality)


def test_a_learned_search_without_time_falls_back_on_kmeans(trained):
    find, advisor = trained
    found = find(advisor, made(7, "blobs").points, seconds=1e-6)
    assert len(found.ranking)
    assert found.outcomes[found.ranking[0]].labels is not None


def test_a_learned_search_wants_an_advisor_of_its_candidates(trained, known):
    find, advisor = trained
    other = advisor._replace(selector=advisor.selector._replace(candidates=CANDIDATES[:2]))
    with pytest.raises(jm.InputError, match="other candidates"):
        find(other, made(7, "blobs").points)
    with pytest.raises(jm.InputError, match="trained for other inputs"):
        LearnedSearch(Searcher(CANDIDATES, known[0], {}, 8, BUDGET))
