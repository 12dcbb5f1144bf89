"""Clusters of new rows, from the nearest rows that were clustered."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from sklearn.neighbors import NearestNeighbors

NEIGHBOURS = 10
"""The number of clustered rows that the probabilities of a new row follow from."""


class Neighbours:
    """Rows that were clustered, by which new rows are assigned to clusters.

    >>> rows = Neighbours(np.array([[0.0], [1.0], [5.0]]), np.array([0, 0, 1]))
    >>> rows.labels(np.array([[4.0]])).tolist(), rows.probabilities(np.array([[4.0]]), 2).round(2).tolist()
    ([1], [[0.43, 0.57]])
    """

    def __init__(self, points: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"]) -> None:
        self.points = points
        self._labels = labels
        self._nearest = NearestNeighbors(n_neighbors=1).fit(points)

    def labels(self, points: Float[np.ndarray, "M D"]) -> Int[np.ndarray, " M"]:
        """The cluster of the nearest row."""
        return self._labels[self._nearest.kneighbors(points)[1][:, 0]]

    def probabilities(self, points: Float[np.ndarray, "M D"], clusters: int) -> Float[np.ndarray, "M K"]:
        """The share of each cluster among the nearest rows, each of half the weight of the one before."""
        count = min(NEIGHBOURS, len(self.points))
        near = self._labels[self._nearest.kneighbors(points, count)[1]]
        weights = 0.5 ** np.arange(1, count + 1)
        return np.stack([(near == cluster) @ (weights / weights.sum()) for cluster in range(clusters)], 1)
