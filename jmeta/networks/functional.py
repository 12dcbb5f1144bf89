"""Flax modules as `Model` records: pure functions with a dict of arrays as parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
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
) -> tuple[Callable[[Key[Array, ""]], PyTree], Callable[..., Any]]:
    """Two functions: one from a key to a module's parameters, one from the parameters to the module.

    The module is split once, outside all transforms; merging it inside them takes no run time. It is in the
    mode of evaluation, or with a key as second argument in that of training, with its randomness of the key.
    """
    abstract = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    abstract.train()
    training = nnx.graphdef(abstract)
    abstract.eval()
    graph, (state, streams) = nnx.graphdef(abstract), nnx.state(abstract, nnx.Param, nnx.RngState)

    def init(key: Key[Array, ""]) -> PyTree:
        return nnx.to_pure_dict(nnx.state(build(nnx.Rngs(key)), nnx.Param))

    def module(params: PyTree, key: Key[Array, ""] | None = None) -> nnx.Module:
        filled = jax.tree.map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(filled, params)
        if key is None:
            return nnx.merge(graph, filled, streams)
        return nnx.merge(training, filled, _seeded(streams, key))

    return init, module


def _seeded(streams: PyTree, key: Key[Array, ""]) -> PyTree:
    """The states of random streams, each with a key of its own and counted from zero."""
    leaves, structure = jax.tree.flatten(streams)
    filled = [
        jax.random.fold_in(key, place)
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jnp.zeros(leaf.shape, leaf.dtype)
        for place, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, filled)


def check_sizes(network: str, **sizes: int) -> None:
    """Raises an InputError if a size is not a positive whole number."""
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise InputError(f"{name} of {network} is {size!r}; give a whole number >= 1.")
