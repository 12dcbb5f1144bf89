"""Many devices give what one gives, for every learner, with one all-reduce and no all-gather a step."""

import os
import pathlib
import subprocess
import sys

import pytest
from algorithms import LEARNERS

CODE = """
import re, sys
import jax, jax.numpy as jnp, numpy as np, optax
jax.config.update("jax_enable_x64", True)
import jmeta as jm
from algorithms import LEARNERS
assert len(jax.devices()) == 8
random = np.random.default_rng(0)
labels = jnp.asarray(np.tile(np.arange(9) % 3, (16, 1)))
def batch():
    points = np.array([[0, 0], [3, 0], [0, 3]])[np.arange(9) % 3] + random.normal(size=(16, 9, 2))
    return jm.Batch(jnp.asarray(points), labels, jnp.ones((16, 9)), jnp.full(16, 3))
tasks = jm.Task(batch(), batch(), None, jax.random.split(jax.random.key(0), 16))
one, many = jm.task_mesh(1), jm.task_mesh()
for name in sys.argv[1:]:
    learner = LEARNERS[name]()
    loss = jm.query_loss(learner, jm.cross_entropy)
    meta = jax.tree.map(lambda leaf: leaf.astype(float), learner.init(jax.random.key(1)))
    found = {}
    for mesh in (one, many):
        step = jm.meta_step(loss, optax.sgd(0.1), chunk=1, mesh=mesh)
        program = jax.jit(step.update).lower(step.init(meta), jm.shard_tasks(tasks, mesh)).compile()
        state, report = program(*jax.device_put(
            (step.init(meta),), jax.NamedSharding(mesh, jax.P())), jm.shard_tasks(tasks, mesh))
        assert report.skipped == 0, name
        found[mesh.size] = jax.device_get((state.meta, report))
        text = program.as_text()
        reductions = len(re.findall(r"all-reduce(?:-start)?\\(", text))
        assert reductions == (1 if mesh is many else 0), (name, reductions)
        assert "all-gather" not in text and "all-to-all" not in text, name
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9, err_msg=name),
                 found[1], found[8])
    print(name)
"""


def run(code, *arguments, devices=8):
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


@pytest.mark.parametrize(
    "names",
    [("maml", "imaml", "ridge"), pytest.param(tuple(LEARNERS), marks=pytest.mark.slow)],
    ids=["three", "all"],
)
def test_eight_devices_equal_one(names):
    """Inner gradients included: those must not be summed over devices."""
    assert run(CODE, *names) == list(names)


def test_more_devices_than_tasks_and_a_loop_that_is_compiled_once():
    code = """
import jax, jax.numpy as jnp, numpy as np, optax, pytest, jmeta as jm
import jmeta.batching
jmeta.batching.MIN_PARALLEL_BYTES = 0
learner = jm.maml(jm.networks.mlp([1, 4, 1]), jm.squared_error)
sample = jm.sinusoid()
tasks = jax.vmap(sample)(jax.random.split(jax.random.key(0), 3))
meta = learner.init(jax.random.key(1))
def updated(**options):
    step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.sgd(0.1), **options)
    return jax.device_get(step.update(step.init(meta), tasks))
expected = updated(mesh=jm.task_mesh(1))
for mesh in (None, jm.task_mesh()):
    found = updated(mesh=mesh)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
with pytest.raises(jm.InputError, match="8 devices do not divide 3 tasks"):
    jm.shard_tasks(tasks, jm.task_mesh())
with pytest.raises(jm.InputError, match="devices is 9; give a whole number from 1 to 8"):
    jm.task_mesh(9)
traces = []
def loss(meta, task):
    traces.append(1)
    return jm.query_loss(learner, jm.squared_error)(meta, task)
def faded(i):
    return jm.meta_step(jm.total(loss, weights=[jnp.exp(-i / 10)]), optax.adam(0.1))
step = jm.scheduled(faded)
counts = []
def count(meta):
    counts.append(len(traces))
    return {}
with jax.log_compiles(False):
    hooks = [jm.Validate(count)]
    jm.loop(step, sample, step.init(meta), jax.random.key(2), steps=8, tasks=8, every=2, hooks=hooks)
assert counts[0] == counts[-1], counts
def train(key):
    return jm.train(step, sample, step.init(meta), key, steps=2, tasks=8).meta
seeds = jax.random.split(jax.random.key(5), 2)
together = jax.jit(jax.vmap(train))(seeds)
jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-4, atol=1e-6),
             jax.device_get(together), jax.device_get(jax.jit(train)(seeds[1])))
state, _ = jm.loop(step, sample, step.init(meta), jax.random.key(2), steps=2, tasks=8, every=2)
assert {len(leaf.devices()) for leaf in jax.tree.leaves(state)} == {8}
jmeta.batching.MIN_PARALLEL_BYTES = 2**25
seen = []
def score(learner, meta, task):
    jax.debug.callback(lambda: seen.append(1))
    return jm.query_score(learner, meta, task)
jm.evaluate(learner, sample, state.meta, jax.random.key(0), tasks=5, score=score)
jax.effects_barrier()
assert len(seen) == 1, seen  # on one device, not on all that hold the weights
two = jm.task_mesh(2)
step = jm.meta_step(jm.query_loss(learner, jm.squared_error), optax.sgd(0.1), mesh=two)
state, _ = jm.loop(step, sample, step.init(meta), jax.random.key(2), steps=2, tasks=8, every=2)
assert {len(leaf.devices()) for leaf in jax.tree.leaves(state)} == {2}
program = jax.jit(lambda s, key: jm.learning_curve(step, sample, s, key, steps=1, tasks=8)[0])
assert "all-gather" not in program.lower(state, jax.random.key(2)).compile().as_text()
spread = jnp.stack([jnp.eye(3)] * 8)
factor = lambda x: jnp.linalg.cholesky(x)
together = jm.over_tasks(factor, chunk=4, mesh=two)(spread)  # one at a time, whatever the chunk
np.testing.assert_array_equal(jax.device_get(together), spread)
with pytest.raises(jm.InputError, match="each task factorises 5 matrices"):
    jm.over_tasks(factor, mesh=two)(jnp.stack([jnp.eye(3)] * 5)[None].repeat(2, 0))
print(jm.evaluate(learner, sample, meta, jax.random.key(0), tasks=10).values["mse"].shape[0])
"""
    assert run(code) == ["10"]


def test_eight_devices_play_and_learn_as_one():
    code = """
import jax, jax.numpy as jnp, numpy as np, optax, jmeta as jm
from functools import partial
jax.config.update("jax_enable_x64", True)
bandit = jm.rl.bernoulli_bandit(3)
agent = jm.rl.rl2(bandit, partial(jm.networks.gru, width=4))
params = jax.tree.map(lambda leaf: leaf.astype(float), agent.network.init(jax.random.key(0)))
found = {}
for mesh in (jm.task_mesh(1), jm.task_mesh()):
    learn = jm.rl.ppo(agent, bandit, optax.sgd(0.1), steps=4, episodes=4, minibatches=2, mesh=mesh)
    start = jax.device_put(learn.init(params), jax.NamedSharding(mesh, jax.P()))
    state, rows = jm.loop(learn, jm.rl.trials(bandit), start, jax.random.key(1), steps=2, tasks=32, every=2)
    found[mesh.size] = jax.device_get(state.meta), rows[0]["reward"]
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9), found[1], found[8])
print("same")
"""
    assert run(code) == ["same"]
