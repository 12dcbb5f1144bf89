"""Options of XLA for programs that run too seldom to be worth compiling well.

The meta-features of one table are compiled in a third of the time with jax 0.10.2, in six tenths with
0.12.0, and run in three to five times as much.
"""

from __future__ import annotations

import jax

QUICKLY: dict[str, bool | int] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
"""What `jax.jit(compiler_options=...)` takes."""
if jax.__version_info__ < (0, 11, 1):  # later ones refuse it
    QUICKLY["xla_cpu_use_fusion_emitters"] = False


def flags() -> str:
    """The same for a whole process, as $XLA_FLAGS; each compiles on one core, as several run side by side.

    >>> flags().split()[0]
    '--xla_backend_optimization_level=0'
    """
    options = {**QUICKLY, "xla_cpu_parallel_codegen_split_count": 1}
    return " ".join(f"--{name}={str(value).lower()}" for name, value in options.items())
