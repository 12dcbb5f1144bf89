"""Descriptions of the partitions of a problem: what quality models see, without any label."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..errors import InputError
from ..files import read_npz, write_npz
from ..metafeatures.partitions import NAMES, describe, landmarks
from ..portfolio.table import FORMAT, Table


class Description(NamedTuple):
    """The partitions of one problem, described.

    Attributes:
        shape: numbers of points and columns.
        descriptors: [A, F] the numbers `metafeatures.partitions.NAMES` of every partition.
        agreement: [A, A] adjusted Rand indices of every two partitions.
    """

    shape: tuple[int, int]
    descriptors: Float[np.ndarray, "A F"]
    agreement: Float[np.ndarray, "A A"]


def describe_partitions(
    points: Float[np.ndarray, "N D"], partitions: Sequence[Int[np.ndarray, " N"] | None], *, seed: int = 0
) -> Description:
    """The description of partitions, one of every candidate; None for a candidate that failed."""
    drawn = landmarks(points, partitions, seed=seed)
    return Description(points.shape, *jax.device_get(describe(*map(jnp.asarray, drawn[:3]))))


def describe_table(table: Table, *, seed: int = 0, folder: Path | None = None) -> list[Description]:
    """The description of every instance of a table; instances that differ in the labelling alone share one.

    Args:
        table: of candidates that were run.
        seed: which landmarks are described.
        folder: where descriptions are kept by their content, and read back; such as the table's.
    """
    found: dict[tuple[int, int | None], Description] = {}
    for place, visible in enumerate(table.visible):
        if visible not in found:
            points = table.problems[table.instances[place].problem].points
            labels = [outcome.labels for outcome in table.outcomes[place]]
            describe_one = partial(_kept, folder) if folder else describe_partitions
            found[visible] = describe_one(points, labels, seed=seed)
    return [found[visible] for visible in table.visible]


def _kept(
    folder: Path,
    points: Float[np.ndarray, "N D"],
    labels: Sequence[Int[np.ndarray, " N"] | None],
    *,
    seed: int,
) -> Description:
    """The description that a file holds, else a new one, which is written."""
    digest = hashlib.sha256(repr((FORMAT, points.shape, NAMES, seed)).encode() + points.tobytes())
    for one in labels:
        digest.update(b"none" if one is None else np.asarray(one, np.int64).tobytes())
    path = folder / f"look-{digest.hexdigest()[:32]}.npz"
    try:
        kept = read_npz(path) if path.exists() else {}
        return Description(points.shape, kept["own"], kept["agreement"])
    except (InputError, KeyError):
        found = describe_partitions(points, labels, seed=seed)
    write_npz(path, own=found.descriptors, agreement=found.agreement)
    return found
