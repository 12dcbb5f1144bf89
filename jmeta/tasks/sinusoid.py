"""Regression of sine waves, a standard test of meta-learners.

Reference: Finn et al. 2017, Model-agnostic meta-learning for fast adaptation of deep networks.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..compiler import compiled
from ..errors import InputError
from ..records import Batch, Sampler, Task
from ..trees import partial_of


def sinusoid(
    *,
    shots: int = 10,
    queries: int = 10,
    amplitude: tuple[float, float] = (0.1, 5.0),
    phase: tuple[float, float] = (0.0, jnp.pi),
) -> Sampler:
    """Sine waves y = a sin(x - p), with a and p uniform for each task, and x uniform in [-5, 5].

    Args:
        shots: S, number of support points.
        queries: Q, number of query points.
        amplitude: range of a.
        phase: range of p, in radians.

    Returns:
        A sampler of tasks with inputs and targets [S, 1] in the support and [Q, 1] in the query.

    Raises:
        InputError: `shots` is less than one, or `queries` is negative.

    >>> task = sinusoid(shots=5)(jax.random.key(0))
    >>> task.support.targets.shape, task.query.inputs.shape
    ((5, 1), (10, 1))
    """
    if shots < 1 or queries < 0:
        raise InputError(f"shots is {shots} and queries is {queries}; give at least one shot, queries >= 0.")
    return jax.tree_util.Partial(
        compiled(partial_of(_draw, shots=shots, queries=queries)), jnp.asarray(amplitude), jnp.asarray(phase)
    )


def _draw(
    amplitudes: Float[Array, "2"], phases: Float[Array, "2"], key: Key[Array, ""], *, shots: int, queries: int
) -> Task:
    amplitude_key, phase_key, input_key, task_key = jax.random.split(key, 4)
    amplitude = jax.random.uniform(amplitude_key, minval=amplitudes[0], maxval=amplitudes[1])
    phase = jax.random.uniform(phase_key, minval=phases[0], maxval=phases[1])
    x = jax.random.uniform(input_key, (shots + queries, 1), minval=-5.0, maxval=5.0)
    y = amplitude * jnp.sin(x - phase)
    return Task(
        Batch(x[:shots], y[:shots], jnp.ones(shots)),
        Batch(x[shots:], y[shots:], jnp.ones(queries)),
        None,
        task_key,
    )
