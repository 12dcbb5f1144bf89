"""Double precision for values that are on the host, whatever the precision that jax is configured for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree


def in_double(function: Callable[..., PyTree], *arguments: Any, **options: Any) -> PyTree:
    """The outputs of a function of arrays, traced and run in double precision, as NumPy arrays.

    Arguments keep their type: give float64 arrays of NumPy. Programs are compiled apart from those of the
    configured precision.

    >>> import numpy as np
    >>> float(in_double(jax.jit(lambda x: x - 1), np.float64(1 + 1e-12)) > 0)
    1.0
    """
    with jax.enable_x64(True):
        return jax.device_get(function(*arguments, **options))


def is_traced(*values: Any) -> bool:
    """Whether any of the values is traced, such as inside `jit`, `vmap` or `grad`.

    >>> is_traced(1.0), bool(jax.jit(lambda x: is_traced(x))(1.0))
    (False, True)
    """
    return any(isinstance(value, jax.core.Tracer) for value in values)
