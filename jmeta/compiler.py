"""Compilation of functions as single programs, and fast compilation of programs that run once or twice.

With `QUICKLY`, the meta-features of one table compile in 1/3 of the time with jax 0.10.2 and in 0.6 of it
with 0.12.0, and take three to five times as long to run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import jax

Function = TypeVar("Function", bound=Callable)

QUICKLY: dict[str, bool | int] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
"""Options for `jax.jit(compiler_options=...)`."""
if jax.__version_info__ < (0, 11, 1):  # later versions reject the option
    QUICKLY["xla_cpu_use_fusion_emitters"] = False


def compiled(function: Function, traceable: bool = True, static: Sequence[str] = ()) -> Function:
    """Returns `function`, compiled as one program when it is called outside `jit`.

    Otherwise jax would compile each of its hundreds of operations separately, in tens of milliseconds each.
    Inside `jit`, `vmap` or `grad` nothing changes: the function is traced inline.

    Args:
        function: function of arrays and pytrees of arrays.
        traceable: whether it runs on-device; a function that runs on the host is returned unchanged.
        static: names of the arguments that are not arrays.

    >>> compiled(lambda x: x + 1)(1.0)
    Array(2., dtype=float32, weak_type=True)
    """
    if not traceable:
        return function
    program = jax.jit(function, inline=True, static_argnames=static)

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        return program(*args, **options)

    return cast(Function, call)


def flags() -> str:
    """`QUICKLY` for a whole process, as $XLA_FLAGS, with one core per compilation for parallel processes.

    >>> flags().split()[0]
    '--xla_backend_optimization_level=0'
    """
    options = {**QUICKLY, "xla_cpu_parallel_codegen_split_count": 1}
    return " ".join(f"--{name}={str(value).lower()}" for name, value in options.items())
