"""Genie: single linkage that limits the inequality of cluster sizes; runs on the host.

Clusters are merged along the edges of a minimum spanning tree from the shortest on, as in single linkage; but
while the Gini index of the cluster sizes is above a threshold, the shortest edge that leaves a smallest
cluster is used instead. The tree is built by Prim's algorithm, with memory linear in the number of points and
time quadratic.

Reference: Gagolewski, Bartoszuk & Cena 2016, Genie: a new, fast, and outlier-resistant hierarchical
clustering algorithm.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from ...errors import InputError


class Genie:
    """The Genie algorithm, with the interface of scikit-learn's clusterers: `fit` sets `labels_`.

    Args:
        n_clusters: number of clusters.
        gini_threshold: Gini index of the sizes above which smallest clusters are merged first; 1 is single
            linkage.

    >>> points = np.array([[0.0], [0.1], [0.2], [2.0], [2.1], [2.2], [9.0]])
    >>> Genie(2, gini_threshold=1.0).fit(points).labels_.tolist()
    [0, 0, 0, 0, 0, 0, 1]
    >>> Genie(2, gini_threshold=0.1).fit(points).labels_.tolist()
    [0, 0, 0, 1, 1, 1, 1]
    """

    def __init__(self, n_clusters: int = 2, *, gini_threshold: float = 0.3) -> None:
        self.n_clusters = n_clusters
        self.gini_threshold = gini_threshold

    def fit(self, points: Float[np.ndarray, "N D"]) -> Genie:
        """Finds the clusters, numbered in the order of their first points.

        Raises:
            InputError: there are fewer points than clusters, or the threshold is outside [0, 1].
        """
        if not 0 <= self.gini_threshold <= 1:
            raise InputError(f"gini_threshold is {self.gini_threshold}; give a number from 0 to 1.")
        if not 1 <= self.n_clusters <= len(points):
            raise InputError(f"n_clusters is {self.n_clusters}; give a whole number from 1 to {len(points)}.")
        first, second = _tree_of(np.asarray(points, np.float64).tobytes(), points.shape[1])
        roots = _joined(first, second, self.n_clusters, self.gini_threshold)
        _, self.labels_ = np.unique(roots, return_inverse=True)
        return self


@lru_cache(maxsize=2)
def _tree_of(points: bytes, columns: int) -> tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]:
    """The spanning tree, cached for fits of the same points with other options."""
    return spanning_tree(np.frombuffer(points).reshape(-1, columns))


def spanning_tree(points: Float[np.ndarray, "N D"]) -> tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]:
    """The end points of the N - 1 edges of a minimum spanning tree, from the shortest edge on.

    >>> spanning_tree(np.array([[0.0], [5.0], [1.0]]))
    (array([0, 1]), array([2, 2]))
    """
    x = np.asarray(points, np.float64)
    count = len(x)
    nearest = np.zeros(count, int)
    away = np.full(count, np.inf)
    left = np.ones(count, bool)
    ends = np.zeros((count - 1, 2), int)
    lengths = np.zeros(count - 1)
    place = 0
    for step in range(count - 1):
        left[place] = False
        to_place = np.sum(np.square(x - x[place]), 1)
        closer = left & (to_place < away)
        away[closer] = to_place[closer]
        nearest[closer] = place
        place = int(np.argmin(np.where(left, away, np.inf)))
        ends[step] = sorted((nearest[place], place))
        lengths[step] = away[place]
    order = np.lexsort((ends[:, 1], ends[:, 0], lengths))
    return ends[order, 0], ends[order, 1]


def _joined(
    first: Int[np.ndarray, " E"], second: Int[np.ndarray, " E"], clusters: int, threshold: float
) -> Int[np.ndarray, " N"]:
    """The smallest index in the cluster of each point, after merging along the edges of the tree."""
    count = len(first) + 1
    roots = list(range(count))
    sizes = [1] * count
    held = np.zeros(count + 1, int)  # number of clusters of every size
    held[1] = count
    waiting = [True] * (count - 1)
    shortest = 0
    smallest = 1
    candidate = 0

    def root(point: int) -> int:
        while roots[point] != point:
            roots[point] = point = roots[roots[point]]
        return point

    for _ in range(count - clusters):
        least = int(np.flatnonzero(held)[0])
        if least != smallest:
            smallest = least
            candidate = 0
        while not waiting[shortest]:
            shortest += 1
        edge = shortest
        if gini(held) > threshold:
            # Edges that were skipped touch no cluster of the least size, and never will: clusters only grow.
            while (
                not waiting[candidate]
                or min(sizes[root(first[candidate])], sizes[root(second[candidate])]) > least
            ):
                candidate += 1
            edge = candidate
        waiting[edge] = False
        a, b = sorted((root(first[edge]), root(second[edge])))
        held[[sizes[a], sizes[b]]] -= 1 if sizes[a] != sizes[b] else 2
        roots[b] = a
        sizes[a] += sizes[b]
        held[sizes[a]] += 1
    return np.array([root(point) for point in range(count)])


def gini(held: Int[np.ndarray, " S"]) -> float:
    """The Gini index  sum_{i<j} |c_i - c_j| / ((k - 1) n)  of the sizes c of k clusters of n points.

    Args:
        held: [S] number of clusters of each size from 0.

    >>> gini(np.array([0, 3, 0, 1]))  # three clusters of one point, one of three
    0.3333333333333333
    """
    sizes = np.flatnonzero(held)
    many = held[sizes]
    clusters = many.sum()
    points = many @ sizes
    if clusters < 2:
        return 0.0
    # In increasing order, the cluster at place p of k contributes (2 p - k + 1) times its size.
    before = np.cumsum(many) - many
    places = many * before + many * (many - 1) // 2
    return float((2 * places - many * (clusters - 1)) @ sizes / ((clusters - 1) * points))
