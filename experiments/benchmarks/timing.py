"""Timing: functions are warmed up, blocked until ready and called alternately; ratios are medians."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta import over_tasks
from jmeta.training.memory import memory_of

PAUSE = 0.03
"""Seconds before a timed call, in which idle threads of other libraries fall asleep."""
MIN_SECONDS = 0.03
"""Least duration of a timing; calls are repeated to reach it, so that waking up is negligible."""


class Compiled(NamedTuple):
    """A compiled function.

    Attributes:
        call: the function.
        seconds: the compile time.
        bytes: temporary memory of one call.
    """

    call: Callable[..., Any]
    seconds: float
    bytes: int


def compiled(function: Callable[..., Any], *args: Any) -> Compiled:
    """Compiles a function for its arguments."""
    began = time.perf_counter()
    program = jax.jit(function).lower(*args).compile()
    return Compiled(program, time.perf_counter() - began, memory_of(program).temporaries)


def seconds(call: Callable[[], Any], calls: int = 1) -> float:
    """The mean duration of `calls` calls, each until its result is ready, after a pause."""
    time.sleep(PAUSE)
    began = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(call())
    return (time.perf_counter() - began) / calls


def calls_of(call: Callable[[], Any]) -> int:
    """The number of calls that take at least `MIN_SECONDS` together, measured after one warm-up call."""
    seconds(call)
    return math.ceil(MIN_SECONDS / max(seconds(call), 1e-6))


def median(call: Callable[[], Any], repeats: int = 5) -> float:
    """The median seconds of a call, after one warm-up call."""
    seconds(call)
    return statistics.median(seconds(call) for _ in range(repeats))


class Race(NamedTuple):
    """The median seconds of two calls, and the median of the ratio theirs / ours."""

    ours: float
    theirs: float
    ratio: float


def race(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int) -> Race:
    """Times two calls alternately, after a warm-up call of each."""
    our_calls = calls_of(ours)
    their_calls = calls_of(theirs)
    pairs = [(seconds(ours, our_calls), seconds(theirs, their_calls)) for _ in range(repeats)]
    ratio = statistics.median(b / a for a, b in pairs)
    ours_s, theirs_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Race(ours_s, theirs_s, ratio)


def matmul_rate(size: int = 1024, repeats: int = 9) -> float:
    """The peak operations per second of large float32 matrix products on all devices."""
    x = jnp.ones((2 * jax.local_device_count(), size, size))
    product = compiled(over_tasks(lambda x: x @ x), x).call
    product(x)
    best = min(seconds(lambda: product(x)) for _ in range(repeats))
    return 2 * size**3 * len(x) / best
