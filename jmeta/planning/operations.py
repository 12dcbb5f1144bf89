"""Floating-point operations of a program, counted before it is compiled, with loops as often as they run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params
from jax.lax import Precision

PRODUCTS = ("dot_general", "conv_general_dilated")
"""Primitives that are matrix products and convolutions."""


ROUNDED: Mapping[str, Mapping[Precision, str]] = {
    "tpu": {Precision.DEFAULT: "bfloat16", Precision.HIGH: "three bfloat16"},
    "cuda": {Precision.DEFAULT: "TF32", Precision.HIGH: "TF32"},
}
"""What products of float32 are computed in on a platform, by their precision; else in float32."""


class Operations(NamedTuple):
    """Floating-point operations.

    Attributes:
        products: of matrix products and convolutions.
        others: one for every element of every other floating-point result.
    """

    products: float
    others: float


def count_operations(jaxpr: Any) -> Operations:
    """The operations of a program.

    A loop whose number of passes is not known counts once, of the branches of a condition the one with most.

    Args:
        jaxpr: as `jax.make_jaxpr` returns it.

    >>> import jax
    >>> count_operations(jax.make_jaxpr(lambda x: jnp.tanh(x @ x))(jnp.ones((4, 4))).jaxpr)
    Operations(products=128.0, others=16.0)
    """
    products, others = 0.0, 0.0
    for equation in jaxpr.eqns:
        inner = [count_operations(part) for part in jaxprs_in_params(equation.params)]
        name = equation.primitive.name
        if inner:
            counted = [max(inner)] if name == "cond" else inner
            times = equation.params.get("length", 1)
            products += times * sum(one.products for one in counted)
            others += times * sum(one.others for one in counted)
        elif name in PRODUCTS:
            products += _operations_of_product(equation)
        else:
            others += sum(_size(variable.aval) for variable in equation.outvars if _floating(variable.aval))
    return Operations(products, others)


def _operations_of_product(equation: Any) -> int:
    """Two for each of the products that every element of the result sums."""
    return 2 * _size(equation.outvars[0].aval) * _summed(equation)


def _summed(equation: Any) -> int:
    """The number of products that every element of the result sums."""
    first, second = (variable.aval for variable in equation.invars[:2])
    if equation.primitive.name == "dot_general":
        (axes, _), _ = equation.params["dimension_numbers"]
        return math.prod(first.shape[axis] for axis in axes)
    outputs = equation.params["dimension_numbers"].rhs_spec[0]
    return math.prod(second.shape) // second.shape[outputs]


def _size(aval: Any) -> int:
    return math.prod(getattr(aval, "shape", ()))


def _floating(aval: Any) -> bool:
    return jnp.issubdtype(getattr(aval, "dtype", bool), jnp.floating)


def precisions(jaxpr: Any, platform: str) -> dict[str, float]:
    """What matrix products and convolutions are computed in, and the share of each in their operations.

    Float32 operands are rounded by default: to bfloat16 on a TPU, to TF32 on a GPU. With the precision "high"
    a TPU adds three products of bfloat16 parts; with "highest" the result is that of float32.

    Args:
        jaxpr: as `jax.make_jaxpr` returns it.
        platform: "tpu" or "cuda".

    >>> import jax
    >>> precisions(jax.make_jaxpr(lambda x: x @ x)(jnp.ones((4, 4))).jaxpr, "tpu")
    {'bfloat16': 1.0}
    """
    found: dict[str, float] = {}
    _add_products(jaxpr, ROUNDED[platform], 1.0, found)
    total = sum(found.values())
    return {name: count / total for name, count in sorted(found.items(), key=lambda pair: -pair[1])}


def _add_products(
    jaxpr: Any, rounded: Mapping[Precision, str], times: float, found: dict[str, float]
) -> None:
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        for part in jaxprs_in_params(equation.params):
            _add_products(part, rounded, times * equation.params.get("length", 1), found)
        if name in PRODUCTS:
            dtype = equation.invars[0].aval.dtype.name
            least = min(equation.params["precision"] or (Precision.DEFAULT,), key=list(Precision).index)
            kept = rounded.get(least, dtype) if dtype == "float32" else dtype
            found[kept] = found.get(kept, 0.0) + times * _operations_of_product(equation)
