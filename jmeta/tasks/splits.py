"""Class splits for training, validation and test: published ones, and our own for the bundled digits.

Classes are numbered in the order of file names for Omniglot, 0 to 1622, and of names for CIFAR-100.

References: Vinyals et al. 2016, Matching networks for one shot learning (Omniglot); Bertinetto et
al. 2019, Meta-learning with differentiable closed-form solvers (CIFAR-FS).
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


def classes(name: str, split: str) -> Int[np.ndarray, " C"]:
    """The class numbers of a split, in order.

    Args:
        name: "digits", "omniglot" or "cifar100".
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
}
