"""The consensus of several partitions: points are as far apart as partitions that part them are many.

Known as evidence accumulation, with the clustering of clusterings its near relative: there many partitions
are themselves clustered, so that a person may choose among a few; here one comes out.

References: Fred & Jain 2005, Combining multiple clusterings using evidence accumulation; Strehl & Ghosh 2002,
Cluster ensembles; Caruana et al. 2006, Meta clustering.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..clustering.agglomerative import merged
from ..errors import InputError


def consensus(labels: Int[np.ndarray, "A N"], clusters: int) -> Int[np.ndarray, " N"]:
    """Average linkage of the points, whose distance is the share of partitions that part them.

    Points that no partition parts are one heavy point, so that only as many points are linked as there are
    different ones; noise, -1, is one more cluster.

    Args:
        labels: [A, N] of every partition.
        clusters: how many to leave.

    Returns:
        [N] clusters from 0.

    Raises:
        InputError: there is no partition, or no cluster is asked for.

    >>> consensus(np.array([[0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 1, 1]]), 2).tolist()
    [0, 0, 1, 1]
    """
    labels = np.asarray(labels)
    whole = isinstance(clusters, int | np.integer) and clusters >= 1
    if labels.ndim != 2 or not labels.size or not whole:
        raise InputError(
            f"partitions {labels.shape} have no consensus of {clusters} clusters; give [partitions, points]."
        )
    kinds, which, sizes = np.unique(labels, axis=1, return_inverse=True, return_counts=True)
    room = 1 << (len(sizes) - 1).bit_length()  # few shapes, few programs
    wide = np.pad(kinds, ((0, 0), (0, room - len(sizes))))
    roots = np.asarray(_linked(wide, np.pad(sizes, (0, room - len(sizes))).astype(np.float32), clusters))
    return np.unique(roots[which.ravel()], return_inverse=True)[1]


@jax.jit
def _linked(kinds: Int[Array, "A U"], sizes: Float[Array, " U"], clusters: Int[Array, ""]) -> Array:
    def add(parted: Array, row: Array) -> tuple[Array, None]:
        return parted + (row[:, None] != row), None

    many = jnp.zeros((len(sizes), len(sizes)))
    parted, _ = jax.lax.scan(add, many, kinds)
    return merged("average", jnp.square(parted / len(kinds)), sizes, clusters)
