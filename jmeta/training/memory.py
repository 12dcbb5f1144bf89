"""The memory that a program needs, known before it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Memory(NamedTuple):
    """Bytes of a compiled program on each of its devices.

    Attributes:
        arguments: of its inputs.
        outputs: of its results.
        temporaries: of its buffers while it runs, which depend on tasks, steps and chunks.
    """

    arguments: int
    outputs: int
    temporaries: int


def memory_needed(function: Callable[..., Any], *args: Any) -> Memory:
    """The memory of a call, read from the compiled program without running it.

    Args:
        function: such as the `update` of a `MetaStep`.
        args: its arguments, or pytrees of `jax.ShapeDtypeStruct`.

    >>> import jax.numpy as jnp
    >>> memory_needed(lambda x: x @ x, jax.ShapeDtypeStruct((8, 8), jnp.float32)).arguments
    256
    """
    return memory_of(jax.jit(function).lower(*args).compile())


def memory_of(program: jax.stages.Compiled) -> Memory:
    """The memory of a compiled program."""
    sizes: Any = program.memory_analysis()
    return Memory(
        int(sizes.argument_size_in_bytes), int(sizes.output_size_in_bytes), int(sizes.temp_size_in_bytes)
    )
