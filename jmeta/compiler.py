"""How functions are compiled: each as one program, and quickly where a program runs only once or twice.

With `QUICKLY`, the meta-features of one table are compiled in a third of the time with jax 0.10.2, in six
tenths with 0.12.0, and run in three to five times as much.
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
"""What `jax.jit(compiler_options=...)` takes."""
if jax.__version_info__ < (0, 11, 1):  # later ones refuse it
    QUICKLY["xla_cpu_use_fusion_emitters"] = False


def compiled(function: Function, traceable: bool = True, static: Sequence[str] = ()) -> Function:
    """Returns `function`, compiled as one program where it is called outside of `jit`.

    There jax would compile each of its operations separately, some tens of milliseconds for each of hundreds.
    Inside of `jit`, `vmap` or `grad` of a program nothing changes: it is traced as if it stood there.

    Args:
        function: of arrays and pytrees of arrays.
        traceable: whether it runs on the device; a function of the host is returned unchanged.
        static: names of arguments that are no arrays.

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
    """The same for a whole process, as $XLA_FLAGS; each compiles on one core, as several run side by side.

    >>> flags().split()[0]
    '--xla_backend_optimization_level=0'
    """
    options = {**QUICKLY, "xla_cpu_parallel_codegen_split_count": 1}
    return " ".join(f"--{name}={str(value).lower()}" for name, value in options.items())
