"""The consensus of several partitions, by evidence accumulation.

The distance of two points is the share of partitions that separate them. The related meta clustering groups
the partitions themselves, so that a person may choose among a few; a consensus is a single partition.

References: Fred & Jain 2005, Combining multiple clusterings using evidence accumulation; Strehl & Ghosh 2002,
Cluster ensembles; Caruana et al. 2006, Meta clustering.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..errors import InputError
from ..graphs.dendrograms import cut
from ..graphs.linkage import linkage_tree


def consensus(labels: Int[np.ndarray, "A N"], clusters: int) -> Int[np.ndarray, " N"]:
    """Average linkage of the points, with the share of partitions that separate two points as distance.

    Points that no partition separates are merged into one weighted point before linkage. Noise, -1, is
    treated as one more cluster.

    Args:
        labels: [A, N] labels of every partition.
        clusters: the number of clusters of the consensus.

    Returns:
        [N] clusters from 0.

    Raises:
        InputError: there is no partition, or `clusters` is less than one.

    >>> consensus(np.array([[0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 1, 1]]), 2).tolist()
    [0, 0, 1, 1]
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or not labels.size:
        raise InputError(f"labels has shape {labels.shape}; give [partitions, points], one or more of each.")
    if not isinstance(clusters, int | np.integer) or clusters < 1:
        raise InputError(f"clusters is {clusters!r}; give a whole number >= 1.")
    distinct, inverse, sizes = np.unique(labels, axis=1, return_inverse=True, return_counts=True)
    padding = (1 << (len(sizes) - 1).bit_length()) - len(sizes)  # few shapes, so few compilations
    padded = np.pad(distinct, ((0, 0), (0, padding)))
    roots = np.asarray(_linked(padded, np.pad(sizes, (0, padding)).astype(np.float32), clusters))
    return np.unique(roots[inverse.ravel()], return_inverse=True)[1]


@jax.jit
def _linked(labels: Int[Array, "A U"], sizes: Float[Array, " U"], clusters: Int[Array, ""]) -> Array:
    def add(separated: Array, row: Array) -> tuple[Array, None]:
        return separated + (row[:, None] != row), None

    separated, _ = jax.lax.scan(add, jnp.zeros((len(sizes), len(sizes))), labels)
    tree = linkage_tree("average", jnp.square(separated / len(labels)), sizes)
    return cut(tree, clusters)
