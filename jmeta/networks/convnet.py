"""Convolutional networks for few-shot learning: blocks of 3 x 3 convolution, norm, pooling, ReLU.

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
    """The standard network of few-shot learning: four blocks of equal width, each of which halves the image.

    Args:
        width: filters per block.
        shape: height, width and channels of an image.
        outputs: size of a dense last layer; if None, the features are the output.
        norm: see `convnet`.
        strided: whether to halve by a stride of 2 and average each filter over the image at the end, as MAML
            does on Omniglot; otherwise max-pooling halves the image.

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

    Blocks stop pooling once the image is one pixel high or wide. Small images are best not pooled at all, so
    that their features keep the position of every stroke.

    Args:
        widths: filters of each block.
        shape: height, width and channels of an image.
        pools: number of blocks that pool, the first ones.
        outputs: size of a dense last layer; if None, the features are the output.
        norm: "batch" normalises by the statistics of the given examples, which is transductive; "layer" by
            those of each example; "none" does not normalise.
        linear: whether the last block omits normalisation and ReLU, so that features may be negative.
        strided: whether pooling is replaced by a stride of 2, for a quarter of the work.
        average: whether each filter is averaged over the image at the end.

    Returns:
        A `Model` from [N, H, W, C] to [N, features].

    Raises:
        InputError: there is no block, the norm is unknown, or there are more pools than blocks; when applied,
            the images have another shape.

    >>> model = convnet([16, 2], shape=(8, 8, 1))
    >>> model.apply(model.init(jax.random.key(0)), jnp.zeros((5, 8, 8, 1))).shape
    (5, 128)
    """
    if not widths or min(widths) < 1:
        raise InputError(f"widths are {list(widths)}; give at least one block, of one filter or more each.")
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"shape is {tuple(shape)}; give height, width and channels.")
    if not 0 <= pools <= len(widths):
        raise InputError(f"pools is {pools}; give 0 to {len(widths)}, the number of blocks.")
    if norm not in get_args(Norm):
        raise InputError(f"norm is {norm!r}; choose one of {get_args(Norm)}.")
    plan = _Plan(
        widths=widths,
        shape=shape,
        pools=pools,
        outputs=outputs,
        norm=norm,
        linear=linear,
        strided=strided,
        average=average,
    )
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
            if self.halved[-1]:  # a stride keeps an odd last row or column, pooling drops it
                height = (height + plan.strided) // 2
                breadth = (breadth + plan.strided) // 2
            channels = width
        features = channels if plan.average else height * breadth * channels
        self.head = None if plan.outputs is None else nnx.Linear(features, plan.outputs, rngs=rngs)

    def __call__(
        self, inputs: Float[Array, "N H W C"], weights: Float[Array, " N"] | None
    ) -> Float[Array, "N O"]:
        plan = self.plan
        if inputs.shape[1:] != plan.shape:
            raise InputError(
                f"inputs have shape {inputs.shape}; the network takes images [N, *{plan.shape}]."
            )
        x = inputs
        last = len(self.blocks) - 1
        for place, (block, halved) in enumerate(zip(self.blocks, self.halved, strict=True)):
            plain = plan.linear and place == last
            x = block(x, weights, "none" if plain else plan.norm, 1 + (halved and plan.strided))
            x = max_pool(x) if halved and not plan.strided else x
            x = x if plain else jax.nn.relu(x)
        x = jnp.mean(x, (1, 2)) if plan.average else x.reshape(len(x), -1)
        return x if self.head is None else self.head(x)


class _Block(nnx.Module):
    """A convolution, normalisation, and a learned scale and shift."""

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
