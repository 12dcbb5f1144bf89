"""How two partitions agree: the tables and counts under both losses and metrics.

A partition is soft, [N, K] rows of probabilities; a hard one is its one-hot form.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def contingency(
    x: Float[Array, "N K"], y: Float[Array, "N C"], weights: Float[Array, " N"]
) -> Float[Array, "K C"]:
    """How much weight each pair of clusters shares: M_kc = sum_n w_n x_nk y_nc.

    >>> one_hot = jnp.eye(2)[jnp.array([0, 1, 1])]
    >>> contingency(one_hot, one_hot, jnp.ones(3))
    Array([[1., 0.],
           [0., 2.]], dtype=float32)
    """
    return jnp.matmul((weights[:, None] * x).T, y, precision="highest")


def pairs_together(
    x: Float[Array, "N K"], y: Float[Array, "N C"], weights: Float[Array, " N"]
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Expected weight of the pairs of different points that are together: in both, in x, in y; of all.

    With M the contingency table, (||M||^2 - sum_n w_n^2 ||x_n||^2 ||y_n||^2) / 2 in both, and likewise
    for each alone.

    >>> one_hot = jnp.eye(2)[jnp.array([0, 1, 1])]
    >>> [float(pairs) for pairs in pairs_together(one_hot, one_hot, jnp.ones(3))]
    [1.0, 1.0, 1.0, 3.0]
    """
    own_x, own_y = jnp.sum(x * x, 1), jnp.sum(y * y, 1)
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
    """The adjusted Rand index of two soft partitions; the ordinary one where both are hard.

    It counts `pairs_together`, and is 1 where the index says nothing, both partitions being trivial
    in the same way.

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
    """The adjusted Rand index from the weights of pairs that are together, and the scale of their rounding.

    >>> float(adjusted_for_chance(*map(jnp.asarray, (2.0, 2.0, 2.0, 6.0, 4.0))))
    1.0
    """
    expected = in_x * in_y / jnp.where(total > 0, total, 1)
    span = (in_x + in_y) / 2 - expected
    says = jnp.abs(span) > 8 * jnp.finfo(span.dtype).eps * (in_x + in_y + rounding)
    return jnp.where(says, (both - expected) / jnp.where(says, span, 1), 1)


def mutual_information(
    counts: Float[Array, "K C"],
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """What a contingency table says: mutual information, entropy of the rows, of the columns, in nats.

    >>> [round(float(part), 4) for part in mutual_information(jnp.eye(2))]
    [0.6931, 0.6931, 0.6931]
    """
    total = jnp.sum(counts)
    joint = counts / jnp.where(total > 0, total, 1)
    of_rows, of_columns = entropy_of(joint.sum(1)), entropy_of(joint.sum(0))
    information = of_rows + of_columns - entropy_of(joint)
    parts = (information, of_rows, of_columns)
    information, of_rows, of_columns = (
        jnp.where(part <= 8 * jnp.finfo(joint.dtype).eps, 0, part) for part in parts
    )
    return information, of_rows, of_columns


def part_of(information: Float[Array, ""], entropy: Float[Array, ""]) -> Float[Array, ""]:
    """Information as a part of an entropy, at most 1; 1 where there is no entropy.

    >>> float(part_of(jnp.array(0.5), jnp.array(2.0)))
    0.25
    """
    return jnp.where(entropy > 0, jnp.minimum(information / jnp.where(entropy > 0, entropy, 1), 1), 1)


def entropy_of(probabilities: Float[Array, "..."]) -> Float[Array, ""]:
    """In nats; probabilities of zero add nothing, and have no derivative.

    >>> print(f"{entropy_of(jnp.array([0.5, 0.5, 0.0])):.4f}")
    0.6931
    """
    some = probabilities > 0
    return -jnp.sum(jnp.where(some, probabilities * jnp.log(jnp.where(some, probabilities, 1)), 0))


def best_matching(gain: Float[Array, "C K"]) -> Int[Array, " C"]:
    """The one-to-one matching of rows to columns with the greatest total gain; not differentiated.

    Rows without a partner, where there are more rows than columns, get -1.

    Reference: Kuhn 1955, The Hungarian method for the assignment problem.

    >>> best_matching(jnp.array([[1.0, 5.0], [2.0, 3.0]]))
    Array([1, 0], dtype=int32)
    """
    rows, columns = optax.assignment.hungarian_algorithm(-jax.lax.stop_gradient(gain))
    return jnp.full(gain.shape[0], -1, columns.dtype).at[rows].set(columns)
