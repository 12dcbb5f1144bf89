"""A transformer from the distances of points to whether each pair belongs together.

It sees one table through the features of `pair_features` alone. Points attend to each other with a bias that
a small network computes from the features of their pair; the logit of a pair comes from its features, from
both points after attention, and from the distance of their embeddings.

Reference: the pair bias of attention is that of Jumper et al. 2021, Highly accurate protein structure
prediction with AlphaFold, without its triangle updates.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from ..compiler import compiled
from ..errors import InputError
from ..pairs import half, pair_sums, whole
from ..records import Model
from ..weights import log_weights, weights_or_ones
from .functional import check_sizes, stateless
from .pair_features import PAIR_FEATURES, POINT_FEATURES, pair_features

EMBEDDED = 12
"""Dimensions of the embedding whose distances lower the logit of a pair."""
SHARED = 8
"""Numbers of a point that are added for its pairs."""


def pair_transformer(*, width: int = 48, pair_width: int = 24, layers: int = 4, heads: int = 4) -> Model:
    """A network that predicts which points belong together, for any number of columns.

    Args:
        width: width of the features of a point; a multiple of `heads`.
        pair_width: width of the features of a pair.
        layers: number of attention layers.
        heads: number of attention heads.

    Returns:
        A `Model` whose `apply(params, inputs, weights=None, clusters=0)` maps points [N, D], N even, to the
        logits [N, N] of the probability that two points are of one cluster. `clusters` is the number of
        clusters where it is known, and 0 where it is not. A weight of two is nearly the same as two equal
        points. The logits do not change with the order, a rotation, a shift or the scale of the points.

    Raises:
        InputError: a size is less than one, the width is not a multiple of the number of heads, or, when
            applied, the points are not a matrix with an even number of rows.

    >>> model = pair_transformer(width=8, pair_width=4, layers=1, heads=2)
    >>> logits = model.apply(model.init(jax.random.key(0)), jnp.eye(4))
    >>> logits.shape, bool(jnp.allclose(logits, logits.T))
    ((4, 4), True)
    """
    check_sizes("pair_transformer", width=width, pair_width=pair_width, layers=layers, heads=heads)
    if width % heads:
        raise InputError(f"width is {width} and heads is {heads}; make the width a multiple of heads.")
    init, module = stateless(lambda rngs: _PairTransformer(width, pair_width, layers, heads, rngs))

    def apply(
        params: PyTree, inputs: Float[Array, "N D"], weights: Array | None = None, clusters: Array | int = 0
    ) -> Float[Array, "N N"]:
        if inputs.ndim != 2 or inputs.shape[0] % 2:
            raise InputError(
                f"inputs have shape {inputs.shape}; give points [N, D] with N even, padded with weight zero."
            )
        return module(params)(inputs, weights_or_ones(inputs, weights), clusters)

    return Model(compiled(init), compiled(apply))


class _OnPairs(nnx.Module):
    """A dense layer on features first, [F, N, H] -> [G, N, H]."""

    def __init__(self, features: int, outputs: int, scale: float, rngs: nnx.Rngs) -> None:
        spread = scale / features**0.5
        self.kernel = nnx.Param(spread * jax.random.normal(rngs.params(), (outputs, features)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, pairs: Float[Array, "F N H"]) -> Float[Array, "G N H"]:
        flat = pairs.reshape(pairs.shape[0], -1)
        outputs = jnp.matmul(self.kernel[...], flat) + self.bias[...][:, None]
        return outputs.reshape(-1, *pairs.shape[1:])


class _Layer(nnx.Module):
    """Self-attention with a bias for every pair, then a network for every point."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.first = nnx.RMSNorm(width, rngs=rngs)
        self.attended = nnx.Linear(width, 3 * width, rngs=rngs)
        self.mix = nnx.Linear(width, width, rngs=rngs)
        self.second = nnx.RMSNorm(width, rngs=rngs)
        self.widen = nnx.Linear(width, 2 * width, rngs=rngs)
        self.narrow = nnx.Linear(2 * width, width, rngs=rngs)

    def __call__(self, points: Float[Array, "N W"], bias: Float[Array, "S N N"]) -> Float[Array, "N W"]:
        count = len(points)
        parts = self.attended(self.first(points)).reshape(count, 3, self.heads, -1)
        query, keys, values = jnp.moveaxis(parts, 1, 0)
        logits = jnp.einsum("nhd,mhd->hnm", query, keys) / jnp.sqrt(query.shape[-1]) + bias
        values = jnp.einsum("hnm,mhd->nhd", jax.nn.softmax(logits, -1), values).reshape(count, -1)
        points = points + self.mix(values)
        return points + self.narrow(jax.nn.gelu(self.widen(self.second(points))))


class _PairTransformer(nnx.Module):
    def __init__(self, width: int, pair_width: int, layers: int, heads: int, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.read = nnx.Linear(POINT_FEATURES + 3, width, rngs=rngs)
        self.pairs = _OnPairs(PAIR_FEATURES + 2, pair_width, 1.4, rngs)
        self.deeper = _OnPairs(pair_width, pair_width, 1.4, rngs)
        self.bias = _OnPairs(pair_width, layers * heads, 0.5, rngs)
        self.own = nnx.Param(jnp.zeros(layers * heads))
        self.layers = nnx.List([_Layer(width, heads, rngs) for _ in range(layers)])
        self.last = nnx.RMSNorm(width, rngs=rngs)
        self.shared = nnx.Linear(width, SHARED, rngs=rngs)
        self.embed = nnx.Linear(width, EMBEDDED, rngs=rngs)
        self.nearness = nnx.Param(jnp.zeros(2))
        self.beside = _OnPairs(pair_width + SHARED, pair_width, 1.0, rngs)
        self.head = _OnPairs(pair_width, 1, 0.1, rngs)

    def __call__(
        self, inputs: Float[Array, "N D"], weights: Float[Array, " N"], clusters: Array | int
    ) -> Float[Array, "N N"]:
        nodes, edges = pair_features(inputs, weights)
        count = len(inputs)
        clusters = jnp.asarray(clusters, nodes.dtype)
        known = (clusters > 0).astype(nodes.dtype)
        given = jnp.stack([known, known * (jnp.log(jnp.maximum(clusters, 1)) - 1)])
        size = jnp.log(jnp.maximum(jnp.sum(weights), 1) / 128)
        everywhere = jnp.broadcast_to(jnp.stack([*given, size]), (count, 3))
        points = self.read(jnp.concatenate([nodes, everywhere.astype(nodes.dtype)], 1))

        on_pairs = jnp.broadcast_to(given[:, None, None], (2, *edges.shape[1:])).astype(edges.dtype)
        pairs = jax.nn.relu(self.pairs(jnp.concatenate([edges, on_pairs])))
        pairs = jax.nn.relu(self.deeper(pairs))
        bias = whole(self.bias(pairs)) + self.own[...][:, None, None] * jnp.eye(count)
        bias = bias.reshape(len(self.layers), self.heads, count, count) + log_weights(weights)
        for layer, at in zip(self.layers, bias, strict=True):
            points = layer(points, at)

        points = self.last(points)
        embedded = self.embed(points)
        squares = jnp.sum(jnp.square(embedded), -1)
        apart = jnp.maximum(squares[:, None] + squares - 2 * embedded @ embedded.T, 0)
        offset, rate = self.nearness[...]
        beside = jnp.concatenate([pairs, pair_sums(self.shared(points).T)])
        logits = self.head(jax.nn.relu(self.beside(beside)))[0] + offset - jnp.exp(rate) * half(apart)
        return whole(logits)
