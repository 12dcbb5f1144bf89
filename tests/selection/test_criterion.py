"""The learned criterion: it sees no label, learns which descriptor to trust, and never believes a failure."""

import jax
import numpy as np
import pytest

import jmeta as jm
from jmeta.selection import candidate, performance_table
from jmeta.selection.criterion import candidate_inputs, criterion_scores, train_criterion
from jmeta.tasks.problems import Problem

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(30, 4, 3)).astype(np.float32)
WORTHS = 1 / (1 + np.exp(-2 * INPUTS[:, :, 1]))  # the second number tells
KEY = jax.random.key(0)


def test_what_it_learned_holds_for_cases_that_it_has_not_seen():
    criterion = train_criterion(INPUTS[:20], WORTHS[:20], np.ones(20), KEY, steps=150, networks=2)
    usable = np.ones((10, 4), bool)
    scores = criterion_scores(criterion, INPUTS[20:], usable)
    chosen = np.take_along_axis(WORTHS[20:], scores.argmax(1)[:, None], 1).mean()
    assert chosen > WORTHS[20:].mean() + 0.8 * (WORTHS[20:].max(1).mean() - WORTHS[20:].mean())
    usable[:, 2] = False
    assert np.all(np.isneginf(criterion_scores(criterion, INPUTS[20:], usable)[:, 2]))


def test_no_label_reaches_the_inputs(tmp_path):
    points = RANDOM.normal(size=(30, 2)) + 9 * (np.arange(30) % 2)[:, None]
    right, wrong = np.arange(30) % 2, RANDOM.permutation(np.arange(30) % 2)
    inputs = [
        candidate_inputs(
            performance_table(
                [Problem("one", "mine", points, (labels,), "made here")],
                (candidate("ward"), candidate("kmeans")),
                folder=tmp_path,
                jobs=1,
                backend="threading",
            )
        )
        for labels in (right, wrong)
    ]
    np.testing.assert_array_equal(*inputs)
    assert np.all(np.isfinite(inputs[0]))


@pytest.mark.faults
@pytest.mark.parametrize(
    ("inputs", "worths", "weights", "message"),
    [
        (INPUTS, WORTHS[:, :2], np.ones(30), "do not match"),
        (INPUTS, WORTHS, np.ones(3), "do not match"),
        (INPUTS * np.nan, WORTHS, np.ones(30), "not finite"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(inputs, worths, weights, message):
    with pytest.raises(jm.InputError, match=message):
        train_criterion(inputs, worths, weights, KEY)
