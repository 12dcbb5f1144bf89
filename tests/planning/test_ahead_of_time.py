"""Programs compiled for accelerators that are not there: how tasks are divided, and what they need.

They need the compilers of the extra `plan`, and are skipped without them; `-m ''` takes every algorithm.
"""

import importlib.util
import os
import re

import jax
import jax.numpy as jnp
import optax
import pytest
from algorithms import CLUSTERERS, LEARNERS
from blobs import blobs

import jmeta as jm
from jmeta.batching import MEMORY_SHARE, Elsewhere, bytes_needed, fitting, fold_over_tasks
from jmeta.planning import estimate
from jmeta.planning.devices import COMPILERS, compile_only, devices_of
from jmeta.planning.estimate import elsewhere, plan
from jmeta.planning.program import traffic_of
from jmeta.sharding.meshes import mesh_of

INSTALLED = all(importlib.util.find_spec(name) for names in COMPILERS.values() for name in names)
pytestmark = pytest.mark.skipif(not INSTALLED, reason="needs the compilers of jmeta[plan]")
ALWAYS = ("soft_kmeans", "maml")
"""Algorithms that are compiled in every run of the tests."""
DEVICES = 4


@pytest.fixture(scope="module", autouse=True)
def compilers():
    before = dict(os.environ)
    compile_only()
    yield
    os.environ.clear()
    os.environ.update(before)


def learner_task(key):
    labels = jnp.arange(6) % 3
    inputs = jax.random.normal(key, (6, 2)) + jnp.eye(3, 2)[labels]
    batch = jm.Batch(inputs, labels)
    return jm.Task(batch, batch, batch.targets, key)


def meta_step_of(name):
    learner = LEARNERS[name]()
    return learner, jm.meta_step(jm.query_loss(learner, jm.cross_entropy), optax.adam(1e-3))


def learner_program(name):
    """The meta-step of a learner, and its arguments."""
    learner, step = meta_step_of(name)
    state = jax.eval_shape(lambda key: step.init(learner.init(key)), jax.random.key(0))
    return estimate._update(step, 2 * DEVICES), (
        state,
        jax.random.key(0),
        jax.tree_util.Partial(learner_task),
    )


def clusterer_program(name):
    """The summed gradient of the assignments of many tasks to the points, and its arguments."""
    clusterer = CLUSTERERS[name](2)
    params = jax.eval_shape(clusterer.init, jax.random.key(0))

    def loss(shared, points):
        state = clusterer.fit(shared, jm.Batch(points), jax.random.key(0))
        return jnp.sum(jnp.exp(2 * clusterer.assign(shared, state, points).log_probs))

    def summed(shared, points, real):
        losses, gradient = jax.vmap(jax.value_and_grad(loss, allow_int=True), (None, 0))(shared[0], points)
        return (jnp.sum(losses), jax.tree.map(lambda leaf: jnp.sum(leaf.astype(float), 0), gradient)), ()

    folded = fold_over_tasks(summed)
    points = jax.ShapeDtypeStruct((2 * DEVICES, *blobs(2).shape), jnp.float32)
    return lambda shared, points: folded(shared, points)[0], ((params,), points)


PROGRAMS = {
    **{name: clusterer_program for name in CLUSTERERS},
    **{name: learner_program for name in LEARNERS},
}
CASES = [
    pytest.param(name, device, marks=[] if name in ALWAYS else [pytest.mark.slow])
    for name in PROGRAMS
    for device in ("v5e", "h100")
]


@pytest.mark.parametrize(("name", "device"), CASES)
def test_tasks_are_divided_with_one_all_reduce(name, device):
    where = Elsewhere(mesh_of(devices_of(device, DEVICES)), 80e9)
    with elsewhere(where):
        function, args = PROGRAMS[name](name)
        text = estimate._compiled(function, jax.eval_shape(lambda args: args, args), where.mesh).as_text()
    assert set(traffic_of(text).collectives) == {"all-reduce"}
    assert traffic_of(text).collectives["all-reduce"][0] == 1
    groups = [int(count) for count in re.findall(r"(?:feature|batch)_group_count=(\d+)", text)]
    assert max(groups, default=1) == 1
    assert not re.search(r"\bf64\[", text)


def test_memory_of_other_numbers_of_tasks_is_predicted():
    """On a GPU; few tasks lie in the caches of a TPU, and many take minutes to compile for."""
    device, tasks = "h100", 256
    learner = jm.maml(jm.networks.mlp([2, 64, 64, 3]), jm.cross_entropy, steps=3)

    def sampler(key):
        batch = jm.Batch(jax.random.normal(key, (200, 2)), jnp.arange(200) % 3)
        return jm.Task(batch, batch, batch.targets, key)

    step = jm.meta_step(jm.query_loss(learner, jm.cross_entropy), optax.adam(1e-3))
    state = step.init(learner.init(jax.random.key(0)))
    found = plan(step, sampler, state, tasks=tasks, device=device, devices=2)
    assert found.traffic.collectives["all-reduce"][0] == 1
    where = Elsewhere(mesh_of(devices_of(device, 2)), 80e9)
    args = jax.eval_shape(lambda: (state, jax.random.key(0), jax.tree_util.Partial(sampler)))
    with elsewhere(where):
        for other in (3 * tasks // 2, 3 * tasks, 4 * tasks):
            program = estimate._compiled(estimate._update(step, other), args, where.mesh)
            assert found.memory_at(other) == pytest.approx(bytes_needed(program), rel=0.1)
            assert program.memory_analysis().alias_size_in_bytes > 0  # the state is updated in place
    assert found.memory_at(found.most_tasks) <= MEMORY_SHARE * found.available


def test_as_many_tasks_as_fit_are_taken_at_once_and_one_that_does_not_fit_is_refused():
    """Each task needs at least the 4 MB of one of its results."""
    device = devices_of("h100", 1)[0]

    def function(shared, tasks, real):
        return jnp.sum(jax.vmap(lambda x: jnp.linalg.norm(jnp.sin(x @ x.T) @ x))(tasks) * shared), ()

    args = jnp.float32(1), jax.ShapeDtypeStruct((8, 1000, 10), jnp.float32)
    most = fitting(function, *args, 8, device, 40e6)
    assert 1 <= most <= 8
    assert fitting(function, *args, 8, device, 1e12) == 8
    assert fitting(function, *args, 8, device, 30e6) < most or most == 1
    with pytest.raises(jm.InputError, match=r"one task needs .* GB, and a device may use"):
        fitting(function, *args, 8, device, 1e6)


def test_rounds_take_less_memory_than_all_tasks_at_once():
    learner, step = meta_step_of("maml")
    args = jax.eval_shape(
        lambda key: (step.init(learner.init(key)), key, jax.tree_util.Partial(learner_task)),
        jax.random.key(0),
    )
    mesh = mesh_of(devices_of("h100", 1))

    def compiled(memory):
        with elsewhere(Elsewhere(mesh, memory)):
            return estimate._compiled(estimate._update(step, 64), args, mesh)

    whole = bytes_needed(compiled(80e9))
    assert bytes_needed(compiled(0.7 * whole)) < whole
