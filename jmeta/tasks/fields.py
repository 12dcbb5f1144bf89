"""Clustering problems from five fields: images, text, biology, shapes and tables.

Each problem of a field holds some examples of some of its classes, drawn at random; wide data are reduced to
their principal axes. Labels are used only to choose the examples.

============  ===============================================================================================
field         problems
============  ===============================================================================================
"images"      characters of one Omniglot alphabet, classes of CIFAR-10 and of CIFAR-100, as pixels and, if
              an embedding is given, embedded
"text"        classes of banking77, clinc150, StackOverflow, SearchSnippets and Biomedical, embedded by
              latent semantic analysis
"biology"     cells of three single-cell expression data sets, with all cell types or some of them
"shapes"      the batteries wut, sipu, fcps, graves and other, without iris
"tables"      the battery uci, iris of the battery other, and scikit-learn's digits
============  ===============================================================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Num
from sklearn import datasets as bundled
from sklearn.decomposition import PCA

from ..errors import InputError
from ..files import read_npz
from .datasets import load
from .episodes import ClassImages
from .problems import BATTERIES, Problem, batteries, data_folder

FIELDS = ("images", "text", "biology", "shapes", "tables")
CORPORA = ("banking77", "clinc150", "StackOverflow", "SearchSnippets", "Biomedical")
CELLS = (
    *("mECS/data", "mECS/labels0", "Pollen/data", "Pollen/labels0"),
    *("pbmc68k_reduced/pca50", "pbmc68k_reduced/labels0"),
)
AXES = 50
"""The number of principal axes that are kept."""
LARGEST = 2000
"""Problems of the batteries with this many points or more are left out."""

Embed = Callable[[Num[np.ndarray, "N H W C"]], Float[np.ndarray, "N D"]]
"""An embedding of uint8 images."""


def field(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    count: int = 20,
    embeds: dict[str, Embed] | None = None,
    seed: int = 0,
) -> list[Problem]:
    """The problems of a field.

    Args:
        name: one of `FIELDS`.
        data_dir: folder of the files; $JMETA_DATA_DIR unless given.
        count: number of problems drawn from each image data set, from all texts, or from all cells, which
            also give three problems with all their examples.
        embeds: embeddings of images, by "omniglot" and "cifar"; pixels only unless given.
        seed: all randomness follows from it.

    Raises:
        InputError: the field is unknown, `count` is less than one, or a file is missing or damaged.

    >>> sorted({problem.group for problem in bundled_tables()})
    ['tables']
    """
    if name not in FIELDS:
        raise InputError(f"there is no field {name!r}; choose one of {', '.join(FIELDS)}.")
    if count < 1:
        raise InputError(f"count is {count}; give a whole number >= 1.")
    random = np.random.default_rng(seed)
    if name == "images":
        return _images(data_dir, count, embeds or {}, random)
    if name == "text":
        return _text(data_dir, count, random)
    if name == "biology":
        return _biology(data_dir, count, random)
    found = []
    for problem in batteries(BATTERIES, data_dir=data_dir, fewer_than=LARGEST):
        if (problem.group == "uci" or "/iris" in problem.name) == (name == "tables"):
            found.append(problem._replace(group=name))
    # Iris, wine and breast cancer are also in the batteries.
    return found + ([one for one in bundled_tables() if one.name == "sklearn/digits"] * (name == "tables"))


def bundled_tables() -> list[Problem]:
    """The problems iris, wine, breast cancer and digits, which need no file."""
    found = []
    for name in ("iris", "wine", "breast_cancer", "digits"):
        data = getattr(bundled, f"load_{name}")()
        labels = data.target.astype(int)
        found.append(
            Problem(
                name=f"sklearn/{name}",
                group="tables",
                points=data.data,
                labellings=(labels,),
                source="scikit-learn",
            )
        )
    return found


def reduced(points: Num[np.ndarray, "N ..."], *, axes: int = AXES, seed: int = 0) -> Float[np.ndarray, "N D"]:
    """The points on their first principal axes; unchanged, but flattened, if they have no more columns.

    >>> reduced(np.zeros((3, 2, 2))).shape
    (3, 4)
    """
    flat = np.asarray(points, np.float64).reshape(len(points), -1)
    if flat.shape[1] <= axes:
        return flat
    return PCA(min(axes, len(flat) - 1), svd_solver="randomized", random_state=seed).fit_transform(flat)


def some_images(
    images: ClassImages,
    classes: Sequence[int] | Int[np.ndarray, " K"],
    each: int,
    random: np.random.Generator,
) -> tuple[Num[np.ndarray, "N ..."], Int[np.ndarray, " N"]]:
    """At most `each` random examples of the given classes, and their labels from 0.

    >>> drawn, labels = some_images(load("digits"), [3, 7], 2, np.random.default_rng(0))
    >>> drawn.shape, labels.tolist()
    ((4, 8, 8, 1), [0, 0, 1, 1])
    """
    rows = [random.permutation(int(images.counts[one]))[:each] for one in classes]
    drawn = np.concatenate([images.examples[one][row] for one, row in zip(classes, rows, strict=True)])
    return drawn, np.repeat(np.arange(len(classes)), [len(row) for row in rows])


def _images(
    data_dir: str | os.PathLike | None, count: int, embeds: dict[str, Embed], random: np.random.Generator
) -> list[Problem]:
    omniglot = load("omniglot", "test", data_dir=data_dir)
    alphabets = np.array([name.split("/")[0] for name in omniglot.names])
    sets = {
        "cifar10": load("cifar10", data_dir=data_dir),
        "cifar100": load("cifar100", "test", data_dir=data_dir),
    }
    found = []
    for place in range(count):
        chosen = np.flatnonzero(alphabets == random.choice(np.unique(alphabets)))
        draws = [("omniglot", omniglot, random.permutation(chosen)[: random.integers(4, 16)], 20)]
        for name, images in sets.items():
            some = random.permutation(len(images.names))[: random.integers(3, 11)]
            draws.append((name, images, some, int(random.integers(30, 81))))
        for name, images, classes, each in draws:
            drawn, labels = some_images(images, classes, each, random)
            features = {"pixels": reduced(drawn / 255)}
            if embed := embeds.get("omniglot" if name == "omniglot" else "cifar"):
                features["embedded"] = reduced(embed(drawn))
            found += [
                Problem(
                    name=f"{name}/{place} {feature}",
                    group="images",
                    points=points,
                    labellings=(labels,),
                    source=images.source,
                )
                for feature, points in features.items()
            ]
    return found


def _text(data_dir: str | os.PathLike | None, count: int, random: np.random.Generator) -> list[Problem]:
    path, arrays = _arrays(
        data_dir,
        "text_clustering_intents",
        [f"{one}/{part}" for one in CORPORA for part in ("lsa64", "labels0")],
    )
    found = []
    for place in range(count):
        corpus = CORPORA[place % len(CORPORA)]
        points = arrays[f"{corpus}/lsa64"].astype(float)
        labels = arrays[f"{corpus}/labels0"]
        max_classes = min(15, len(np.unique(labels)))
        kept = _some(labels, int(random.integers(3, max_classes + 1)), int(random.integers(20, 81)), random)
        found.append(_some_of(f"{corpus}/{place}", "text", points, labels, kept, str(path)))
    return found


def _biology(data_dir: str | os.PathLike | None, count: int, random: np.random.Generator) -> list[Problem]:
    path, arrays = _arrays(data_dir, "scrnaseq_small", CELLS)
    sets = {
        "mECS": reduced(arrays["mECS/data"]),
        "Pollen": reduced(arrays["Pollen/data"]),
        "pbmc68k": arrays["pbmc68k_reduced/pca50"].astype(float),
    }
    truth = {name: arrays[f"{'pbmc68k_reduced' if name == 'pbmc68k' else name}/labels0"] for name in sets}
    found = [
        _some_of(f"{name}/all", "biology", points, truth[name], np.arange(len(points)), str(path))
        for name, points in sets.items()
    ]
    for place in range(count):
        name = ("Pollen", "pbmc68k")[place % 2]
        kept = _some(truth[name], int(random.integers(3, 9)), int(random.integers(20, 61)), random)
        found.append(_some_of(f"{name}/{place}", "biology", sets[name], truth[name], kept, str(path)))
    return found


def _some(
    labels: Int[np.ndarray, " N"], classes: int, each: int, random: np.random.Generator
) -> Int[np.ndarray, " M"]:
    """The indices of at most `each` examples of some classes, all drawn at random."""
    chosen = random.permutation(np.unique(labels))[:classes]
    return np.concatenate([random.permutation(np.flatnonzero(labels == one))[:each] for one in chosen])


def _some_of(
    name: str,
    group: str,
    points: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    kept: Int[np.ndarray, " M"],
    source: str,
) -> Problem:
    _, numbered = np.unique(labels[kept], return_inverse=True)
    return Problem(name=name, group=group, points=points[kept], labellings=(numbered,), source=source)


def _arrays(
    data_dir: str | os.PathLike | None, name: str, keys: Sequence[str]
) -> tuple[Path, dict[str, np.ndarray]]:
    path = data_folder(data_dir) / f"{name}.npz"
    if not path.exists():
        raise InputError(f"there is no {path.name} in {path.parent}; put it there, or leave the field out.")
    arrays = read_npz(path)
    if missing := [key for key in keys if key not in arrays]:
        raise InputError(f"{path} lacks {', '.join(missing)}; fetch it again.")
    return path, arrays
