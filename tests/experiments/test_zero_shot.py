"""The training of the zero-shot network: stages that fit together, scores, and the file."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm
from experiments import zero_shot
from experiments.zero_shot import LOSSES, PRESETS
from jmeta.artifacts.recipes import load_trained
from jmeta.metrics import Interval


@pytest.mark.parametrize("preset", list(PRESETS))
def test_presets_have_as_many_tasks_and_steps_as_stages(preset):
    config = PRESETS[preset]
    config.check()
    assert config.preset == preset
    assert len(config.points) == len(config.tasks) == len(config.steps)
    assert list(config.points) == sorted(config.points)
    assert all(points % 2 == 0 for points in config.points)  # as the network needs them
    assert config.width % 4 == 0
    assert set(config.rows) <= set(LOSSES)


def test_small_tasks_have_few_clusters(monkeypatch):
    monkeypatch.setattr(zero_shot, "synthetic", lambda **options: options)
    config = PRESETS["cpu"]
    for points, clusters in ((8, 2), (128, 16), (512, 50)):
        drawn = zero_shot.sampler(config, points)
        assert drawn["points"] == (points // 2, points)
        assert drawn["clusters"] == (1, clusters)


def test_the_learning_rate_rises_and_falls():
    config = dataclasses.replace(PRESETS["quick"], steps=(60, 40))
    optimizer = zero_shot.optimizer(config)
    params = jnp.zeros(3)
    update = jax.jit(optimizer.update)
    state, sizes = optimizer.init(params), []
    for _ in range(100):
        change, state = update(jnp.full(3, 100.0), state, params)
        sizes.append(float(-change[0]))
    assert sizes[0] == 0
    assert np.argmax(sizes) == 2
    assert max(sizes) == pytest.approx(config.rate, rel=1e-3)
    assert np.all(np.diff(sizes[2:]) < 0)
    assert sizes[-1] < 0.01 * config.rate


def remainders(params, batch):
    """Clusters are the remainders of the first column by the number of clusters, 1 where it is unknown."""
    return jnp.asarray(1 if batch.clusters is None else batch.clusters)


CLUSTERER = jm.Clusterer(
    lambda key: {},
    lambda params, batch, key: remainders(params, batch),
    lambda params, state, inputs: jm.Assignment(
        jnp.log(jax.nn.one_hot(inputs[:, 0].astype(int) % state, 4) + 1e-9), jnp.zeros(len(inputs))
    ),
)


def tasks():
    """Two and three clusters; then noise that is of no cluster, and padding."""
    truth = jnp.array([[0, 1, 0, 1, 0, 1, -1, -1, -1, -1], [0, 1, 2, 0, 1, 2, 0, 1, -1, -1]])
    inputs = jnp.where(truth < 0, 2, truth)[..., None] + 0.25
    weights = jnp.arange(10) < jnp.array([[8], [9]])
    batch = jm.Batch(inputs, None, 1.0 * weights, jnp.array([9, 9]))
    return jm.Task(batch, batch, truth, jax.random.split(jax.random.key(0), 2))


def test_noise_and_padding_do_not_count_in_the_scores():
    np.testing.assert_allclose(zero_shot.scores(CLUSTERER, {}, tasks()), 1, atol=1e-6)


def test_with_an_unknown_number_the_clusterer_is_not_told():
    np.testing.assert_allclose(zero_shot._with_all_slots(CLUSTERER, {}, tasks()), 0, atol=1e-6)


def test_the_network_is_written_with_its_card(tmp_path):
    config = dataclasses.replace(PRESETS["quick"], out=tmp_path)
    sizes = dict(width=config.width, pair_width=config.pair_width, layers=config.layers)
    params = jm.networks.pair_transformer(**sizes).init(jax.random.key(0))
    zero_shot._write(config, params, {"ari/known/drawn/both": Interval(0.5, 0.1, 4)})
    found = load_trained(tmp_path / "zero_shot.npz")
    jax.tree.map(np.testing.assert_array_equal, found.params, params)
    assert found.card["measured"] == {"ari/known/drawn/both": [0.5, 0.1]}
    assert found.card["tasks"] == sum(s * t for s, t in zip(config.steps, config.tasks, strict=True))
