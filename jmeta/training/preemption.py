"""Preemption: signals that end a run with its state saved, a lock on its folder, and short dispatches."""

from __future__ import annotations

import fcntl
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import jax
import numpy as np
from jax.experimental import multihost_utils

from ..errors import InputError

DISPATCH_SECONDS = 1.0
"""Duration of a dispatch, after which a signal is noticed."""
EXIT_SECONDS = 9.0
"""Time from a signal to the end of the process, whatever it does: states are written whole or not at all."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Locks a folder against other processes, until the end of the block or of this process.

    Raises:
        InputError: another process has locked it, or it cannot be written to.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, only_writer(Path(folder)):
    ...     print((Path(folder) / "lock").read_text().startswith(f"{os.getpid()} on "))
    True
    """
    if jax.process_index():  # the first host locks it for all
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror}); name another folder.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"process {file.read() or 'unknown'} is writing to {folder}; wait for it, or name another."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} on {platform.node()}")
        file.flush()
        yield


class Stop:
    """Records SIGTERM and SIGINT (Ctrl-C) within a `with` block, so that a run can save its state first.

    A second signal ends the process at once, and so does the first one after `EXIT_SECONDS`, as during a long
    compilation. A signal that was not handled is sent again after the block. Signals are recorded in the main
    thread only.

    Attributes:
        number: of the signal; 0 before one arrives.
    """

    def __init__(self) -> None:
        self.number = 0
        self._end: threading.Timer | None = None

    def __enter__(self) -> Stop:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if self._end is not None:
            self._end.cancel()
        if self.number:
            signal.raise_signal(self.number)

    def exit_for(self, number: int) -> SystemExit:
        """The exception that ends the process as the signal asked, which counts as handled."""
        self.number = 0
        return SystemExit(128 + number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            os._exit(128 + number)
        self.number = number
        self._end = threading.Timer(EXIT_SECONDS, os._exit, (128 + number,))
        self._end.daemon = True
        self._end.start()


class DivergedError(InputError):
    """Training diverged: no task had a finite loss and gradient for many steps; the state before is kept."""

    def __init__(self, step: int, failed_steps: int, tasks: int, failed_gradients: int = 0) -> None:
        super().__init__(reason_of_failure(step, failed_steps, tasks, failed_gradients))


def reason_of_failure(step: int, failed_steps: int, tasks: int, failed_gradients: int) -> str:
    """One sentence on why no task was kept in the last steps before `step`, and on what to do.

    >>> print(reason_of_failure(9, 1, 4, 0)[:57])
    no task had a finite loss in step 8, tasks 0 to 3; see th
    """
    first = step - failed_steps
    which = f"steps {first} to {step - 1}" if failed_steps > 1 else f"step {step - 1}"
    if failed_gradients:
        return (
            f"losses are finite but their gradient is not in {which}, tasks 0 to {tasks - 1}; look for a "
            "square root or a division that meets zero, such as that of an inner optimizer, or lower the "
            "learning rates."
        )
    return (
        f"no task had a finite loss in {which}, tasks 0 to {tasks - 1}; see that inputs are finite and "
        "labels smaller than the number of outputs, and lower the learning rates."
    )


class DispatchInterval:
    """How many steps are dispatched at once, equal on all hosts: about `DISPATCH_SECONDS` of work."""

    def __init__(self) -> None:
        self._dispatches, self._length, self._next = 0, 0, 1

    def steps(self, remaining: int) -> int:
        """The number of steps of the next dispatch, at most `remaining`; one until a dispatch was timed."""
        self._began, self._length = time.monotonic(), min(remaining, self._next)
        return self._length

    def agree(self, votes: Sequence[int]) -> list[int]:
        """The largest of each vote over all hosts, after a dispatch, whose time sets the next length."""
        seconds, self._dispatches = time.monotonic() - self._began, self._dispatches + 1
        timed = self._dispatches > 1  # the first one compiles
        length = int(DISPATCH_SECONDS * self._length / max(seconds, 1e-6)) if timed else 1
        numbers = np.array([-max(length, 1), *votes])
        if jax.process_count() > 1:
            numbers = np.max(multihost_utils.process_allgather(numbers), 0)
        self._next = int(-numbers[0])
        return numbers[1:].tolist()
