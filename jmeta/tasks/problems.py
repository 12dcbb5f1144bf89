"""Clustering problems with reference labels, for training and testing meta-clustering.

A `Problem` is a table of points with one or several reference labellings. Here problems come from benchmark
batteries, from a folder of files and from samplers; `fields` creates them from images, text and biology.

Reference: Gagolewski 2022, A framework for benchmarking clustering algorithms.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ..errors import InputError
from ..files import read_npz
from ..records import Sampler

BATTERIES = ("wut", "sipu", "fcps", "graves", "uci", "other")
"""The batteries of the published protocol; "g2mg" and "h2mg" exist too."""


class Problem(NamedTuple):
    """Points to be clustered, with reference labellings.

    Attributes:
        name: such as "wut/circles".
        group: the battery or field, with which it is left out in leave-one-out evaluation.
        points: [N, D].
        labellings: one or several, [N] each; clusters from 0, -1 for noise.
        source: description of the source.
    """

    name: str
    group: str
    points: Float[np.ndarray, "N D"]
    labellings: tuple[Int[np.ndarray, " N"], ...]
    source: str


def batteries(
    names: Sequence[str] = BATTERIES, *, data_dir: str | os.PathLike | None = None, fewer_than: int = 10_000
) -> list[Problem]:
    """The problems of Gagolewski's benchmark suite, from files `gagolewski_NAME.npz`.

    Args:
        names: names of batteries.
        data_dir: folder of the files; $JMETA_DATA_DIR unless given.
        fewer_than: problems with this many points or more are left out.

    Raises:
        InputError: a file is missing or damaged.
    """
    folder = data_folder(data_dir)
    found = []
    for battery in names:
        path = folder / f"gagolewski_{battery}.npz"
        if not path.exists():
            raise InputError(f"there is no {path.name} in {folder}; put it there, or leave the battery out.")
        arrays = read_npz(path)
        for name in sorted({key.split("/")[0] for key in arrays if key.endswith("/data")}):
            if len(arrays[f"{name}/data"]) < fewer_than:
                found.append(_problem(f"{battery}/{name}", battery, arrays, f"{name}/", str(path)))
    return found


def data_folder(data_dir: str | os.PathLike | None) -> Path:
    """The folder of data files: `data_dir`, or $JMETA_DATA_DIR."""
    folder = data_dir or os.environ.get("JMETA_DATA_DIR")
    if folder is None:
        raise InputError("no data folder is given; name it by --data-dir or JMETA_DATA_DIR.")
    return Path(folder)


def folder(path: str | os.PathLike, *, group: str | None = None) -> list[Problem]:
    """The problems in every `.npz` and `.csv` file of a folder.

    An npz file holds `data` [N, D] and one or several labellings, `labels0`, `labels1`, ...; a CSV file holds
    numbers under a header, with labels in columns whose names start with "label". Labels are whole numbers
    from 1; 0 stands for noise.

    Args:
        path: path of the folder.
        group: group of the problems; the folder's name unless given.

    Raises:
        InputError: the folder holds no such file, or one cannot be read.
    """
    root = Path(path)
    files = sorted(file for file in root.glob("*") if file.suffix in (".npz", ".csv"))
    if not files:
        raise InputError(f"{root} holds no .npz and no .csv file; name a folder of them.")
    read = {".npz": read_npz, ".csv": _read_csv}
    return [_problem(file.stem, group or root.name, read[file.suffix](file), "", str(file)) for file in files]


def drawn(sampler: Sampler, key: Key[Array, ""], count: int, *, group: str = "drawn") -> list[Problem]:
    """Problems from a sampler of unlabelled tasks, such as `shapes`: the supports, without padding.

    Args:
        sampler: key -> one task, with `truth`.
        key: a typed key.
        count: number of problems.
        group: group of the problems.

    Raises:
        InputError: the tasks are labelled, or `count` is less than one.

    >>> from jmeta.tasks import mixtures
    >>> [problem.points.shape for problem in drawn(mixtures(points=(5, 5)), jax.random.key(0), 2)]
    [(5, 2), (5, 2)]
    """
    if count < 1:
        raise InputError(f"count is {count}; give a whole number >= 1.")
    tasks = jax.device_get(jax.jit(jax.vmap(sampler))(jax.random.split(key, count)))
    if tasks.truth is None:
        raise InputError("the tasks have no truth; give a sampler of unlabelled tasks, such as shapes.")
    found = []
    for place, (points, weights, truth) in enumerate(
        zip(tasks.support.inputs, tasks.support.weights, tasks.truth, strict=True)
    ):
        x = points[weights > 0].astype(np.float64)
        labels = truth[weights > 0]
        values = np.unique(labels[labels >= 0])
        labels = np.where(labels >= 0, np.searchsorted(values, labels), -1)
        found.append(
            Problem(
                name=f"{group}/{place}",
                group=group,
                points=x[:, np.ptp(x, 0) > 0],
                labellings=(labels,),
                source="drawn",
            )
        )
    return found


def _problem(name: str, group: str, arrays: dict[str, np.ndarray], prefix: str, source: str) -> Problem:
    keys = sorted(key for key in arrays if key.startswith(f"{prefix}label"))
    try:
        points = np.asarray(arrays[f"{prefix}data"], np.float64)
        raw = [np.asarray(arrays[key]) for key in keys]
        labellings = tuple(labels.astype(int) - 1 for labels in raw)
    except (KeyError, ValueError) as error:
        raise InputError(f"{source} is not a clustering problem ({error}); see tasks.folder.") from error
    whole = all(np.array_equal(labels + 1, read) for labels, read in zip(labellings, raw, strict=True))
    fits = points.ndim == 2 and points.size and all(labels.shape == points.shape[:1] for labels in labellings)
    if not (fits and labellings and whole) or not all(
        labels.min() >= -1 and labels.max() >= 0 for labels in labellings
    ):
        raise InputError(
            f"{source} is not a clustering problem; for {name} give data [N, D] and labels [N], which are "
            "whole numbers from 1, or 0 for noise."
        )
    if not np.all(np.isfinite(points)):
        raise InputError(f"{source} holds numbers that are not finite; impute them or remove their rows.")
    return Problem(name=name, group=group, points=points, labellings=labellings, source=source)


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open(encoding="utf-8") as file:
            names = [name.strip().strip('"') for name in file.readline().split(",")]
        table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    except (ValueError, OSError) as error:
        raise InputError(
            f"{path} cannot be read as numbers under a header ({error}); correct the file."
        ) from error
    if table.shape[1] != len(names):
        raise InputError(f"{path} has {len(names)} names for {table.shape[1]} columns; give one for each.")
    is_label = [name.startswith("label") for name in names]
    arrays = {name: table[:, i] for i, name in enumerate(names) if is_label[i]}
    return arrays | {"data": table[:, ~np.array(is_label)]}
