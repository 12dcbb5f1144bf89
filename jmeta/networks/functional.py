"""Flax modules as `Model` records: pure functions with a dict of arrays as parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Key, PyTree

from ..compiler import compiled
from ..errors import InputError
from ..records import Model


def functional(build: Callable[[nnx.Rngs], nnx.Module]) -> Model:
    """A model from a function that builds a module with only `nnx.Param` variables.

    Args:
        build: `nnx.Rngs -> module`; the module is called as `module(inputs, weights)`.
    """
    init, module = stateless(build)

    def apply(params: PyTree, inputs: Array, weights: Array | None = None) -> Array:
        return module(params)(inputs, weights)

    return Model(compiled(init), compiled(apply))


def stateless(
    build: Callable[[nnx.Rngs], nnx.Module],
) -> tuple[Callable[[Key[Array, ""]], PyTree], Callable[[PyTree], Any]]:
    """Two functions: one from a key to a module's parameters, one from the parameters to the module.

    The module is split once, outside all transforms; merging it inside them takes no run time.
    """
    abstract = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    graph, state = nnx.split(abstract)

    def init(key: Key[Array, ""]) -> PyTree:
        return nnx.to_pure_dict(nnx.state(build(nnx.Rngs(key))))

    def module(params: PyTree) -> nnx.Module:
        filled = jax.tree.map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(filled, params)
        return nnx.merge(graph, filled)

    return init, module


def check_sizes(network: str, **sizes: int) -> None:
    """Raises an InputError if a size is not a positive whole number."""
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise InputError(f"{name} of {network} is {size!r}; give a whole number >= 1.")
