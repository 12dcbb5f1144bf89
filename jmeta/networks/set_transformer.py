"""A network over sets: from any number of points in any order to a fixed number of outputs.

Reference: Lee et al. 2019, Set transformer: a framework for attention-based permutation-invariant neural
networks.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from ..errors import InputError
from ..records import Model
from ..weights import log_weights, weights_or_ones
from .attention import attend
from .functional import check_sizes, functional


def set_transformer(
    features: int,
    outputs: int,
    *,
    seeds: int,
    width: int = 64,
    heads: int = 4,
    inducing: int = 16,
    layers: int = 2,
) -> Model:
    """A Set Transformer, whose outputs depend on all points but not on their order.

    With block(a, b) = norm(h + relu(W h)), h = norm(Q a + attention(Q a, K b, V b)), a layer over points X is
    block(X, block(I, X)): a few learned inducing points I attend to all points, and all points attend to
    these, at a cost linear in the number of points. Then learned seeds attend to the points, and to each
    other.

    Args:
        features: F, number of features of a point.
        outputs: O, number of outputs of each seed.
        seeds: S, number of output rows.
        width: width of every layer; a multiple of `heads`.
        heads: number of attention heads.
        inducing: number of inducing points.
        layers: number of layers over the points.

    Returns:
        A `Model` from points [N, F] to outputs [S, O]. A point of weight two counts twice, one of weight zero
        does not count.

    Raises:
        InputError: a size is less than one, or the width is not a multiple of the number of heads; when
            applied, the points have another number of features.

    >>> model = set_transformer(2, 5, seeds=4, width=8)
    >>> params = model.init(jax.random.key(0))
    >>> points = jax.random.normal(jax.random.key(1), (30, 2))
    >>> outputs = model.apply(params, points)
    >>> outputs.shape, bool(jnp.allclose(outputs, model.apply(params, points[::-1]), atol=1e-5))
    ((4, 5), True)
    """
    sizes = {"features": features, "outputs": outputs, "seeds": seeds, "width": width, "heads": heads}
    check_sizes("set_transformer", **sizes, inducing=inducing, layers=layers)
    if width % heads:
        raise InputError(f"width is {width} and heads is {heads}; make the width a multiple of heads.")
    return functional(
        lambda rngs: _SetTransformer(features, outputs, seeds, width, heads, inducing, layers, rngs)
    )


class _Block(nnx.Module):
    def __init__(self, width: int, heads: int, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.query = nnx.Linear(width, width, rngs=rngs)
        self.seen = nnx.Linear(width, 2 * width, rngs=rngs)
        self.mix = nnx.Linear(width, width, rngs=rngs)
        self.first = nnx.LayerNorm(width, rngs=rngs)
        self.second = nnx.LayerNorm(width, rngs=rngs)

    def __call__(self, queries: Array, context: Array, logs: Float[Array, " L"]) -> Float[Array, "Q W"]:
        query = self.query(queries)
        keys, values = jnp.split(self.seen(context), 2, -1)
        hidden = self.first(query + attend(query, keys, values, logs[None], self.heads))
        return self.second(hidden + jax.nn.relu(self.mix(hidden)))


class _SetTransformer(nnx.Module):
    def __init__(
        self,
        features: int,
        outputs: int,
        seeds: int,
        width: int,
        heads: int,
        inducing: int,
        layers: int,
        rngs: nnx.Rngs,
    ) -> None:
        def learned(count: int) -> nnx.Param:
            return nnx.Param(nnx.initializers.xavier_uniform()(rngs.params(), (count, width)))

        def block() -> _Block:
            return _Block(width, heads, rngs)

        self.read = nnx.Linear(features, width, rngs=rngs)
        self.inducing = nnx.List([learned(inducing) for _ in range(layers)])
        self.inward = nnx.List([block() for _ in range(layers)])
        self.outward = nnx.List([block() for _ in range(layers)])
        self.seeds = learned(seeds)
        self.pool = block()
        self.among = block()
        self.head = nnx.Linear(width, outputs, rngs=rngs)

    def __call__(self, inputs: Float[Array, "N F"], weights: Array | None) -> Float[Array, "S O"]:
        if inputs.ndim != 2 or inputs.shape[1] != self.read.in_features:
            raise InputError(
                f"inputs have shape {inputs.shape}; the network takes points [N, {self.read.in_features}]."
            )
        logs = log_weights(weights_or_ones(inputs, weights))
        points = self.read(inputs)
        for inducing, inward, outward in zip(self.inducing, self.inward, self.outward, strict=True):
            summary = inward(inducing[...], points, logs)
            points = outward(points, summary, jnp.zeros(len(summary)))
        pooled = self.pool(self.seeds[...], points, logs)
        return self.head(self.among(pooled, pooled, jnp.zeros(len(pooled))))
