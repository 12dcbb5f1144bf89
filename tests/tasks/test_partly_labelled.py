"""Episodes with few labels: whose points they are, and what they never show."""

import jax
import numpy as np
import pytest

import jmeta as jm
from jmeta.tasks.episodes import ClassImages

KINDS = dict(ways=3, shots=1, queries=1, unlabelled=2, distractors=2)


def pool(first, count):
    """Examples whose value tells class and number: 100 class + number."""
    values = 100 * np.arange(8)[:, None] + np.arange(first, first + count)
    return ClassImages(values[..., None].astype(np.float32), np.full(8, count), tuple("abcdefgh"), "numbers")


@pytest.fixture(scope="module")
def tasks():
    sample = jm.partly_labelled_episodes(pool(0, 2), pool(2, 5), **KINDS)
    return jax.jit(jax.vmap(sample))(jax.random.split(jax.random.key(0), 50))


def test_every_point_is_of_the_class_that_it_is_said_to_be(tasks):
    for support, query, truth in zip(
        np.asarray(tasks.support.inputs[..., 0]),
        np.asarray(tasks.query.inputs[..., 0]),
        np.asarray(tasks.truth),
        strict=True,
    ):
        classes = support[:3] // 100
        assert len(set(classes)) == 3
        np.testing.assert_array_equal(truth[:3], [0, 1, 2])
        known = truth >= 0
        np.testing.assert_array_equal(support[known] // 100, classes[truth[known]])
        others = support[~known] // 100
        assert len(set(others)) == 2
        assert not set(others) & set(classes)
        np.testing.assert_array_equal(query // 100, classes)
        assert len(set(support) | set(query)) == len(support) + len(query)  # none is there twice


def test_labels_are_shown_of_the_labelled_part_alone(tasks):
    targets, numbers = np.asarray(tasks.support.targets), np.asarray(tasks.support.inputs[..., 0]) % 100
    np.testing.assert_array_equal(targets[:, :3], np.tile([0, 1, 2], (50, 1)))
    assert np.all(targets[:, 3:] == -1)
    assert np.all(numbers[:, :3] < 2)
    assert np.all(numbers[:, 3:] >= 2)
    assert np.all(np.asarray(tasks.query.inputs[..., 0]) % 100 < 2)
    np.testing.assert_array_equal(tasks.query.targets, np.tile([0, 1, 2], (50, 1)))


def test_the_classes_asked_about_do_not_depend_on_distractors():
    with_some = jm.partly_labelled_episodes(pool(0, 2), pool(2, 5), **KINDS)(jax.random.key(3))
    none = jm.partly_labelled_episodes(pool(0, 2), pool(2, 5), **KINDS | dict(distractors=0))(
        jax.random.key(3)
    )
    assert none.support.inputs.shape == (9, 1)
    assert np.all(np.asarray(none.truth) >= 0)
    classes = [np.asarray(task.support.inputs[:3] // 100) for task in (with_some, none)]
    np.testing.assert_array_equal(*classes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(distractors=-1), "distractors"),
        (dict(distractors=6), "ways is 9, but there are 8 classes"),
        (dict(unlabelled=6), "the smallest class has 5"),
        (dict(shots=2), "the smallest class has 2"),
    ],
)
def test_what_makes_no_task_is_said(change, said):
    with pytest.raises(jm.InputError, match=said):
        jm.partly_labelled_episodes(pool(0, 2), pool(2, 5), **KINDS | change)


def test_parts_of_other_classes_are_refused():
    with pytest.raises(jm.InputError, match="split one data set in two"):
        jm.partly_labelled_episodes(pool(0, 2), pool(2, 5)._replace(names=tuple("hgfedcba")), **KINDS)
