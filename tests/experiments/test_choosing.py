"""What the experiments on choosing share: what is left out is not learned from; means are over problems."""

import jax
import numpy as np
import pytest

from experiments import choosing, selection
from jmeta.portfolio import candidate, performance_table
from jmeta.selection.examples import Settings
from jmeta.selection.held_out import TableInputs, held_out_scores, left_out_groups, table_inputs

SETTINGS = Settings(steps=3, networks=1)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    candidates = tuple(candidate(name) for name in ("ward", "kmeans", "hdbscan"))
    table = performance_table(
        choosing.small_problems(),
        candidates,
        folder=tmp_path_factory.mktemp("table"),
        jobs=1,
        backend="threading",
    )
    return table_inputs(table, seed=0)


def test_every_group_is_left_out_once(known):
    covered = np.zeros(len(known.groups))
    for out, weights in left_out_groups(known):
        assert len(set(known.groups[out])) == 1
        assert np.all((weights > 0) == ~out)
        covered += out
    assert np.all(covered == 1)


@pytest.mark.parametrize("kind", ["criterion", "selector"])
def test_answers_of_what_is_left_out_reach_nothing_that_is_learned(known, kind):
    """With other scores in one group, what is chosen for that group stays the same."""
    out = known.groups == 0
    changed = known.table.scores.copy()
    changed[out] = changed[out][:, ::-1] - 0.5
    other = known._replace(table=known.table._replace(scores=changed))

    def chosen(known: TableInputs):
        make = selection.criterion_options if kind == "criterion" else selection.selector_options
        options, scores = make(known, SETTINGS), known.table.scores
        return held_out_scores(known, options[:2], scores, (3,), jax.random.key(0), seeds=1)

    (one, taken), (two, retaken) = chosen(known), chosen(other)
    np.testing.assert_array_equal(one[:, out], two[:, out])
    assert not np.array_equal(one[:, ~out], two[:, ~out])
    assert taken[0] == retaken[0]


def test_fixed_ways_by_hand(known):
    found = choosing.baselines(known)
    scores, groups = known.table.scores, known.groups
    np.testing.assert_allclose(found["random"], scores.mean(1))
    np.testing.assert_allclose(found["oracle"], scores.max(1))
    for group in set(groups):
        best = scores[groups != group].mean(0).argmax()  # one labelling a problem
        np.testing.assert_allclose(found["single_best"][groups == group], scores[groups == group, best])
    for name, values in found.items():
        if name != "consensus":
            assert np.all(values <= scores.max(1) + 1e-9), name


def test_the_bootstrap_has_the_width_of_the_normal_interval():
    values = np.random.default_rng(0).normal(1, 2, 400)
    found = choosing.bootstrap(values, 0)
    assert found.mean == pytest.approx(values.mean())
    assert found.ci95 == pytest.approx(1.96 * values.std() / 20, rel=0.05)
