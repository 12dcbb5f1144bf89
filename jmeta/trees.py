"""Pytree operations that jax and optax lack."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree


def is_inexact(leaf: Any) -> bool:
    """Whether a leaf holds real or complex numbers, and so has a derivative.

    >>> is_inexact(jnp.ones(2)), is_inexact(jnp.arange(2)), is_inexact(jax.random.key(0))
    (True, False, False)
    """
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def inexact_leaves(tree: PyTree) -> list[Array]:
    """The leaves that have a derivative, in order.

    >>> inexact_leaves({"count": jnp.array(3), "weight": jnp.array(1.5)})
    [Array(1.5, dtype=float32, weak_type=True)]
    """
    return [leaf for leaf in jax.tree.leaves(tree) if is_inexact(leaf)]


def replace_inexact(tree: PyTree, leaves: list[Array]) -> PyTree:
    """The tree with its inexact leaves replaced by `leaves`.

    >>> replace_inexact({"count": 3, "weight": 1.5}, [2.5])
    {'count': 3, 'weight': 2.5}
    """
    rest = iter(leaves)
    return jax.tree.map(lambda leaf: next(rest) if is_inexact(leaf) else leaf, tree)


def tangent_like(primal: Array, dot: Array) -> Array | np.ndarray:
    """`dot` if the primal has a derivative, else the empty tangent that jax expects.

    >>> tangent_like(jnp.array(1.5), jnp.array(2.0)), tangent_like(jnp.array(3), jnp.array(3)).dtype
    (Array(2., dtype=float32, weak_type=True), dtype([('float0', 'V')]))
    """
    return dot if is_inexact(primal) else np.zeros(jnp.shape(primal), jax.dtypes.float0)


def path_name(path: tuple) -> str:
    """The path of a leaf in a tree, as keys joined by slashes.

    >>> tree = {"layers": [{"kernel": 1.0}]}
    >>> [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    ['layers/0/kernel']
    """
    return jax.tree_util.keystr(path, simple=True, separator="/")


def largest_change(x: PyTree, y: PyTree) -> Float[Array, ""]:
    """The maximum of |x - y| over the inexact leaves of two trees of equal structure; not differentiated.

    >>> float(largest_change({"a": jnp.zeros(2)}, {"a": jnp.array([1.0, -3.0])}))
    3.0
    """
    pairs = zip(inexact_leaves(x), inexact_leaves(y), strict=True)
    changes = [jnp.max(jnp.abs(a - b), initial=0) for a, b in pairs]
    return jax.lax.stop_gradient(jnp.max(jnp.stack(changes)) if changes else jnp.zeros(()))


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether no element of the tree is NaN or infinite.

    >>> bool(all_finite({"a": jnp.array([1.0, jnp.nan])}))
    False
    """
    checks = [jnp.all(jnp.isfinite(leaf)) for leaf in inexact_leaves(tree)]
    return jnp.all(jnp.stack(checks)) if checks else jnp.bool_(True)


def still_finite(before: PyTree, after: PyTree) -> Bool[Array, ""]:
    """Whether every element that was finite still is, in two trees of equal structure.

    >>> bool(still_finite(jnp.array([jnp.inf, 1.0]), jnp.array([jnp.inf, 2.0])))
    True
    """
    pairs = zip(inexact_leaves(before), inexact_leaves(after), strict=True)
    checks = [jnp.all(jnp.isfinite(new) | ~jnp.isfinite(old)) for old, new in pairs]
    return jnp.all(jnp.stack(checks)) if checks else jnp.bool_(True)


@cache
def partial_of(function: Callable, /, *args: Any, **options: Any) -> partial:
    """`functools.partial`, cached: equal arguments give the same object.

    Samplers that differ only in their arrays are then pytrees of equal structure, and are compiled once.

    >>> partial_of(max, 1) is partial_of(max, 1)
    True
    """
    return partial(function, *args, **options)
