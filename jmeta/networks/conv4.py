"""The four-block convolutional network of few-shot learning.

Reference: Vinyals et al. 2016, Matching networks for one shot learning.
"""

from __future__ import annotations

import math
from typing import get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from ..records import InputError, Model
from .functional import functional
from .layers import Norm, convolve, max_pool, normalize


def conv4(
    width: int = 64,
    *,
    shape: tuple[int, int, int] = (28, 28, 1),
    outputs: int | None = None,
    pools: int = 4,
    norm: Norm = "batch",
) -> Model:
    """Four blocks of 3 x 3 convolution, normalisation, ReLU and 2 x 2 max-pooling.

    Blocks stop pooling once the image is a single pixel high or wide. Small images are better not
    pooled at all: their features then keep the place of every stroke.

    Args:
        width: filters per block.
        shape: height, width and channels of an image.
        outputs: size of a dense last layer; none unless given, and the features are the output.
        pools: how many of the blocks pool, the first ones.
        norm: "batch" normalises by the statistics of the examples that are passed in, which is
            transductive; "layer" by each example's own; "none" not at all.

    Returns:
        A `Model` from [N, H, W, C] to [N, features].

    Raises:
        InputError: an unknown norm, or more pools than blocks.

    >>> model = conv4(width=8)
    >>> model.apply(model.init(jax.random.key(0)), jnp.zeros((5, 28, 28, 1))).shape
    (5, 8)
    """
    if not 0 <= pools <= 4:
        raise InputError(f"{pools} of four blocks cannot pool; give 0 to 4.")
    if norm not in get_args(Norm):
        raise InputError(f"norm is {norm!r}; choose one of {get_args(Norm)}.")
    return functional(lambda rngs: _Conv4(width, shape, outputs, pools, norm, rngs))


class _Conv4(nnx.Module):
    def __init__(
        self,
        width: int,
        shape: tuple[int, int, int],
        outputs: int | None,
        pools: int,
        norm: Norm,
        rngs: nnx.Rngs,
    ) -> None:
        self.norm, self.pools = norm, pools
        channels = (shape[2], width, width, width)
        self.blocks = nnx.List([_Block(c, width, rngs) for c in channels])
        height, breadth = shape[:2]
        for _ in range(pools):
            if min(height, breadth) > 1:
                height, breadth = height // 2, breadth // 2
        features = height * breadth * width
        self.head = None if outputs is None else nnx.Linear(features, outputs, rngs=rngs)

    def __call__(
        self, inputs: Float[Array, "N H W C"], weights: Float[Array, " N"] | None
    ) -> Float[Array, "N O"]:
        x = inputs
        for place, block in enumerate(self.blocks):
            x = block(x, weights, self.norm)
            x = jax.nn.relu(max_pool(x) if place < self.pools and min(x.shape[1:3]) > 1 else x)
        x = x.reshape(len(x), -1)
        return x if self.head is None else self.head(x)


class _Block(nnx.Module):
    """A convolution, and the scale and shift of what it is normalised to."""

    def __init__(self, channels: int, width: int, rngs: nnx.Rngs) -> None:
        scale = math.sqrt(2 / (9 * channels))
        self.kernel = nnx.Param(scale * jax.random.normal(rngs.params(), (3, 3, channels, width)))
        self.scale = nnx.Param(jnp.ones(width))
        self.shift = nnx.Param(jnp.zeros(width))

    def __call__(self, x: Array, weights: Array | None, norm: Norm) -> Array:
        convolved = convolve(x, self.kernel[...])
        return self.scale[...] * normalize(convolved, weights, norm) + self.shift[...]
