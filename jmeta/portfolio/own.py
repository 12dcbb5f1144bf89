"""Candidates of one's own: estimators in the manner of scikit-learn, and clusterers.

This module imports no jax before a clusterer needs it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ..clustering.host.algorithms import estimator_labels
from ..errors import InputError

CLUSTERS_ARGUMENTS = ("n_clusters", "n_components", "clusters")
"""Names of the argument that is the number of clusters."""


def clusters_argument(make: Callable[..., Any]) -> str | None:
    """The name of the argument of a function that is the number of clusters; None if it has none.

    >>> clusters_argument(lambda n_clusters, tol=0.1: None)
    'n_clusters'
    """
    parameters = inspect.signature(make).parameters
    return next((name for name in CLUSTERS_ARGUMENTS if name in parameters), None)


def made_by(
    name: str, make: Callable[..., Any], options: dict[str, Any], clusters: int | None, seed: int
) -> Any:
    """The estimator or `Clusterer` that a function makes, with K and a seed where it has such arguments.

    Raises:
        InputError: the number of clusters is missing, the function does not take these options, or it makes
            neither an estimator nor a clusterer.
    """
    arguments, own = dict(options), clusters_argument(make)
    if own is not None:
        if clusters is None:
            raise InputError(f"{name} needs the number of clusters; give clusters.")
        arguments[own] = clusters
    if "random_state" in inspect.signature(make).parameters:
        arguments.setdefault("random_state", seed)
    try:
        made = make(**arguments)
    except TypeError as error:
        raise InputError(f"{name} cannot be made ({error}); see its arguments.") from None
    if not callable(getattr(made, "fit", None)):
        raise InputError(f"{name} makes {made!r}; give what makes an estimator with fit, or a Clusterer.")
    return made


def own_labels(
    name: str,
    make: Callable[..., Any],
    options: dict[str, Any],
    points: Float[np.ndarray, "N D"],
    clusters: int | None,
    seed: int,
) -> Int[np.ndarray, " N"]:
    """The labels of an estimator or `Clusterer` of one's own, from 0; -1 is noise.

    Raises:
        InputError: as from `made_by`, or there is not one label for each point.

    >>> class Halves:
    ...     def fit(self, points):
    ...         self.labels_ = points[:, 0] > 0
    >>> own_labels("halves", Halves, {}, np.array([[-1.0], [2.0]]), None, 0).tolist()
    [0, 1]
    """
    made = made_by(name, make, options, clusters, seed)
    is_clusterer = hasattr(made, "assign")
    labels = _assigned(made, points, seed) if is_clusterer else estimator_labels(name, made, points)
    if labels.shape != points.shape[:1]:
        raise InputError(
            f"{name} returns labels of shape {labels.shape} for {len(points)} points; give one each."
        )
    return labels


def _assigned(clusterer: Any, points: Float[np.ndarray, "N D"], seed: int) -> Int[np.ndarray, " N"]:
    """The labels of a `Clusterer`; the process that runs it starts jax."""
    import jax

    from ..clustering.cluster import cluster

    found = cluster(clusterer, points, key=jax.random.key(seed))
    return np.where(np.asarray(found.noise) > 0.5, -1, np.argmax(np.asarray(found.log_probs), 1))


def source_of(make: Callable[..., Any] | None) -> tuple[str, ...]:
    """The source of a function or class of one's own, of which outcomes depend; empty where there is none."""
    try:
        return () if make is None else (inspect.getsource(make),)
    except (OSError, TypeError):  # typed at a prompt
        return ()
