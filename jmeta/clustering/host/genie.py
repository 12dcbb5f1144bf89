"""Genie: single linkage that limits the inequality of cluster sizes; runs on the host.

Clusters are merged along the edges of a minimum spanning tree from the shortest on, as in single linkage; but
while the Gini index of the cluster sizes is above a threshold, the shortest edge that leaves a smallest
cluster is used instead. The tree is built by Prim's algorithm, with memory linear in the number of points and
time quadratic.

Reference: Gagolewski, Bartoszuk & Cena 2016, Genie: a new, fast, and outlier-resistant hierarchical
clustering algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist

from ...errors import InputError
from .cuts import cuts, root_of


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
            InputError: there are fewer points than clusters, the threshold is outside [0, 1], or squared
                distances overflow.
        """
        if not 0 <= self.gini_threshold <= 1:
            raise InputError(f"gini_threshold is {self.gini_threshold}; give a number from 0 to 1.")
        if not 1 <= self.n_clusters <= len(points):
            raise InputError(f"n_clusters is {self.n_clusters}; give a whole number from 1 to {len(points)}.")
        found = genie_partitions(points, [self.n_clusters], [self.gini_threshold])
        self.labels_ = found[self.gini_threshold][0]
        return self


@lru_cache(maxsize=2)
def _tree_of(points: bytes, columns: int) -> tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]:
    """The spanning tree, cached for fits of the same points with other options."""
    return spanning_tree(np.frombuffer(points).reshape(-1, columns))


def spanning_tree(points: Float[np.ndarray, "N D"]) -> tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]:
    """The end points of the N - 1 edges of a minimum spanning tree, from the shortest edge on.

    Raises:
        InputError: squared distances of the points overflow.

    >>> spanning_tree(np.array([[0.0], [5.0], [1.0]]))
    (array([0, 1]), array([2, 2]))
    """
    x = np.ascontiguousarray(points, np.float64)
    count = len(x)
    nearest = np.zeros(count, int)
    away = np.full(count, np.inf)  # squared distance to the tree; infinite for points of the tree
    left = np.ones(count, bool)
    ends = np.zeros((count - 1, 2), int)
    lengths = np.zeros(count - 1)
    place = 0
    for step in range(count - 1):
        left[place] = False
        away[place] = np.inf
        to_place = cdist(x[place : place + 1], x, "sqeuclidean")[0]
        closer = left & (to_place < away)
        np.copyto(away, to_place, where=closer)
        nearest[closer] = place
        place = int(np.argmin(away))
        ends[step] = nearest[place], place
        lengths[step] = away[place]
    if not np.all(np.isfinite(lengths)):
        raise InputError("squared distances of the points overflow; give them in larger units.")
    ends.sort(axis=1)
    order = np.lexsort((ends[:, 1], ends[:, 0], lengths))
    return ends[order, 0], ends[order, 1]


def merge_order(
    first: Int[np.ndarray, " E"], second: Int[np.ndarray, " E"], threshold: float
) -> Int[np.ndarray, " E"]:
    """The edges of a spanning tree in the order in which Genie merges along them, until one cluster is left.

    Args:
        first: [N - 1] one end of every edge, from the shortest edge on.
        second: [N - 1] the other end.
        threshold: Gini index of the sizes above which smallest clusters are merged first.

    >>> merge_order(np.array([0, 2, 1, 3]), np.array([1, 3, 2, 4]), 0.1)
    array([0, 1, 3, 2])
    """
    ends = list(zip(first.tolist(), second.tolist(), strict=True))
    clusters = len(ends) + 1
    roots = list(range(clusters))
    sizes = [1] * clusters
    held = {1: clusters}  # number of clusters of every size
    differences = 0  # sum of the differences of sizes, over all pairs of clusters
    waiting = [True] * len(ends)
    shortest = 0
    smallest = 1
    candidate = 0

    order = []
    for left in range(clusters, 1, -1):
        least = min(held)
        if least != smallest:
            smallest = least
            candidate = 0
        while not waiting[shortest]:
            shortest += 1
        edge = shortest
        if differences / ((left - 1) * clusters) > threshold:
            # Edges that were skipped touch no cluster of the least size, and never will: clusters only grow.
            while not waiting[candidate] or all(
                sizes[root_of(roots, end)] > least for end in ends[candidate]
            ):
                candidate += 1
            edge = candidate
        waiting[edge] = False
        order.append(edge)
        a, b = sorted(root_of(roots, end) for end in ends[edge])
        differences += _change(held, sizes[a], sizes[b])
        roots[b] = a
        sizes[a] += sizes[b]
    return np.array(order, int)


def _change(held: dict[int, int], a: int, b: int) -> int:
    """The change of the sum of differences where clusters of sizes `a` and `b` merge; updates `held`."""
    total = a + b
    change = abs(a - b) - total
    for size, many in held.items():
        change += many * (abs(total - size) - abs(a - size) - abs(b - size))
    for size in (a, b):
        held[size] -= 1
        if not held[size]:
            del held[size]
    held[total] = held.get(total, 0) + 1
    return change


def genie_partitions(
    points: Float[np.ndarray, "N D"], counts: Sequence[int], thresholds: Sequence[float]
) -> dict[float, list[Int[np.ndarray, " N"]]]:
    """The partitions of `Genie` for every threshold and number of clusters, from one spanning tree.

    >>> points = np.array([[0.0], [0.1], [0.2], [2.0], [2.1], [2.2], [9.0]])
    >>> [labels.tolist() for labels in genie_partitions(points, [2, 3], [0.1])[0.1]]
    [[0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 2]]
    """
    first, second = _tree_of(np.asarray(points, np.float64).tobytes(), points.shape[1])
    orders = {threshold: merge_order(first, second, threshold) for threshold in thresholds}
    return {threshold: cuts(first[order], second[order], counts) for threshold, order in orders.items()}
