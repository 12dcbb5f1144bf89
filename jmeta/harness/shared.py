"""What experiments on classes of images share: their splits, an optimiser and a validation."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import optax
from jaxtyping import PyTree

from ..records import HostSampler, Sampler
from ..tasks.datasets import load
from ..tasks.episodes import ClassImages
from ..training.evaluate import evaluate


def class_splits(
    dataset: str, *, data_dir: str | os.PathLike | None = None
) -> tuple[ClassImages, ClassImages, ClassImages]:
    """Training, validation and test classes; the digits are so few that they validate on training classes.

    >>> train, validation, test = class_splits("digits")
    >>> train.names == validation.names, set(train.names) & set(test.names)
    (True, set())
    """
    parts = ("train", "train" if dataset == "digits" else "val", "test")
    train, validation, test = (load(dataset, part, data_dir=data_dir) for part in parts)
    return train, validation, test


def clipped_adam(rate: float | optax.Schedule) -> optax.GradientTransformation:
    """Adam whose gradient is clipped to a norm of one."""
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


def validation_accuracy(
    learner: Any,
    sampler: Sampler | HostSampler,
    key: jax.Array,
    *,
    tasks: int,
    chunk: int | None = None,
) -> Callable[[PyTree], dict[str, float]]:
    """The function `meta -> {"validation_accuracy"}`, always on the same validation tasks."""

    def validate(meta: PyTree) -> dict[str, float]:
        found = evaluate(learner, sampler, meta, key, tasks=tasks, chunk=chunk)
        return {"validation_accuracy": found.intervals()["accuracy"].mean}

    return validate
