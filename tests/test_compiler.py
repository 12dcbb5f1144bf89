"""The options are of this XLA, which refuses those that it does not know."""

import os

import jax
import jax.numpy as jnp

from jmeta.compiler import QUICKLY, flags


def test_this_version_takes_the_options():
    assert jax.jit(jnp.sin, compiler_options=QUICKLY)(0.0) == 0


def test_these_tests_run_with_them():
    assert flags() in os.environ["XLA_FLAGS"]
