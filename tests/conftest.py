"""Shared by all tests: small shapes, and float64 where derivatives are compared."""

import os

# Tests compile far more than they run: a quarter of their time goes into making tiny programs faster.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"

import jax
import pytest


@pytest.fixture
def float64():
    """Double precision within one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def key():
    return jax.random.key(0)
