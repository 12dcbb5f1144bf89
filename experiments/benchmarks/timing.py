"""How things are timed: warmed up, blocked until ready, turn by turn, medians of ratios."""

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

PAUSE, LEAST = 0.03, 0.03
"""Seconds: before a call, in which idle threads of others fall asleep; and that what is timed takes at least,
repeated as often as it must be, so that waking up does not count."""


class Compiled(NamedTuple):
    """A compiled function, its price, and the temporary memory that one call takes."""

    call: Callable[..., Any]
    seconds: float
    bytes: int


def compiled(function: Callable[..., Any], *args: Any) -> Compiled:
    """Compile a function for its arguments."""
    began = time.perf_counter()
    program = jax.jit(function).lower(*args).compile()
    return Compiled(program, time.perf_counter() - began, memory_of(program).temporaries)


def seconds(call: Callable[[], Any], calls: int = 1) -> float:
    """One call until its result is there, the mean of several after a pause."""
    time.sleep(PAUSE)
    began = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(call())
    return (time.perf_counter() - began) / calls


def calls_of(call: Callable[[], Any]) -> int:
    """How many calls make up a time that can be measured, after one that is not counted."""
    seconds(call)
    return math.ceil(LEAST / max(seconds(call), 1e-6))


def median(call: Callable[[], Any], repeats: int = 5) -> float:
    """Median seconds of a call, after one that is not counted."""
    seconds(call)
    return statistics.median(seconds(call) for _ in range(repeats))


class Race(NamedTuple):
    """Median seconds of both, and the median of the ratio theirs / ours."""

    ours: float
    theirs: float
    ratio: float


def race(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int) -> Race:
    """Time two calls turn by turn, after one call of each that is not counted."""
    times = calls_of(ours), calls_of(theirs)
    pairs = [(seconds(ours, times[0]), seconds(theirs, times[1])) for _ in range(repeats)]
    ratio = statistics.median(b / a for a, b in pairs)
    ours_s, theirs_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Race(ours_s, theirs_s, ratio)


def matmul_rate(size: int = 1024, repeats: int = 9) -> float:
    """Operations per second of large float32 matrix products on all devices: the machine at its best."""
    x = jnp.ones((2 * jax.local_device_count(), size, size))
    product = compiled(over_tasks(lambda x: x @ x), x).call
    product(x)
    best = min(seconds(lambda: product(x)) for _ in range(repeats))
    return 2 * size**3 * len(x) / best
