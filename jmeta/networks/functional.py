"""From a flax module to a `Model`: parameters are a plain dict of arrays, calls are pure."""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import nnx
from jaxtyping import Array, Key, PyTree

from ..records import Model


def functional(build: Callable[[nnx.Rngs], nnx.Module]) -> Model:
    """A model from a function that builds a module whose only variables are `nnx.Param`.

    The module is split once, outside every transform; inside, merging costs no run time.

    Args:
        build: `nnx.Rngs -> module`; the module is called as `module(inputs, weights)`.
    """
    abstract = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    graph, state = nnx.split(abstract)

    def init(key: Key[Array, ""]) -> PyTree:
        return nnx.to_pure_dict(nnx.state(build(nnx.Rngs(key))))

    def apply(params: PyTree, inputs: Array, weights: Array | None = None) -> Array:
        filled = jax.tree.map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(filled, params)
        return nnx.merge(graph, filled)(inputs, weights)

    return Model(init, apply)
