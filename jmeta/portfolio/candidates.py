"""Candidates, the strategies that a meta-model chooses from, and portfolios of them.

This module imports no jax, so that a process that only runs candidates starts quickly.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..clustering.host.algorithms import HOST_ALGORITHMS
from ..errors import InputError
from .own import clusters_argument, source_of

POOL_ONLY = ("zero_shot", "one_cluster")
"""Algorithms of candidates whose partitions come with a pool, and that are not run by themselves."""


class Candidate(NamedTuple):
    """An algorithm with its parameters.

    Attributes:
        algorithm: a name of `HOST_ALGORITHMS` or, on the device, of `ON_DEVICE`; or one's own.
        options: its arguments, by name.
        scaled: whether every column is divided by its standard deviation before.
        clusters: the number of clusters, where that is part of the candidate; None where it comes with the
            problem.
        device: whether jmeta's own algorithm of that name runs, inside `jit`, on the device.
        make: of an algorithm of one's own: options -> an estimator with `fit`, or a `Clusterer`.
    """

    algorithm: str
    options: tuple[tuple[str, Any], ...] = ()
    scaled: bool = False
    clusters: int | None = None
    device: bool = False
    make: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        """A name such as "spectral(gamma=5)", with a star for scaled columns and "/ 3" for three clusters.

        >>> Candidate("spectral", (("gamma", 5),), scaled=True).name
        'spectral*(gamma=5)'
        """
        options = ", ".join(f"{key}={value}" for key, value in self.options)
        place, star = "device " * self.device, "*" * self.scaled
        count = f" / {self.clusters}" if self.clusters else ""
        return place + self.algorithm + star + (f"({options})" if options else "") + count

    @property
    def needs_clusters(self) -> bool:
        """Whether the algorithm takes the number of clusters."""
        if self.make is not None:
            return clusters_argument(self.make) is not None
        if self.device:
            return self.algorithm not in FIND_CLUSTERS
        return HOST_ALGORITHMS[self.algorithm].clusters_argument is not None

    def clusters_for(self, known: int | None) -> int | None:
        """The number of clusters that the algorithm is given: its own, else the known K of the problem."""
        return (self.clusters or known) if self.needs_clusters else None


def candidate(
    algorithm: str,
    *,
    scaled: bool = False,
    device: bool = False,
    make: Callable[..., Any] | None = None,
    **options: Any,
) -> Candidate:
    """A candidate with its options given by keyword.

    Args:
        algorithm: a name of `HOST_ALGORITHMS`, of `ON_DEVICE`, or of one's own.
        scaled: whether every column is divided by its standard deviation before.
        device: whether jmeta's own algorithm of that name runs on the device.
        make: of an algorithm of one's own: options -> an estimator with `fit` and `labels_` or `predict`, or
            a `Clusterer`. It gets the number of clusters as `n_clusters`, `n_components` or `clusters`, and a
            seed as `random_state`, where it has such an argument.
        options: of the algorithm.

    Raises:
        InputError: there is no algorithm of that name, or one's own has the name of another.

    >>> candidate("hdbscan", min_samples=4).name
    'hdbscan(min_samples=4)'
    >>> from sklearn.cluster import MeanShift
    >>> candidate("mine", make=MeanShift, bandwidth=2.0).needs_clusters
    False
    """
    known = algorithm in HOST_ALGORITHMS or algorithm in POOL_ONLY
    if make is not None and (known or device):
        raise InputError(f"{algorithm} is an algorithm of jmeta's; give yours another name, without device.")
    if make is None and not known and not device:
        raise InputError(
            f"there is no algorithm {algorithm!r}; choose one of {', '.join(HOST_ALGORITHMS)}, or give make."
        )
    return Candidate(algorithm, tuple(sorted(options.items())), scaled, device=device, make=make)


ONE_CLUSTER = Candidate("one_cluster", clusters=1)
"""Every point in one cluster."""
FIND_CLUSTERS = ("dbscan", "mean_shift")
"""On-device algorithms that find the number of clusters themselves."""
SEVEN = (
    candidate("kmeans", n_init=10),
    candidate("gaussian_mixture", n_init=1),
    candidate("ward"),
    candidate("average"),
    candidate("complete"),
    candidate("spectral", gamma=5),
    candidate("hdbscan", min_samples=4),
)
"""k-means, Gaussian mixture, three linkages, spectral clustering and HDBSCAN, on unscaled columns."""
GENIE = tuple(candidate("genie", gini_threshold=threshold) for threshold in (0.1, 0.3, 0.5, 0.7))
GRID = (
    *SEVEN,
    *(
        candidate("gaussian_mixture", n_init=5, covariance_type=kind)
        for kind in ("diag", "tied", "spherical")
    ),
    candidate("gaussian_mixture", n_init=10),
    candidate("single"),
    *(candidate("spectral", scaled=True, gamma=gamma) for gamma in (1, 10, 100)),
    candidate("spectral", affinity="nearest_neighbors", n_neighbors=10, assign_labels="cluster_qr"),
    *(
        candidate("hdbscan", min_samples=few, min_cluster_size=least)
        for few, least in itertools.product((2, 8), (10, 30))
    ),
    *(candidate(name, scaled=True) for name in ("kmeans", "gaussian_mixture", "ward", "average", "complete")),
)
MORE = (
    candidate("birch", scaled=True),
    candidate("bisecting_kmeans"),
    *(candidate("dbscan", scaled=True, eps=eps) for eps in (0.05, 0.1, 0.2)),
)
AUTO = (
    candidate("kmeans", n_init=5),
    candidate("gaussian_mixture", n_init=3),
    candidate("gaussian_mixture", n_init=3, covariance_type="tied"),
    candidate("ward"),
    candidate("average"),
    candidate("spectral", affinity="nearest_neighbors", n_neighbors=10, assign_labels="cluster_qr"),
    *(candidate("genie", gini_threshold=threshold) for threshold in (0.1, 0.3, 0.6)),
    *(candidate(name, scaled=True) for name in ("kmeans", "genie")),
    candidate("hdbscan", min_samples=4),
    candidate("hdbscan", min_samples=8, min_cluster_size=30),
)
"""The candidates of `AutoCluster`: few, quick, and each the best on some problems."""
OWN = (
    candidate("kmeans", device=True, restarts=5),
    candidate("gaussian_mixture", device=True, restarts=3),
    *(candidate(linkage, device=True) for linkage in ("ward", "average", "single")),
    candidate("spectral", device=True),
    candidate("dbscan", device=True),
)
"""Seven candidates that run on the device."""
PORTFOLIOS = {
    "seven": SEVEN,
    "genie": (*SEVEN, candidate("genie", gini_threshold=0.3)),
    "grid": GRID,
    "all": (*GRID, *GENIE, *MORE),
    "auto": AUTO,
    "device": OWN,
}


def portfolio(name: str, *, clusters: Sequence[int] = ()) -> tuple[Candidate, ...]:
    """The portfolio of a name.

    Args:
        name: "seven"; "genie", the seven and Genie; "grid", a grid of parameters of the seven; "all"; "auto";
            or "device", of algorithms that run inside `jit`.
        clusters: numbers of clusters to try where K is not known; every algorithm that takes the number of
            clusters is a candidate for each of them.

    Raises:
        InputError: there is no portfolio of that name, or a number of clusters is below one.

    >>> [one.algorithm for one in portfolio("seven")][:3]
    ['kmeans', 'gaussian_mixture', 'ward']
    >>> len(portfolio("seven", clusters=[2, 3, 4]))
    19
    """
    if name not in PORTFOLIOS:
        raise InputError(f"there is no portfolio {name!r}; choose one of {', '.join(PORTFOLIOS)}.")
    if any(count < 1 for count in clusters):
        raise InputError(f"clusters are {list(clusters)}; give whole numbers >= 1.")
    return tuple(
        one._replace(clusters=count)
        for one in PORTFOLIOS[name]
        for count in (clusters if one.needs_clusters and clusters else (None,))
    )


def fallback(candidates: Sequence[Candidate]) -> int:
    """The place of k-means with the fewest clusters, which returns labels where all others fail.

    >>> fallback([candidate("ward"), candidate("kmeans")])
    1
    """
    return min(
        range(len(candidates)),
        key=lambda at: (candidates[at].algorithm != "kmeans", candidates[at].clusters or 0),
    )


def method_indicators(candidates: Sequence[Candidate]) -> Float[np.ndarray, "A K"]:
    """One-hot rows of the method of every candidate: its algorithm and options, not its number of clusters.

    >>> method_indicators(portfolio("seven", clusters=[2, 3])[:4]).tolist()
    [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    """
    methods = [one._replace(clusters=None) for one in candidates]
    return np.array([[method == other for other in dict.fromkeys(methods)] for method in methods], float)


def canonical_name(candidate: Candidate) -> str:
    """A unique name of a candidate without its number of clusters, for files that are named by content."""
    parts = [candidate.algorithm, dict(candidate.options), candidate.scaled, *["device"] * candidate.device]
    return json.dumps([*parts, *source_of(candidate.make)], sort_keys=True, default=repr)
