"""Measures how the rounding of products changes meta-gradients: bfloat16, TF32 and float32.

    python -m experiments.benchmarks.precision --out FILE       # about two minutes on two cores
    python -m experiments.benchmarks.precision --quick          # seconds; small shapes

Accelerators round the inputs of float32 products, to bfloat16 on a TPU and to TF32 on a GPU, unless a higher
precision is asked for, as jmeta does for distances. Sums are float32. Here the same products get inputs
rounded in the same way, to 7 or 10 bits after the first, in the program for the CPU, and everything else is
as it is. The error is that of the meta-gradient, ||g - g64|| / ||g64||, against a run in float64 on the same
tasks from the same parameters; that of the loss is relative too. "Fixed" is the share of operations of
products whose precision is fixed to float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax import lax
from jax._src.interpreters import mlir
from jaxtyping import Array, PyTree
from rich.console import Console
from rich.table import Table

import jmeta as jm
from jmeta.planning.operations import precisions
from jmeta.trees import is_inexact

from . import record
from .plans import Program, programs

BITS = {"float32": 23, "TF32": 10, "bfloat16": 7}
"""Bits after the first of the inputs of products."""
PRODUCTS = (lax.dot_general_p, lax.conv_general_dilated_p)
TASKS = 8
"""Tasks of the meta-gradient."""


def main(options: record.Options) -> None:
    """Runs the benchmark, prints its table and writes its rows."""
    machine = record.machine({}, record.begin(options.quick, options.repeats))
    table = Table("program", "products in", "error of gradient", "of loss", "fixed")
    rows: list[record.Row] = []
    for program in programs(options.quick):
        for row in measure(program):
            rows.append({"program": program.name} | row | {"machine": machine})
            errors = (f"{row[name]:.1e}" for name in ("gradient_error", "loss_error"))
            table.add_row(program.name, row["precision"], *errors, f"{row['fixed']:.0%}")
        record.write(rows, options.out)
    Console().print(table)


def measure(program: Program) -> Iterator[record.Row]:
    """A row for every precision."""
    meta = jax.device_get(program.init(jax.random.key(0)))
    tasks = jax.jit(jax.vmap(program.sampler))(jax.random.split(jax.random.key(1), TASKS))

    def mean(meta: PyTree, tasks: jm.Task) -> Array:
        return jnp.mean(jax.vmap(program.loss, (None, 0))(meta, tasks)[0])

    def run(bits: int, dtype: type) -> tuple[np.ndarray, float]:
        """The meta-gradient as one vector, and the loss."""
        with jax.enable_x64(dtype == np.float64), rounded_products(bits):
            given = jax.tree.map(lambda leaf: leaf.astype(dtype) if is_inexact(leaf) else leaf, (meta, tasks))
            loss, gradient = jax.device_get(jax.jit(jax.value_and_grad(mean))(*given))
        return np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradient)]).astype(float), float(loss)

    exact, loss = run(BITS["float32"], np.float64)
    shares = precisions(jax.make_jaxpr(jax.grad(mean))(meta, tasks).jaxpr, "tpu")
    for name, bits in BITS.items():
        gradient, other = run(bits, np.float32)
        yield {
            "precision": name,
            "gradient_error": float(np.linalg.norm(gradient - exact) / np.linalg.norm(exact)),
            "loss_error": abs(other - loss) / abs(loss),
            "fixed": shares.get("float32", 0.0),
        }


@contextmanager
def rounded_products(bits: int) -> Iterator[None]:
    """Programs for the CPU round the inputs of float32 products whose precision is not fixed."""
    rules = mlir._platform_specific_lowerings["cpu"]
    before = dict(rules)
    jax.clear_caches()
    try:
        for product in PRODUCTS:
            usual = rules[product].rule if product in rules else mlir._lowerings[product].rule
            mlir.register_lowering(product, _rule(product, usual, bits), platform="cpu")
        yield
    finally:
        rules.clear()
        rules.update(before)
        jax.clear_caches()


def _rule(product: Any, usual: Callable[..., Any], bits: int) -> Callable[..., Any]:
    """How a product is written into a program: as usual, or with rounded inputs."""

    def rounded(*inputs: Array, **options: Any) -> Array:
        low = (lax.reduce_precision(x, exponent_bits=8, mantissa_bits=bits) for x in inputs)
        return product.bind(*low, **options | {"precision": (lax.Precision.HIGHEST,) * 2})

    lowered = mlir.lower_fun(rounded, multiple_results=False)

    def rule(context: Any, *inputs: Any, **options: Any) -> Any:
        precision = options["precision"]
        free = precision is None or lax.Precision.DEFAULT in precision
        single = all(aval.dtype == np.float32 for aval in context.avals_in)
        return (lowered if free and single else usual)(context, *inputs, **options)

    return rule


if __name__ == "__main__":
    main(tyro.cli(record.Options, description=__doc__))
