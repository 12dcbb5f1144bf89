"""What each clusterer's row of the table declares: symmetries, and an objective that never rises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from algorithms import CLUSTERERS, PROPERTIES, taking
from blobs import K, N, blobs

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
POINTS, ONES, FEW = blobs(2, spread=1.7), np.ones(N, np.float32), 9
"""Clusters that overlap, so that much is undecided; and how many points stay without the padding."""
CASES = {
    "plain": (POINTS, ONES, K),
    "permutation": (POINTS[ORDER], ONES, K),
    "translation": (POINTS + 30, ONES, K),
    "rotation": (POINTS @ TURN, ONES, K),
    "scale": (POINTS * 3, ONES, K),
    "padding": (np.where(np.arange(N)[:, None] < FEW, POINTS, 7), np.arange(N) < FEW, K),
    "loop": (blobs(3, spread=1.7), ONES, 2),
}
DECLARED = [(name, kind) for name, row in CLUSTERERS.items() for kind in PROPERTIES if kind not in row.lacks]


def case(kind, kept=N):
    points, weights, clusters = CASES[kind]
    return np.float32(points[:kept]), np.float32(weights[:kept]), np.int32(clusters)


@functools.cache
def together(name):
    """What is found in every case, by one program for all of them."""
    batch = map(np.stack, zip(*map(case, CASES), strict=True))
    found = map(np.asarray, jax.jit(jax.vmap(fixed(name)))(*batch))
    return dict(zip(CASES, zip(*found, strict=True), strict=True))


@pytest.mark.parametrize(("name", "kind"), DECLARED)
def test_properties_that_a_row_declares(name, kind):
    found, noise = together(name)["plain" if kind == "eager" else kind]
    expected = together(name)["plain"]
    if kind == "permutation":
        expected = expected[0][ORDER][:, ORDER], expected[1][ORDER]
    elif kind == "padding":
        expected = jax.jit(fixed(name))(*case(kind, FEW))
        found, noise = found[:FEW, :FEW], noise[:FEW]
    elif kind in ("eager", "loop"):
        expected = fixed(name)(*case("plain" if kind == "eager" else kind))
    elif kind == "scale" and CLUSTERERS[name].powers:
        found, noise = jax.jit(fixed(name, 3.0))(*case(kind))
    np.testing.assert_allclose(found, expected[0], atol=2e-3)
    np.testing.assert_allclose(noise, expected[1], atol=2e-3)


@pytest.mark.parametrize("name", [name for name, row in CLUSTERERS.items() if row.objective])
def test_no_step_raises_the_objective(name):
    row, points = CLUSTERERS[name], jm.Batch(blobs(4, spread=3.0) + 5)

    @jax.jit
    def value(steps):
        clusterer = row(K, **row.fixed(K), diff=taking(steps))
        return row.objective(clusterer.fit(clusterer.init(jax.random.key(0)), points, jax.random.key(1)))

    values = np.array([value(steps) for steps in (0, 1, 2, 3, 6, 12)])
    assert np.all(np.diff(values) <= 1e-5 * np.abs(values[:-1]))
    assert values[-1] < values[0]
