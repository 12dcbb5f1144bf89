"""Hooks: what a training loop does besides training, at its rows and between dispatches.

A loop calls its hooks in their order, so that those that add numbers to a row come before those that write
it. On several hosts every host runs all hooks; those that write files do so on the first host alone.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import InputError
from ..records import MetaState
from .hosts import local
from .rows import Row, Totals


@dataclasses.dataclass
class Training:
    """A running loop, as its hooks see it.

    Attributes:
        state: of the meta-training; its buffers are reused by the next dispatch.
        totals: sums since the last row.
        key: of the run.
        tasks: number of tasks in a step.
        patience: number of failed steps after which the run is stopped.
        step: number of steps taken.
        first: the step at which this call started.
        last: the step at which it ends.
        hooks: all hooks of the loop.
        row: the row that ends with this dispatch; None where none does.
        rows: all rows of this call.
        failed: whether training has diverged; the loop raises an error after the hooks.
        stopped: a hook sets it in `on_row` to end the loop, after the state is saved.
    """

    state: MetaState
    totals: Totals
    key: Key[Array, ""]
    tasks: int
    patience: int
    step: int
    first: int
    last: int
    hooks: Sequence[Hook]
    row: Row | None = None
    rows: list[Row] = dataclasses.field(default_factory=list)
    failed: bool = False
    stopped: bool = False

    @property
    def ends(self) -> bool:
        """Whether the loop takes no further step."""
        return self.failed or self.stopped or self.step >= self.last


class Hook:
    """The protocol of hooks; each method does nothing unless a hook overrides it."""

    name = ""
    """Under which the position of a hook is saved with a state; none is saved without a name."""

    @contextmanager
    def running(self, training: Training) -> Iterator[None]:
        """Encloses the loop: set-up, which may replace `training.state`, and tear-down."""
        yield

    def on_row(self, training: Training, row: Row) -> None:
        """Called with every row, to which it may add numbers."""

    def vote(self, training: Training) -> int:
        """A number >= 0 after every dispatch; hosts agree on the largest, which `on_dispatch` gets."""
        return 0

    def on_dispatch(self, training: Training, agreed: int) -> None:
        """Called after every dispatch."""

    def position(self) -> Any:
        """What JSON holds of the hook's progress, saved with a state."""

    def rewind(self, training: Training, position: Any) -> None:
        """Goes back to a saved position; called with 0 where a run starts at step 0."""


class Validate(Hook):
    """Adds the numbers of an evaluation to every row.

    Args:
        evaluate: meta-parameters -> numbers by name.
    """

    def __init__(self, evaluate: Callable[[PyTree], Row]) -> None:
        self.evaluate = evaluate

    def on_row(self, training: Training, row: Row) -> None:
        """Evaluates a copy of the meta-parameters."""
        row |= self.evaluate(own_copy(training.state.meta))


class EarlyStop(Hook):
    """Ends training after some rows without improvement.

    Args:
        metric: of the rows; the best is the highest, or the lowest after a minus, as in "-loss".
        rows: how many without improvement.

    Raises:
        InputError: `rows` is below one.
    """

    def __init__(self, metric: str, rows: int) -> None:
        if rows < 1:
            raise InputError(f"rows of EarlyStop is {rows}; give a whole number >= 1.")
        self.metric, self.rows = metric, rows
        self._best, self._waited = -math.inf, 0

    name = "early_stop"

    def on_row(self, training: Training, row: Row) -> None:
        """Counts rows since the best one."""
        score = score_of(row, self.metric)
        improved = score is not None and score > self._best
        self._best, self._waited = (score or 0.0, 0) if improved else (self._best, self._waited + 1)
        training.stopped |= self._waited >= self.rows

    def position(self) -> list[float | None]:
        """The best score and the rows since."""
        return [self._best if math.isfinite(self._best) else None, self._waited]

    def rewind(self, training: Training, position: Any) -> None:
        """Goes back to a saved position, which may be that of a run that was stopped."""
        best, waited = position or (None, 0)
        self._best, self._waited = -math.inf if best is None else best, int(waited)
        training.stopped |= self._waited >= self.rows


class KeepBest(Hook):
    """Keeps the meta-parameters of the best row in memory; `SaveStates(best=...)` keeps them on disk.

    Args:
        metric: of the rows, as in `EarlyStop`.

    Attributes:
        meta: the meta-parameters of the best row of this call; None before a row with a finite number.
        row: that row.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.meta: PyTree = None
        self.row: Row | None = None
        self._best = -math.inf

    def on_row(self, training: Training, row: Row) -> None:
        """Copies the meta-parameters of a row that is better than all before."""
        score = score_of(row, self.metric)
        if score is not None and score > self._best:
            self._best, self.meta, self.row = score, own_copy(training.state.meta), dict(row)


class JSONLog(Hook):
    """Writes every row as a line of JSON; a run that starts at step 0 replaces the file, a later one appends.

    JSON has no NaN, so that numbers that are not finite become null.

    Args:
        path: of the file.
    """

    name = "log"

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_row(self, training: Training, row: Row) -> None:
        """Writes one line, and waits until it is on the disk."""
        if jax.process_index():
            return
        line = {name: value if math.isfinite(value) else None for name, value in row.items()}
        with self._open() as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def position(self) -> int:
        """The size of the file in bytes."""
        return self.path.stat().st_size if self.path.exists() else 0

    def rewind(self, training: Training, position: Any) -> None:
        """Removes the lines beyond a saved position.

        Raises:
            InputError: the file cannot be written to.
        """
        size = self.position()
        if jax.process_index() or position is None or size == position:
            return
        if size < position:
            warnings.warn(
                f"{self.path} has lost rows: {position} bytes were written, {size} are there.", stacklevel=2
            )
            return
        with self._open() as file:
            file.truncate(position)

    @contextmanager
    def _open(self) -> Iterator[TextIO]:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                yield file
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be written ({error.strerror}); name another file."
            ) from None


class ProgressBar(Hook):
    """Shows a progress bar on the terminal.

    Args:
        title: beside the bar.
    """

    def __init__(self, title: str = "training") -> None:
        self.title = title

    @contextmanager
    def running(self, training: Training) -> Iterator[None]:
        """Shows the bar, and removes it at the end."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as self._bar:
            self._task = self._bar.add_task(self.title, total=training.last - training.first)
            yield

    def on_row(self, training: Training, row: Row) -> None:
        """Shows the loss."""
        self._bar.update(self._task, description=f"{self.title} loss {row['loss']:.3f}")

    def on_dispatch(self, training: Training, agreed: int) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=training.step - training.first)


class PrintRows(Hook):
    """Prints one line for every row to standard error, for logs of a batch system.

    Args:
        title: at the start of the line.
    """

    def __init__(self, title: str) -> None:
        self.title = title

    @contextmanager
    def running(self, training: Training) -> Iterator[None]:
        """Prints that training starts, since the first row may take long."""
        if not jax.process_index():
            print(f"{self.title}: training from step {training.step}", file=sys.stderr, flush=True)
        yield

    def on_row(self, training: Training, row: Row) -> None:
        """Prints the step, the loss and the time."""
        if not jax.process_index():
            line = f"{self.title}: step {row['step']:.0f}, loss {row['loss']:.3f}, {row['seconds']:.0f} s"
            print(line, file=sys.stderr, flush=True)


class TensorBoard(Hook):
    """Writes every row as scalars for TensorBoard.

    Args:
        folder: of the event files.

    Raises:
        InputError: tensorboardX is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise InputError("tensorboardX is not installed; pip install 'jmeta[tensorboard]'.") from None
        self._writer = None if jax.process_index() else SummaryWriter(str(folder))

    def on_row(self, training: Training, row: Row) -> None:
        """Writes the numbers of a row."""
        if self._writer is not None:
            for name in row.keys() - {"step"}:
                self._writer.add_scalar(name, row[name], int(row["step"]))
            self._writer.flush()


class WeightsAndBiases(Hook):
    """Sends every row to Weights & Biases.

    Args:
        project: name of the project.
        options: of `wandb.init`.

    Raises:
        InputError: wandb is not installed.
    """

    def __init__(self, project: str, **options: Any) -> None:
        try:
            import wandb
        except ImportError:
            raise InputError("wandb is not installed; pip install 'jmeta[wandb]'.") from None
        self._run = None if jax.process_index() else wandb.init(project=project, **options)

    def on_row(self, training: Training, row: Row) -> None:
        """Sends the numbers of a row."""
        if self._run is not None:
            self._run.log({name: value for name, value in row.items() if name != "step"}, int(row["step"]))


class Profile(Hook):
    """Traces the work between the first two rows, for TensorBoard or Perfetto.

    Args:
        folder: of the trace.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder, self._rows, self._tracing = Path(folder), 0, False

    @contextmanager
    def running(self, training: Training) -> Iterator[None]:
        """Ends a trace that a second row has not ended."""
        self._rows = 0
        try:
            yield
        finally:
            self._stop()

    def on_row(self, training: Training, row: Row) -> None:
        """Starts the trace at the first row, and ends it at the second."""
        self._rows += 1
        self._stop()
        if self._rows == 1 and not jax.process_index():
            jax.profiler.start_trace(str(self.folder))
            self._tracing = True

    def _stop(self) -> None:
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False


def score_of(row: Row, metric: str) -> float | None:
    """A metric of a row, or its negative after a minus; None where it is not finite.

    Raises:
        InputError: the row has no such number.

    >>> score_of({"loss": 2.0}, "-loss")
    -2.0
    """
    name = metric.removeprefix("-")
    if name not in row:
        raise InputError(f"rows have no {name!r}, but {', '.join(sorted(row))}; name one of these.")
    value = -row[name] if name != metric else row[name]
    return value if math.isfinite(value) else None


def own_copy(tree: PyTree) -> PyTree:
    """A copy, on this host alone, of what all hosts hold equally; the loop does not reuse its buffers."""
    return jax.tree.map(jnp.array, local(tree) if jax.process_count() > 1 else tree)
