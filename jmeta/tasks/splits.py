"""Class splits for training, validation and test: published ones, and our own for the bundled digits.

Classes are numbered in the order of file names for Omniglot, 0 to 1622, of names for CIFAR-100 and CUB, and
of parts and then names for miniImageNet and tieredImageNet, whose folders are the split.

References: Vinyals et al. 2016, Matching networks for one shot learning (Omniglot); Bertinetto et
al. 2019, Meta-learning with differentiable closed-form solvers (CIFAR-FS); Oreshkin et al. 2018, TADAM:
task dependent adaptive metric for improved few-shot learning (FC100); and those of `folders`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from ..errors import InputError

NAMES = ("train", "val", "test")
_VINYALS = (
    "train 26 val 41 train 64 val 46 train 73 val 22 train 193 val 22 train 241 val 41 train 431 test 423"
)
_CIFAR_FS = (
    "0020120120000011000102000011000010200000102000211000000100202020000002210100020000022021010000220022"
)
_SUPERCLASSES = (
    "4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 "
    "5 19 8 8 15 13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 "
    "15 13 16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17 8 14 13"
)
"""Of each class of CIFAR-100; FC100 divides these, not classes."""
_FC100 = "20000002100121201000"
"""The part of each of the 20 superclasses."""


def classes(name: str, split: str) -> Int[np.ndarray, " C"]:
    """The class numbers of a split, in order.

    Args:
        name: "digits", "omniglot", "cifar100", "fc100", "mini_imagenet", "tiered_imagenet" or "cub".
        split: "train", "val", "test", or "all".

    Raises:
        InputError: the data set has no such split.

    >>> classes("digits", "test")
    array([5, 6, 7, 8, 9])
    >>> [len(classes("omniglot", split)) for split in NAMES]
    [1028, 172, 423]
    """
    numbers = _SPLITS.get(name, np.zeros(10, int))
    if split == "all":
        return np.arange(len(numbers))
    found = np.flatnonzero(numbers == NAMES.index(split)) if split in NAMES else np.array([])
    if name not in _SPLITS or not found.size:
        raise InputError(f"{name} has no class split {split!r}; choose another, or 'all'.")
    return found


def _runs(text: str) -> Int[np.ndarray, " C"]:
    words = text.split()
    return np.repeat([NAMES.index(word) for word in words[::2]], [int(word) for word in words[1::2]])


_SPLITS = {
    "digits": np.repeat([0, 2], 5),
    "omniglot": _runs(_VINYALS),
    "cifar100": np.array([int(digit) for digit in _CIFAR_FS]),
    "fc100": np.array([int(_FC100[int(number)]) for number in _SUPERCLASSES.split()]),
    "mini_imagenet": _runs("train 64 val 16 test 20"),
    "tiered_imagenet": _runs("train 351 val 97 test 160"),
    "cub": np.tile([0, 1, 0, 2], 50),
}
