"""Image data sets on the host: scikit-learn's digits, npz files, folders, and tensorflow-datasets.

`load` looks for a data set in this order: scikit-learn's digits are bundled; else a file `omniglot.npz`,
`cifar10_jpeg90.npz` or `cifar100_jpeg90.npz` in `data_dir` or $JMETA_DATA_DIR; else folders of images there;
else a data set that tensorflow-datasets has prepared as array_record, there or in its own folder.
`load_stored` opens any data set of the last two types and leaves its images on disk. TensorFlow itself is not
needed. Pickles are never read.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from ..errors import InputError
from ..files import READ_ERRORS, read_npz, write_npz
from . import splits
from .episodes import ClassImages
from .folders import PLACES, stored_in_folders
from .stored import StoredImages, by_class

_FILES = {
    "omniglot": "omniglot",
    "cifar10": "cifar10_jpeg90",
    "cifar100": "cifar100_jpeg90",
    "fc100": "cifar100_jpeg90",
}
_SOURCES = {"fc100": "cifar100"}
"""Data sets that are another split of one with another name."""


def load(name: str, split: str = "all", *, data_dir: str | os.PathLike | None = None) -> ClassImages:
    """An image data set, sorted by class.

    Args:
        name: "digits" (8 x 8 x 1, bundled), "omniglot" (28 x 28 x 1, bright ink), "cifar10", "cifar100" or
            "fc100" (32 x 32 x 3), "mini_imagenet", "tiered_imagenet" or "cub" (84 x 84 x 3).
        split: the classes: "all"; for digits "train" (0 to 4) or "test" (5 to 9); for the others the
            published "train", "val" and "test": Vinyals' of Omniglot, that of CIFAR-FS for CIFAR-100, and see
            `splits`.
        data_dir: folder of the files; $JMETA_DATA_DIR unless given.

    Returns:
        `ClassImages` of uint8.

    Raises:
        InputError: the data set is unknown, missing, or damaged; the message says what to do.

    >>> load("digits", "test").names
    ('5', '6', '7', '8', '9')
    """
    if name not in ("digits", *_FILES, *PLACES):
        names = ", ".join((*_FILES, *PLACES))
        raise InputError(f"there is no data set {name!r}; choose one of digits, {names}.")
    chosen = splits.classes(name, split)
    if name == "digits":
        return _digits().classes(chosen)
    folder = data_dir or os.environ.get("JMETA_DATA_DIR")
    path = Path(folder) / f"{_FILES[name]}.npz" if folder and name in _FILES else None
    if not (path and path.exists()):
        return load_stored(name, split, data_dir=data_dir).in_memory()
    images = _from_file(name, path)
    _check_classes(images, name)
    return images.classes(chosen)


def load_stored(name: str, split: str = "all", *, data_dir: str | os.PathLike | None = None) -> StoredImages:
    """An image data set in folders, or prepared as array_record by tensorflow-datasets; images stay on disk.

    All splits of the latter (train, test, ...) are merged, as tasks are split by class. The labels of all
    images are read the first time, and stored next to the records in `class_index.npz` if that folder is
    writable.

    Args:
        name: a data set with images of one size and named labels, such as "omniglot" or
            "imagenet_resized/64x64"; or one in folders, "mini_imagenet", "tiered_imagenet" or "cub".
        split: the classes, as for `load`; "all" for data sets without a published class split.
        data_dir: folder where it was prepared; $JMETA_DATA_DIR, or the folder of tensorflow-datasets, unless
            given.

    Raises:
        InputError: the data set is missing, not of images of one size with named labels, or damaged; the
            message says what to do.
    """
    chosen = splits.classes(name, split) if name in (*_FILES, *PLACES) or split != "all" else None
    folder = data_dir or os.environ.get("JMETA_DATA_DIR")
    if name in PLACES:
        images = stored_in_folders(name, folder)
    else:
        images = _from_tfds(_SOURCES.get(name, name), folder)
    if chosen is None:
        return images
    _check_classes(images, name)
    return images.classes(chosen)


def _digits() -> ClassImages:
    from sklearn.datasets import load_digits  # scikit-learn takes a second to import

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    names = tuple(str(digit) for digit in range(10))
    return by_class(images.__getitem__, data.target, names, "scikit-learn's digits").in_memory()


def _from_file(name: str, path: Path) -> ClassImages:
    arrays = read_npz(path)
    try:
        if name == "omniglot":
            order = np.argsort(arrays["char_id"])
            names = [
                f"{arrays['alphabet_names'][arrays['alphabet'][i]]}/{arrays['character'][i]}" for i in order
            ]
            images = arrays["images"][order][..., None]
            if images.shape[2:] != (28, 28, 1) or images.dtype != np.uint8:
                raise ValueError(f"images of shape {images.shape} and type {images.dtype}")
            return ClassImages(images, np.full(len(images), images.shape[1]), tuple(names), str(path))
        parts = [_sheets(arrays, part) for part in ("train", "test")]
        images = np.concatenate(parts, 1)
        names = [str(label) for label in arrays["classes"]]
        return ClassImages(images, np.full(len(images), images.shape[1]), tuple(names), str(path))
    except READ_ERRORS as error:
        raise InputError(f"{path} is not a {name} file ({error}); fetch it again.") from error


def _sheets(arrays: dict[str, np.ndarray], part: str) -> UInt8[np.ndarray, "C M 32 32 3"]:
    """Images from one JPEG sheet per class, which holds them as tiles in rows."""
    from PIL import Image

    data = arrays[f"bytes_{part}"]
    offsets = arrays[f"offsets_{part}"]
    tile = 32
    stacks = []
    for start, stop in itertools.pairwise(offsets):
        sheet = np.asarray(Image.open(io.BytesIO(data[start:stop].tobytes())).convert("RGB"))
        rows = sheet.shape[0] // tile
        columns = sheet.shape[1] // tile
        tiles = sheet.reshape(rows, tile, columns, tile, 3).swapaxes(1, 2)
        stacks.append(tiles.reshape(rows * columns, tile, tile, 3))
    return np.stack(stacks)


def _from_tfds(name: str, folder: str | os.PathLike | None) -> StoredImages:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise _missing(name, folder) from error
    try:
        builder = tfds.builder(name, data_dir=folder, try_gcs=False)
        parts = sorted(builder.info.splits, key=lambda part: (part != "train", part))
        sources = [builder.as_data_source(part) for part in parts]
    except Exception as error:  # tfds has no common class for "not prepared", "no such file", ...
        raise _missing(name, folder) from error
    if not parts:  # the data set is known, but was not prepared
        raise _missing(name, folder)
    features = builder.info.features or {}
    if not {"image", "label"} <= set(features):
        raise InputError(
            f"{name} has the features {', '.join(features)}; choose a data set with image and label."
        )
    if None in features["image"].shape or not getattr(features["label"], "names", None):
        raise InputError(
            f"{name} has images of several sizes, or labels without names; choose a data set with images of "
            "one size and named labels."
        )
    starts = np.cumsum([0, *map(len, sources)])
    prepare = _omniglot_ink if name == "omniglot" else np.asarray

    def rows(sources: list, numbers: Int[np.ndarray, " n"]) -> list[dict]:
        """The records of the given numbers; each part is read at once."""
        found: dict[int, dict] = {}
        try:
            for source, start, stop in zip(sources, starts, starts[1:], strict=False):
                here = numbers[(numbers >= start) & (numbers < stop)]
                found |= zip(here.tolist(), source.__getitems__((here - start).tolist()), strict=True)
        except READ_ERRORS as error:
            raise InputError(
                f"{name}, as prepared by tensorflow-datasets, is damaged; prepare it again."
            ) from error
        return [found[number] for number in numbers.tolist()]

    def read(numbers: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n H W c"]:
        images = (prepare(row["image"]) for some in _blocks(numbers) for row in rows(sources, some))
        return np.stack(list(images))

    def labels() -> Int[np.ndarray, " N"]:
        skipped = {"image": tfds.decode.SkipDecoding()}
        undecoded = [builder.as_data_source(part, decoders=skipped) for part in parts]
        every = _blocks(np.arange(starts[-1]))
        return np.array([int(row["label"]) for some in every for row in rows(undecoded, some)], np.int32)

    names = tuple(features["label"].names)
    index = _class_index(Path(builder.data_path), labels)
    return by_class(read, index, names, f"tensorflow-datasets {builder.info.full_name}")


def _class_index(folder: Path, labels: Callable[[], np.ndarray]) -> Int[np.ndarray, " N"]:
    """The labels of all records, from `class_index.npz` or else computed by `labels`, then stored there."""
    files = sorted((path.name, path.stat()) for path in folder.glob("*array_record*"))
    stamps = str([(name, about.st_size, about.st_mtime_ns) for name, about in files]).encode()
    records = np.frombuffer(hashlib.sha256(stamps).digest(), np.uint8)
    path = folder / "class_index.npz"
    with suppress(InputError, KeyError):
        kept = read_npz(path)
        if np.array_equal(kept["records"], records):
            return kept["labels"]
    computed = labels()
    with suppress(OSError):
        write_npz(path, labels=computed, records=records)
    return computed


def _blocks(numbers: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " m"]]:
    """Splits numbers into blocks of at most a thousand, which bounds the number of full records in memory."""
    return np.array_split(numbers, max(1, -(-len(numbers) // 1000)))


def _check_classes(images: ClassImages | StoredImages, name: str) -> None:
    if len(images.names) != (count := len(splits.classes(name, "all"))):
        raise InputError(
            f"{images.source} holds {len(images.names)} classes and is not {name}, which has {count}; "
            "fetch it again."
        )


def _omniglot_ink(image: Any) -> UInt8[np.ndarray, "28 28 1"]:
    """A 105 x 105 drawing resized to 28 x 28, with bright ink."""
    from PIL import Image

    small = Image.fromarray(np.asarray(image)).convert("L").resize((28, 28), Image.Resampling.LANCZOS)
    return 255 - np.asarray(small)[..., None]


def _missing(name: str, folder: str | os.PathLike | None) -> InputError:
    where = f"in {folder}" if folder else "because no data folder was given"
    file = f"put {_FILES[name]}.npz there and give the folder by --data-dir or JMETA_DATA_DIR, or "
    return InputError(
        f"{name} was not found {where}; {file if name in _FILES else ''}prepare it with tensorflow-datasets: "
        f"tfds.builder('{name}', data_dir=...).download_and_prepare(file_format='array_record')."
    )
