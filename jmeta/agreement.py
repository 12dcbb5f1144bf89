"""Agreement of two partitions: the tables and counts that losses and metrics share.

A partition is soft, with rows of probabilities [N, K]; a hard one is given in one-hot form.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from .records import AnyArray


def contingency(
    x: Float[Array, "N K"], y: Float[Array, "N C"], weights: Float[Array, " N"]
) -> Float[Array, "K C"]:
    """The weight that each pair of clusters shares: M_kc = sum_n w_n x_nk y_nc.

    >>> one_hot = jnp.eye(2)[jnp.array([0, 1, 1])]
    >>> contingency(one_hot, one_hot, jnp.ones(3))
    Array([[1., 0.],
           [0., 2.]], dtype=float32)
    """
    return jnp.matmul((weights[:, None] * x).T, y, precision="highest")


def pairs_together(
    x: Float[Array, "N K"], y: Float[Array, "N C"], weights: Float[Array, " N"]
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """The expected weight of the pairs of points that are together in both, in x and in y, and of all pairs.

    With M the contingency table it is (||M||^2 - sum_n w_n^2 ||x_n||^2 ||y_n||^2) / 2 in both, and
    likewise in each partition.

    >>> one_hot = jnp.eye(2)[jnp.array([0, 1, 1])]
    >>> [float(pairs) for pairs in pairs_together(one_hot, one_hot, jnp.ones(3))]
    [1.0, 1.0, 1.0, 3.0]
    """
    own_x = jnp.sum(x * x, 1)
    own_y = jnp.sum(y * y, 1)
    squares = weights * weights

    def pairs(masses: Array, own: Array) -> Array:
        return (jnp.sum(masses * masses) - squares @ own) / 2

    both = pairs(contingency(x, y, weights), own_x * own_y)
    return (
        both,
        pairs(weights @ x, own_x),
        pairs(weights @ y, own_y),
        pairs(jnp.sum(weights), jnp.ones_like(own_x)),
    )


def adjusted_rand(
    x: Float[Array, "N K"], y: Float[Array, "N C"], weights: Float[Array, " N"]
) -> Float[Array, ""]:
    """The adjusted Rand index of two soft partitions; the standard one if both are hard.

    It is 1 where it is undefined because both partitions are trivial in the same way.

    >>> x, y = (jnp.eye(2)[jnp.array(labels)] for labels in ([0, 0, 1, 1], [0, 0, 1, 0]))
    >>> print(adjusted_rand(x, x, jnp.ones(4)), adjusted_rand(x, y, jnp.ones(4)))
    1.0 0.0
    """
    return adjusted_for_chance(*pairs_together(x, y, weights), weights @ weights)


def adjusted_for_chance(
    both: Float[Array, ""],
    in_x: Float[Array, ""],
    in_y: Float[Array, ""],
    total: Float[Array, ""],
    rounding: Float[Array, ""],
) -> Float[Array, ""]:
    """The adjusted Rand index from the weights of `pairs_together`, and the scale of their rounding error.

    >>> float(adjusted_for_chance(*map(jnp.asarray, (2.0, 2.0, 2.0, 6.0, 4.0))))
    1.0
    """
    expected = in_x * in_y / jnp.where(total > 0, total, 1)
    span = (in_x + in_y) / 2 - expected
    trivial = jnp.abs(span) <= 8 * jnp.finfo(span.dtype).eps * (in_x + in_y + rounding)  # not if it is NaN
    return jnp.where(trivial, 1, (both - expected) / jnp.where(trivial, 1, span))


def mutual_information(
    cells: Float[AnyArray, "..."], rows: Float[AnyArray, " K"], columns: Float[AnyArray, " C"]
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """The mutual information of a contingency table and the entropies of its rows and columns, in nats.

    Args:
        cells: the cells of the table in any order; those of zero may be left out.
        rows: sum of each row.
        columns: sum of each column.

    >>> [round(float(part), 4) for part in mutual_information(jnp.eye(2), jnp.ones(2), jnp.ones(2))]
    [0.6931, 0.6931, 0.6931]
    """
    total = jnp.sum(rows)
    parts = [entropy_of(part / jnp.where(total > 0, total, 1)) for part in (rows, columns, cells)]
    of_rows, of_columns, joint = parts
    information, of_rows, of_columns = (
        jnp.where(part <= 8 * jnp.finfo(part.dtype).eps, 0, part)
        for part in (of_rows + of_columns - joint, of_rows, of_columns)
    )
    return information, of_rows, of_columns


def part_of(information: Float[Array, ""], entropy: Float[Array, ""]) -> Float[Array, ""]:
    """Information divided by entropy, at most 1; 1 if the entropy is zero.

    >>> float(part_of(jnp.array(0.5), jnp.array(2.0)))
    0.25
    """
    none = entropy <= 0  # not if it is NaN
    return jnp.where(none, 1, jnp.minimum(information / jnp.where(none, 1, entropy), 1))


def entropy_of(probabilities: Float[AnyArray, "..."]) -> Float[Array, ""]:
    """The entropy in nats; probabilities of zero add nothing and have a derivative of zero.

    >>> print(f"{entropy_of(jnp.array([0.5, 0.5, 0.0])):.4f}")
    0.6931
    """
    none = probabilities <= 0  # not if it is NaN
    return -jnp.sum(jnp.where(none, 0, probabilities * jnp.log(jnp.where(none, 1, probabilities))))


def best_matching(gain: Float[Array, "C K"]) -> Int[Array, " C"]:
    """The one-to-one matching of rows to columns with the largest total gain; not differentiated.

    If there are more rows than columns, unmatched rows get -1.

    Reference: Kuhn 1955, The Hungarian method for the assignment problem.

    >>> best_matching(jnp.array([[1.0, 5.0], [2.0, 3.0]]))
    Array([1, 0], dtype=int32)
    """
    rows, columns = optax.assignment.hungarian_algorithm(-jax.lax.stop_gradient(gain))
    return jnp.full(gain.shape[0], -1, columns.dtype).at[rows].set(columns)
