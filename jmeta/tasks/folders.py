"""Image data sets in folders, one folder for each class: miniImageNet, tieredImageNet and CUB.

References: Vinyals et al. 2016, Matching networks for one shot learning; Ravi & Larochelle 2017, Optimization
as a model for few-shot learning (the split of miniImageNet); Ren et al. 2018, Meta-learning for
semi-supervised few-shot classification (tieredImageNet); Wah et al. 2011, The Caltech-UCSD Birds dataset;
Chen et al. 2019, A closer look at few-shot classification (the split of CUB).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from ..errors import InputError
from .splits import NAMES
from .stored import StoredImages, by_class

SIDE = 84
"""Height and width to which images are scaled, as is usual for these sets."""
ENDINGS = (".jpg", ".jpeg", ".png")


class Place(NamedTuple):
    """Where a data set is expected in the data folder, and how to get it.

    Attributes:
        folders: those that hold the folders of classes, in the order of the split.
        advice: what to put there, and where it comes from.
    """

    folders: tuple[str, ...]
    advice: str


_LISTS = "divide classes of ImageNet's training images by the lists of {}, into folders train, val and test"
PLACES = {
    "mini_imagenet": Place(
        tuple(f"mini_imagenet/{part}" for part in NAMES), _LISTS.format("Ravi & Larochelle 2017")
    ),
    "tiered_imagenet": Place(
        tuple(f"tiered_imagenet/{part}" for part in NAMES), _LISTS.format("Ren et al. 2018")
    ),
    "cub": Place(
        ("CUB_200_2011/images",), "unpack CUB_200_2011.tgz of www.vision.caltech.edu/datasets/cub_200_2011"
    ),
}
"""Data sets in folders by name."""


def stored_in_folders(name: str, folder: str | os.PathLike | None) -> StoredImages:
    """The images of a data set of `PLACES`, by class, as they are read: of `SIDE` pixels and three channels.

    Raises:
        InputError: the folders are missing; the message says how to get them.
    """
    place = PLACES[name]
    roots = [Path(folder or "") / part for part in place.folders]
    if folder is None or not all(root.is_dir() for root in roots):
        where = "no data folder was given" if folder is None else f"{folder} has no {place.folders[0]}"
        raise InputError(
            f"{name} was not found, as {where}; {place.advice}, each with a folder of images for each class, "
            "and give the folder above by --data-dir or JMETA_DATA_DIR."
        )
    classes = [one for root in roots for one in sorted(root.iterdir()) if one.is_dir()]
    files = [[file for file in sorted(one.iterdir()) if file.suffix.lower() in ENDINGS] for one in classes]
    paths = [file for some in files for file in some]
    labels = np.repeat(np.arange(len(classes)), [len(some) for some in files])

    def read(numbers: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n H W 3"]:
        return np.stack([_image(paths[number]) for number in numbers.tolist()])

    return by_class(read, labels, tuple(one.name for one in classes), str(roots[0].parent))


def _image(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    except OSError as error:
        raise InputError(f"{path} is no image ({error}); fetch it again.") from None
