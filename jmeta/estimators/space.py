"""Where rows are clustered: as they are, or as a trained network sees them."""

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
    """A trained network.

    Attributes:
        model: that embeds rows.
        params: its weights.
        shape: of one row, such as (28, 28, 1); None where rows are taken as they come.
    """

    model: Model
    params: PyTree
    shape: tuple[int, ...] | None

    def rows(self, x: np.ndarray) -> np.ndarray:
        """Rows in the shape that the network takes.

        Raises:
            InputError: they have another number of numbers.
        """
        if self.shape is None:
            return x
        if x[0].size != np.prod(self.shape):
            wanted = " x ".join(map(str, self.shape))
            raise InputError(f"rows of {x[0].size} numbers were given; the embedding takes {wanted}.")
        return x.reshape(len(x), *self.shape)

    def __call__(self, x: np.ndarray) -> Float[np.ndarray, "N E"]:
        """Rows as the network sees them, padded so that tables of about the same size share a program."""
        rows = self.rows(x)
        wide = np.zeros((padded_size(len(rows)), *rows.shape[1:]), rows.dtype)
        wide[: len(rows)] = rows
        weights = (np.arange(len(wide)) < len(rows)).astype(np.float32)
        return np.asarray(_applied(self.model, self.params, wide, weights))[: len(rows)]


def space(embedding: str | os.PathLike | Trained) -> Space:
    """What a file or a `Trained` says of how rows are embedded.

    Raises:
        InputError: the file cannot be read, or holds neither a model nor a learner of `centroids`.
    """
    if isinstance(embedding, Trained):
        return _of(embedding)
    if not isinstance(embedding, str | os.PathLike):
        raise InputError(f"embedding is {embedding!r}; give a file, a name, a Trained, or None.")
    path = os.fspath(embedding)
    return _read(path, os.path.getmtime(path) if os.path.exists(path) else 0.0)


@cache
def _read(path: str, changed: float) -> Space:
    """A file is read again where it was changed."""
    return _of(load_trained(path))


def _of(trained: Trained) -> Space:
    model, params = trained.made, trained.params
    if trained.recipe.name == "centroids":
        model, params = make(trained.recipe.arguments[0]), params.body
    if not isinstance(model, Model):
        kind = type(trained.made).__name__
        raise InputError(f"the embedding is a {kind}; give a Model, or a learner made by centroids.")
    shape = trained.card.get("shape")
    return Space(model, params, None if shape is None else tuple(shape))


def in_range(moved: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Rows less their mean, as they are.

    Raises:
        InputError: their squares overflow in single precision.
    """
    farthest = np.abs(moved).max()
    if farthest > LARGEST:
        raise InputError(f"rows are up to {farthest:.1e} from their mean; rescale the columns.")
    return moved


@partial(jax.jit, static_argnums=0)
def _applied(model: Model, params: PyTree, rows: Array, weights: Float[Array, " N"]) -> Float[Array, "N E"]:
    return model.apply(params, scaled(rows), weights)
