"""Networks with a memory: a gated recurrent unit and a small causal transformer.

Both are `Recurrent` records, which take one step at a time while acting and all steps at once while learning.

References: Cho et al. 2014, Learning phrase representations using RNN encoder-decoder; Vaswani et al. 2017,
Attention is all you need.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..compiler import compiled
from ..errors import InputError
from ..records import Recurrent
from ..weights import log_weights
from .attention import attend
from .functional import check_sizes, stateless

FIRST_OUTPUTS = 1e-2
"""Initial scale of the last layer's weights: all actions start with nearly equal probability."""


def gru(inputs: int, outputs: int, *, width: int = 64) -> Recurrent:
    """A gated recurrent unit (GRU) and a linear layer.

    r, z = sigmoid(W x + U h),  n = tanh(V x + r * (Q h)),  h' = (1 - z) n + z h.

    Args:
        inputs: F, number of inputs per step.
        outputs: O, number of outputs per step.
        width: width of the memory.

    Raises:
        InputError: a size is less than one.

    >>> network = gru(3, 2)
    >>> params = network.init(jax.random.key(0))
    >>> network.unroll(params, jnp.ones((5, 3)), jnp.zeros(5, bool)).shape
    (5, 2)
    """
    check_sizes("gru", inputs=inputs, outputs=outputs, width=width)
    init, module = stateless(lambda rngs: _Gru(inputs, outputs, width, rngs))

    def start(params: PyTree) -> Float[Array, " W"]:
        return jnp.zeros(width)

    def step(params: PyTree, hidden: Float[Array, " W"], x: Float[Array, " F"]) -> tuple[Array, Array]:
        network = module(params)
        hidden = network.advance(hidden, network.project(x))
        return hidden, network.head(hidden)

    def unroll(params: PyTree, x: Float[Array, "L F"], resets: Bool[Array, " L"]) -> Float[Array, "L O"]:
        network = module(params)

        def advance(hidden: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
            projected, reset = at
            hidden = network.advance(jnp.where(reset, 0, hidden), projected)
            return hidden, hidden

        return network.head(lax.scan(advance, start(params), (network.project(x), resets))[1])

    return Recurrent(compiled(init), start, compiled(step), compiled(unroll))


class _Gru(nnx.Module):
    def __init__(self, inputs: int, outputs: int, width: int, rngs: nnx.Rngs) -> None:
        self.project = nnx.Linear(inputs, 3 * width, rngs=rngs)
        self.recall = nnx.Linear(width, 3 * width, kernel_init=nnx.initializers.orthogonal(), rngs=rngs)
        self.head = _head(width, outputs, rngs)

    def advance(self, hidden: Float[Array, " W"], projected: Float[Array, " 3W"]) -> Float[Array, " W"]:
        fresh, recalled = (jnp.split(part, 3, -1) for part in (projected, self.recall(hidden)))
        forget, keep = (jax.nn.sigmoid(a + b) for a, b in zip(fresh[:2], recalled[:2], strict=True))
        new = jnp.tanh(fresh[2] + forget * recalled[2])
        return (1 - keep) * new + keep * hidden


def forgetful(inputs: int, outputs: int, *, width: int = 64) -> Recurrent:
    """Two dense layers without memory, as a baseline for networks with one.

    Args:
        inputs: F, number of inputs per step.
        outputs: O, number of outputs per step.
        width: width of both layers.

    Raises:
        InputError: a size is less than one.

    >>> network = forgetful(3, 2)
    >>> network.step(network.init(jax.random.key(0)), (), jnp.ones(3))[1].shape
    (2,)
    """
    check_sizes("forgetful", inputs=inputs, outputs=outputs, width=width)
    init, module = stateless(lambda rngs: _Forgetful(inputs, outputs, width, rngs))
    return Recurrent(
        init,
        lambda params: (),
        lambda params, hidden, x: ((), module(params)(x)),
        lambda params, x, resets: module(params)(x),
    )


class _Forgetful(nnx.Module):
    def __init__(self, inputs: int, outputs: int, width: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(inputs, width, rngs=rngs)
        self.second = nnx.Linear(width, width, rngs=rngs)
        self.head = _head(width, outputs, rngs)

    def __call__(self, x: Float[Array, "... F"]) -> Float[Array, "... O"]:
        return self.head(jnp.tanh(self.second(jnp.tanh(self.first(x)))))


class Cache(NamedTuple):
    """The memory of a transformer.

    Attributes:
        keys: [layers, L, W] of the steps since the start; later entries are not used.
        values: [layers, L, W].
        place: number of steps since the start.
    """

    keys: Float[Array, "layers L W"]
    values: Float[Array, "layers L W"]
    place: Int[Array, ""]


def transformer(
    inputs: int, outputs: int, *, length: int, width: int = 64, layers: int = 2, heads: int = 4
) -> Recurrent:
    """A causal transformer: every step attends to all steps since the start.

    Args:
        inputs: F, number of inputs per step.
        outputs: O, number of outputs per step.
        length: L, the largest number of steps.
        width: width of every layer; a multiple of `heads`.
        layers: number of layers.
        heads: number of attention heads.

    Raises:
        InputError: a size is less than one, or the width is not a multiple of the number of heads.

    >>> network = transformer(3, 2, length=5)
    >>> params = network.init(jax.random.key(0))
    >>> network.unroll(params, jnp.ones((5, 3)), jnp.zeros(5, bool)).shape
    (5, 2)
    """
    check_sizes(
        "transformer", inputs=inputs, outputs=outputs, length=length, width=width, layers=layers, heads=heads
    )
    if width % heads:
        raise InputError(f"width is {width} and heads is {heads}; make the width a multiple of heads.")
    init, module = stateless(lambda rngs: _Transformer(inputs, outputs, length, width, layers, heads, rngs))

    def start(params: PyTree) -> Cache:
        empty = jnp.zeros((layers, length, width))
        return Cache(empty, empty, jnp.asarray(0))

    def step(params: PyTree, hidden: Cache, x: Float[Array, " F"]) -> tuple[Cache, Float[Array, " O"]]:
        network = module(params)
        place = jnp.minimum(hidden.place, length - 1)
        h = network.embed(x, place)
        visible = jnp.arange(length) <= place
        keys = []
        values = []
        for number, layer in enumerate(network.layers):
            query, key, value = layer.project(h)
            keys.append(hidden.keys[number].at[place].set(key))
            values.append(hidden.values[number].at[place].set(value))
            logs = log_weights(visible)[None]
            h = layer.finish(h, attend(query[None], keys[-1], values[-1], logs, heads)[0])
        return Cache(jnp.stack(keys), jnp.stack(values), hidden.place + 1), network.head(network.norm(h))

    def unroll(params: PyTree, x: Float[Array, "L F"], resets: Bool[Array, " L"]) -> Float[Array, "L O"]:
        if len(x) > length:
            raise InputError(f"there are {len(x)} steps; give a transformer of that length, not {length}.")
        network = module(params)
        steps = jnp.arange(len(x))
        trial = jnp.cumsum(resets)
        place = steps - lax.cummax(jnp.where(resets, steps, 0))
        visible = (steps <= steps[:, None]) & (trial == trial[:, None])
        h = network.embed(x, place)
        for layer in network.layers:
            query, key, value = layer.project(h)
            h = layer.finish(h, attend(query, key, value, log_weights(visible), heads))
        return network.head(network.norm(h))

    return Recurrent(
        init=compiled(init), start=start, step=compiled(step), unroll=compiled(unroll), limit=length
    )


class _Layer(nnx.Module):
    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.LayerNorm(width, rngs=rngs)
        self.second = nnx.LayerNorm(width, rngs=rngs)
        self.three = nnx.Linear(width, 3 * width, rngs=rngs)
        self.mix = nnx.Linear(width, width, rngs=rngs)
        self.wide = nnx.Linear(width, 4 * width, rngs=rngs)
        self.narrow = nnx.Linear(4 * width, width, rngs=rngs)

    def project(self, h: Float[Array, "... W"]) -> list[Float[Array, "... W"]]:
        """Query, key and value."""
        return jnp.split(self.three(self.first(h)), 3, -1)

    def finish(self, h: Float[Array, "... W"], attended: Float[Array, "... W"]) -> Float[Array, "... W"]:
        h = h + self.mix(attended)
        return h + self.narrow(jax.nn.gelu(self.wide(self.second(h))))


class _Transformer(nnx.Module):
    def __init__(
        self, inputs: int, outputs: int, length: int, width: int, layers: int, heads: int, rngs: nnx.Rngs
    ) -> None:
        self.read = nnx.Linear(inputs, width, rngs=rngs)
        self.places = nnx.Embed(length, width, rngs=rngs)
        self.layers = nnx.List([_Layer(width, rngs) for _ in range(layers)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.head = _head(width, outputs, rngs)

    def embed(self, x: Float[Array, "... F"], place: Int[Array, "..."]) -> Float[Array, "... W"]:
        return self.read(x) + self.places(jnp.minimum(place, self.places.num_embeddings - 1))


def _head(width: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(width, outputs, kernel_init=nnx.initializers.orthogonal(FIRST_OUTPUTS), rngs=rngs)
