"""Symmetric matrices stored with each pair of points once, by slices alone.

Of N points, N even, the pairs (i, i + s mod N) with s = 1 to N / 2 are all pairs once, and those with
s = N / 2 twice. The matrix [N, N] and its half [N, N / 2] turn into each other by reshaping rows of another
length, without a gather, so that both directions and their derivatives are copies.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Shaped


def half(matrix: Shaped[Array, "... N N"]) -> Shaped[Array, "... N H"]:
    """The pairs of a symmetric matrix: element (i, s - 1) is `matrix[i, (i + s) % N]`.

    >>> half(jnp.array([[0, 1, 2, 3], [1, 0, 4, 5], [2, 4, 0, 6], [3, 5, 6, 0]]))
    Array([[1, 2],
           [4, 5],
           [6, 2],
           [3, 5]], dtype=int32)
    """
    count = matrix.shape[-1]
    lead = matrix.shape[:-2]
    flat = jnp.concatenate([matrix, matrix], -1).reshape(*lead, 2 * count * count)
    flat = jnp.pad(flat, [(0, 0)] * len(lead) + [(0, count)])
    return flat.reshape(*lead, count, 2 * count + 1)[..., 1 : count // 2 + 1]


def whole(pairs: Shaped[Array, "... N H"]) -> Shaped[Array, "... N N"]:
    """The symmetric matrix of the pairs that `half` returns, with a diagonal of zero.

    >>> whole(jnp.array([[1.0, 2], [4, 5], [6, 2], [3, 5]])).astype(int)
    Array([[0, 1, 2, 3],
           [1, 0, 4, 5],
           [2, 4, 0, 6],
           [3, 5, 6, 0]], dtype=int32)
    """
    count = pairs.shape[-2]
    reach = pairs.shape[-1]
    lead = pairs.shape[:-2]
    if count == 2 * reach:  # the pairs of the last column are there twice
        pairs = jnp.concatenate([pairs[..., :-1], pairs[..., -1:] / 2], -1)
    none = [(0, 0)] * len(lead)
    # Row i of `shifted` starts at column i of the matrix, and goes round.
    shifted = jnp.pad(pairs, [*none, (0, 0), (1, count - 1 - reach)])
    flat = jnp.concatenate([shifted, shifted], -1).reshape(*lead, 2 * count * count)[..., count:]
    flat = jnp.pad(flat, [*none, (0, max(count * (2 * count - 1) - flat.shape[-1], 0))])
    upper = flat[..., : count * (2 * count - 1)].reshape(*lead, count, 2 * count - 1)[..., :count]
    return upper + jnp.swapaxes(upper, -1, -2)


def pair_sums(values: Shaped[Array, "... N"]) -> Shaped[Array, "... N H"]:
    """v_i + v_j of each pair, in the order of `half`.

    >>> pair_sums(jnp.array([1, 2, 3, 4]))
    Array([[3, 4],
           [5, 6],
           [7, 4],
           [5, 6]], dtype=int32)
    """
    count = values.shape[-1]
    others = jnp.broadcast_to(values[..., None, :], (*values.shape[:-1], count, count))
    return values[..., None] + half(others)
