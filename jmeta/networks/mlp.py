"""Multi-layer perceptrons."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float

from ..errors import InputError
from ..records import Model
from .functional import functional


def mlp(sizes: Sequence[int], *, activation: Callable[[Array], Array] = jax.nn.relu) -> Model:
    """A multi-layer perceptron: dense layers with activations between them.

    Args:
        sizes: numbers of features of the input, of each hidden layer, and of the output.
        activation: applied between layers, not after the last.

    Returns:
        A `Model` from [N, sizes[0]] to [N, sizes[-1]], with LeCun initialisation.

    Raises:
        InputError: there are fewer than two sizes; when applied, the points have another number of features.

    >>> model = mlp([1, 40, 40, 1])
    >>> model.apply(model.init(jax.random.key(0)), jax.numpy.zeros((10, 1))).shape
    (10, 1)
    """
    if len(sizes) < 2:
        raise InputError(f"sizes are {list(sizes)}; give at least the input and output sizes.")
    return functional(lambda rngs: _Mlp(sizes, activation, rngs))


class _Mlp(nnx.Module):
    def __init__(self, sizes: Sequence[int], activation: Callable, rngs: nnx.Rngs) -> None:
        pairs = itertools.pairwise(sizes)
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairs])
        self.activation = activation

    def __call__(self, inputs: Float[Array, "N D"], weights: Array | None) -> Float[Array, "N O"]:
        *hidden, last = self.layers
        if inputs.shape[-1] != self.layers[0].in_features:
            raise InputError(
                f"points have shape {inputs.shape}; the network takes {self.layers[0].in_features} features."
            )
        x = inputs
        for layer in hidden:
            x = self.activation(layer(x))
        return last(x)
