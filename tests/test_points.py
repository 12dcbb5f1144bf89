"""Points of one task on many devices: the same as on one, with one all-reduce a step and no gather."""

import pytest
from test_sharding import run

SHARED = """
import sys
import jax, jax.numpy as jnp, numpy as np, optax
jax.config.update("jax_enable_x64", True)
import jmeta as jm
from loops import reductions_of_loops
from jmeta.training.memory import memory_of
POINTS, STEPS, CLUSTERS = 256, 7, 3
random = np.random.default_rng(0)
labels = np.arange(POINTS) % CLUSTERS
table = 6 * random.normal(size=(CLUSTERS, 2))[labels] + random.normal(size=(POINTS, 2))
weights = random.uniform(0.5, 2, POINTS)
def loops(text):
    return reductions_of_loops(text, largest=8 * POINTS)
"""

TABLE = """
from jmeta.clustering.cluster import _run
clusterer = {
    "soft": lambda: jm.soft_kmeans(CLUSTERS, steps=STEPS),
    "hard": lambda: jm.kmeans(CLUSTERS, steps=STEPS),
    "mixture": lambda: jm.gaussian_mixture(CLUSTERS, steps=STEPS),
    "balanced": lambda: jm.sinkhorn_kmeans(CLUSTERS, steps=STEPS),
}
for name, counts in (word.split(":") for word in sys.argv[1:]):
    made, needed = clusterer[name](), []
    expected = jm.cluster(made, table, weights=weights, key=jax.random.key(0)).log_probs
    counts = list(map(int, counts.split(",")))
    for devices in counts:
        mesh = jm.task_mesh(devices, points=devices)
        points, known = jm.shard_points((table, weights), mesh)
        found = jm.cluster(made, points, weights=known, key=jax.random.key(0)).log_probs
        assert len(found.devices()) == devices
        np.testing.assert_allclose(jax.device_get(found), jax.device_get(expected), rtol=1e-6, atol=1e-6)
        with jax.set_mesh(mesh):
            key = jax.device_put(jax.random.key(0), jax.NamedSharding(mesh, jax.P()))
            program = _run.lower(made, points, known, key).compile()  # read from disk
        needed.append(sum(memory_of(program)))
    assert needed == sorted(needed, reverse=True), (name, needed)
    assert needed[-1] <= 2 * needed[0] * counts[0] / counts[-1], (name, needed)
    print(name, *sorted(count for _, count in loops(program.as_text())), sep=",")
"""
REDUCTIONS = {
    "soft": [1],
    "hard": [1],
    "mixture": [1],
    "balanced": [1, 1, 1, 5],  # loops of Newton's steps balance start, steps and end; a step takes five more
}


@pytest.mark.parametrize(
    "devices",
    [
        ("soft:2,4,8", "hard:8", "mixture:2,8", "balanced:8"),
        pytest.param(("hard:2,4,8", "mixture:2,4,8", "balanced:2,4,8"), marks=pytest.mark.slow),
    ],
    ids=["some", "all"],
)
def test_tables_are_clustered_by_many_devices_as_by_one(devices):
    found = run(SHARED + TABLE, *devices)
    names = [word.split(":")[0] for word in devices]
    assert found == [",".join(map(str, (name, *REDUCTIONS[name]))) for name in names]


def test_tasks_and_their_points_are_divided_in_one_mesh():
    """One all-reduce in a step of the loop, one in a step of its derivative, and one over tasks."""
    code = """
def sampler(key):
    points = jnp.asarray(table) + jax.random.normal(key, table.shape)
    batch = jm.Batch(points, jnp.asarray(labels), jnp.ones(POINTS), jnp.asarray(CLUSTERS))
    return jm.Task(batch._replace(targets=None), batch, jnp.asarray(labels), key)
learner = jm.centroids(jm.networks.mlp([2, 4]), jm.soft_kmeans(CLUSTERS, steps=STEPS))
meta = jax.tree.map(lambda leaf: leaf.astype(float), learner.init(jax.random.key(1)))
expected = None
from jmeta.training.loop import draw_tasks
for mesh in (jm.task_mesh(1), jm.task_mesh(8, points=4)):
    step = jm.meta_step(jm.clustering_loss(learner, jm.matched_cross_entropy), optax.sgd(0.1), mesh=mesh)
    state = jax.device_put(step.init(meta), jax.NamedSharding(mesh, jax.P()))
    tasks = draw_tasks(sampler, jax.random.key(0), 0, 4, mesh=mesh)
    tasks = jm.shard_tasks(jax.device_get(tasks._replace(key=None))._replace(key=tasks.key), mesh)
    program = jax.jit(step.update).lower(state, tasks).compile()
    found = jax.device_get(program(state, tasks))
    expected = expected or found
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9), expected, found)
print(*(count for inner, count in loops(program.as_text()) if not inner))
"""
    assert run(SHARED + code) == ["1", "1"]


def test_what_devices_do_not_divide_is_refused():
    code = """
eight = jm.task_mesh(points=8)
five = jm.shard_points(random.normal(size=(16, 5)), eight)
one = jax.random.key(0)
for call, message in (
    (lambda: jm.task_mesh(8, points=3), "points is 3; give a whole number that divides 8 devices."),
    (lambda: jm.shard_points(table, jm.task_mesh()), "the mesh does not divide points; make it by"),
    (lambda: jm.shard_points(table[:-1], eight), "8 devices do not divide 255 points; add 1 of weight zero"),
    (lambda: jm.shard_tasks(table.reshape(2, 1, -1), eight), "8 devices do not divide 1 points; add 7"),
    (lambda: jm.cluster(jm.gaussian_mixture(2), five, key=one), "matrices at once, on which several CPU"),
    (lambda: jm.cluster(jm.host("ward", 2), five, key=one), "but this clusterer runs on the host"),
):
    try:
        call()
    except jm.InputError as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)
print("refused")
"""
    assert run(SHARED + code) == ["refused"]
