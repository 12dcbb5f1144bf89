"""A network over sets: from points in any order and number to a fixed number of outputs.

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
    """A Set Transformer: outputs do not depend on the order of the points, and each looks at all of them.

    With block(a, b) = norm(h + relu(W h)), h = norm(Q a + attention(Q a, K b, V b)), a layer over points
    X is  block(X, block(I, X)), in which a few learned points I look at all, and all look at these, which
    costs as much as there are points. Then learned seeds look at the points, and at each other.

    Args:
        features: F, numbers of a point.
        outputs: O, numbers of each seed.
        seeds: S, how many rows go out.
        width: W of every layer.
        heads: of attention; they share the width.
        inducing: how many points I has.
        layers: over the points.

    Returns:
        A `Model` from [N, F] points to [S, O]. A point of weight two counts as two points, one of weight zero
        is not seen.

    Raises:
        InputError: a size is less than one, or the heads cannot share the width; and, when it is applied,
            points of another number of features.

    >>> model = set_transformer(2, 5, seeds=4, width=8)
    >>> params = model.init(jax.random.key(0))
    >>> points = jax.random.normal(jax.random.key(1), (30, 2))
    >>> found = model.apply(params, points)
    >>> found.shape, bool(jnp.allclose(found, model.apply(params, points[::-1]), atol=1e-5))
    ((4, 5), True)
    """
    sizes = {"features": features, "outputs": outputs, "seeds": seeds, "width": width, "heads": heads}
    check_sizes("set_transformer", **sizes, inducing=inducing, layers=layers)
    if width % heads:
        raise InputError(f"{heads} heads cannot share a width of {width}; choose a multiple.")
    return functional(
        lambda rngs: _SetTransformer(features, outputs, seeds, width, heads, inducing, layers, rngs)
    )


class _Block(nnx.Module):
    def __init__(self, width: int, heads: int, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.query, self.seen = nnx.Linear(width, width, rngs=rngs), nnx.Linear(width, 2 * width, rngs=rngs)
        self.mix = nnx.Linear(width, width, rngs=rngs)
        self.first, self.second = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)

    def __call__(self, asking: Array, asked: Array, logs: Float[Array, " L"]) -> Float[Array, "Q W"]:
        query, (keys, values) = self.query(asking), jnp.split(self.seen(asked), 2, -1)
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
        self.seeds, self.pool, self.among = learned(seeds), block(), block()
        self.head = nnx.Linear(width, outputs, rngs=rngs)

    def __call__(self, inputs: Float[Array, "N F"], weights: Array | None) -> Float[Array, "S O"]:
        if inputs.ndim != 2 or inputs.shape[1] != self.read.in_features:
            raise InputError(
                f"the network takes points [N, {self.read.in_features}], but was given {inputs.shape}."
            )
        logs = log_weights(weights_or_ones(inputs, weights))
        points = self.read(inputs)
        for inducing, inward, outward in zip(self.inducing, self.inward, self.outward, strict=True):
            few = inward(inducing[...], points, logs)
            points = outward(points, few, jnp.zeros(len(few)))
        found = self.pool(self.seeds[...], points, logs)
        return self.head(self.among(found, found, jnp.zeros(len(found))))
