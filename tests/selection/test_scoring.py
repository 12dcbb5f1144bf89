"""Learning to choose: what was learned holds for unseen cases, adapts to a new group, and looks at no more
than it may."""

import jax
import numpy as np
import pytest

import jmeta as jm
from jmeta.selection.examples import Examples, Settings, task_of_one_group
from jmeta.selection.scoring import adapt_scoring_model, fit_scoring_model, mean_scores

RANDOM = np.random.default_rng(0)
SETS = RANDOM.normal(size=(40, 4, 3)).astype(np.float32)
FLAT = RANDOM.normal(size=(40, 4)).astype(np.float32)
KEY = jax.random.key(0)
QUICK = Settings(steps=200, networks=2)
PLAIN = Examples(np.zeros((0, 0)), np.zeros((0, 0)), np.ones(40), np.arange(40) % 2, np.arange(40))


def worths(values):
    return 1 / (1 + np.exp(-2 * values))


def gained(cases, scores, rows):
    """The share of the way from the mean choice to the best one."""
    own = cases.scores[rows]
    chosen = np.take_along_axis(own, scores[rows].argmax(1)[:, None], 1).mean()
    return (chosen - own.mean()) / (own.max(1).mean() - own.mean())


@pytest.mark.parametrize(
    "cases",
    [
        PLAIN._replace(inputs=SETS, scores=worths(SETS[:, :, 1])),  # the second number of a choice tells
        PLAIN._replace(inputs=FLAT, scores=worths(FLAT)),  # number a of the problem tells of choice a
    ],
    ids=["sets", "problems"],
)
def test_what_it_learned_holds_for_cases_that_it_has_not_seen(cases):
    known = np.arange(40) < 30
    choice = fit_scoring_model(cases._replace(weights=known.astype(float)), KEY, settings=QUICK)
    assert gained(cases, mean_scores(choice, cases.inputs), ~known) > 0.7
    inputs, unknown = cases.inputs.copy(), cases.scores.copy()
    inputs[~known] = unknown[~known] = np.nan  # what may not be learned from is not even looked at
    blind = cases._replace(
        inputs=inputs, scores=unknown, problems=cases.problems + 100, groups=cases.groups - 5
    )
    again = fit_scoring_model(blind._replace(weights=known.astype(float)), KEY, settings=QUICK)
    np.testing.assert_array_equal(mean_scores(choice, cases.inputs), mean_scores(again, cases.inputs))
    some = fit_scoring_model(
        cases._replace(weights=known.astype(float)), KEY, settings=QUICK._replace(batch=16, absolute=True)
    )
    foretold = mean_scores(some, cases.inputs)  # from some cases a step, and scores that are worths
    assert gained(cases, foretold, ~known) > 0.7
    assert np.corrcoef(foretold[~known].ravel(), cases.scores[~known].ravel())[0, 1] > 0.7
    assert np.mean(np.square(foretold - cases.scores)[~known]) < np.var(cases.scores)


@pytest.mark.parametrize("way", ["maml", "reptile"])
def test_groups_that_contradict_each_other_are_told_apart_by_adapting(way):
    """In every other group what is good elsewhere is bad: only who adapts can tell."""
    groups = np.repeat(np.arange(8), 8)
    inputs = RANDOM.normal(size=(64, 3, 2)).astype(np.float32)
    sign = 1 - 2 * (groups % 2)
    cases = Examples(inputs, worths(2 * sign[:, None] * inputs[:, :, 0]), np.ones(64), groups, np.arange(64))
    new = groups >= 6
    known = cases._replace(weights=np.where(new, 0.0, 1.0))
    rate = 0.3 if way == "reptile" else 1e-2
    settings = Settings(method=way, steps=150, networks=2, rate=rate, support=4)
    choice = fit_scoring_model(known, KEY, settings=settings)
    before = gained(cases, mean_scores(choice, inputs), new)
    after = []
    for group in (6, 7):
        rows = np.flatnonzero(groups == group)
        support = jax.tree.map(lambda part: part[rows[:4]], cases)  # noqa: B023
        adapted = adapt_scoring_model(choice, support)
        after.append(gained(cases, mean_scores(adapted, inputs), rows[4:]))
    assert before < 0.4
    assert np.mean(after) > {"maml": 0.7, "reptile": before + 0.1}[way]


def test_a_task_shows_some_problemstask_of_one_group_and_asks_about_others():
    owners = np.array([0, 0, 1, 2, 3, 4, 5, 6])
    groups = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    cases = Examples(FLAT[:8], FLAT[:8], np.array([1, 1, 1, 1, 1, 1, 1, 0.0]), groups, owners)
    for seed in range(20):
        task = task_of_one_group(cases, 0.0, jax.random.key(seed), size=3, groups=2)
        shown, asked = (
            np.isin(FLAT[:8, 0], np.asarray(batch.inputs)[np.asarray(batch.weights) > 0, 0])
            for batch in (task.support, task.query)
        )
        assert len(set(groups[asked])) == 1
        assert set(groups[asked]) == set(groups[shown])
        assert not set(owners[asked]) & set(owners[shown])
        assert not asked[7]
        assert not shown[7]


def test_inputs_that_never_varied_are_taken_for_zero():
    inputs = FLAT.copy()
    inputs[:, -1] = 1
    choice = fit_scoring_model(PLAIN._replace(inputs=inputs, scores=worths(FLAT)), KEY, settings=QUICK)
    moved = inputs.copy()
    moved[:, -1] = 9
    np.testing.assert_array_equal(mean_scores(choice, inputs), mean_scores(choice, moved))


def test_two_kinds_of_choices_are_learned_side_by_side():
    cases = PLAIN._replace(inputs=FLAT, scores=np.concatenate([worths(FLAT), worths(-FLAT)], 1))
    choice = fit_scoring_model(cases, KEY, settings=QUICK, sizes=(4, 4))
    scores = mean_scores(choice, FLAT)
    for kind in (slice(0, 4), slice(4, 8)):
        assert gained(cases._replace(scores=cases.scores[:, kind]), scores[:, kind], slice(None)) > 0.7


@pytest.mark.faults
def test_what_cannot_be_learned_from_is_refused():
    good = PLAIN._replace(inputs=SETS, scores=worths(SETS[:, :, 1]))
    for bad, message in (
        (good._replace(scores=good.scores[:, :2]), "do not match 2 candidates"),
        (good._replace(weights=np.ones(3)), "do not match"),
        (good._replace(inputs=SETS * np.nan), "NaN or infinity"),
        (good._replace(weights=np.zeros(40)), "no example has a positive weight"),
    ):
        with pytest.raises(jm.InputError, match=message):
            fit_scoring_model(bad, KEY, settings=QUICK)
    for change, message in (
        ({"method": "guess"}, "choose one of pooled, maml, reptile"),
        *(({name: 0}, f"{name} is 0") for name in ("steps", "batch", "width", "networks")),
        *(({name: np.nan}, f"{name} is nan; give a positive number") for name in ("rate", "inner_rate")),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"decay": -1.0}, "decay is -1.0"),
    ):
        with pytest.raises(jm.InputError, match=message):
            fit_scoring_model(good, KEY, settings=QUICK._replace(**change))
    choice = fit_scoring_model(good, KEY, settings=QUICK)
    for other in (SETS[:, :3], SETS[..., :2], FLAT, FLAT[0]):
        with pytest.raises(jm.InputError, match="use the portfolio and the version"):
            mean_scores(choice, other)
    with pytest.raises(jm.InputError, match="use the portfolio and the version"):
        adapt_scoring_model(choice, good._replace(inputs=SETS[..., :2]), steps=1, rate=0.1)
    with pytest.raises(jm.InputError, match="lower the rate"):
        adapt_scoring_model(choice, good, steps=9, rate=1e30)
