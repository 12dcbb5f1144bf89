"""The generator of synthetic tasks: the contract of its tasks, and what each family is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm
from jmeta.tasks.synthetic import FAMILIES, synthetic
from jmeta.tasks.synthetic.families import TABLE

LIMITS = dict(points=(20, 40), clusters=(1, 5), columns=(1, 6))
"""Six columns, so that every family can be drawn."""
PER_FAMILY = 16
SINGLE = ("uniform", "gaussian", "curve")


@pytest.fixture(scope="module")
def program():
    """Draws tasks of the same limits with any families, difficulties and shares of noise."""
    drawing = synthetic(**LIMITS).func
    return jax.jit(jax.vmap(drawing, (0, 0, 0, 0)))


@pytest.fixture(scope="module")
def draw(program):
    def draw(difficulty=(0.0, 1.0), noise=0.2, seed=0):
        """`PER_FAMILY` tasks of each family, in the order of `FAMILIES`; one shape, so one compilation."""
        count = PER_FAMILY * len(FAMILIES)
        weights = jnp.repeat(jnp.eye(len(FAMILIES)), PER_FAMILY, axis=0)
        difficulties = jnp.broadcast_to(jnp.array(difficulty), (count, 2))
        keys = jax.random.split(jax.random.key(seed), count)
        drawn = program(weights, difficulties, jnp.full(count, noise), keys)
        return jax.device_get(drawn._replace(key=jax.random.key_data(drawn.key)))

    return draw


@pytest.fixture(scope="module")
def tasks(draw):
    return draw()


def of_family(name):
    first = PER_FAMILY * FAMILIES.index(name)
    return range(first, first + PER_FAMILY)


def kept(tasks, place):
    rows = tasks.support.weights[place] > 0
    return tasks.support.inputs[place][rows], tasks.truth[place][rows]


def separability(points, truth):
    """Share of points whose nearest other point has the same label."""
    points = points[truth >= 0]
    truth = truth[truth >= 0]
    distances = ((points[:, None] - points) ** 2).sum(-1)
    np.fill_diagonal(distances, np.inf)
    return np.mean(truth[distances.argmin(1)] == truth)


def test_points_and_columns_are_within_their_ranges(tasks):
    assert tasks.support.inputs.shape[1:] == (40, 6)
    assert np.all(np.isfinite(tasks.support.inputs))
    assert np.all(np.isfinite(tasks.query.inputs))
    assert set(np.unique(tasks.support.weights)) == {0, 1}
    sizes = tasks.support.weights.sum(1)
    assert sizes.min() == 20
    assert sizes.max() == 40
    padding = tasks.support.weights == 0
    assert np.all(np.diff(padding.astype(int), axis=1) >= 0)
    for batch in (tasks.support, tasks.query):
        assert np.all(batch.inputs[padding] == 0)
        columns = np.ptp(batch.inputs, 1) > 0
        assert columns.sum(1).min() >= 1
    assert np.all(tasks.truth[padding] == -1)
    assert np.all(tasks.query.targets[padding] == -1)


def test_labels_count_the_clusters_with_enough_points(tasks):
    for place, clusters in enumerate(tasks.support.clusters):
        truth = tasks.truth[place]
        sizes = np.bincount(truth[truth >= 0])
        assert len(sizes) == clusters <= 5
        assert sizes.min() >= 4
        assert tasks.query.targets[place].max() < clusters
    assert np.array_equal(tasks.support.clusters, tasks.query.clusters)


def test_rows_are_in_random_order(tasks):
    """The first point is in each cluster as often as any other."""
    several = tasks.support.clusters > 1
    first = tasks.truth[several, 0]
    assert 0.2 < np.mean(first == 0) < 0.6


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_points_apart_and_its_numbers_of_clusters(tasks, name):
    least, most = TABLE[name].clusters
    for place in of_family(name):
        points, truth = kept(tasks, place)
        assert len(np.unique(points.round(4), axis=0)) >= 2 + 3 * (name != "binary")
        assert tasks.support.clusters[place] <= most
        columns = np.sum(np.ptp(points[truth >= 0], 0) > 0)
        assert columns >= TABLE[name].columns or name in ("binary", "categories")
    assert tasks.support.clusters[of_family(name)].max() >= min(least, 5)


@pytest.mark.parametrize("name", SINGLE)
def test_families_without_clusters_have_one_label(tasks, name):
    assert np.all(tasks.support.clusters[of_family(name)] == 1)


def test_one_twelfth_of_the_tasks_has_no_clusters_by_its_family():
    total = sum(row.weight for row in TABLE.values())
    assert 0.06 < sum(TABLE[name].weight for name in SINGLE) / total < 0.1


def test_noise_points_are_in_half_of_the_tasks_and_absent_without_noise(tasks, draw):
    real = tasks.support.weights > 0
    shares = ((tasks.truth < 0) & real).sum(1) / real.sum(1)
    assert 0.3 < np.mean(shares > 0) < 0.6
    assert np.mean(shares) < 0.1
    clean = draw(noise=0.0)
    assert np.all((clean.truth >= 0) == (clean.support.weights > 0))


def test_difficulty_lowers_separability(draw):
    def mean(difficulty):
        drawn = draw(difficulty=(difficulty, difficulty), noise=0.0, seed=1)
        several = np.flatnonzero(drawn.support.clusters > 1)
        return np.mean([separability(*kept(drawn, place)) for place in several])

    easy = mean(0.0)
    hard = mean(1.0)
    assert easy > 0.9
    assert hard < easy - 0.02


def test_support_and_query_are_of_one_distribution(draw):
    drawn = draw(difficulty=(0.0, 0.0), noise=0.0)
    scores = []
    for place in range(len(drawn.truth)):
        points, truth = kept(drawn, place)
        rows = drawn.query.weights[place] > 0
        others = drawn.query.inputs[place][rows]
        assert not np.array_equal(points, others)
        nearest = ((others[:, None] - points) ** 2).sum(-1).argmin(1)
        scores.append(np.mean(truth[nearest] == drawn.query.targets[place][rows]))
    assert np.mean(scores) > 0.9


def test_equal_keys_give_equal_tasks_and_others_do_not(tasks, draw):
    again = draw()
    other = draw(seed=2)
    assert all(
        np.array_equal(a, b) for a, b in zip(jax.tree.leaves(tasks), jax.tree.leaves(again), strict=True)
    )
    assert not np.array_equal(tasks.support.inputs, other.support.inputs)


def test_equal_limits_share_one_program():
    sampler = synthetic(**LIMITS, families=("clouds", "moons"), difficulty=(0.2, 0.4), noise=0.0)
    assert sampler.func is synthetic(**LIMITS).func
    assert sampler.args[0].sum() == TABLE["clouds"].weight + TABLE["moons"].weight


def test_families_that_do_not_suit_the_limits_are_left_out():
    weights = synthetic(points=(20, 40), clusters=(6, 9), columns=(1, 2)).args[0]
    chosen = {name for name, weight in zip(FAMILIES, weights, strict=True) if weight > 0}
    assert {"clouds", "shapes"} <= chosen
    assert not chosen & {"many", "rings", "uniform", "sheets", "binary"}


@pytest.mark.faults
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": (9, 3)}, "points range is"),
        ({"points": 20}, "points range is"),
        ({"columns": (0, 3)}, "columns range is"),
        ({"clusters": (0, 3)}, "clusters range is"),
        ({"families": ["squares"]}, "choose among"),
        ({"families": []}, "choose among"),
        ({"families": ["uniform"], "clusters": (2, 3)}, "suit none"),
        ({"families": ["moons"], "columns": (1, 1)}, "suit none"),
        ({"difficulty": (0.5, 1.5)}, "difficulty range is"),
        ({"difficulty": 0.5}, "difficulty range is"),
        ({"noise": 1.0}, "noise is 1.0"),
        ({"noise": -0.1}, "noise is -0.1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(jm.InputError, match=message) as caught:
        synthetic(**options)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_no_points_are_scattered_over_a_single_cluster(draw):
    tasks = draw(noise=0.9, seed=3)
    lost = np.sum((tasks.truth < 0) & (tasks.support.weights > 0), 1).reshape(len(FAMILIES), PER_FAMILY)
    for family, counts in zip(FAMILIES, lost, strict=True):
        assert (counts.max() <= 1) == (family in SINGLE), family  # one outlier may be there
