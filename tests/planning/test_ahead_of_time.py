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
from loops import reductions_of_loops

import jmeta as jm
from jmeta.batching import MEMORY_SHARE, Elsewhere, bytes_needed, fitting, fold_over_tasks
from jmeta.clustering.cluster import _run
from jmeta.planning import estimate
from jmeta.planning.devices import COMPILERS, accelerator, compile_only, devices_of, no_flags
from jmeta.planning.estimate import elsewhere, plan
from jmeta.planning.program import passes_of, read_program, traffic_of
from jmeta.sharding.meshes import mesh_of
from jmeta.training.memory import memory_of

INSTALLED = all(importlib.util.find_spec(name) for names in COMPILERS.values() for name in names)
pytestmark = pytest.mark.skipif(not INSTALLED, reason="needs the compilers of jmeta[plan]")
ALWAYS = (
    *("maml", "imaml", "cavia", "ridge", "matching", "prototypes", "centroids"),
    *(
        "soft_kmeans",
        "sinkhorn_kmeans",
        "kmeans",
        "gaussian_mixture",
        "mean_shift",
        "spectral",
        "dbscan",
        "ward",
    ),
)
"""One algorithm of each family, which are compiled in every run of these tests; `-m ''` takes all."""
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


def learner_program(name, tasks):
    """The meta-step of a learner, and its arguments."""
    learner, step = meta_step_of(name)
    state = jax.eval_shape(lambda key: step.init(learner.init(key)), jax.random.key(0))
    return estimate._update(step, tasks), (state, jax.random.key(0), jax.tree_util.Partial(learner_task))


def clusterer_program(name, tasks):
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
    points = jax.ShapeDtypeStruct((tasks, *blobs(2).shape), jnp.float32)
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


def compiled(name, devices):
    """The program of an algorithm for devices, each with two tasks."""
    mesh = mesh_of(devices)
    with elsewhere(Elsewhere(mesh, 80e9)):
        function, args = PROGRAMS[name](name, 2 * len(devices))
        return estimate._compiled(function, jax.eval_shape(lambda args: args, args), mesh)


def reduces_once(program):
    collectives = traffic_of(program.as_text()).collectives
    return set(collectives) == {"all-reduce"} and collectives["all-reduce"][0] == 1


@pytest.mark.parametrize(("name", "device"), CASES)
def test_tasks_are_divided_with_one_all_reduce(name, device):
    program = compiled(name, devices_of(device, DEVICES))
    assert reduces_once(program)
    text = program.as_text()
    groups = [int(count) for count in re.findall(r"(?:feature|batch)_group_count=(\d+)", text)]
    assert max(groups, default=1) == 1
    assert not re.search(r"\bf64\[", text)
    if name in LEARNERS:
        assert program.memory_analysis().alias_size_in_bytes > 0  # the state is updated in place


@pytest.mark.parametrize(
    ("device", "count", "slices"), [("v5e", 256, 1), ("v5e", 8, 2), ("h100", 16, 2)], ids=str
)
@pytest.mark.parametrize("name", ["prototypes", "soft_kmeans"])
def test_a_large_slice_and_two_slices_reduce_once_too(name, device, count, slices):
    assert reduces_once(compiled(name, devices_of(device, count, slices=slices)))


def temporaries(learner, tasks, **options):
    """The memory of a meta-step on one H100, apart from its tasks, which are given."""
    step = jm.meta_step(jm.query_loss(learner, jm.cross_entropy), optax.adam(1e-3), **options)
    state = jax.eval_shape(lambda key: step.init(learner.init(key)), jax.random.key(0))
    given = jax.eval_shape(jax.vmap(learner_task), jax.random.split(jax.random.key(0), tasks))
    mesh = mesh_of(devices_of("h100", 1))
    with elsewhere(Elsewhere(mesh, 80e9)):
        return memory_of(estimate._compiled(step.update, (state, given), mesh)).temporaries


def test_memory_grows_with_the_tasks_of_a_chunk_and_not_with_chunks():
    learner = LEARNERS["maml"]()
    some, twice, four = (temporaries(learner, tasks) for tasks in (512, 1024, 2048))
    assert four - twice == pytest.approx(2 * (twice - some), rel=0.1)
    assert temporaries(learner, 2048, chunk=512) == pytest.approx(some, rel=0.1)


def test_memory_of_implicit_rules_does_not_grow_with_steps():
    def learner(steps, **options):
        return jm.maml(
            jm.networks.mlp([2, 8, 3]),
            jm.cross_entropy,
            steps=steps,
            numbers={"learning_rate": 0.1},
            **options,
        )

    implicit = {"proximal": 1.0, "diff": jm.implicit(jm.conjugate_gradient(5))}
    few, many = (temporaries(learner(steps, **implicit), 64) for steps in (5, 40))
    assert many == pytest.approx(few, rel=0.01)
    assert temporaries(learner(40), 64) > 2 * temporaries(learner(5), 64)


@pytest.mark.parametrize("device", ["v5e", "h100"])
def test_points_of_one_table_are_divided_with_one_all_reduce_a_step(device):
    mesh = mesh_of(devices_of(device, DEVICES), DEVICES)
    place = jax.NamedSharding(mesh, jax.P("points")), jax.NamedSharding(mesh, jax.P())
    points = jax.ShapeDtypeStruct((1024, 2), jnp.float32, sharding=place[0])
    key = jax.ShapeDtypeStruct((), jax.random.key(0).dtype, sharding=place[1])
    with no_flags(), jax.set_mesh(mesh):
        lowered = _run.lower(jm.soft_kmeans(3, steps=7), points, None, key)
        program = lowered.compile(compiler_options=dict(estimate.OPTIONS[accelerator(device).platform][0]))
    assert reductions_of_loops(program.as_text(), largest=4 * 1024) == [(False, 1)]
    computations, _ = read_program(program.as_text())
    loops = [one for lines in computations.values() for one in lines if one.kind == "while"]
    passes = [passes_of(one, computations[one.attribute("condition")]) for one in loops]
    assert sorted(passes) == [2, 7]  # seeds after the first, and steps


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
