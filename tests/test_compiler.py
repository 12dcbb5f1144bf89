"""The options are of this XLA, which refuses those that it does not know; and calls compile little."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jmeta as jm
from jmeta.compiler import QUICKLY, flags

POINTS = np.random.default_rng(0).normal(size=(24, 2)).astype(np.float32)
LABELS = np.arange(24) % 3
KEY = jax.random.key(0)
KMEANS, NETWORK = jm.soft_kmeans(3, steps=3), jm.networks.mlp([2, 4, 3])
WEIGHTS = NETWORK.init(KEY)
PURE = {
    "fit": lambda: KMEANS.fit({}, jm.Batch(POINTS), KEY),
    "apply": lambda: NETWORK.apply(WEIGHTS, POINTS),
    "agreement": lambda: jm.metrics.adjusted_rand_index(LABELS, LABELS[::-1]),
    "silhouette": lambda: jm.metrics.silhouette(POINTS, LABELS),
    "loss": lambda: jm.soft_ari(np.full((24, 3), -np.log(3), np.float32), LABELS),
    "sampler": lambda: TASKS(KEY),
}
TASKS = jm.sinusoid(shots=2)
CENTRAL = PURE | {
    "cluster": lambda: jm.cluster(KMEANS, POINTS, key=KEY),
    "estimator": lambda: jm.SoftKMeans(3, steps=3).fit(POINTS).predict(POINTS),
}


def test_this_version_takes_the_options():
    assert jax.jit(jnp.sin, compiler_options=QUICKLY)(0.0) == 0


def test_these_tests_run_with_them():
    assert flags() in os.environ["XLA_FLAGS"]


@pytest.mark.parametrize("name", list(CENTRAL))
def test_a_second_call_of_the_same_shape_compiles_nothing(name, compilations):
    CENTRAL[name]()
    with compilations() as compiled:
        CENTRAL[name]()
    assert not compiled


@pytest.mark.parametrize("name", list(PURE))
def test_a_public_function_is_one_program_outside_of_jit(name, compilations):
    jax.clear_caches()
    with compilations() as compiled:
        PURE[name]()
    assert len(compiled) == 1
