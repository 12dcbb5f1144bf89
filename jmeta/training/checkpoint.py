"""Saved states of training, by orbax: what a run needs to go on where it stopped."""

from __future__ import annotations

from pathlib import Path

import jax
import orbax.checkpoint as ocp

from ..records import InputError, MetaState

KEPT = 2
"""How many states a folder keeps, the last ones."""


def save(folder: Path, state: MetaState) -> None:
    """Save a state under its number of steps; it is there whole or not at all."""
    with _manager(folder) as manager:
        manager.save(int(state.step), args=ocp.args.StandardSave(state))


def restore(folder: Path, like: MetaState) -> MetaState | None:
    """The last state that was saved, None where there is none.

    Args:
        folder: where states were saved.
        like: a state of the same structure, shapes, types and devices.

    Raises:
        InputError: what was saved is of another structure, or cannot be read.
    """
    if not folder.exists():
        return None
    with _manager(folder) as manager:
        step = manager.latest_step()
        if step is None:
            return None
        wanted = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            return manager.restore(step, args=ocp.args.StandardRestore(wanted))
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InputError(
                f"the state in {folder} cannot be taken up: it is of another run, or damaged; "
                "remove the folder, or train into another."
            ) from error


def _manager(folder: Path) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, create=True, enable_async_checkpointing=False)
    return ocp.CheckpointManager(folder.absolute(), options=options)
