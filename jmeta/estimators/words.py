"""Columns of words before clustering: the latent classes that they form with all other columns.

Each combination of words is a clump of equal rows, which algorithms would take for a cluster. Classes are
what columns share: words that mean the same to all other columns count as one, and columns of words that are
related to no other column are left out. See `latent_classes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ..clustering.host.latent_classes import LatentClasses, latent_classes

ROWS = 2_000
"""The maximum number of rows that classes are fitted to."""
FARTHEST = 5.0
"""Numbers beyond so many deviations count as if they were there when classes are found."""
WITHIN = 0.3
"""The distance of rows with different words, in one column that is related to others, within a class."""
BLOCK = 2**15
"""The number of rows that are mapped at once."""
STATE = "word classes "
"""What the names of arrays in a file begin with."""


class WordClasses(NamedTuple):
    """A map of words to classes.

    A row of class k is at 1 / sqrt(share of k) on axis k and at 0 on the other axes, as in multiple
    correspondence analysis, and at distance `WITHIN` from rows of its class with another word.

    Attributes:
        words: [W] the encoded columns that belong to words.
        related: [W] whether the column of each word is related to other columns.
        classes: found in all columns.
        shares: [G] of the rows, by group of classes.
    """

    words: Int[np.ndarray, " W"]
    related: Bool[np.ndarray, " W"]
    classes: LatentClasses
    shares: Float[np.ndarray, " G"]

    def __call__(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N E"]:
        """The other columns, then axes of classes and related words.

        If no words are related and there is no other column, there is one of zeros.
        """
        if len(self.shares) == 1:
            numbers = np.delete(x, self.words, 1)
            return numbers if numbers.shape[1] else np.zeros((len(x), 1))
        return np.concatenate([self._of_block(x[start : start + BLOCK]) for start in range(0, len(x), BLOCK)])

    def _of_block(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N E"]:
        words, numbers = split(x, self.words)
        chosen = self.classes.probabilities(words, numbers.clip(-FARTHEST, FARTHEST)).argmax(1)
        axes = (np.eye(len(self.shares))[chosen] - self.shares) / np.sqrt(self.shares)
        return np.hstack([numbers, axes, WITHIN * x[:, self.words[self.related]]])

    def state(self) -> dict[str, np.ndarray]:
        """All arrays, by names that no other part of a model has."""
        own = {"words": self.words, "related": self.related, "shares": self.shares}
        return {STATE + name: array for name, array in (own | self.classes._asdict()).items()}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray]) -> WordClasses | None:
        """The map with a state; None if the arrays hold none."""
        if STATE + "words" not in arrays:
            return None
        classes = LatentClasses(*(arrays[STATE + name] for name in LatentClasses._fields))
        return cls(arrays[STATE + "words"], arrays[STATE + "related"], classes, arrays[STATE + "shares"])


def split(
    x: Float[np.ndarray, "N D"], words: Int[np.ndarray, " W"]
) -> tuple[Float[np.ndarray, "N W"], Float[np.ndarray, "N E"]]:
    """Which words each row has, and its other columns.

    >>> split(np.array([[7.0, -0.2, 0.5]]), np.array([1, 2]))
    (array([[0., 1.]]), array([[7.]]))
    """
    return (x[:, words] > 0).astype(float), np.delete(x, words, 1)


def fit_words(
    x: Float[np.ndarray, "N D"], categories: Mapping[str, slice], seed: int
) -> tuple[WordClasses, str]:
    """The classes of a table, and what was done in words.

    Args:
        x: [N, D] centred columns; numbers have variance one, and columns of words are positive where a row
            has the word.
        categories: name -> the columns of its words.
        seed: all randomness follows from it.
    """
    places = [np.arange(part.start, part.stop) for part in categories.values()]
    words, columns = np.concatenate(places), np.repeat(np.arange(len(places)), [*map(len, places)])
    sample = x[np.random.default_rng(seed).permutation(len(x))[:ROWS]]
    has, numbers = split(sample, words)
    numbers = numbers.clip(-FARTHEST, FARTHEST)
    found = latent_classes(has, columns, numbers, seed=seed)
    chosen = found.probabilities(has, numbers).argmax(1)
    groups = found.groups.max() + 1
    shares = np.maximum(np.bincount(chosen, minlength=groups), 1) / len(has)  # one may have no rows
    related = np.any(found.log_words != 0, axis=0)
    made = WordClasses(words, related, found, shares)
    if groups == 1:
        return made, "words are left out, as no column of them is related to another column"
    unrelated = [repr(name) for place, name in enumerate(categories) if not related[columns == place].any()]
    left_out = f"; {', '.join(unrelated)} left out, as unrelated to the other columns" if unrelated else ""
    return made, f"words count by the {groups} classes of rows that they and the other columns form{left_out}"
