"""Convolutional networks of few-shot learning: blocks of 3 x 3 convolution, norm, pooling, ReLU.

Reference: Vinyals et al. 2016, Matching networks for one shot learning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from ..errors import InputError
from ..records import Model
from .functional import functional
from .layers import Norm, convolve, convolve_to_unit, max_pool, normalize

Shape = tuple[int, int, int]


def conv4(
    width: int = 64,
    *,
    shape: Shape = (28, 28, 1),
    outputs: int | None = None,
    norm: Norm = "batch",
    strided: bool = False,
) -> Model:
    """The network of the few-shot literature: four blocks of equal width, each of which halves the image.

    Args:
        width: filters per block.
        shape: height, width and channels of an image.
        outputs: size of a dense last layer; none unless given, and the features are the output.
        norm: see `convnet`.
        strided: halve by a stride of 2, and average each filter over the image at the end, as MAML does on
            Omniglot; unless given, halve by max-pooling.

    Returns:
        A `Model` from [N, H, W, C] to [N, features].

    >>> model = conv4(width=8)
    >>> model.apply(model.init(jax.random.key(0)), jnp.zeros((5, 28, 28, 1))).shape
    (5, 8)
    """
    return convnet(
        [width] * 4, shape=shape, pools=4, outputs=outputs, norm=norm, strided=strided, average=strided
    )


def convnet(
    widths: Sequence[int],
    *,
    shape: Shape,
    pools: int = 0,
    outputs: int | None = None,
    norm: Norm = "none",
    linear: bool = False,
    strided: bool = False,
    average: bool = False,
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
        strided: whether the blocks that would pool take every second pixel instead, for a quarter of the
            work.
        average: whether each filter is averaged over the image at the end.

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
    plan = _Plan(widths, shape, pools, outputs, norm, linear, strided, average)
    return functional(lambda rngs: _Convnet(plan, rngs))


class _Plan(NamedTuple):
    """The arguments of `convnet`."""

    widths: Sequence[int]
    shape: Shape
    pools: int
    outputs: int | None
    norm: Norm
    linear: bool
    strided: bool
    average: bool


class _Convnet(nnx.Module):
    def __init__(self, plan: _Plan, rngs: nnx.Rngs) -> None:
        self.plan = plan
        height, breadth, channels = plan.shape
        self.blocks: nnx.List[_Block] = nnx.List([])
        self.halved: list[bool] = []
        for place, width in enumerate(plan.widths):
            self.blocks.append(_Block(channels, width, rngs))
            self.halved.append(place < plan.pools and min(height, breadth) > 1)
            if self.halved[-1]:  # a stride keeps an odd last row or column, a pool leaves it out
                height, breadth = (height + plan.strided) // 2, (breadth + plan.strided) // 2
            channels = width
        features = channels if plan.average else height * breadth * channels
        self.head = None if plan.outputs is None else nnx.Linear(features, plan.outputs, rngs=rngs)

    def __call__(
        self, inputs: Float[Array, "N H W C"], weights: Float[Array, " N"] | None
    ) -> Float[Array, "N O"]:
        plan = self.plan
        if inputs.shape[1:] != plan.shape:
            raise InputError(f"the network takes images [N, *{plan.shape}], not {inputs.shape}.")
        x, last = inputs, len(self.blocks) - 1
        for place, (block, halved) in enumerate(zip(self.blocks, self.halved, strict=True)):
            plain = plan.linear and place == last
            x = block(x, weights, "none" if plain else plan.norm, 1 + (halved and plan.strided))
            x = max_pool(x) if halved and not plan.strided else x
            x = x if plain else jax.nn.relu(x)
        x = jnp.mean(x, (1, 2)) if plan.average else x.reshape(len(x), -1)
        return x if self.head is None else self.head(x)


class _Block(nnx.Module):
    """A convolution, and the scale and shift of what it is normalised to."""

    def __init__(self, channels: int, width: int, rngs: nnx.Rngs) -> None:
        scale = math.sqrt(2 / (9 * channels))
        self.kernel = nnx.Param(scale * jax.random.normal(rngs.params(), (3, 3, channels, width)))
        self.scale = nnx.Param(jnp.ones(width))
        self.shift = nnx.Param(jnp.zeros(width))

    def __call__(self, x: Array, weights: Array | None, norm: Norm, stride: int) -> Array:
        kernel = self.kernel[...]
        if norm == "batch" and 9 * kernel.shape[2] < kernel.shape[3]:
            unit = convolve_to_unit(x, kernel, weights, stride)
        else:
            unit = normalize(convolve(x, kernel, stride), weights, norm)
        return self.scale[...] * unit + self.shift[...]
