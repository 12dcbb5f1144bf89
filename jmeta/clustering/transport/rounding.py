"""Hard labels from soft assignments whose clusters have given sizes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def balanced_labels(
    log_probs: Float[np.ndarray, "N K"], weights: Float[np.ndarray, " N"], shares: Float[np.ndarray, " K"]
) -> Int[np.ndarray, " N"]:
    """Labels whose clusters hold their share of the weight, as nearly as whole points allow.

    From the most probable labels, points move to other clusters in the order of what that costs, log p_nk -
    log p_nj, as long as a move evens out the excess weights of its two clusters.

    Args:
        log_probs: [N, K] logarithms of the probabilities.
        weights: [N]; points of weight zero keep their most probable cluster.
        shares: [K] share of the total weight of each cluster.

    >>> probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    >>> balanced_labels(np.log(probabilities), np.ones(4), np.array([0.5, 0.5]))
    array([0, 0, 1, 1])
    """
    labels = log_probs.argmax(1)
    rows = np.arange(len(labels))
    excess = np.bincount(labels, weights, len(shares)) - shares * weights.sum()
    unit = 1 + 1e-9  # a move that evens out nothing but rounding errors would go on for ever
    while True:
        useful = (excess[labels][:, None] - excess > unit * weights[:, None]) & (weights[:, None] > 0)
        points, clusters = np.nonzero(useful)
        if not len(points):
            return labels
        cost = log_probs[rows, labels][points] - log_probs[points, clusters]
        before = labels.copy()
        for i in np.argsort(cost, kind="stable"):
            point, to, weight = points[i], clusters[i], weights[points[i]]
            start = labels[point]
            if start == before[point] and excess[start] - excess[to] > unit * weight:
                labels[point] = to
                excess[start] -= weight
                excess[to] += weight
