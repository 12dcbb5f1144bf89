"""The hook that saves states of training, and resumes from them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import jax
import jax.numpy as jnp

from ..errors import InputError
from ..tasks.feed import task_keys
from .checkpoint import Checkpoints, Run, plain_key
from .hooks import Hook, Training, score_of
from .preemption import Stop, only_writer
from .rows import Row, reset_totals, totals_from_json, totals_to_json

DIVERGED = "diverged.json"
"""Beside the states of a run that diverged: the keys of its tasks."""


class SaveStates(Hook):
    """Saves the state of training, and resumes a run that was stopped.

    A run continues from the newest state that is whole, and ends as an uninterrupted one would, bit for bit.
    While it runs no other process can write to the folder. SIGTERM and SIGINT end the run within seconds,
    with its state saved; a second signal ends it at once.

    Args:
        folder: of the states.
        run: options that tell this run from others, by name. States of another run are refused.
        every_seconds: between two states; one is saved at the end in any case.
        best: a number of the rows; the state of the row where it was highest, or lowest after a minus, is
            kept too, for `read_state(folder, state, best=True)`.

    Raises:
        InputError: the states in the folder are of another run, damaged, beyond the last step, or being
            written to.
        SystemExit: a signal ended the run, with 128 and its number.
    """

    def __init__(
        self,
        folder: str | Path,
        run: Run = MappingProxyType({}),
        *,
        every_seconds: float = 60.0,
        best: str | None = None,
    ) -> None:
        self.folder, self.run = Path(folder), dict(run)
        self.every_seconds, self.best = every_seconds, best
        self._score: float | None = None

    @contextmanager
    def running(self, training: Training) -> Iterator[None]:
        """Locks the folder, resumes from its newest state, and at the end waits for the last one."""
        run = self.run | {"tasks": training.tasks, "key": plain_key(training.key), "best": self.best}
        with only_writer(self.folder), Stop() as self._stop, Checkpoints(self.folder, run) as self._states:
            self._resume(training)
            self._saved = time.monotonic()
            yield

    def _resume(self, training: Training) -> None:
        found = self._states.restore(training.state)
        if found is not None:
            step = int(found.state.step)
            if step > training.last:
                raise InputError(
                    f"{self.folder} holds step {step}, beyond the last one, {training.last}; ask for more "
                    "steps, or train into another folder."
                )
            training.state, training.step = found.state, step
            training.totals = totals_from_json(training.totals, found.beside["totals"])
            for hook in training.hooks:
                if hook.name and found.beside.get(hook.name) is not None:
                    hook.rewind(training, found.beside[hook.name])
        if int(training.totals.failed_steps) < training.patience and not jax.process_index():
            (self._states.folder / DIVERGED).unlink(missing_ok=True)

    def on_row(self, training: Training, row: Row) -> None:
        """Reads the score of a row."""
        self._score = None if self.best is None else score_of(row, self.best)

    def vote(self, training: Training) -> int:
        """Twice the number of a signal, plus one where a state is due."""
        if training.row is None:
            self._score = None
        due = time.monotonic() - self._saved >= self.every_seconds or self._states.is_best(self._score)
        return 2 * self._stop.number + due

    def on_dispatch(self, training: Training, agreed: int) -> None:
        """Saves a state where one is due, and ends the run after a signal."""
        if agreed or training.ends:
            self._save(training)
        if training.failed:
            self._write_tasks(training)
        if (signal := agreed // 2) and not training.failed:
            raise self._stop.exit_for(signal)

    def _save(self, training: Training) -> None:
        self._saved = time.monotonic()
        totals = reset_totals(training.totals, jnp.asarray(training.row is not None))
        positions = {hook.name: hook.position() for hook in training.hooks if hook.name}
        beside = {"log": None} | positions | {"totals": totals_to_json(totals)}
        self._states.save(training.state, beside, self._score)

    def _write_tasks(self, training: Training) -> None:
        """Writes the keys of the tasks of the first failed step."""
        if jax.process_index():
            return
        began = training.step - int(training.totals.failed_steps)
        keys = jax.random.key_data(task_keys(training.key, began, jnp.arange(training.tasks)))
        content = {
            "steps": [began, training.step - 1],
            "run": plain_key(training.key),
            "step": began,
            "tasks": keys.tolist(),
        }
        with suppress(OSError):  # the run ends with an error in any case
            (self._states.folder / DIVERGED).write_text(json.dumps(content), encoding="utf-8")
