"""The public face, as a type checker sees it from outside: `make check` reads this file, and it runs too."""

from pathlib import Path
from typing import assert_type

import jax
import numpy as np
import optax
import pytest

import jmeta as jm

POINTS = np.random.default_rng(0).normal(size=(12, 2))


def test_clusterings_have_types():
    clusterer: jm.Clusterer = jm.soft_kmeans(3, steps=5, diff=jm.implicit(jm.gmres(5)))
    found = jm.cluster(clusterer, POINTS, key=jax.random.key(1))
    assert_type(found, jm.Assignment)
    assert_type(found.log_probs.argmax(-1), jax.Array)
    model = jm.SoftKMeans(3).fit(POINTS)
    assert_type(model, jm.SoftKMeans)
    assert_type(model.labels_, np.ndarray)
    assert_type(model.predict(POINTS), np.ndarray)
    assert_type(jm.AutoCluster(n_clusters=3).n_clusters, int | None)


def test_learners_and_what_they_learn_have_types(tmp_path: Path):
    recipe = jm.recipe("mlp", (1, 8, 1))
    learner = jm.maml(jm.networks.mlp([1, 8, 1]), jm.squared_error, steps=1, diff=jm.unroll(remat=True))
    assert_type(learner, jm.Learner)
    step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(1e-3))
    assert_type(step, jm.MetaStep)
    state = step.init(learner.init(jax.random.key(0)))
    state = jm.train(step, jm.sinusoid(shots=5), state, jax.random.key(1), steps=1, tasks=2)
    assert_type(state, jm.MetaState)
    result = jm.evaluate(learner, jm.sinusoid(shots=5), state.meta, jax.random.key(2), tasks=2)
    assert_type(result, jm.Evaluation)
    assert_type(result.intervals(), dict[str, jm.Interval])
    model = jm.make(recipe)
    jm.save_trained(tmp_path / "net.npz", recipe, model.init(jax.random.key(0)), {})
    assert_type(jm.load_trained(tmp_path / "net.npz"), jm.Trained)


def test_what_is_wrong_is_seen_by_the_checker_and_refused_when_it_runs():
    with pytest.raises(jm.InputError):
        jm.soft_kmeans("three")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="step"):
        jm.maml(jm.networks.mlp([1, 1]), jm.squared_error, step=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match="nothing"):
        _ = jm.nothing  # type: ignore[attr-defined]
