"""Spectral clustering and Gaussian mixtures for many numbers of clusters, with the shared work done once.

Reference: Damle, Minden & Ying 2019, Simple, direct and efficient multi-way spectral clustering.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from sklearn.neighbors import kneighbors_graph

from ..clustering.host.genie import spanning_tree

DENSE_ROWS = 700
"""Up to this number of rows, a dense eigendecomposition is used."""
STEPS = 60
"""The largest number of steps of expectation maximisation."""
TOLERANCE = 1e-3
"""The least increase of the mean log-likelihood for another step; scikit-learn's default."""


def spectral_partitions(
    points: Float[np.ndarray, "N D"], counts: Sequence[int], neighbours: int
) -> Iterator[tuple[int, Int[np.ndarray, " N"]]]:
    """Every K of `counts` with the partition of spectral clustering, from one eigendecomposition.

    This is scikit-learn's `SpectralClustering` with `affinity="nearest_neighbors"` and
    `assign_labels="cluster_qr"`, except that a graph of several components is first connected by the edges of
    a minimum spanning tree.

    Args:
        points: [N, D].
        counts: numbers of clusters, below N.
        neighbours: number of neighbours in the graph, the point included; at most N.
    """
    graph = kneighbors_graph(points, neighbours, include_self=True)
    graph.setdiag(0)  # scikit-learn's Laplacian has no loops either
    graph = _connected(0.5 * (graph + graph.T), points)
    scale = 1 / np.sqrt(graph.sum(axis=1))
    vectors = _leading_eigenvectors(
        sparse.diags_array(scale) @ graph @ sparse.diags_array(scale), max(counts)
    )
    embedding = vectors * scale[:, None]
    for count in counts:
        yield count, _pivoted_labels(embedding[:, :count])


def _connected(graph: sparse.csr_array, points: Float[np.ndarray, "N D"]) -> sparse.csr_array:
    """The graph with the edges of a minimum spanning tree that join its components, each of weight 1/2."""
    graph.eliminate_zeros()
    components, component = connected_components(graph, directed=False)
    if components == 1:
        return sparse.csr_array(graph)
    first, second = spanning_tree(points)
    joining = component[first] != component[second]
    ends = first[joining], second[joining]
    edges = sparse.coo_array((np.full(len(ends[0]), 0.5), ends), shape=graph.shape)
    return sparse.csr_array(graph + edges + edges.T)


def _leading_eigenvectors(matrix: sparse.csr_array, count: int) -> Float[np.ndarray, "N K"]:
    """The eigenvectors of the largest eigenvalues of a symmetric matrix, from the largest on."""
    size = matrix.shape[0]
    if size <= DENSE_ROWS or count >= size - 1:
        _, vectors = linalg.eigh(matrix.toarray(), subset_by_index=[size - count, size - 1], overwrite_a=True)
    else:
        start = np.random.default_rng(0).normal(size=size)
        values, vectors = eigsh(matrix, count, which="LA", v0=start, tol=1e-4)
        vectors = vectors[:, np.argsort(values, kind="stable")]
    return vectors[:, ::-1]


def _pivoted_labels(embedding: Float[np.ndarray, "N K"]) -> Int[np.ndarray, " N"]:
    """The cluster of each row, by a QR decomposition with pivoting: each pivot row represents a cluster."""
    count = embedding.shape[1]
    _, pivots = linalg.qr(embedding.T, mode="r", pivoting=True, check_finite=False)
    rotation, _, other = linalg.svd(embedding[pivots[:count]].T)
    return np.argmax(np.abs(embedding @ (rotation @ other)), 1)


class Mixtures:
    """Gaussian mixtures of the same points, from different starts.

    The log-density is linear in the products of columns, so each step is two matrix products for all
    components together. The points should be around their mean, so that little precision is lost.

    Args:
        points: [N, D], centred.
        full: whether covariances are full, else diagonal.
        regularisation: added to the variances.

    >>> points = np.array([[-3.0], [-2.9], [-3.1], [3.0], [2.9], [3.1]])
    >>> Mixtures(points, full=True, regularisation=1e-5).labels(np.array([0, 0, 0, 1, 1, 0])).tolist()
    [0, 0, 0, 1, 1, 1]
    """

    def __init__(self, points: Float[np.ndarray, "N D"], *, full: bool, regularisation: float) -> None:
        rows, columns = points.shape
        pairs = np.triu_indices(columns) if full else (np.arange(columns), np.arange(columns))
        products = points[:, pairs[0]] * points[:, pairs[1]]
        self._full = full
        self._regularisation = regularisation
        self._pairs = pairs
        self._table = np.hstack([np.ones((rows, 1)), points, products])

    def labels(self, start: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
        """The most probable component of each point, after expectation maximisation from a partition."""
        table = self._table
        shares = np.eye(start.max() + 1)[start]
        before = -np.inf
        for _ in range(STEPS):
            log_joint = table @ self._coefficients(shares.T @ table).T
            highest = log_joint.max(1, keepdims=True)
            shares = np.exp(log_joint - highest)
            total = shares.sum(1, keepdims=True)
            shares /= total
            likelihood = float(np.mean(highest + np.log(total)))
            if abs(likelihood - before) < TOLERANCE:
                break
            before = likelihood
        return np.argmax(log_joint, 1)

    def _coefficients(self, sums: Float[np.ndarray, "K F"]) -> Float[np.ndarray, "K F"]:
        """The log of weight times density of every component, as coefficients of the products of columns."""
        first, second = self._pairs
        columns = (sums.shape[1] - 1) - len(first)
        weights = sums[:, 0] + 10 * np.finfo(float).eps
        means = sums[:, 1 : columns + 1] / weights[:, None]
        spread = sums[:, columns + 1 :] / weights[:, None] - means[:, first] * means[:, second]
        spread += self._regularisation * (first == second)
        if self._full:
            covariances = np.zeros((len(sums), columns, columns))
            covariances[:, first, second] = covariances[:, second, first] = spread
            factors = np.linalg.inv(np.linalg.cholesky(covariances))
            precisions = np.swapaxes(factors, 1, 2) @ factors
            log_roots = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
            linear = (precisions @ means[:, :, None])[:, :, 0]
            quadratic = precisions[:, first, second] * np.where(first == second, -0.5, -1)
        else:
            log_roots = -0.5 * np.log(spread).sum(1)
            linear = means / spread
            quadratic = -0.5 / spread
        constant = np.log(weights / weights.sum()) + log_roots - 0.5 * np.sum(linear * means, 1)
        constant -= 0.5 * columns * np.log(2 * np.pi)
        return np.hstack([constant[:, None], linear, quadratic])
