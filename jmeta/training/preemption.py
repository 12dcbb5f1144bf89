"""Runs that others stop, and share a folder with: one writer at a time, and signals that end it well."""

from __future__ import annotations

import fcntl
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import jax
import numpy as np
from jax.experimental import multihost_utils

from ..errors import InputError

PERIOD = 1.0
"""Seconds of a dispatch: so soon a signal is heard."""
AT_LAST = 9.0
"""Seconds from a signal to the end, whatever is under way: states are written whole or not at all."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes, until the end of the block or of this process.

    Raises:
        InputError: another process holds it, or it cannot be written to.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, only_writer(Path(folder)):
    ...     print((Path(folder) / "lock").read_text().startswith(f"{os.getpid()} on "))
    True
    """
    if jax.process_index():  # the first of several holds it for all
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
    """Whether this process was asked to end: by SIGTERM, or by SIGINT, such as Ctrl-C.

    Within the block the first signal is only noted, so that what is under way can be saved; a second one ends
    the process at once, and so do `AT_LAST` seconds after the first, as in a long compilation. One that
    nobody acted on is sent again after the block. Where this is not the main thread nothing is noted.
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

    def acted(self, number: int) -> SystemExit:
        """What ends the process as the signal asked."""
        self.number = 0
        return SystemExit(128 + number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            os._exit(128 + number)
        self.number = number
        self._end = threading.Timer(AT_LAST, os._exit, (128 + number,))
        self._end.daemon = True
        self._end.start()


class DivergedError(InputError):
    """No task had a finite loss for too long, and the run was given up; the state before is kept."""

    def __init__(self, step: int, barren: int, tasks: int) -> None:
        which = f"steps {step - barren} to {step - 1}" if barren > 1 else f"step {step - 1}"
        super().__init__(
            f"no task had a finite loss in {which}, tasks 0 to {tasks - 1}; see that labels are smaller than "
            "the number of outputs, and lower the learning rates."
        )


class Pace:
    """How many steps are dispatched at once, and when a state is due: by the clock, alike on all hosts.

    Args:
        save_every: seconds between two states.
    """

    def __init__(self, save_every: float) -> None:
        self._save_every, self._saved, self._calls = save_every, time.monotonic(), 0
        self._length, self._next = 0, 1

    def steps(self, most: int) -> int:
        """That are to be dispatched: what takes about a `PERIOD`; one until it was timed."""
        self._began, self._length = time.monotonic(), min(most, self._next)
        return self._length

    def agreed(self, stop: Stop | None, wanted: bool = False) -> tuple[int, bool]:
        """After a dispatch: the signal that came to any host, and whether a state is due or wanted."""
        now, self._calls = time.monotonic(), self._calls + 1
        length = int(PERIOD * self._length / max(now - self._began, 1e-6)) if self._calls > 1 else 1
        due = wanted or now - self._saved >= self._save_every
        asked = np.array([-max(length, 1), stop.number if stop else 0, due])
        if jax.process_count() > 1:
            asked = np.max(multihost_utils.process_allgather(asked), 0)
        self._next = int(-asked[0])
        if asked[2]:
            self._saved = now
        return int(asked[1]), bool(asked[2])
