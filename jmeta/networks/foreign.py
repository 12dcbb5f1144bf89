"""Networks of Flax and Equinox as `Model` records.

Such a network takes inputs alone, not their weights, so that it must treat each point by itself: with layer
or group normalisation, not with that of a batch. Its parameters become meta-parameters; it may hold no other
state. If it is random, as with dropout, an inner loop draws a new mask in every step from the key of its
task, and predictions are made without.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key, PyTree

from ..compiler import compiled
from ..errors import InputError
from ..records import Model
from ..trees import path_name
from .functional import stateless


def from_linen(
    module: Any,
    inputs: Any,
    *,
    options: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> Model:
    """A `flax.linen` module as a model.

    Args:
        module: of `flax.linen`, called as `module(inputs, **options)`.
        inputs: [N, ...] an example, of which only shape and type are used.
        options: further arguments of the module, such as {"train": False}.
        training: those in an inner loop, such as {"train": True}, if the module is random; the key serves all
            of its random streams.

    Returns:
        A `Model`, whose parameters are those of the module.

    Raises:
        InputError: the module is not of `flax.linen`, cannot be called with these arguments, or has other
            variables than parameters, such as running statistics.

    >>> import flax.linen
    >>> model = from_linen(flax.linen.Dense(3), jnp.zeros((1, 2)))
    >>> model.apply(model.init(jax.random.key(0)), jnp.ones((5, 2))).shape
    (5, 3)
    """
    if isinstance(module, type) or not all(hasattr(module, name) for name in ("init", "apply", "bind")):
        raise InputError(f"from_linen got {module!r}; give a module of flax.linen, such as Dense(3).")
    fixed = dict(options or {})

    def variables(key: Key[Array, ""]) -> Mapping[str, PyTree]:
        return module.init(key, jnp.zeros(jnp.shape(inputs), jnp.result_type(inputs)), **fixed)

    try:
        collections = set(jax.eval_shape(variables, jax.random.key(0)))
    except TypeError as error:
        raise InputError(
            f"the module of from_linen cannot be called ({error}); give its further arguments as options."
        ) from None
    _check_state("from_linen", collections - {"params"})

    def init(key: Key[Array, ""]) -> PyTree:
        return variables(key).get("params", {})

    def apply(params: PyTree, inputs: Array, weights: Array | None = None) -> Array:
        return module.apply({"params": params}, inputs, **fixed)

    def stochastic(params: PyTree, inputs: Array, weights: Array | None, key: Key[Array, ""]) -> Array:
        streams = {"params": key}  # stands for every stream that is not named
        return module.apply({"params": params}, inputs, **(fixed | dict(training or {})), rngs=streams)

    return Model(compiled(init), compiled(apply), None if training is None else stochastic)


def from_nnx(build: Callable[[nnx.Rngs], Any]) -> Model:
    """A module of `flax.nnx` as a model.

    Args:
        build: `nnx.Rngs -> module`, which is called as `module(inputs)`; where it is random, it is in its
            mode of training in an inner loop, and in that of evaluation elsewhere.

    Returns:
        A `Model`, whose parameters are a dictionary of the module's.

    Raises:
        InputError: `build` is a module itself, or makes none, or one with other variables than parameters,
            such as running statistics.

    >>> model = from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs))
    >>> model.apply(model.init(jax.random.key(0)), jnp.ones((5, 2))).shape
    (5, 3)
    """
    abstract = None if isinstance(build, nnx.Module) else nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    if not isinstance(abstract, nnx.Module):
        raise InputError(
            "from_nnx needs a function that builds a module of flax.nnx; give lambda rngs: Net(rngs=rngs)."
        )
    others = nnx.state(abstract, nnx.Not(nnx.Any(nnx.Param, nnx.RngState)))
    _check_state("from_nnx", _types(others, nnx.Variable))
    init, module = stateless(build)

    def apply(params: PyTree, inputs: Array, weights: Array | None = None) -> Array:
        return module(params)(inputs)

    def stochastic(params: PyTree, inputs: Array, weights: Array | None, key: Key[Array, ""]) -> Array:
        return module(params, key)(inputs)

    random = jax.tree.leaves(nnx.state(abstract, nnx.RngState))
    return Model(compiled(init), compiled(apply), stochastic if random else None)


def from_equinox(build: Callable[[Key[Array, ""]], Any]) -> Model:
    """A module of Equinox as a model; it is mapped over points, as it takes a single one.

    Args:
        build: `key -> module`, which is called as `module(x)`, or in an inner loop as `module(x, key=key)` if
            it has that argument; its modes of inference and training are set.

    Returns:
        A `Model`, whose parameters are a dictionary of the module's floating-point arrays by path.

    Raises:
        InputError: Equinox is not installed, `build` is a module itself, or the module holds running
            statistics.
    """
    try:
        import equinox as eqx
    except ImportError:
        raise InputError("Equinox is not installed; pip install equinox.") from None
    if isinstance(build, eqx.Module):
        raise InputError("from_equinox needs a function that builds a module; give lambda key: Net(key=key).")
    example = build(jax.random.key(0))
    _check_state("from_equinox", _types(example, eqx.nn.StateIndex))
    variable, fixed = eqx.partition(example, eqx.is_inexact_array)
    structure = jax.tree.structure(variable)

    def init(key: Key[Array, ""]) -> dict[str, Array]:
        leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(build(key), eqx.is_inexact_array))
        return {path_name(path): leaf for path, leaf in leaves}

    def module(params: Mapping[str, Array], inference: bool) -> Any:
        leaves = [params[path_name(path)] for path, _ in jax.tree_util.tree_leaves_with_path(variable)]
        whole = eqx.combine(jax.tree.unflatten(structure, leaves), fixed)
        return eqx.nn.inference_mode(whole, inference)

    def apply(params: PyTree, inputs: Array, weights: Array | None = None) -> Array:
        return jax.vmap(module(params, inference=True))(inputs)

    def stochastic(params: PyTree, inputs: Array, weights: Array | None, key: Key[Array, ""]) -> Array:
        called = module(params, inference=False)
        return jax.vmap(lambda x, key: called(x, key=key))(inputs, jax.random.split(key, len(inputs)))

    random = "key" in inspect.signature(example).parameters
    return Model(compiled(init), compiled(apply), stochastic if random else None)


def _types(tree: PyTree, kind: type) -> set[str]:
    """The names of the types of all parts of a tree that are of some kind."""
    parts = jax.tree.leaves(tree, is_leaf=lambda part: isinstance(part, kind))
    return {type(part).__name__ for part in parts if isinstance(part, kind)}


def _check_state(function: str, others: set[str]) -> None:
    """Raises an InputError if a module has variables besides its parameters."""
    if others:
        raise InputError(
            f"the module of {function} holds {', '.join(sorted(others))} besides its parameters, and a model "
            "has no other state; normalise with LayerNorm or GroupNorm, not with running statistics."
        )
