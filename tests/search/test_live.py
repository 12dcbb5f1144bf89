"""Searches on data sets that no table knows: live results are those of the table; what fails is no end."""

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import made
from sklearn.metrics import adjusted_rand_score

import jmeta as jm
from jmeta.artifacts.advisors import load_model, save_model
from jmeta.metafeatures.partitions import NAMES
from jmeta.metafeatures.quantiles import known_quantiles
from jmeta.portfolio import performance_table
from jmeta.portfolio.candidates import candidate
from jmeta.search.explanation import explain
from jmeta.search.game import Search, clustering_search, tabulated
from jmeta.search.learned import LearnedSearch, SearchPolicy, search_game, table_attempts
from jmeta.search.live import HostRunner, View, adjusted_rand_of_labels, live, live_set
from jmeta.selection.advisor import learn_advisor
from jmeta.selection.descriptions import describe_table
from jmeta.selection.examples import Settings
from jmeta.selection.selector import table_features
from jmeta.selection.single_quality import learn_single_quality, table_single_inputs

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
    features, partitions = table_features(table), table_single_inputs(table, describe_table(table))
    quality = learn_single_quality(table, partitions, KEY, SETTINGS)
    scale = quality.model.quantiles
    even = quality.model._replace(quantiles=np.linspace(scale[0], scale[-1], 9))
    quality = quality._replace(model=even, spread=1.0)
    view = View(quality, known_quantiles(features), np.ptp(features, 0) > 0)
    predicted = quality.network_scores(partitions).mean(0)
    return view, table_attempts(view, table, features, partitions, predicted)


@pytest.fixture(scope="module")
def both(table, known):
    """The same four data sets by table and live, and the games."""
    view, found = known
    runs = HostRunner(CANDIDATES, 60.0)
    sets = [live_set(view, one.points, one.labellings[0]) for one in table.problems]
    games = [
        clustering_search(CANDIDATES, source, budgets=[BUDGET])
        for source in (tabulated(found), live(CANDIDATES, view, run=runs))
    ]
    rows = [jax.tree.map(lambda leaf, at=at: leaf[at], found) for at in range(len(sets))]
    return games, list(zip(rows, sets, strict=True)), runs


def played(game, data, actions):
    """The observations and rewards of some actions."""
    task = Search(data, jnp.asarray(BUDGET))
    state, seen = jax.jit(game.reset)(task, KEY)
    step, rows, paid = jax.jit(game.step), [seen], []
    for action in actions:
        after = step(task, state, np.array(action), KEY)
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
    data = jax.tree.map(lambda *leaves: np.stack(leaves), *[one for _, one in sets[:2]])
    task = Search(data, np.full(2, BUDGET))
    state, _ = jax.jit(jax.vmap(games[1].reset, (0, None)))(task, KEY)
    step = jax.jit(jax.vmap(games[1].step, (0, 0, 0, None)))
    after = step(task, state, np.array([HOST, OWN]), KEY)
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


def test_what_takes_too_long_is_given_up(both):
    endless = candidate("gaussian_mixture", n_init=10**8)._replace(clusters=2)
    runs = HostRunner((endless, *CANDIDATES[1:]), 0.5)
    data = both[1][0][1]
    for at in (0, 1, 3, len(CANDIDATES)):  # too long, quick, of the device, none
        labels = runs(jnp.asarray(at), data.points, data.weights, data.seed)
        assert np.all(labels == -1) == (at != 1)
    assert "took more than 0.5 seconds" in runs.end()[0].failure
    assert list(runs.end()) == [0, 1]
    told = []
    runs.begin(0.0, lambda *what: told.append(what))
    assert np.all(runs(jnp.asarray(1), data.points, data.weights, data.seed) == -1)
    assert not runs.end()
    assert not told


def test_equal_labels_are_counted_as_scikit_learn_does():
    random, alike = np.random.default_rng(0), jax.jit(adjusted_rand_of_labels)
    for classes, clusters in ((3, 4), (2, 100), (64, 1)):
        truth, found = random.integers(-1, classes, 128), random.integers(-1, clusters, 128)
        known = truth >= 0
        expected = adjusted_rand_score(truth[known], found[known])
        np.testing.assert_allclose(alike(found, truth, classes), expected, atol=1e-6)


def test_true_clusters_may_have_any_number_but_not_be_too_many(known):
    points = np.random.default_rng(0).normal(size=(80, 2))
    data = live_set(known[0], points, np.repeat([100, -1, 7, 200], 20))
    np.testing.assert_array_equal(np.unique(data.truth), [-1, 0, 1, 2])
    assert int(data.truth[0]) == 1
    with pytest.raises(jm.InputError, match="80 true clusters; give at most 64"):
        live_set(known[0], points, np.arange(80))


def test_without_host_algorithms_nothing_is_called_back(known, both):
    kinds = [candidate(name, device=True) for name in ("kmeans", "ward", "average", "single", "dbscan")]
    own = [one._replace(clusters=2) if one.needs_clusters else one for one in kinds]
    data = both[1][0][1], jnp.asarray(0)
    found = jax.jit(live(own, known[0]).attempt).lower(*data)
    assert "callback" not in found.as_text()
    assert bool(found.compile()(*data).usable)


def test_a_data_set_larger_than_its_room_is_refused(known):
    with pytest.raises(jm.InputError, match="129 points cannot be padded to 128"):
        live_set(known[0], np.random.default_rng(0).normal(size=(129, 2)), size=128)


def test_candidates_must_say_how_many_clusters(known):
    with pytest.raises(jm.InputError, match="has no number of clusters"):
        live([candidate("kmeans")], known[0])
    with pytest.raises(jm.InputError, match="no data set to draw"):
        live(CANDIDATES, known[0]).draw(KEY)


FEW = tuple(one for one in CANDIDATES if not one.device)


@pytest.fixture(scope="module")
def trained(table, known):
    """A search over what runs on the host, which learned nothing, and an advisor."""
    kept = [at for at, one in enumerate(CANDIDATES) if not one.device]
    outcomes = [[row[at] for at in kept] for row in table.outcomes]
    less = table._replace(candidates=FEW, outcomes=outcomes, scores=table.scores[:, kept])
    inputs = table_single_inputs(less, describe_table(less))
    quality = learn_single_quality(less, inputs, KEY, SETTINGS)._replace(spread=1.0)
    view = known[0]._replace(quality=quality)
    _, agent = search_game(FEW, live(FEW, view), BUDGET, 8)
    policy = SearchPolicy(view, agent.network.init(KEY), 8, BUDGET)
    advisor, _ = learn_advisor(less, KEY, settings=SETTINGS)
    return policy, LearnedSearch(policy), advisor


def test_a_learned_search_runs_no_more_than_it_may(trained):
    _, find, advisor = trained
    heard: list[tuple[int, int]] = []
    found = find(
        advisor, made(7, "blobs").points, max_candidates=2, progress=lambda *told: heard.append(told[:2])
    )
    run = [outcome.failure != "not run" for outcome in found.outcomes]
    assert 1 <= sum(run) <= 2
    assert found.quality_model is trained[0].view.quality
    assert {
        reason.name for reason in explain(advisor.candidates, made(7, "blobs").points, found).reasons
    } <= {*NAMES}
    assert heard == [(done + 1, 2) for done in range(sum(run))]  # nothing is run beyond the budget
    again = find(advisor, made(7, "blobs").points, max_candidates=2)
    np.testing.assert_array_equal(again.ranking, found.ranking)
    np.testing.assert_array_equal(again.prediction.quality, found.prediction.quality)


def test_a_learned_search_is_the_same_after_a_file(trained, tmp_path):
    policy, find, advisor = trained
    save_model(tmp_path / "own.npz", {"search": policy}, {})
    read = load_model(tmp_path / "own.npz")[0]["search"]
    found, again = (one(advisor, made(7, "moons").points) for one in (find, LearnedSearch(read)))
    np.testing.assert_array_equal(again.prediction.quality, found.prediction.quality)


def test_searches_of_two_threads_keep_apart(trained):
    _, find, advisor = trained
    every = [made(7, "moons").points, made(8, "blobs").points[:40]]
    alone = [find(advisor, points).prediction.quality for points in every]
    with ThreadPoolExecutor(2) as threads:
        together = threads.map(lambda points: find(advisor, points).prediction.quality, every * 2)
    for quality, expected in zip(together, alone * 2, strict=True):
        np.testing.assert_array_equal(quality, expected)


def test_a_learned_search_without_time_falls_back_on_kmeans(trained):
    _, find, advisor = trained
    found = find(advisor, made(7, "blobs").points, seconds=1e-6)
    assert found.ranking.tolist() == [0]
    assert found.outcomes[0].labels is not None


def test_what_interrupts_a_learned_search_comes_out_and_ends_it(trained):
    _, find, advisor = trained

    def cancel(*told):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find(advisor, made(7, "blobs").points, progress=cancel)
    assert len(find(advisor, made(7, "blobs").points).ranking)


def test_a_learned_search_wants_an_advisor_of_its_candidates(trained, known):
    policy, find, advisor = trained
    other = advisor._replace(selector=advisor.selector._replace(candidates=FEW[:2]))
    with pytest.raises(jm.InputError, match="other candidates"):
        find(other, made(7, "blobs").points)
    with pytest.raises(jm.InputError, match="trained with other inputs"):
        LearnedSearch(policy._replace(params={}))
    other_view = policy.view._replace(quality=policy.view.quality._replace(candidates=CANDIDATES))
    with pytest.raises(jm.InputError, match=r"device kmeans.* cannot be stopped"):
        LearnedSearch(policy._replace(view=other_view))
    for wrong in (dict(bogus=1), {}):
        name = "kmeans" if wrong else "hdbscan"
        with pytest.raises(jm.InputError, match=r"bogus|no on-device algorithm 'hdbscan'"):
            live([candidate(name, device=True, **wrong)._replace(clusters=2)], known[0])
