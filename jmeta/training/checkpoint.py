"""Saved states of training, by orbax, with a manifest that proves them whole.

orbax commits a state whole or not at all, but reads a bit that flipped later without an error. So every state
gets a manifest after its commit: the SHA-256 and the size of every file, the run that it belongs to, and data
kept beside it. A state whose manifest is missing or does not match is skipped with a warning.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from ..errors import InputError
from ..records import MetaState

FORMAT = 2
"""Of the manifest; it goes up when its fields change."""
MANIFEST = "manifest.json"
NOTHING = -1
"""In place of a step: there is no state."""
DAMAGED = -2
"""In place of a step: there are states, but none is whole."""
TRIES = 3
"""Attempts to read a state of a run that is still going on."""
Run = Mapping[str, str | int | float | bool | None]


class Saved(NamedTuple):
    """A restored state.

    Attributes:
        state: of training.
        beside: the data saved beside it.
    """

    state: MetaState
    beside: dict[str, Any]


class Checkpoints:
    """The saved states of one run in a folder.

    A state is copied at once and written by another thread while training continues. It counts as soon as it
    has a manifest; then all states but the newest, and the one of the highest score, are removed.

    Args:
        folder: of the states, one folder each, named by its step.
        run: options of the run; states of another run are refused. None to only `read`.
        kept: number of newest states to keep.

    >>> import tempfile, jax.numpy as jnp
    >>> state = MetaState(jnp.asarray(3), jnp.ones(2), ())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Checkpoints(Path(folder), {"tasks": 8}) as states:
    ...         states.save(state, {"log": 120})
    ...     with Checkpoints(Path(folder), {"tasks": 8}) as states:
    ...         found = states.restore(state)
    >>> int(found.state.step), found.beside
    (3, {'log': 120})
    """

    def __init__(self, folder: Path, run: Run | None, *, kept: int = 2) -> None:
        self.folder, self.run, self.kept = folder.absolute(), run if run is None else dict(run), kept
        self._held, self._passed, self._cleared, self._top = NOTHING, list[int](), False, -math.inf
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] = Future()
        self._last.set_result(None)
        writes = run is not None
        options = ocp.CheckpointManagerOptions(
            create=writes, cleanup_tmp_directories=writes, read_only=not writes
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except InputError:
            if error is None:
                raise
        finally:
            self._thread.shutdown()
            with suppress(OSError, ValueError):  # an earlier error was raised already
                self._manager.close()

    def is_best(self, score: float | None) -> bool:
        """Whether a score is higher than that of every earlier state."""
        return score is not None and score > self._top

    def save(self, state: MetaState, beside: Mapping[str, Any], score: float | None = None) -> None:
        """Starts to save a state under its number of steps, after the last one is written.

        Args:
            state: of training.
            beside: data to be restored with it; anything that JSON holds.
            score: the state of the highest score is kept.

        Raises:
            InputError: the last state could not be written, as on a full disk; earlier ones are whole.
        """
        self.wait()
        step = int(state.step)
        if step == self._held:
            return
        self._clear()
        try:
            saved = self._manager.save(step, args=ocp.args.StandardSave(state), force=True)
        except (OSError, ValueError) as error:
            raise self._unwritten(error) from error
        if not saved:
            raise self._unwritten(ValueError(f"state {step} was not accepted"))
        self._held = step
        self._top = max(self._top, -math.inf if score is None else score)
        self._last = self._thread.submit(self._seal, step, dict(beside), score)

    def wait(self) -> None:
        """Waits until the last state is written.

        Raises:
            InputError: it could not be written.
        """
        try:
            self._last.result()
        except (OSError, ValueError) as error:
            raise self._unwritten(error) from error

    def restore(self, like: MetaState) -> Saved | None:
        """The newest state that is whole; None if no state was saved.

        Args:
            like: a state of the same structure, shapes and types, on the devices to restore to.

        Raises:
            InputError: the states are of another run or version, or none is whole.
        """
        step = self._newest()
        if step == NOTHING:
            return None
        if step == DAMAGED:
            raise InputError(
                f"none of the states in {self.folder} is whole; remove the folder, or train into another."
            )
        manifest = json.loads((self.folder / str(step) / MANIFEST).read_text(encoding="utf-8"))
        self._check_run(manifest["run"], self.run or {})
        found = Saved(self._read(step, like), manifest["beside"])
        self._held = step
        self._top = max(self._score(other) for other in self._steps() if other not in self._passed)
        return found

    def read(self, like: MetaState, *, best: bool = False) -> Saved | None:
        """The newest state that is whole, or that of the highest score; None if there is none yet.

        Another process may write states at the same time.

        Raises:
            InputError: the state is of another learner or optimiser.
        """
        steps = self._steps()
        if best:
            steps.sort(key=self._score, reverse=True)  # stable: of equal scores the newest comes first
        for step in steps:
            place = self.folder / str(step)
            fault, manifest = verified(place)
            if not fault:
                try:
                    return Saved(self._read(step, like), manifest["beside"])
                except InputError:
                    if (place / MANIFEST).exists():
                        raise
            elif (place / MANIFEST).exists():  # otherwise it is being written or was removed
                warnings.warn(f"state {step} in {self.folder} is skipped: {fault}.", stacklevel=3)
        return None

    def _newest(self) -> int:
        """The step of the newest state that is whole, or why there is none, as the first host finds it."""
        chosen = NOTHING
        for step in [] if jax.process_index() else self._steps():
            fault, _ = verified(self.folder / str(step))
            if not fault:
                chosen = step
                break
            chosen = DAMAGED
            self._passed.append(step)
            warnings.warn(f"state {step} in {self.folder} is skipped: {fault}.", stacklevel=3)
        if jax.process_count() > 1:
            chosen = int(multihost_utils.broadcast_one_to_all(np.asarray(chosen)))
        return chosen

    def _clear(self) -> None:
        """Removes the states that were skipped, before the first one is written."""
        if self._cleared:
            return
        for step in self._passed:
            shutil.rmtree(self.folder / str(step), ignore_errors=True)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("skipped states are removed")
        self._manager.reload()
        self._cleared = True

    def _read(self, step: int, like: MetaState) -> MetaState:
        wanted = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(wanted))
        except OSError as error:
            raise InputError(f"state {step} in {self.folder} cannot be read ({error}); try again.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"state {step} in {self.folder} is of another learner or optimiser; remove the folder, or "
                "train into another."
            ) from error

    def _check_run(self, found: Run, asked: Run) -> None:
        differ = [
            f"{name} {found.get(name)!r}, not {asked.get(name)!r}"
            for name in sorted(found.keys() | asked.keys())
            if found.get(name) != asked.get(name)
        ]
        if differ:
            raise InputError(
                f"{self.folder} is of a run with {'; '.join(differ)}; ask for the same, or name another."
            )

    def _score(self, step: int) -> float:
        """The score of a state; -inf if it has no score or no manifest."""
        try:
            manifest = json.loads((self.folder / str(step) / MANIFEST).read_text(encoding="utf-8"))
            return -math.inf if manifest["score"] is None else float(manifest["score"])
        except (OSError, ValueError, KeyError, TypeError):
            return -math.inf

    def _seal(self, step: int, beside: dict[str, Any], score: float | None) -> None:
        """Writes the manifest of a committed state, and removes old states."""
        self._manager.wait_until_finished()
        if jax.process_index():
            return
        place = self.folder / str(step)
        content = {
            "format": FORMAT,
            "run": self.run,
            "beside": beside,
            "score": score,
            "files": hashes(place),
        }
        partial = place / (MANIFEST + ".partial")
        with partial.open("w", encoding="utf-8") as file:
            json.dump({"sha256": _digest(content)} | content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(place / MANIFEST)
        whole = [other for other in self._steps() if (self.folder / str(other) / MANIFEST).exists()]
        best = max(whole, key=lambda other: (self._score(other), other))
        for other in set(whole[self.kept :]) - {best}:
            shutil.rmtree(self.folder / str(other), ignore_errors=True)
        self._manager.reload()

    def _steps(self) -> list[int]:
        """The steps of the states in the folder, the newest first."""
        return sorted((int(path.name) for path in self.folder.iterdir() if path.name.isdigit()), reverse=True)

    def _unwritten(self, error: Exception) -> InputError:
        why = (
            "the disk is full"
            if "RESOURCE_EXHAUSTED" in str(error) or "No space left" in str(error)
            else f"{error}"
        )
        return InputError(
            f"no state could be written to {self.folder} ({why}); earlier ones are whole: free space, resume."
        )


def read_state(folder: str | Path, like: MetaState, *, best: bool = False) -> Saved:
    """The newest state of a run that is whole, or the best one; the folder is only read.

    Args:
        folder: of the states, as given to `SaveStates`.
        like: a state of the same structure, shapes and types.
        best: return the state of the highest score, of a run with `SaveStates(best=...)`.

    Raises:
        InputError: no state is whole, or it is of another learner or optimiser.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; name that of a run's states.")
    with Checkpoints(folder, None) as states:
        for _ in range(TRIES):  # a run that is going on may remove a state meanwhile
            if (found := states.read(like, best=best)) is not None:
                return found
    raise InputError(f"{folder} holds no state that is whole; name that of a run's states, or wait for one.")


def verified(place: Path) -> tuple[str, dict[str, Any]]:
    """A description of what is wrong with a saved state, empty if nothing is; and its manifest."""
    try:
        sealed = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        seal = sealed.pop("sha256")
    except FileNotFoundError:
        return "it has no manifest, as it was cut off while it was written", {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its manifest cannot be read", {}
    if seal != _digest(sealed):
        return "its manifest is damaged", {}
    if sealed["format"] != FORMAT:
        raise InputError(
            f"{place} is of format {sealed['format']}, this version reads {FORMAT}; use the other version."
        )
    try:
        found = hashes(place)
    except OSError as error:
        return f"it cannot be read ({error.strerror})", {}
    for name in sorted(sealed["files"].keys() | found.keys()):
        if name not in found:
            return f"{name} is missing", {}
        if sealed["files"].get(name) != found[name]:
            return f"{name} is damaged", {}
    return "", sealed


def hashes(place: Path) -> dict[str, list]:
    """The SHA-256 and the size of every file of a saved state, without its manifest."""
    found = {}
    for path in sorted(place.rglob("*")):
        if path.is_file() and not path.name.startswith(MANIFEST):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(place).as_posix()] = [digest, path.stat().st_size]
    return found


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def plain_key(key: PyTree) -> str:
    """A typed key as text, to tell runs apart."""
    return f"{jax.random.key_impl(key)}:{jax.random.key_data(key).tolist()}"
