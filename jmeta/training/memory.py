"""What a program needs before it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Memory(NamedTuple):
    """Bytes of a compiled program on each of its devices.

    Attributes:
        arguments: what goes in.
        outputs: what comes out.
        temporaries: what it keeps while it runs: the part that tasks, steps and chunks decide.
    """

    arguments: int
    outputs: int
    temporaries: int


def memory_needed(function: Callable[..., Any], *args: Any) -> Memory:
    """The memory that a call would take, from the compiled program; nothing is run.

    Args:
        function: such as the `update` of a `MetaStep`.
        args: its arguments, or trees of `jax.ShapeDtypeStruct` in their place.

    >>> import jax.numpy as jnp
    >>> memory_needed(lambda x: x @ x, jax.ShapeDtypeStruct((8, 8), jnp.float32)).arguments
    256
    """
    return memory_of(jax.jit(function).lower(*args).compile())


def memory_of(program: jax.stages.Compiled) -> Memory:
    """The memory of a program that is compiled already."""
    found: Any = program.memory_analysis()
    return Memory(
        int(found.argument_size_in_bytes), int(found.output_size_in_bytes), int(found.temp_size_in_bytes)
    )
