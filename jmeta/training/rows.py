"""Rows of a log: what is summed up between two of them on the device, and where they go.

The log is lines of JSON, and the truth; whatever else is told of a row can be made from it again.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..batching import alike
from ..errors import InputError
from ..records import Metrics

Row = dict[str, float]


class Totals(NamedTuple):
    """What was summed up since the last row.

    Attributes:
        sums: of every metric over the tasks that were kept; of "skipped" over the steps.
        kept: tasks.
        steps: how many.
        barren: steps in a row, up to the last one, of which no task was kept.
    """

    sums: Metrics
    kept: Float[Array, ""]
    steps: Int[Array, ""]
    barren: Int[Array, ""]


def empty(metrics: Metrics) -> Totals:
    """Nothing yet, of metrics of these names.

    >>> empty({"loss": jnp.ones(())}).sums
    {'loss': Array(0., dtype=float32)}
    """
    zeros = {name: jnp.zeros(()) for name in metrics}
    return Totals(zeros, jnp.zeros(()), jnp.asarray(0), jnp.asarray(0))


def added(totals: Totals, metrics: Metrics, tasks: int) -> Totals:
    """The totals after one more step of so many tasks.

    >>> once = added(empty({"loss": jnp.ones(()), "skipped": 0}), {"loss": jnp.array(2.0), "skipped": 1}, 4)
    >>> means(once)
    {'loss': 2.0, 'skipped': 1.0}
    """
    kept = tasks - metrics["skipped"]
    weights = {name: kept for name in metrics} | {"skipped": 1}
    sums = {
        name: totals.sums[name] + jnp.where(weights[name] > 0, weights[name] * value, 0)
        for name, value in metrics.items()
    }
    barren = jnp.where(kept > 0, 0, totals.barren + 1)
    return Totals(sums, totals.kept + kept, totals.steps + 1, barren)


def means(totals: Totals) -> Row:
    """The mean of each metric over the tasks that were kept, NaN without any; of "skipped" over the steps."""
    found = jax.device_get(totals)
    kept = float(found.kept) or math.nan
    row = {name: float(value) / kept for name, value in found.sums.items()}
    return row | {"skipped": float(found.sums["skipped"]) / int(found.steps)}


def numbers(totals: Totals) -> dict[str, Any]:
    """Totals as JSON has them, to the last bit."""
    found = jax.device_get(totals)
    return {"sums": {name: float(value) for name, value in found.sums.items()}} | {
        name: getattr(found, name).item() for name in Totals._fields[1:]
    }


def begun(totals: Totals, anew: Bool[Array, ""]) -> Totals:
    """The same, or nothing yet where a row was told since; what was barren goes on."""
    return jax.tree.map(lambda sum: jnp.where(anew, 0, sum), totals)._replace(barren=totals.barren)


def filled(like: Totals, saved: Mapping[str, Any]) -> Totals:
    """Totals from `numbers`, of the types and on the devices of others."""
    parts = Totals(saved["sums"], *(saved[name] for name in Totals._fields[1:]))
    return jax.tree.map(lambda leaf, value: alike(np.asarray(value, leaf.dtype), leaf.sharding), like, parts)


class Told:
    """Where rows go: a list, a file of lines of JSON, and sinks.

    Args:
        log: the file; none where it is not wanted.
        sinks: called with every row.

    Attributes:
        rows: since the start.
    """

    def __init__(self, log: Path | None, sinks: Sequence[Callable[[Row], None]] = ()) -> None:
        self.rows: list[Row] = []
        self._log, self._sinks = (None, ()) if jax.process_index() else (log, sinks)  # the first host tells

    @property
    def bytes(self) -> int | None:
        """How far the file is written; None where there is none."""
        return (self._log.stat().st_size if self._log.exists() else 0) if self._log else None

    def cut(self, size: int | None) -> None:
        """Forget what was written beyond some bytes, as a run does that goes on from before.

        Raises:
            InputError: the file cannot be written to.
        """
        there = self.bytes
        if there is None or size is None or there == size:
            return
        if there < size:
            warnings.warn(
                f"{self._log} has lost rows: {size} bytes were written, {there} are there.", stacklevel=2
            )
            return
        with self._writable() as file:
            file.truncate(size)

    def tell(self, row: Row) -> Row:
        """Add a row; JSON knows no NaN, so what is not finite becomes null."""
        self.rows.append(row)
        if self._log:
            plain = {name: value if math.isfinite(value) else None for name, value in row.items()}
            with self._writable() as file:
                file.write(json.dumps(plain) + "\n")
                file.flush()
                os.fsync(file.fileno())
        for sink in self._sinks:
            sink(row)
        return row

    @contextmanager
    def _writable(self) -> Iterator[TextIO]:
        assert self._log is not None
        try:
            with self._log.open("a", encoding="utf-8") as file:
                yield file
        except OSError as error:
            raise InputError(
                f"{self._log} cannot be written ({error.strerror}); name another file."
            ) from None
