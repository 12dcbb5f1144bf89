"""Portfolios: the strategies that a meta-model chooses from.

A `Candidate` is an algorithm with its parameters, and says whether features are scaled before.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..clustering.host import PORTFOLIO, host_labels
from ..records import InputError


class Candidate(NamedTuple):
    """One way to cluster.

    Attributes:
        algorithm: a name of `host`.
        options: its arguments, by name.
        scaled: whether every feature is divided by its standard deviation before.
        clusters: how many to look for, where that is part of the strategy; None where it is given with the
            problem.
    """

    algorithm: str
    options: tuple[tuple[str, Any], ...] = ()
    scaled: bool = False
    clusters: int | None = None

    @property
    def name(self) -> str:
        """Such as "spectral(gamma=5)"; with a star where features are scaled, and "/ 3" for three clusters.

        >>> Candidate("spectral", (("gamma", 5),), scaled=True).name
        'spectral*(gamma=5)'
        """
        told = ", ".join(f"{key}={value}" for key, value in self.options)
        count = f" / {self.clusters}" if self.clusters else ""
        return self.algorithm + "*" * self.scaled + (f"({told})" if told else "") + count

    @property
    def told(self) -> bool:
        """Whether it must be told the number of clusters."""
        return PORTFOLIO[self.algorithm].told is not None

    def sought(self, given: int | None) -> int | None:
        """The number of clusters that it is told, of a problem that has as many as `given`."""
        return (self.clusters or given) if self.told else None


def candidate(algorithm: str, *, scaled: bool = False, **options: Any) -> Candidate:
    """A candidate, its options by keyword.

    >>> candidate("hdbscan", min_samples=4).name
    'hdbscan(min_samples=4)'
    """
    return Candidate(algorithm, tuple(sorted(options.items())), scaled)


SEVEN = (
    candidate("kmeans", n_init=10),
    candidate("gaussian_mixture", n_init=1),
    candidate("ward"),
    candidate("average"),
    candidate("complete"),
    candidate("spectral", gamma=5),
    candidate("hdbscan", min_samples=4),
)
"""k-means, Gaussian mixture, three linkages, spectral clustering and HDBSCAN, on the data as given."""
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
"""What `AutoCluster` tries: few, quick, and each best somewhere."""
PORTFOLIOS = {
    "seven": SEVEN,
    "genie": (*SEVEN, candidate("genie", gini_threshold=0.3)),
    "grid": GRID,
    "all": (*GRID, *GENIE, *MORE),
    "auto": AUTO,
}


def portfolio(name: str, *, clusters: Sequence[int] = ()) -> tuple[Candidate, ...]:
    """A portfolio by name: "seven"; these and "genie"; a "grid" of parameters of the seven; "all"; "auto".

    Args:
        name: which.
        clusters: what every algorithm that must be told their number is to try, where it is not known; each
            is a candidate of its own.

    Raises:
        InputError: there is none of that name, or a number of clusters is none.

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
        for count in (clusters if one.told and clusters else (None,))
    )


def apply_candidate(
    chosen: Candidate, points: Float[np.ndarray, "N D"], clusters: int | None, seed: int
) -> Int[np.ndarray, " N"]:
    """The labels that a candidate finds, from 0, noise -1.

    Raises:
        InputError: it cannot cluster these points.
    """
    x = np.asarray(points, np.float64)
    if chosen.scaled:
        spread = x.std(0)
        x = (x - x.mean(0)) / np.where(spread > 0, spread, 1)
    return host_labels(chosen.algorithm, x, chosen.sought(clusters), seed=seed, **dict(chosen.options))


def spelled(chosen: Candidate) -> str:
    """The candidate but for its number of clusters, for what is stored by its content."""
    return json.dumps([chosen.algorithm, dict(chosen.options), chosen.scaled], sort_keys=True)
