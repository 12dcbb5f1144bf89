"""Portfolios: the strategies that a meta-model chooses from.

A `Candidate` is an algorithm with its parameters, and says whether features are scaled before.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..clustering.agglomerative import Linkage, agglomerative
from ..clustering.density import dbscan
from ..clustering.gaussian_mixture import gaussian_mixture
from ..clustering.host import PORTFOLIO, host, host_labels
from ..clustering.kmeans import kmeans
from ..clustering.mean_shift import mean_shift
from ..clustering.soft_kmeans import soft_kmeans
from ..clustering.spectral import spectral
from ..records import Batch, Clusterer, InputError

MOST_FOUND = 32
"""Clusters that algorithms of the device may find, where they find the number themselves."""
LEAST = 128
"""Points that there is room for at least."""


class Candidate(NamedTuple):
    """One way to cluster.

    Attributes:
        algorithm: a name of `host`, or, on the device, of `DEVICE`.
        options: its arguments, by name.
        scaled: whether every feature is divided by its standard deviation before.
        clusters: how many to look for, where that is part of the strategy; None where it is given with the
            problem.
        device: whether jmeta's own algorithm of that name runs, inside `jit`, on the device.
    """

    algorithm: str
    options: tuple[tuple[str, Any], ...] = ()
    scaled: bool = False
    clusters: int | None = None
    device: bool = False

    @property
    def name(self) -> str:
        """Such as "spectral(gamma=5)"; with a star where features are scaled, and "/ 3" for three clusters.

        >>> Candidate("spectral", (("gamma", 5),), scaled=True).name
        'spectral*(gamma=5)'
        """
        told = ", ".join(f"{key}={value}" for key, value in self.options)
        count = f" / {self.clusters}" if self.clusters else ""
        where = "device " * self.device
        return where + self.algorithm + "*" * self.scaled + (f"({told})" if told else "") + count

    @property
    def told(self) -> bool:
        """Whether it must be told the number of clusters."""
        return self.algorithm not in UNTOLD if self.device else PORTFOLIO[self.algorithm].told is not None

    def sought(self, given: int | None) -> int | None:
        """The number of clusters that it is told, of a problem that has as many as `given`."""
        return (self.clusters or given) if self.told else None


def candidate(algorithm: str, *, scaled: bool = False, device: bool = False, **options: Any) -> Candidate:
    """A candidate, its options by keyword.

    >>> candidate("hdbscan", min_samples=4).name
    'hdbscan(min_samples=4)'
    """
    return Candidate(algorithm, tuple(sorted(options.items())), scaled, device=device)


DEVICE: dict[str, Callable[..., Clusterer]] = {
    "kmeans": kmeans,
    "soft_kmeans": soft_kmeans,
    "gaussian_mixture": gaussian_mixture,
    **{linkage: partial(agglomerative, linkage=linkage) for linkage in get_args(Linkage)},
    "spectral": spectral,
    "dbscan": partial(dbscan, MOST_FOUND),
    "mean_shift": partial(mean_shift, MOST_FOUND),
}
"""jmeta's own algorithms, by name."""
UNTOLD = ("dbscan", "mean_shift")
"""Those that find the number of clusters themselves."""


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
OWN = (
    candidate("kmeans", device=True, restarts=5),
    candidate("gaussian_mixture", device=True, restarts=3),
    *(candidate(linkage, device=True) for linkage in ("ward", "average", "single")),
    candidate("spectral", device=True),
    candidate("dbscan", device=True),
)
"""Seven that run on the device."""
PORTFOLIOS = {
    "seven": SEVEN,
    "genie": (*SEVEN, candidate("genie", gini_threshold=0.3)),
    "grid": GRID,
    "all": (*GRID, *GENIE, *MORE),
    "auto": AUTO,
    "device": OWN,
}


def portfolio(name: str, *, clusters: Sequence[int] = ()) -> tuple[Candidate, ...]:
    """A portfolio by name.

    "seven"; these and "genie"; a "grid" of parameters of the seven; "all"; "auto"; and "device", of
    algorithms that run inside `jit`.

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


def last_resort(candidates: Sequence[Candidate]) -> int:
    """The place of k-means of the fewest clusters, which finds something where all others fail.

    >>> last_resort([candidate("ward"), candidate("kmeans")])
    1
    """
    return min(
        range(len(candidates)),
        key=lambda at: (candidates[at].algorithm != "kmeans", candidates[at].clusters or 0),
    )


def apply_candidate(
    chosen: Candidate, points: Float[np.ndarray, "N D"], clusters: int | None, seed: int
) -> Int[np.ndarray, " N"]:
    """The labels that a candidate finds, from 0, noise -1.

    Raises:
        InputError: it cannot cluster these points.
    """
    x = np.asarray(points, np.float64)
    if chosen.device:
        told = chosen._replace(clusters=chosen.sought(clusters))
        return np.asarray(_on_device(told, *padded(x, room_for(len(x))), seed))[: len(x)]
    if chosen.scaled:
        spread = x.std(0)
        x = (x - x.mean(0)) / np.where(spread > 0, spread, 1)
    return host_labels(chosen.algorithm, x, chosen.sought(clusters), seed=seed, **dict(chosen.options))


def clusterer_of(chosen: Candidate) -> Clusterer:
    """The algorithm of a candidate, with its number of clusters where it must be told; scaling is left out.

    Raises:
        InputError: there is no such algorithm, or a parameter is none of its own.
    """
    options = dict(chosen.options)
    if not chosen.device:
        return host(chosen.algorithm, chosen.sought(None), **options)
    if chosen.algorithm not in DEVICE:
        raise InputError(
            f"there is no algorithm {chosen.algorithm!r} of the device; choose of {', '.join(DEVICE)}."
        )
    make = DEVICE[chosen.algorithm]
    try:
        return make(chosen.clusters, **options) if chosen.told else make(**options)
    except TypeError as error:
        raise InputError(f"{chosen.name} cannot be made ({error}); see its arguments.") from None


def device_labels(
    chosen: Candidate, points: Float[Array, "N D"], weights: Float[Array, " N"], seed: int | Int[Array, ""]
) -> Int[Array, " N"]:
    """The labels that a candidate of the device finds, noise -1, also inside `jit`.

    Args:
        chosen: with its number of clusters, where it must be told.
        points: [N, D].
        weights: [N] zero for padding, which may get any label.
        seed: everything random follows from it.
    """
    if chosen.scaled:
        total = jnp.sum(weights)
        centered = points - weights @ points / total
        spread = jnp.sqrt(weights @ jnp.square(centered) / total)
        points = centered / jnp.where(spread > 0, spread, 1)
    clusterer = clusterer_of(chosen)
    starting, fitting = jax.random.split(jax.random.key(seed))
    params = clusterer.init(starting)
    state = clusterer.fit(params, Batch(points, weights=weights), fitting)
    found = clusterer.assign(params, state, points)
    return jnp.where(found.noise > 0.5, -1, jnp.argmax(found.log_probs, 1))


_on_device = jax.jit(device_labels, static_argnums=0)


def padded(
    points: Float[np.ndarray, "N D"], room: int
) -> tuple[Float[np.ndarray, "M D"], Float[np.ndarray, " M"]]:
    """Points in a larger array, and their weights: one, and zero for the rest."""
    x = np.zeros((room, points.shape[1]), np.float32)
    x[: len(points)] = points
    return x, (np.arange(room) < len(points)).astype(np.float32)


def which_kind(candidates: Sequence[Candidate]) -> Float[np.ndarray, "A K"]:
    """One where a candidate is of a kind; those that differ in their number of clusters are of one kind.

    >>> which_kind(portfolio("seven", clusters=[2, 3])[:4]).tolist()
    [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    """
    kinds = [one._replace(clusters=None) for one in candidates]
    return np.array([[kind == other for other in dict.fromkeys(kinds)] for kind in kinds], float)


def room_for(count: int) -> int:
    """The power of two, `LEAST` or more, that points are padded to, so that few programs serve all problems.

    >>> room_for(3), room_for(1024), room_for(1025)
    (128, 1024, 2048)
    """
    return max(LEAST, 1 << (count - 1).bit_length())


def spelled(chosen: Candidate) -> str:
    """The candidate but for its number of clusters, for what is stored by its content."""
    words = [chosen.algorithm, dict(chosen.options), chosen.scaled, *["device"] * chosen.device]
    return json.dumps(words, sort_keys=True)
