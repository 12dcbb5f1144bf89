"""Many tasks at once give the same numbers as `vmap`, on one device and on several."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm
from jmeta.batching import fold_over_tasks

POINTS = np.random.default_rng(0).normal(size=(7, 9, 2)).astype(np.float32)


def scatter(points, shift):
    clusterer = jm.soft_kmeans(2, steps=3, seeding=jm.farthest_first)
    return jnp.sum(clusterer.fit({}, jm.Batch(points + shift), jax.random.key(0)).centers ** 2)


SLOPES = jax.jit(jax.value_and_grad(scatter))
SHIFTS = np.arange(7, dtype=np.float32)


@functools.cache
def at_once():
    return jax.jit(jax.vmap(SLOPES))(POINTS, SHIFTS)


@pytest.mark.parametrize("chunk", [None, 1, 3, 7, 100])
def test_chunks_equal_vmap(chunk):
    together = jm.over_tasks(SLOPES, chunk=chunk)(POINTS, SHIFTS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), together, at_once())


def test_gradients_pass_through_it():
    through = jax.jit(jax.grad(lambda s: jnp.sum(jm.over_tasks(scatter, chunk=2)(POINTS, s))))(SHIFTS)
    inside = jm.over_tasks(jax.grad(scatter, argnums=1))(POINTS, SHIFTS)
    np.testing.assert_allclose(through, inside, rtol=1e-4)


def test_it_is_compiled_once():
    traces = []

    def counted(x):
        traces.append(1)
        return x * 2

    run = jm.over_tasks(counted)
    run(jnp.ones(4))
    first = len(traces)
    run(jnp.zeros(4))
    assert len(traces) == first


def test_large_tasks_are_taken_alone_and_small_ones_together():
    """By the largest array that a task computes, not by its inputs."""
    sizes = []

    def wide(x, columns):
        sizes.append(x.shape)
        return jnp.sum(x[:, None] * jnp.ones((1, columns)))

    def chunk(columns):
        seen = []

        def function(shared, x, real):
            seen.append(len(x))
            return (), jax.vmap(lambda x: wide(x, columns))(x)

        fold_over_tasks(function)((), jnp.ones((64, 1000)))
        return seen[-1]

    assert chunk(1000) == 1
    assert chunk(100) == 4
    assert chunk(1) == 64


def test_totals_are_summed_over_the_real_tasks_alone():
    fold = fold_over_tasks(lambda w, x, real: (jnp.sum(jnp.where(real, w * x, 0)), 2 * x), chunk=4)
    total, each = fold(3.0, jnp.arange(7.0))
    assert total == 63
    np.testing.assert_array_equal(each, 2 * np.arange(7))


def test_what_tasks_share_is_not_split():
    run = jm.over_tasks(lambda table, x: table @ x, shared=1, chunk=2)
    np.testing.assert_allclose(run(jnp.eye(2), jnp.ones((5, 2))), np.ones((5, 2)))


@pytest.mark.parametrize("chunk", [0, -2, 2.5])
def test_a_chunk_is_a_count(chunk):
    with pytest.raises(jm.InputError, match="chunk is"):
        jm.over_tasks(scatter, chunk=chunk)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((np.zeros((0, 3, 1)), np.zeros(0)), "holds no task"),
        ((np.zeros((2, 3, 1)), np.zeros(3)), "give arrays of equal length"),
        ((np.float32(1), np.float32(1)), "holds no task"),
    ],
)
def test_what_is_no_batch_is_refused(args, message):
    with pytest.raises(jm.InputError, match=message):
        jm.over_tasks(scatter)(*args)


def test_several_devices_give_the_same_gradients():
    """Also of numbers that all tasks share: those must not be summed over devices inside."""
    code = """
import jax, jax.numpy as jnp, numpy as np, jmeta as jm, os
import jmeta.batching
jmeta.batching.MIN_PARALLEL_BYTES = 0
os.sched_getaffinity = lambda pid: range(4)
jm.use_all_cores()
assert len(jax.devices()) == 4, jax.devices()
x = np.random.default_rng(0).normal(size=(10, 5)).astype(np.float32)
meta = jnp.arange(5.0)
def adapted(meta, x):
    inner = lambda w: jnp.sum((w * x - 1) ** 2)
    return inner(meta - 0.1 * jax.grad(inner)(meta))
def total(meta, run):
    return jnp.sum(run(lambda x: adapted(meta, x))(x))
expected = jax.grad(total)(meta, jax.vmap)
found = jax.jit(jax.grad(lambda meta: total(meta, jm.over_tasks)))(meta)
np.testing.assert_allclose(found, expected, rtol=1e-5)
inside = jm.over_tasks(lambda x: jax.grad(adapted)(meta, x))(x)
np.testing.assert_allclose(inside.sum(0), expected, rtol=1e-5)
jm.use_all_cores()
assert len(jax.devices()) == 4
points = jnp.asarray(np.random.default_rng(0).normal(size=(8, 200, 16)), jnp.float32)
mixture = jm.gaussian_mixture(3, steps=3)
fit = lambda x: mixture.fit({}, jm.Batch(x), jax.random.key(0)).means
np.testing.assert_allclose(jm.over_tasks(fit)(points), jax.vmap(fit)(points), rtol=1e-3, atol=1e-3)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


def test_tasks_without_queries_go_in_chunks_too():
    empty = jnp.zeros((6, 0, 2))
    found = jm.over_tasks(lambda x, query: (2 * x, query), chunk=2)(jnp.arange(6.0), empty)
    np.testing.assert_array_equal(found[0], 2 * np.arange(6))
    assert found[1].shape == (6, 0, 2)
