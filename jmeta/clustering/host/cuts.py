"""The partitions of a hierarchical clustering, for many numbers of clusters at once.

A hierarchy of N points is given as N - 1 merges in their order, each as two points whose clusters are joined.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int


def cuts(
    first: Int[np.ndarray, " E"], second: Int[np.ndarray, " E"], counts: Sequence[int]
) -> list[Int[np.ndarray, " N"]]:
    """The partition into K clusters, after N - K merges, for every K of `counts`.

    Args:
        first: [N - 1] a point of one of the clusters that each merge joins, in the order of the merges.
        second: [N - 1] a point of the other.
        counts: numbers of clusters, from 1 to N.

    Returns:
        For every K, [N] clusters from 0, in the order of their first points.

    >>> [labels.tolist() for labels in cuts(np.array([2, 0, 0]), np.array([3, 1, 3]), [2, 3])]
    [[0, 0, 1, 1], [0, 1, 2, 2]]
    """
    points, merge_after = _leaves(first.tolist(), second.tolist())
    size = len(points)
    partitions = []
    for count in counts:
        starts = np.concatenate([[0], np.flatnonzero(merge_after >= size - count) + 1])
        firsts = np.minimum.reduceat(points, starts)
        number = np.empty(count, int)
        number[np.argsort(firsts)] = np.arange(count)
        labels = np.empty(size, int)
        labels[points] = np.repeat(number, np.diff(starts, append=size))
        partitions.append(labels)
    return partitions


def _leaves(first: list[int], second: list[int]) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " E"]]:
    """The points, ordered so that every cluster is contiguous, and the merge that joins each to the next."""
    size = len(first) + 1
    roots = list(range(size))
    last = list(range(size))
    following = [-1] * size
    merge_after = [0] * size

    for merge, (one, other) in enumerate(zip(first, second, strict=True)):
        a, b = root_of(roots, one), root_of(roots, other)
        following[last[a]] = b
        merge_after[last[a]] = merge
        last[a] = last[b]
        roots[b] = a
    order = [root_of(roots, 0)]
    while following[order[-1]] >= 0:
        order.append(following[order[-1]])
    return np.array(order), np.array(merge_after)[order[:-1]]


def root_of(roots: list[int], point: int) -> int:
    """The root of a point in a forest that maps each point towards its root; shortens the path to it.

    >>> root_of([0, 0, 1], 2)
    0
    """
    while roots[point] != point:
        roots[point] = point = roots[roots[point]]
    return point


def linkage_merges(
    linkage: Float[np.ndarray, "E 4"],
) -> tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]:
    """The merges of SciPy's linkage matrix, each as two points.

    >>> linkage_merges(np.array([[2, 3, 0.1, 2], [0, 1, 0.2, 2], [4, 5, 9, 4]]))
    (array([2, 0, 2]), array([3, 1, 0]))
    """
    size = len(linkage) + 1
    point = list(range(size))
    for cluster in linkage[:, 0].astype(int).tolist():
        point.append(point[cluster])
    pairs = np.array(point)[linkage[:, :2].astype(int)]
    return pairs[:, 0], pairs[:, 1]
