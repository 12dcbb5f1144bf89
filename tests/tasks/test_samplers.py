"""Samplers of tasks: what every one promises, then each one's own protocol."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm

CLASSES, MEMBERS = 6, 9


def numbered(shape=(2, 2, 1)):
    """Images whose every pixel says which class and which example they are."""
    code = 10 * np.arange(CLASSES)[:, None] + np.arange(MEMBERS)
    return np.broadcast_to(code.reshape(CLASSES, MEMBERS, *[1] * len(shape)), (CLASSES, MEMBERS, *shape))


SAMPLERS = {
    "episodes": jm.episodes(numbered().astype(np.uint8), ways=3, shots=2, queries=4),
    "episodes_hidden": jm.episodes(numbered().astype(np.float32), ways=3, shots=2, queries=4, labelled=False),
    "sinusoid": jm.sinusoid(shots=4, queries=3),
    "mixtures": jm.mixtures(points=(5, 12), clusters=(2, 4)),
    "shapes": jm.shapes(points=(20, 40), clusters=(2, 4), columns=(2, 5)),
}


@functools.cache
def batch(name, count=64):
    return jax.jit(jax.vmap(SAMPLERS[name]))(jax.random.split(jax.random.key(0), count))


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_draws_distinct_finite_tasks_from_keys_alone(name):
    tasks = jax.device_get(batch(name))
    for leaf in jax.tree.leaves((tasks.support, tasks.query)):
        assert leaf.shape[0] == 64
        assert np.all(np.isfinite(leaf))
    assert len(np.unique(tasks.support.inputs.reshape(64, -1), axis=0)) == 64
    one = SAMPLERS[name](jax.random.split(jax.random.key(0), 64)[5])
    fifth = jax.tree.map(lambda leaf: leaf[5], tasks)
    np.testing.assert_allclose(one.support.inputs, fifth.support.inputs, rtol=1e-6, atol=1e-6)
    assert one.key == fifth.key
    for part in (one.support, one.query):
        assert part.inputs.dtype == jnp.float32
        assert part.weights.shape == part.inputs.shape[:1]


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_hidden_labels_stand_in_truth_alone(name):
    tasks = batch(name)
    assert (tasks.support.targets is None) == (tasks.truth is not None)


def decoded(inputs):
    """Class and example of each image."""
    code = np.round(np.asarray(inputs)[..., 0, 0, 0]).astype(int)
    return code // 10, code % 10


def test_episodes_hold_shots_and_queries_of_every_way_and_share_no_example():
    tasks = batch("episodes_hidden")
    for place in range(64):
        kinds, examples = decoded(tasks.support.inputs[place])
        asked_kinds, asked = decoded(tasks.query.inputs[place])
        truth, targets = np.asarray(tasks.truth[place]), np.asarray(tasks.query.targets[place])
        assert sorted(truth) == [0, 0, 1, 1, 2, 2]
        assert sorted(targets) == sorted([0, 1, 2] * 4)
        assert len(set(zip(kinds, examples, strict=True)) | set(zip(asked_kinds, asked, strict=True))) == 18
        named = {truth[i]: kinds[i] for i in range(6)}
        assert len(set(named.values())) == 3
        assert all(named[t] == k for t, k in zip(truth, kinds, strict=True))
        assert all(named[t] == k for t, k in zip(targets, asked_kinds, strict=True))


def test_the_order_of_a_support_says_nothing_about_its_labels():
    first = np.asarray(batch("episodes_hidden", 512).truth[:, 0])
    np.testing.assert_allclose(np.bincount(first) / 512, 1 / 3, atol=0.08)


def test_all_classes_and_examples_are_drawn_equally_often():
    kinds, examples = decoded(batch("episodes_hidden", 512).support.inputs)
    np.testing.assert_allclose(np.bincount(kinds.ravel()) / kinds.size, 1 / CLASSES, atol=0.03)
    np.testing.assert_allclose(np.bincount(examples.ravel()) / kinds.size, 1 / MEMBERS, atol=0.03)


def test_the_support_does_not_depend_on_the_queries():
    def draw(queries):
        return jm.episodes(numbered(), ways=3, shots=2, queries=queries)(jax.random.key(3))

    np.testing.assert_array_equal(draw(0).support.inputs, draw(5).support.inputs)
    assert draw(0).query.inputs.shape == (0, 2, 2, 1)


def test_examples_beyond_a_class_count_are_never_drawn():
    counts = np.array([3, 4, 9, 5, 3, 3])
    ragged = jm.ClassImages(numbered().astype(np.float32), counts, tuple("abcdef"), "test")
    sample = jm.episodes(ragged, ways=6, shots=2, queries=1)
    tasks = jax.jit(jax.vmap(sample))(jax.random.split(jax.random.key(0), 128))
    for part in (tasks.support, tasks.query):
        kinds, examples = decoded(part.inputs)
        assert np.all(examples < counts[kinds])


def test_a_quarter_turn_is_a_class_of_its_own():
    corner = np.zeros((1, 4, 3, 3, 1), np.float32)
    corner[:, :, 0, 0] = 1
    sample = jm.episodes(corner, ways=4, shots=1, queries=1, rotations=True)
    task = sample(jax.random.key(0))
    lit = [tuple(np.argwhere(image[..., 0])[0]) for image in np.asarray(task.support.inputs)]
    assert set(lit) == {(0, 0), (0, 2), (2, 0), (2, 2)}
    asked = [tuple(np.argwhere(image[..., 0])[0]) for image in np.asarray(task.query.inputs)]
    by_label = dict(zip(np.asarray(task.support.targets), lit, strict=True))
    assert [by_label[label] for label in np.asarray(task.query.targets)] == asked


def test_bytes_become_numbers_between_zero_and_one():
    inputs = jm.episodes(np.full((3, 3, 2, 2, 1), 255, np.uint8), ways=2, shots=1, queries=1)(
        jax.random.key(0)
    ).support.inputs
    np.testing.assert_array_equal(inputs, 1)


def test_sine_waves_have_the_published_ranges():
    tasks = jax.vmap(jm.sinusoid(shots=200, queries=0))(jax.random.split(jax.random.key(0), 500))
    x, y = np.asarray(tasks.support.inputs[..., 0]), np.asarray(tasks.support.targets[..., 0])
    assert -5 <= x.min() < -4.9
    assert 4.9 < x.max() <= 5
    heights = np.abs(y).max(1)
    assert heights.min() < 0.3
    assert 4.8 < heights.max() <= 5
    design = np.stack([np.sin(x), np.cos(x)], -1)
    a, b = np.linalg.lstsq(design[0], y[0], rcond=None)[0]
    np.testing.assert_allclose(design[0] @ [a, b], y[0], atol=1e-4)
    assert b <= 1e-4  # sin(x - p) = cos p sin x - sin p cos x, with p in [0, pi]


def test_mixtures_are_the_published_generator():
    tasks = jax.jit(jax.vmap(jm.mixtures()))(jax.random.split(jax.random.key(0), 200))
    sizes = np.asarray(tasks.support.weights.sum(1))
    assert 100 <= sizes.min() < 130
    assert 470 < sizes.max() <= 500
    assert tasks.support.inputs.shape == (200, 500, 2)
    padding = np.asarray(tasks.support.weights) == 0
    assert not np.any(np.asarray(tasks.support.inputs)[padding])
    assert np.all(np.asarray(tasks.truth)[padding] == -1)
    deviations = []
    for x, label, w in zip(tasks.support.inputs, tasks.truth, tasks.support.weights, strict=True):
        for k in range(4):
            own = np.asarray(x)[(np.asarray(label) == k) & (np.asarray(w) > 0)]
            if len(own) > 30:
                deviations.append(own.std(0))
                assert np.all(np.abs(own.mean(0)) < 4.3)
    np.testing.assert_allclose(np.mean(deviations), 0.3, atol=0.01)


def test_mixtures_use_as_many_slots_as_they_say():
    tasks = batch("mixtures")
    assert set(np.asarray(tasks.support.clusters)) == {2, 3, 4}
    assert np.all(np.asarray(tasks.truth).max(1) < np.asarray(tasks.support.clusters))


def images(classes=5, members=5, shape=(4, 4, 1)):
    return np.zeros((classes, members, *shape), np.float32)


REFUSED = {
    "ways": (lambda: jm.episodes(images(), ways=6, shots=1, queries=1), "ways is 6, but there are 5 classes"),
    "examples": (lambda: jm.episodes(images(), ways=2, shots=3, queries=3), "smallest class has 5"),
    "no shot": (lambda: jm.episodes(images(), ways=2, shots=0, queries=3), "at least one way and one shot"),
    "rank": (lambda: jm.episodes(np.zeros(5), ways=2, shots=1, queries=1), "give .classes, examples"),
    "not square": (
        lambda: jm.episodes(images(shape=(4, 5, 1)), ways=2, shots=1, queries=1, rotations=True),
        "cannot be rotated",
    ),
    "sinusoid": (lambda: jm.sinusoid(shots=0), "at least one shot"),
    "points": (lambda: jm.mixtures(points=(5, 2)), "give 1 <= least <= most"),
    "clusters": (lambda: jm.mixtures(clusters=(0, 2)), "give 1 <= least <= most"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_tasks_that_cannot_be_drawn_are_refused_with_one_sentence(case):
    make, message = REFUSED[case]
    with pytest.raises(jm.InputError, match=message):
        make()
