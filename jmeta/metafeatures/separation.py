"""Descriptors of partitions under Gaussian clusters: how well they fit, and how far they are from each other.

Points are seen in their ten leading principal components. The covariance of a cluster is shrunk towards that
within all clusters of the partition, as clusters may have fewer points than there are columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

COMPONENTS = 10
"""The largest number of principal components."""
RIDGE = 1e-5
"""What is added to variances, as a share of the mean variance of all points."""
WINDOW = 0.25
"""Half-width of the intervals in which points are counted, where two centers are at -1 and 1."""
LIMIT = 20.0
"""Largest absolute gain in log-likelihood per point."""
SMALL = 10
"""Clusters of fewer points have no density at their border."""
NAMES = (
    "gaussian gain",
    "least separation",
    "separation",
    "greatest border density",
    "border density",
)


class Moments(NamedTuple):
    """Of the clusters of one partition.

    Attributes:
        sizes: [K] their numbers of points.
        centers: [K, D].
        covariances: [K, D, D] with divisor n; zero for a single point.
        within: [D, D] the mean covariance, weighted by sizes.
    """

    sizes: Float[np.ndarray, " K"]
    centers: Float[np.ndarray, "K D"]
    covariances: Float[np.ndarray, "K D D"]
    within: Float[np.ndarray, "D D"]


def separation(
    points: Float[np.ndarray, "N D"], labels: Int[np.ndarray, "A N"]
) -> dict[str, Float[np.ndarray, " A"]]:
    """Descriptors of every partition, by name.

    - gaussian gain: what the Bayesian information criterion of a Gaussian for each cluster gains over one
      Gaussian for all points, per point. Noise has the Gaussian of all points.
    - least separation, separation: distance of the center of a cluster to the nearest other center, in
      standard deviations within clusters; the least one, and the mean over points.
    - greatest border density, border density: density of a cluster half-way to the nearest other center,
      relative to its density at its own center. A uniform cluster that was cut in two has 1; clusters that
      are well separated have 0. The greatest one, and the mean over points.

    Args:
        points: [N, D].
        labels: [A, N] partitions with clusters from 0 and -1 for noise.

    >>> x = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    >>> found = separation(x, np.array([[0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1]]))
    >>> found["gaussian gain"].round(1).tolist(), found["separation"].round(1).tolist()
    ([2.3, -1.1], [61.0, 0.7])
    """
    x = _components(np.asarray(points, float))
    first, second = np.triu_indices(x.shape[1])
    products = x[:, first] * x[:, second]
    ridge = RIDGE * np.eye(x.shape[1])
    whole = _moments(x, products, np.zeros(len(x), int), ridge)
    alone = _criterion(whole, whole, 0, len(x))
    rows = []
    for one in map(_numbered, labels):
        if one.max() < 0:
            rows.append([0.0, 0.0, 0.0, 1.0, 1.0])
            continue
        moments = _moments(x, products, one, ridge)
        gain = (_criterion(moments, whole, int((one < 0).sum()), len(x)) - alone) / len(x)
        rows.append([np.clip(gain, -LIMIT, LIMIT), *_distances(x, one, moments)])
    return dict(zip(NAMES, np.array(rows).T, strict=True))


def principal_axes(
    points: Float[np.ndarray, "N D"], count: int
) -> tuple[Float[np.ndarray, "N E"], Float[np.ndarray, " E"]]:
    """The coordinates of points on their first principal axes, and the shares of the variance along these.

    Unlike scikit-learn's, it takes equal points, whose coordinates and shares are zero.

    >>> principal_axes(np.array([[0.0, 0.0], [2.0, 0.0]]), 1)[1]
    array([1.])
    """
    left, values, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    shares = np.square(values) / max(np.square(values).sum(), np.finfo(float).tiny)
    return left[:, :count] * values[:count], shares[:count]


def _components(points: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N C"]:
    """Coordinates along the leading principal axes, with a mean variance of one; zero where all are equal."""
    centered = points - points.mean(0)
    if points.shape[1] > COMPONENTS:
        centered, _ = principal_axes(points, COMPONENTS)
    scale = np.sqrt(np.mean(np.square(centered)))
    return centered / (scale if scale > 0 else 1)


def _numbered(labels: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """The labels without gaps between the numbers of clusters."""
    occurs = np.bincount(labels[labels >= 0], minlength=1) > 0
    return np.where(labels >= 0, (np.cumsum(occurs) - 1)[labels], -1)


def _moments(
    x: Float[np.ndarray, "N D"],
    products: Float[np.ndarray, "N P"],
    labels: Int[np.ndarray, " N"],
    ridge: Float[np.ndarray, "D D"],
) -> Moments:
    """Sizes, centers and shrunk covariances of the clusters."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(labels.max() + 1))
    sizes = np.diff(starts, append=len(labels)).astype(float)
    centers = np.add.reduceat(x[order], starts) / sizes[:, None]
    squares = np.empty((len(sizes), *ridge.shape))
    first, second = np.triu_indices(len(ridge))
    squares[:, first, second] = np.add.reduceat(products[order], starts) / sizes[:, None]
    squares[:, second, first] = squares[:, first, second]
    own = squares - centers[:, :, None] * centers[:, None, :]
    within = np.einsum("k,kij->ij", sizes / sizes.sum(), own) + ridge
    return Moments(sizes, centers, own, within)


def _criterion(moments: Moments, whole: Moments, noise: int, count: int) -> float:
    """The Bayesian information criterion, as a log-likelihood less its penalty."""
    sizes, width = moments.sizes, len(moments.within)
    shrunk = (sizes[:, None, None] * moments.covariances + width * moments.within) / (
        sizes[:, None, None] + width
    )
    fit = np.linalg.slogdet(shrunk)[1] + np.einsum("kij,kji->k", np.linalg.inv(shrunk), moments.covariances)
    likelihood = float(sizes @ (np.log(sizes / count) - fit / 2))
    if noise:
        likelihood += noise * (np.log(noise / count) - (np.linalg.slogdet(whole.within)[1] + width) / 2)
    parameters = len(sizes) * (1 + width + width * (width + 1) / 2) - 1
    return likelihood - parameters * np.log(count) / 2


def _distances(
    x: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"], moments: Moments
) -> tuple[float, float, float, float]:
    """Separation of the clusters, and their densities at the border."""
    if len(moments.sizes) < 2:
        return 0.0, 0.0, 1.0, 1.0
    whiten = np.linalg.inv(np.linalg.cholesky(moments.within)).T
    centers = moments.centers @ whiten
    squares = np.square(centers[:, None] - centers).sum(-1)
    np.fill_diagonal(squares, np.inf)
    nearest = squares.argmin(1)
    distance = np.sqrt(squares[np.arange(len(centers)), nearest])
    owned = labels >= 0
    own = labels[owned]
    towards = centers[nearest] - centers
    at = np.einsum("nd,nd->n", x[owned] @ whiten - centers[own], towards[own])
    at = 2 * at / np.maximum(distance[own] ** 2, np.finfo(float).tiny) - 1
    border = np.bincount(own[np.abs(at) < WINDOW], minlength=len(centers))
    middle = np.bincount(own[np.abs(at + 1) < WINDOW], minlength=len(centers))
    density = np.minimum(2 * border / np.maximum(middle, 1), 4.0)
    share = moments.sizes / moments.sizes.sum()
    large = density[moments.sizes >= SMALL]
    separations = np.minimum(distance, 100.0)
    return (
        float(separations.min()),
        float(share @ separations),
        float(large.max()) if len(large) else 0.0,
        float(share @ density),
    )
