"""Candidates that run on the device, with jmeta's own algorithms."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..clustering.agglomerative import Linkage, agglomerative
from ..clustering.density import dbscan
from ..clustering.host.clusterer import host
from ..clustering.kmeans import kmeans
from ..clustering.mean_shift import mean_shift
from ..clustering.mixtures.gaussian import gaussian_mixture
from ..clustering.soft_kmeans import soft_kmeans
from ..clustering.spectral import spectral
from ..errors import InputError
from ..padding import pad_points, padded_size
from ..records import Batch, Clusterer
from .candidates import Candidate
from .own import made_by

MAX_CLUSTERS = 32
"""The largest number of clusters of DBSCAN and mean shift."""
ON_DEVICE: dict[str, Callable[..., Clusterer]] = {
    "kmeans": kmeans,
    "soft_kmeans": soft_kmeans,
    "gaussian_mixture": gaussian_mixture,
    **{linkage: partial(agglomerative, linkage=linkage) for linkage in get_args(Linkage)},
    "spectral": spectral,
    "dbscan": partial(dbscan, MAX_CLUSTERS),
    "mean_shift": partial(mean_shift, MAX_CLUSTERS),
}
"""jmeta's own algorithms, by name."""


def clusterer_of(candidate: Candidate) -> Clusterer:
    """The `Clusterer` of a candidate, with its own number of clusters; scaling is left to the caller.

    Raises:
        InputError: there is no such algorithm, or it has no such parameter.
    """
    options = dict(candidate.options)
    if candidate.make is not None:
        made = made_by(candidate.name, candidate.make, options, candidate.clusters, seed=0)
        if not hasattr(made, "assign"):
            raise InputError(f"{candidate.name} is an estimator of one's own, which is no Clusterer; run it.")
        return made
    if not candidate.device:
        return host(candidate.algorithm, candidate.clusters_for(None), **options)
    if candidate.algorithm not in ON_DEVICE:
        raise InputError(
            f"there is no on-device algorithm {candidate.algorithm!r}; choose one of {', '.join(ON_DEVICE)}."
        )
    make = ON_DEVICE[candidate.algorithm]
    try:
        return make(candidate.clusters, **options) if candidate.needs_clusters else make(**options)
    except TypeError as error:
        raise InputError(f"{candidate.name} cannot be made ({error}); see its arguments.") from None


def traced_labels(
    candidate: Candidate,
    points: Float[Array, "N D"],
    weights: Float[Array, " N"],
    seed: int | Int[Array, ""],
) -> Int[Array, " N"]:
    """The labels of an on-device candidate, also inside `jit`; -1 is noise.

    Args:
        candidate: with its number of clusters, where it needs one.
        points: [N, D], around their mean: they are float32.
        weights: [N] 1, and 0 for padding, whose labels mean nothing.
        seed: all randomness follows from it.
    """
    if candidate.scaled:
        total = jnp.sum(weights)
        centered = points - weights @ points / total
        spread = jnp.sqrt(weights @ jnp.square(centered) / total)
        points = centered / jnp.where(spread > 0, spread, 1)
    clusterer = clusterer_of(candidate)
    init_key, fit_key = jax.random.split(jax.random.key(seed))
    params = clusterer.init(init_key)
    state = clusterer.fit(params, Batch(points, weights=weights), fit_key)
    assignment = clusterer.assign(params, state, points)
    return jnp.where(assignment.noise > 0.5, -1, jnp.argmax(assignment.log_probs, 1))


_labels = jax.jit(traced_labels, static_argnums=0)


def on_device_labels(
    candidate: Candidate, points: Float[np.ndarray, "N D"], clusters: int | None, seed: int
) -> Int[np.ndarray, " N"]:
    """The labels of an on-device candidate; points are centred before they are rounded to float32."""
    with_clusters = candidate._replace(clusters=candidate.clusters_for(clusters))
    padded, weights = pad_points(points - points.mean(0), padded_size(len(points)))
    return np.asarray(_labels(with_clusters, padded, weights, seed))[: len(points)]
