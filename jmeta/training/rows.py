"""Rows of a training log: metrics are summed on the device between two rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..records import Metrics, Report
from ..sharding.meshes import alike

Row = dict[str, float]

FAILED_STEPS = "barren"
"""The name of `Totals.failed_steps` in saved states, that of the first edition, whose states are read too."""


class Totals(NamedTuple):
    """Sums since the last row.

    Attributes:
        sums: of the loss and of every metric over the tasks that were kept; of "skipped" over the steps.
        kept: number of tasks.
        steps: number of steps.
        failed_steps: number of successive steps, up to the last one, in which no task was kept.
        failed_gradients: number of those in which losses were finite and only their gradient was not.
    """

    sums: Metrics
    kept: Float[Array, ""]
    steps: Int[Array, ""]
    failed_steps: Int[Array, ""]
    failed_gradients: Int[Array, ""]


def zero_totals(report: Report) -> Totals:
    """Totals of no steps, for reports with these metrics.

    >>> zero_totals(Report(jnp.ones(()), jnp.asarray(0), {})).sums
    {'loss': Array(0., dtype=float32), 'skipped': Array(0., dtype=float32)}
    """
    sums = {name: jnp.zeros(()) for name in ("loss", *report.metrics, "skipped")}
    return Totals(sums, jnp.zeros(()), jnp.asarray(0), jnp.asarray(0), jnp.asarray(0))


def add_step(totals: Totals, report: Report, tasks: int) -> Totals:
    """The totals after one more step of `tasks` tasks.

    >>> report = Report(jnp.array(2.0), jnp.asarray(1), {})
    >>> means(add_step(zero_totals(report), report, tasks=4))
    {'loss': 2.0, 'skipped': 1.0}
    """
    kept = tasks - report.skipped
    sums = {
        name: totals.sums[name] + jnp.where(kept > 0, kept * value, 0)
        for name, value in ({"loss": report.loss} | report.metrics).items()
    }
    sums["skipped"] = totals.sums["skipped"] + report.skipped
    failed_steps = jnp.where(kept > 0, 0, totals.failed_steps + 1)
    only_gradient = jnp.isinf(report.metrics.get("gradient_norm", 0))
    failed_gradients = jnp.where(kept > 0, 0, totals.failed_gradients + only_gradient)
    return Totals(sums, totals.kept + kept, totals.steps + 1, failed_steps, failed_gradients)


def means(totals: Totals) -> Row:
    """The mean of each metric over the tasks that were kept, NaN without any; of "skipped" over the steps."""
    host = jax.device_get(totals)
    kept = float(host.kept) or math.nan
    row = {name: float(value) / kept for name, value in host.sums.items()}
    return row | {"skipped": float(host.sums["skipped"]) / int(host.steps)}


def reset_totals(totals: Totals, where: Bool[Array, ""]) -> Totals:
    """The totals, set to zero where a row was written; the numbers of failures stay."""
    zeros = jax.tree.map(lambda sum: jnp.where(where, 0, sum), totals)
    return zeros._replace(failed_steps=totals.failed_steps, failed_gradients=totals.failed_gradients)


def totals_to_json(totals: Totals) -> dict[str, Any]:
    """Totals as JSON holds them, to the last bit."""
    host = jax.device_get(totals)
    return {
        "sums": {name: float(value) for name, value in host.sums.items()},
        "kept": host.kept.item(),
        "steps": host.steps.item(),
        FAILED_STEPS: host.failed_steps.item(),
        "failed_gradients": host.failed_gradients.item(),
    }


def totals_from_json(like: Totals, saved: Mapping[str, Any]) -> Totals:
    """Totals from `totals_to_json`, with the types and on the devices of `like`.

    A metric that another version did not have, or named otherwise, starts at zero.
    """
    sums = {name: saved["sums"].get(name, 0.0) for name in like.sums}
    parts = Totals(sums, saved["kept"], saved["steps"], saved[FAILED_STEPS], saved.get("failed_gradients", 0))
    return jax.tree.map(lambda leaf, value: alike(np.asarray(value, leaf.dtype), leaf.sharding), like, parts)
