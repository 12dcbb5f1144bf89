"""The space that rows are clustered in: the embedding of a trained network."""

from __future__ import annotations

import os
from functools import cache, partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..artifacts.recipes import Trained, load_trained, make
from ..errors import InputError
from ..padding import padded_size
from ..records import Model
from ..tasks.episodes import scaled
from ..validation import LARGEST


class Space(NamedTuple):
    """A trained network that embeds rows.

    Attributes:
        model: the network.
        params: its weights.
        shape: shape of one row, such as (28, 28, 1); None if rows are not reshaped.
    """

    model: Model
    params: PyTree
    shape: tuple[int, ...] | None

    def rows(self, x: np.ndarray) -> np.ndarray:
        """Reshapes rows to the input shape of the network.

        Raises:
            InputError: the rows have another number of elements.
        """
        if self.shape is None:
            return x
        if x[0].size != np.prod(self.shape):
            expected = " x ".join(map(str, self.shape))
            raise InputError(f"rows of {x[0].size} numbers were given; the embedding takes {expected}.")
        return x.reshape(len(x), *self.shape)

    def __call__(self, x: np.ndarray) -> Float[np.ndarray, "N E"]:
        """Embeds rows, which are padded so that tables of similar size share a compiled program."""
        rows = self.rows(x)
        padded = np.zeros((padded_size(len(rows)), *rows.shape[1:]), rows.dtype)
        padded[: len(rows)] = rows
        weights = (np.arange(len(padded)) < len(rows)).astype(np.float32)
        return np.asarray(_applied(self.model, self.params, padded, weights))[: len(rows)]


def space(embedding: str | os.PathLike | Trained) -> Space:
    """The embedding of a file or a `Trained`.

    Raises:
        InputError: the file cannot be read, or holds neither a model nor a learner of `centroids`.
    """
    if isinstance(embedding, Trained):
        return _space_of(embedding)
    if not isinstance(embedding, str | os.PathLike):
        raise InputError(f"embedding is {embedding!r}; give a file, a name, a Trained, or None.")
    path = os.fspath(embedding)
    return _read(path, os.path.getmtime(path) if os.path.exists(path) else 0.0)


@cache
def _read(path: str, changed: float) -> Space:
    """The embedding of a file, which is read again if it has changed."""
    return _space_of(load_trained(path))


def _space_of(trained: Trained) -> Space:
    model, params = trained.made, trained.params
    if trained.recipe.name == "centroids":
        model, params = make(trained.recipe.arguments[0]), params.body
    if not isinstance(model, Model):
        name = type(trained.made).__name__
        raise InputError(f"the embedding is a {name}; give a Model, or a learner made by centroids.")
    shape = trained.card.get("shape")
    return Space(model, params, None if shape is None else tuple(shape))


def in_range(centered: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Returns centred rows unchanged if their squares are finite in single precision.

    Raises:
        InputError: the squares overflow.
    """
    largest = np.abs(centered).max()
    if largest > LARGEST:
        raise InputError(f"rows are up to {largest:.1e} from their mean; rescale the columns.")
    return centered


@partial(jax.jit, static_argnums=0)
def _applied(model: Model, params: PyTree, rows: Array, weights: Float[Array, " N"]) -> Float[Array, "N E"]:
    return model.apply(params, scaled(rows), weights)
