"""Where rows of the log may go besides: TensorBoard, Weights & Biases, and a profiler that counts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from ..errors import InputError
from .rows import Row


def tensorboard(folder: Path) -> Callable[[Row], None]:
    """Rows as scalars for TensorBoard.

    Args:
        folder: of its event files.

    Raises:
        InputError: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise InputError("tensorboardX is not installed; pip install 'jmeta[tensorboard]'.") from None
    writer = SummaryWriter(str(folder))

    def tell(row: Row) -> None:
        for name in row.keys() - {"step"}:
            writer.add_scalar(name, row[name], int(row["step"]))
        writer.flush()

    return tell


def weights_and_biases(project: str, **options: Any) -> Callable[[Row], None]:
    """Rows for Weights & Biases.

    Args:
        project: their name there.
        options: of `wandb.init`.

    Raises:
        InputError: wandb is not installed.
    """
    try:
        import wandb
    except ImportError:
        raise InputError("wandb is not installed; pip install 'jmeta[wandb]'.") from None
    run = wandb.init(project=project, **options)
    return lambda row: run.log(
        {name: value for name, value in row.items() if name != "step"}, int(row["step"])
    )


@contextmanager
def profiler(folder: Path) -> Iterator[Callable[[Row], None]]:
    """No place for rows: a trace of all that is done between the first two, for TensorBoard or Perfetto.

    Args:
        folder: of the trace.
    """
    rows, running = 0, False

    def tell(row: Row) -> None:
        nonlocal rows, running
        rows += 1
        if running:
            jax.profiler.stop_trace()
        elif rows == 1:
            jax.profiler.start_trace(str(folder))
        running = rows == 1

    try:
        yield tell
    finally:
        if running:  # the run ended before a second row
            jax.profiler.stop_trace()
