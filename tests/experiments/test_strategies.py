"""Adapting strategies: which problems are shown and which are asked about, and which classes tasks share."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import cifar10_strategies, strategy_maml
from experiments.cifar10_strategies import MODES, TRAINED, ten_tasks
from jmeta.portfolio import portfolio

CONFIG = strategy_maml.PRESETS["quick"]


def test_no_problem_is_both_shown_and_asked_about():
    owners = np.array([0, 0, 1, 2, 3, 3, 4])
    draws = list(strategy_maml._draws(CONFIG, owners))
    assert len(draws) == CONFIG.draws
    for support, asked in draws:
        assert len(support) == CONFIG.support
        assert not set(owners[support]) & set(owners[asked])
        assert set(owners[support]) | set(owners[asked]) == set(owners)
    np.testing.assert_array_equal(draws[0][0], next(strategy_maml._draws(CONFIG, owners))[0])


@pytest.mark.parametrize("mode", MODES)
def test_ten_tasks_are_different_and_share_the_classes_that_their_mode_says(mode):
    random = np.random.default_rng(0)
    for _ in range(20):
        tasks = ten_tasks(mode, MODES[mode], random)
        assert len({frozenset(task) for task in tasks}) == 10
        assert all(len(task) == MODES[mode] for task in tasks)
        pairs = itertools.product(tasks[:TRAINED], tasks[TRAINED:])
        shared = [len(set(a) & set(b)) for a, b in pairs]
        assert max(shared) == 0 if mode == "disjoint" else min(shared) >= 2


def test_the_regret_of_always_choosing_the_best_is_zero():
    config = cifar10_strategies.PRESETS["quick"]
    random = np.random.default_rng(0)
    scores = np.full((10 * config.sets, 7), 0.2)
    scores[:, 2] = 0.9
    seen = random.normal(size=(len(scores), 6)).astype(np.float32)
    table = SimpleNamespace(scores=scores, candidates=portfolio("seven"))
    found = cifar10_strategies.regret(config, table, seen, np.arange(10), 0)
    always = [found[f"always {candidate.algorithm}"] for candidate in table.candidates]
    assert always[2] == found["single_best"] == found["support_best"] == 0
    assert always[0] == pytest.approx(0.7)
    assert found["random"] == pytest.approx(0.6)
    assert all(0 <= value <= 0.7 + 1e-9 for value in found.values())
