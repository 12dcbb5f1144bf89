"""Shared by all tests: small shapes, and float64 where derivatives are compared."""

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
