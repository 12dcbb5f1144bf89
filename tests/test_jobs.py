"""Jobs of a researcher from the beginning to the end; those that are not here are pages of docs/howto."""

import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jmeta as jm

KEY = jax.random.key(0)
PLAIN = jm.Model(
    lambda key: {"w": jax.random.normal(key, (3, 1)) / 2, "b": jnp.zeros(1)},
    lambda params, x, weights=None: x @ params["w"] + params["b"],
)
NETWORKS = {
    "flax": lambda: jm.from_linen(nn.Sequential([nn.Dense(8), nn.tanh, nn.Dense(1)]), jnp.zeros((1, 3))),
    "nnx": lambda: jm.from_nnx(lambda rngs: nnx.Linear(3, 1, rngs=rngs)),
    "plain": lambda: PLAIN,
}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_network_of_ones_own_on_data_sets_of_unequal_length(name):
    random = np.random.default_rng(0)
    slopes = random.normal(1, 0.1, (30, 3, 1))
    inputs = [random.normal(size=(random.integers(6, 20), 3)) for _ in slopes]
    data = [(x, x @ slope) for x, slope in zip(inputs, slopes, strict=True)]
    train, test = jm.from_arrays(data[:20], support=4), jm.from_arrays(data[20:], support=4)
    learner = jm.maml(NETWORKS[name](), jm.squared_error, numbers={"learning_rate": 0.05})
    step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(2e-2))
    start = step.init(learner.init(KEY))
    state = jm.train(step, train, start, KEY, steps=100, tasks=8)
    before, after = (
        jm.evaluate(learner, test, meta, KEY, tasks=30).intervals()["mse"].mean
        for meta in (start.meta, state.meta)
    )
    assert after < 0.3 * before


def test_images_with_early_stopping_and_one_new_task():
    known, unseen = jm.load("digits", "train"), jm.load("digits", "test")
    options = dict(ways=3, shots=3, queries=4)
    train, validation = jm.episodes(known.classes(range(3)), **options), jm.episodes(unseen, **options)
    learner = jm.prototypes(jm.networks.convnet([8], shape=(8, 8, 1), norm="layer", linear=True), ways=3)
    step = jm.meta_step(jm.query_loss(learner, jm.cross_entropy), optax.adam(1e-2))
    best = jm.KeepBest("accuracy")

    def validate(meta):
        found = jm.evaluate(learner, validation, meta, KEY, tasks=20)
        return {"accuracy": found.intervals()["accuracy"].mean}

    hooks = [jm.Validate(validate), jm.EarlyStop("accuracy", rows=2), best]
    _, rows = jm.loop(
        step, train, step.init(learner.init(KEY)), KEY, steps=60, tasks=4, every=10, hooks=hooks
    )
    assert best.row["accuracy"] == max(row["accuracy"] for row in rows) > 0.6
    task = validation(jax.random.key(8))
    fast = jm.adapt(learner, best.meta, task.support.inputs, task.support.targets, key=KEY)
    outputs = jm.predict(learner, fast, task.query.inputs)
    assert np.mean(outputs.argmax(-1) == task.query.targets) > 0.5


TWO_DEVICES = """
import sys
import jax, jax.numpy as jnp, numpy as np, optax
jax.config.update("jax_num_cpu_devices", 2)
import jmeta as jm

key = jax.random.key(0)
def sampler(key):  # about every fourth task has infinite inputs
    task = jm.sinusoid()(key)
    bad = jnp.where(jax.random.bernoulli(key, 0.25), jnp.inf, 0)
    return task._replace(support=task.support._replace(inputs=task.support.inputs + bad))

def run(steps, folder):
    learner = jm.maml(jm.networks.mlp([1, 4, 1]), jm.squared_error)
    step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.adam(1e-2), mesh=jm.task_mesh(2))
    start = step.init(learner.init(key))
    return jm.loop(step, sampler, start, key, steps=steps, tasks=4, every=2, hooks=[jm.SaveStates(folder)])

whole, rows = run(4, sys.argv[1])
run(2, sys.argv[2])
resumed, _ = run(4, sys.argv[2])
jax.tree.map(np.testing.assert_array_equal, jax.device_get(whole), jax.device_get(resumed))
assert len(jax.tree.leaves(whole.meta)[0].devices()) == 2
assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(whole.meta))
assert 0 < sum(row["skipped"] for row in rows) / len(rows) < 4
"""


def test_two_devices_resumed_with_tasks_that_are_not_finite(tmp_path):
    folders = [str(tmp_path / name) for name in ("whole", "halved")]
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES, *folders], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
