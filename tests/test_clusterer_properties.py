"""What each clusterer's row of the table declares: symmetries, and an objective that never rises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from algorithms import CLUSTERERS, PROPERTIES
from blobs import D, K, N, blobs

import jmeta as jm


@functools.cache
def fixed(name, scale=1.0):
    """Points, weights and K -> who is with whom, and who is noise; nothing is left to chance."""
    row = CLUSTERERS[name]
    clusterer = row(K, scale, **row.fixed(K))

    def run(points, weights, clusters):
        params = clusterer.init(jax.random.key(0))
        state = clusterer.fit(params, jm.Batch(points, None, weights, clusters), jax.random.key(1))
        found = clusterer.assign(params, state, points)
        shares = jnp.exp(found.log_probs) * (1 - found.noise)[:, None]
        return shares @ shares.T, found.noise

    return run


ANGLE = np.float32(0.7)
TURN = np.array([[np.cos(ANGLE), -np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]])
ORDER = np.random.default_rng(1).permutation(N)
CHANGED = {
    "permutation": lambda points: points[ORDER],
    "translation": lambda points: points + 30,
    "rotation": lambda points: points @ TURN,
    "scale": lambda points: points * 3,
}


DECLARED = [(name, kind) for name, row in CLUSTERERS.items() for kind in PROPERTIES if kind not in row.lacks]


@pytest.mark.parametrize(("name", "kind"), DECLARED)
def test_properties_that_a_row_declares(name, kind):
    """On clusters that overlap, so that much is undecided."""
    points, ones, used = blobs(2, spread=1.7), np.ones(N, np.float32), np.int32(K)
    run = jax.jit(fixed(name))
    together, noise = np.asarray(run(points, ones, used)[0]), np.asarray(run(points, ones, used)[1])
    if kind == "padding":
        points, ones = points[:9], ones[:9]
        padded = np.concatenate([points, np.full((N - 9, D), 7, np.float32)])
        found = run(padded, np.float32(np.arange(N) < 9), used)
        together, noise = jax.jit(fixed(name))(points, ones, used)
        found = found[0][:9, :9], found[1][:9]
    elif kind == "eager":
        found = fixed(name)(jnp.asarray(points), jnp.asarray(ones), jnp.asarray(used))
    elif kind == "loop":
        batch = np.stack([points, blobs(3, spread=1.7)]), np.stack([ones, ones]), np.array([K, 2], np.int32)
        found = jax.jit(jax.vmap(fixed(name)))(*batch)
        np.testing.assert_allclose(found[0][1], run(*(part[1] for part in batch))[0], atol=2e-3)
        found = found[0][0], found[1][0]
    else:
        found = jax.jit(fixed(name, 3.0 if kind == "scale" else 1.0))(CHANGED[kind](points), ones, used)
    if kind == "permutation":
        together, noise = together[ORDER][:, ORDER], noise[ORDER]
    np.testing.assert_allclose(found[0], together, atol=2e-3)
    np.testing.assert_allclose(found[1], noise, atol=2e-3)


@pytest.mark.parametrize("name", [name for name, row in CLUSTERERS.items() if row.objective])
def test_no_step_raises_the_objective(name):
    row, points = CLUSTERERS[name], jm.Batch(blobs(4, spread=3.0) + 5)
    clusterers = [row(K, **(row.fixed(K) | {"steps": steps})) for steps in (0, 1, 2, 3, 6, 12)]
    states = [c.fit(c.init(jax.random.key(0)), points, jax.random.key(1)) for c in clusterers]
    values = np.array([row.objective(state) for state in states])
    assert np.all(np.diff(values) <= 1e-5 * np.abs(values[:-1]))
    assert values[-1] < values[0]
