"""Convolutional networks of few-shot learning: blocks of 3 x 3 convolution, norm, pooling, ReLU.

Reference: Vinyals et al. 2016, Matching networks for one shot learning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from ..records import InputError, Model
from .functional import functional
from .layers import Norm, convolve, max_pool, normalize

Shape = tuple[int, int, int]


def conv4(
    width: int = 64,
    *,
    shape: Shape = (28, 28, 1),
    outputs: int | None = None,
    norm: Norm = "batch",
) -> Model:
    """The network of the few-shot literature: four pooled blocks of equal width.

    Args:
        width: filters per block.
        shape: height, width and channels of an image.
        outputs: size of a dense last layer; none unless given, and the features are the output.
        norm: see `convnet`.

    Returns:
        A `Model` from [N, H, W, C] to [N, features].

    >>> model = conv4(width=8)
    >>> model.apply(model.init(jax.random.key(0)), jnp.zeros((5, 28, 28, 1))).shape
    (5, 8)
    """
    return convnet([width] * 4, shape=shape, pools=4, outputs=outputs, norm=norm)


def convnet(
    widths: Sequence[int],
    *,
    shape: Shape,
    pools: int = 0,
    outputs: int | None = None,
    norm: Norm = "none",
    linear: bool = False,
) -> Model:
    """Blocks of 3 x 3 convolution, normalisation, 2 x 2 max-pooling and ReLU.

    Blocks stop pooling once the image is a single pixel high or wide. Small images are better not
    pooled at all: their features then keep the place of every stroke.

    Args:
        widths: filters of each block.
        shape: height, width and channels of an image.
        pools: how many of the blocks pool, the first ones.
        outputs: size of a dense last layer; none unless given, and the features are the output.
        norm: "batch" normalises by the statistics of the examples that are passed in, which is
            transductive; "layer" by each example's own; "none" not at all.
        linear: whether the last block does without normalisation and ReLU, so that features may be
            negative.

    Returns:
        A `Model` from [N, H, W, C] to [N, features].

    Raises:
        InputError: no block, an unknown norm, or more pools than blocks; and, when it is applied,
            images of another shape.

    >>> model = convnet([16, 2], shape=(8, 8, 1))
    >>> model.apply(model.init(jax.random.key(0)), jnp.zeros((5, 8, 8, 1))).shape
    (5, 128)
    """
    if not widths or min(widths) < 1:
        raise InputError(f"blocks of {list(widths)} filters make no network; give one filter or more each.")
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"an image of shape {tuple(shape)} is none; give height, width and channels.")
    if not 0 <= pools <= len(widths):
        raise InputError(f"{pools} of {len(widths)} blocks cannot pool; give 0 to {len(widths)}.")
    if norm not in get_args(Norm):
        raise InputError(f"norm is {norm!r}; choose one of {get_args(Norm)}.")
    return functional(lambda rngs: _Convnet(widths, shape, pools, outputs, norm, linear, rngs))


class _Convnet(nnx.Module):
    def __init__(
        self,
        widths: Sequence[int],
        shape: Shape,
        pools: int,
        outputs: int | None,
        norm: Norm,
        linear: bool,
        rngs: nnx.Rngs,
    ) -> None:
        self.shape = height, breadth, channels = shape
        self.norm, self.linear = norm, linear
        self.blocks: nnx.List[_Block] = nnx.List([])
        self.pooled: list[bool] = []
        for place, width in enumerate(widths):
            self.blocks.append(_Block(channels, width, rngs))
            self.pooled.append(place < pools and min(height, breadth) > 1)
            if self.pooled[-1]:
                height, breadth = height // 2, breadth // 2
            channels = width
        features = height * breadth * channels
        self.head = None if outputs is None else nnx.Linear(features, outputs, rngs=rngs)

    def __call__(
        self, inputs: Float[Array, "N H W C"], weights: Float[Array, " N"] | None
    ) -> Float[Array, "N O"]:
        if inputs.shape[1:] != self.shape:
            raise InputError(f"the network takes images [N, *{self.shape}], not {inputs.shape}.")
        x, last = inputs, len(self.blocks) - 1
        for place, (block, pooled) in enumerate(zip(self.blocks, self.pooled, strict=True)):
            plain = self.linear and place == last
            x = block(x, weights, "none" if plain else self.norm)
            x = max_pool(x) if pooled else x
            x = x if plain else jax.nn.relu(x)
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
