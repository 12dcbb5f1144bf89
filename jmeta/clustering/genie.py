"""Genie: single linkage that keeps the sizes of clusters from growing apart; on the host.

Edges of a minimum spanning tree are joined from the shortest on, as in single linkage; but while the Gini
index of the sizes of clusters stands above a threshold, the shortest edge that leaves a smallest cluster is
joined instead. The tree is Prim's, so that memory is linear in the number of points, time quadratic.

Reference: Gagolewski, Bartoszuk & Cena 2016, Genie: a new, fast, and outlier-resistant hierarchical
clustering algorithm.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from ..errors import InputError


class Genie:
    """The algorithm in the dress of scikit-learn's: `fit`, then `labels_`.

    Args:
        n_clusters: how many.
        gini_threshold: from which inequality of sizes on the smallest clusters come first; 1 is single
            linkage.

    >>> points = np.array([[0.0], [0.1], [0.2], [2.0], [2.1], [2.2], [9.0]])
    >>> Genie(2, gini_threshold=1.0).fit(points).labels_.tolist()
    [0, 0, 0, 0, 0, 0, 1]
    >>> Genie(2, gini_threshold=0.1).fit(points).labels_.tolist()
    [0, 0, 0, 1, 1, 1, 1]
    """

    def __init__(self, n_clusters: int = 2, *, gini_threshold: float = 0.3) -> None:
        self.n_clusters, self.gini_threshold = n_clusters, gini_threshold

    def fit(self, points: Float[np.ndarray, "N D"]) -> Genie:
        """Find the clusters, numbered by their first points.

        Raises:
            InputError: there are fewer points than clusters, or the threshold is not from 0 to 1.
        """
        if not 0 <= self.gini_threshold <= 1:
            raise InputError(f"gini_threshold is {self.gini_threshold}; give a number from 0 to 1.")
        if not 1 <= self.n_clusters <= len(points):
            raise InputError(f"{len(points)} points cannot be parted into {self.n_clusters} clusters.")
        first, second = _tree_of(np.asarray(points, np.float64).tobytes(), points.shape[1])
        roots = _joined(first, second, self.n_clusters, self.gini_threshold)
        _, self.labels_ = np.unique(roots, return_inverse=True)
        return self


@lru_cache(maxsize=2)
def _tree_of(points: bytes, columns: int) -> tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]:
    """The tree of points that were asked about before, with other numbers of clusters and thresholds."""
    return spanning_tree(np.frombuffer(points).reshape(-1, columns))


def spanning_tree(points: Float[np.ndarray, "N D"]) -> tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]:
    """The ends of the N - 1 edges of a minimum spanning tree, from the shortest on.

    >>> spanning_tree(np.array([[0.0], [5.0], [1.0]]))
    (array([0, 1]), array([2, 2]))
    """
    x = np.asarray(points, np.float64)
    count = len(x)
    nearest, away = np.zeros(count, int), np.full(count, np.inf)
    left = np.ones(count, bool)
    ends, lengths, place = np.zeros((count - 1, 2), int), np.zeros(count - 1), 0
    for step in range(count - 1):
        left[place] = False
        to_place = np.sum(np.square(x - x[place]), 1)
        closer = left & (to_place < away)
        away[closer], nearest[closer] = to_place[closer], place
        place = int(np.argmin(np.where(left, away, np.inf)))
        ends[step], lengths[step] = sorted((nearest[place], place)), away[place]
    order = np.lexsort((ends[:, 1], ends[:, 0], lengths))
    return ends[order, 0], ends[order, 1]


def _joined(
    first: Int[np.ndarray, " E"], second: Int[np.ndarray, " E"], clusters: int, threshold: float
) -> Int[np.ndarray, " N"]:
    """For every point the least of its cluster, when edges of the tree have been joined."""
    count = len(first) + 1
    roots, sizes = list(range(count)), [1] * count
    held = np.zeros(count + 1, int)  # how many clusters there are of every size
    held[1] = count
    waiting, shortest, smallest, asked = [True] * (count - 1), 0, 1, 0

    def root(point: int) -> int:
        while roots[point] != point:
            roots[point] = point = roots[roots[point]]
        return point

    for _ in range(count - clusters):
        least = int(np.flatnonzero(held)[0])
        if least != smallest:
            smallest, asked = least, 0
        while not waiting[shortest]:
            shortest += 1
        edge = shortest
        if gini(held) > threshold:
            # What was passed over joins no cluster of the least size, and never will: clusters only grow.
            while not waiting[asked] or min(sizes[root(first[asked])], sizes[root(second[asked])]) > least:
                asked += 1
            edge = asked
        waiting[edge] = False
        a, b = sorted((root(first[edge]), root(second[edge])))
        held[[sizes[a], sizes[b]]] -= 1 if sizes[a] != sizes[b] else 2
        roots[b], sizes[a] = a, sizes[a] + sizes[b]
        held[sizes[a]] += 1
    return np.array([root(point) for point in range(count)])


def gini(held: Int[np.ndarray, " S"]) -> float:
    """The Gini index  sum_{i<j} |c_i - c_j| / ((k - 1) n)  of the sizes c of k clusters of n points.

    >>> gini(np.array([0, 3, 0, 1]))  # three clusters of one point, one of three
    0.3333333333333333
    """
    sizes = np.flatnonzero(held)
    many = held[sizes]
    clusters, points = many.sum(), many @ sizes
    if clusters < 2:
        return 0.0
    # In rising order the cluster at place p of k adds (2 p - k + 1) times its size.
    before = np.cumsum(many) - many
    places = many * before + many * (many - 1) // 2
    return float((2 * places - many * (clusters - 1)) @ sizes / ((clusters - 1) * points))
