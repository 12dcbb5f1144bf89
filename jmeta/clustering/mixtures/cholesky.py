"""Cholesky factors of covariances, written out in few dimensions.

The LAPACK routine processes one matrix at a time and, on a CPU, on one device. In few dimensions the factor
has few elements, each of which can be computed for all components of all tasks at once.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

WRITTEN_OUT = 4
"""The largest dimension for which factors are written out."""


def factor(matrix: Float[Array, "D D"]) -> Float[Array, "D D"]:
    """The Cholesky factor L, with L L^T = `matrix`; only the lower triangle of the matrix is read.

    If the matrix is not positive definite the result holds NaN.

    >>> factor(jnp.array([[4.0, 2.0], [2.0, 10.0]])).tolist()
    [[2.0, 0.0], [1.0, 3.0]]
    """
    size = len(matrix)
    if size > WRITTEN_OUT:
        return jnp.linalg.cholesky(matrix)
    rows: list[list[Array]] = []
    for i in range(size):
        row: list[Array] = []
        for j in range(i + 1):
            others = rows[j] if j < i else row
            left = matrix[i, j] - sum(a * b for a, b in zip(row, others, strict=False))
            row.append(left / rows[j][j] if j < i else jnp.sqrt(left))
        rows.append(row)
    zero = jnp.zeros((), matrix.dtype)
    return jnp.stack([jnp.stack(row + [zero] * (size - len(row))) for row in rows])


def solve(lower: Float[Array, "D D"], x: Float[Array, "D N"]) -> Float[Array, "D N"]:
    """L^-1 x, for a lower triangular L.

    >>> solve(jnp.array([[2.0, 0.0], [1.0, 3.0]]), jnp.array([[2.0], [7.0]])).tolist()
    [[1.0], [2.0]]
    """
    if len(lower) > WRITTEN_OUT:
        return solve_triangular(lower, x, lower=True)
    rows: list[Array] = []
    for i in range(len(lower)):
        left = x[i] - sum(lower[i, j] * row for j, row in enumerate(rows))
        rows.append(left / lower[i, i])
    return jnp.stack(rows)
