"""The adjusted Rand index of partitions, also in expectation where P says which points belong together.

With S the s pairs within clusters of a partition, and m pairs in all, the expected index under P is

    (sum_S p - s sum p / m) / ((s + sum p) / 2 - s sum p / m),

the ratio of expectations; see `zero_shot`, which computes the same on the device.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from ..clustering.host.cuts import cuts, linkage_merges

MOST = 50
"""The largest number of clusters that the tree on P is cut into, unless more are asked for."""


def cuts_of_p(
    together: Float[np.ndarray, "M M"], most: int = MOST
) -> tuple[Int[np.ndarray, "K M"], Float[np.ndarray, " K"]]:
    """The cuts of the tree on P into 1 to K clusters, and the expected adjusted Rand index of each.

    The tree is that of average linkage with 1 - P as distance. The index of one cluster is 1 where all points
    belong together, of which the probability is taken as the mean of P over the last merge; see `zero_shot`.

    Args:
        together: [M, M] P, with ones on the diagonal.
        most: K, at most M.
    """
    size = len(together)
    apart = squareform(np.maximum(1 - together, 0) * (1 - np.eye(size)), checks=False)
    tree = linkage(apart, "average")
    partitions = np.stack(cuts(*linkage_merges(tree), range(1, min(most, size) + 1)))
    scores = np.array([expected_ari(together, labels) for labels in partitions])
    scores[0] = 1 - tree[-1, 2]
    return partitions, scores


def expected_ari(together: Float[np.ndarray, "M M"], labels: Int[np.ndarray, " M"]) -> float:
    """The expected adjusted Rand index of a partition, where P says which points belong together.

    >>> blocks = np.kron(np.eye(2), np.ones((2, 2)))
    >>> expected_ari(blocks, np.array([0, 0, 1, 1])), expected_ari(blocks, np.array([0, 0, 0, 0]))
    (1.0, 0.0)
    """
    owners = np.eye(labels.max() + 2)[labels][:, :-1]  # noise, -1, owns nothing
    sizes = owners.sum(0)
    both = (np.einsum("mk,mn,nk->", owners, together, owners, optimize=True) - sizes.sum()) / 2
    return float(
        adjusted(both, (sizes @ sizes - sizes.sum()) / 2, (together.sum() - len(labels)) / 2, len(labels))
    )


def adjusted(both: np.ndarray, inside: np.ndarray, likely: float, count: int) -> np.ndarray:
    """The index from sums over pairs.

    Args:
        both: of P over pairs that a partition puts together.
        inside: the number of these pairs.
        likely: sum of P over all pairs.
        count: the number of points.
    """
    chance = likely * inside / max(count * (count - 1) / 2, 1)
    span = (likely + inside) / 2 - chance
    return np.where(span > 1e-9, (both - chance) / np.where(span > 1e-9, span, 1), 0)


def adjusted_rand(first: Int[np.ndarray, " N"], second: Int[np.ndarray, " N"]) -> float:
    """The adjusted Rand index of two partitions; noise is one more cluster.

    >>> adjusted_rand(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))
    1.0
    """
    count = len(first)
    width = second.max() + 2
    cells = np.bincount((first + 1) * width + second + 1).astype(float)
    both = cells @ cells - count
    x, y = (np.bincount(one + 1).astype(float) for one in (first, second))
    in_x, in_y = x @ x - count, y @ y - count
    chance = in_x * in_y / max(count * (count - 1.0), 1)
    span = (in_x + in_y) / 2 - chance
    return float((both - chance) / span) if span > 1e-9 else float(in_x == in_y)
