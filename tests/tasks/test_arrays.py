"""Tasks from lists of arrays: every row of a data set is drawn once, and padding has weight zero."""

import jax
import numpy as np
import pytest

import jmeta as jm

LENGTHS = (5, 8, 12)
REGRESSION = [(np.full((n, 2), n) + np.arange(n)[:, None] / 100, np.arange(n) + 0.5) for n in LENGTHS]
LABELS = [(x, np.arange(len(x)) % (place + 2)) for place, (x, _) in enumerate(REGRESSION)]


def drawn(sampler, count=20):
    return jax.jit(jax.vmap(sampler))(jax.random.split(jax.random.key(0), count))


@pytest.mark.parametrize(("support", "shots"), [(4, (4, 4, 4)), (0.5, (2, 4, 6))])
def test_every_row_is_drawn_once_with_its_target_and_the_rest_is_padding(support, shots):
    tasks, seen = drawn(jm.from_arrays(REGRESSION, support=support)), set()
    longest = max(length - shot for length, shot in zip(LENGTHS, shots, strict=True))
    assert tasks.support.inputs.shape[1:] == (max(shots), 2)
    assert tasks.query.inputs.shape[1:] == (longest, 2)
    for place in range(20):
        task = jax.tree.map(lambda leaf, place=place: leaf[place], tasks)
        both = [(part, np.asarray(part.weights) > 0) for part in (task.support, task.query)]
        length = sum(real.sum() for _, real in both)
        which = LENGTHS.index(length)
        assert both[0][1].sum() == shots[which]
        x = np.concatenate([part.inputs[real] for part, real in both])
        y = np.concatenate([part.targets[real] for part, real in both])
        order = np.argsort(y)
        np.testing.assert_allclose(x[order], REGRESSION[which][0], rtol=1e-6)
        np.testing.assert_array_equal(y[order], REGRESSION[which][1])
        assert all(np.all(np.asarray(part.inputs)[~real] == 0) for part, real in both)
        seen.add((which, tuple(y)))
    assert {which for which, _ in seen} == {0, 1, 2}
    assert len(seen) > 10  # the split differs from draw to draw


def test_labels_are_hidden_and_their_number_is_that_of_the_clusters():
    tasks = drawn(jm.from_arrays(LABELS, support=4, queries=3, labelled=False))
    assert tasks.support.targets is None
    assert tasks.query.inputs.shape[1] == 3
    which = np.searchsorted(LENGTHS, np.asarray(tasks.support.inputs[:, 0, 0]).astype(int))
    np.testing.assert_array_equal(tasks.support.clusters, which + 2)
    assert np.all(np.asarray(tasks.truth).max(1) < which + 2)
    shown = drawn(jm.from_arrays(LABELS, support=4))
    np.testing.assert_array_equal(shown.support.targets, tasks.truth)
    assert jm.from_arrays(LABELS, support=4, queries=0)(jax.random.key(0)).query.inputs.shape == (0, 2)
    yes_and_no = [(x, y == 1) for x, y in LABELS]
    assert int(jm.from_arrays(yes_and_no)(jax.random.key(0)).support.clusters) == 2


def test_images_are_scaled_and_targets_may_be_missing():
    pictures = [(np.full((n, 2, 2, 1), 255, np.uint8), None) for n in (3, 4)]
    task = jm.from_arrays(pictures, support=2)(jax.random.key(0))
    np.testing.assert_array_equal(task.support.inputs, np.ones((2, 2, 2, 1)))
    assert task.support.targets is None
    assert task.truth is None


X = np.ones((4, 2))
REFUSED = {
    "give [(inputs, targets), ...]": ([], {}),
    "one for each task": ([X, X], {}),
    "task 1 have rows of shape (3,), those of task 0 (2,)": ([(X, None), (np.ones((4, 3)), None)], {}),
    "inputs of task 0 have shape () and type float64": ([(np.ones(()), None)], {}),
    "inputs of task 0 are rows of unequal length": ([([[1], [1, 2]], None)], {}),
    "targets of task 0 have shape (4,) and type <U1": ([(X, np.array(list("abab")))], {}),
    "inputs of task 1 hold NaN or infinity": ([(X, None), (X * np.nan, None)], {}),
    "task 0 has 4 inputs and 3 targets": ([(X, np.ones(3))], {}),
    "give targets to all or to none": ([(X, None), (X, np.ones(4))], {}),
    "hold the label -2; count from 0": ([(X, np.array([0, 1, -2, 0]))], {}),
    "are no labels that could be hidden": ([(X, np.ones(4))], {"labelled": False}),
    "support is 0; give": ([(X, None)], {"support": 0}),
    "support is 2.5; give": ([(X, None)], {"support": 2.5}),
    "task 0 has too few rows for its support and 1 more": ([(X, None)], {"support": 4}),
    "queries is -1; give": ([(X, None)], {"queries": -1}),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_does_not_fit_is_refused(sentence):
    pairs, options = REFUSED[sentence]
    with pytest.raises(jm.InputError) as refused:
        jm.from_arrays(pairs, **options)
    assert sentence in str(refused.value)
