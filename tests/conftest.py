"""Shared by all tests: small shapes, and float64 where derivatives are compared."""

import contextlib
import gc
import itertools
import os
import pathlib

import jax
import pytest

from jmeta.compilation_cache import use_compilation_cache
from jmeta.compiler import flags

# Tests compile far more than they run: half of their time would go into making tiny programs faster.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags()}"
jax.config.update("jax_include_full_tracebacks_in_locations", False)
gc.set_threshold(100_000, 20, 20)  # looking for garbage after every 700 objects took a quarter of the time
if folder := use_compilation_cache():  # shared with the other worker, and with the commands that tests run
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

TESTS, MAPS = itertools.count(), pathlib.Path("/proc/self/maps")


@pytest.fixture(autouse=True)
def room_for_programs():
    """Each compiled program takes some of the 65,530 places in memory that Linux gives a process."""
    yield
    if next(TESTS) % 20 == 0 and MAPS.exists() and len(MAPS.read_bytes().splitlines()) > 20_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def float64():
    """Double precision within one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def compilations():
    """A context in which programs are counted that are compiled, or read from the cache on disk."""

    @contextlib.contextmanager
    def counted():
        compiled = []

        def listen(event, duration, **told):
            if event.endswith("backend_compile_duration"):
                compiled.append(told)

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield compiled
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)

    return counted


@pytest.fixture
def key():
    return jax.random.key(0)
