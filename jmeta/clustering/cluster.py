"""The public function that clusters an array of points."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key, Num

from ..batching import check_factorized
from ..distances import as_float
from ..errors import InputError
from ..precision import in_double, is_traced
from ..records import AnyArray, Assignment, Batch, Clusterer
from ..sharding.meshes import points_mesh, shard_points
from ..validation import as_array, check_enough, check_key, check_points, is_single
from .diagnostics import warn_of_fewer, warn_of_rounding


def cluster(
    clusterer: Clusterer,
    points: Num[AnyArray, "N D"],
    *,
    weights: Float[AnyArray, " N"] | None = None,
    key: Key[Array, ""],
) -> Assignment:
    """Clusters one table of points.

    Checks the input, then fits the clusterer and assigns the points, in double precision unless points are
    of a smaller type: give float32 for speed. Inside `jit` and `vmap` only shapes are checked. Create a
    clusterer once and reuse it: each one is compiled separately.

    Points that `shard_points` has divided among devices stay there, and so do their assignments: a step of
    k-means or EM sums over all points with one all-reduce.

    Args:
        clusterer: the algorithm, such as `soft_kmeans(clusters=3)`.
        points: [N, D] finite numbers of any real type.
        weights: [N] weight of each point; zero removes it. All ones unless given.
        key: a typed key; equal keys give equal results.

    Returns:
        The assignment of all N points, including those of weight zero. A warning says if there are fewer
        distinct points than clusters, or if rounding hides most distances.

    Raises:
        InputError: the points or weights cannot be clustered; the message says why.

    >>> import jax.numpy as jnp, jmeta as jm
    >>> points = jnp.array([[0.0, 0], [0, 1], [9, 9], [9, 8]])
    >>> found = cluster(jm.kmeans(2), points, key=jax.random.key(0))
    >>> labels = found.log_probs.argmax(-1)
    >>> bool(labels[0] == labels[1] != labels[2] == labels[3])
    True
    """
    points = as_array("points", points)
    weights = None if weights is None else as_array("weights", weights)
    check_points(points, weights)
    check_key(key)
    if is_traced(points, weights, key):
        return _checked_run(clusterer, as_float(points), weights, key)
    warn_of_rounding(np.asarray(points))
    mesh = points_mesh(points)
    if mesh is not None:
        found = _run_divided(clusterer, points, weights, key, mesh)
    elif is_single(points.dtype):
        found = _checked_run(clusterer, as_float(points), weights, key)
    else:
        x = np.asarray(points, np.float64)
        known = None if weights is None else np.asarray(weights, np.float64)
        found = jax.tree.map(jnp.asarray, in_double(_checked_run, clusterer, x, known, key))
    if clusterer.traceable:
        counted = slice(None) if weights is None else np.asarray(weights) > 0
        labels = np.argmax(np.asarray(found.log_probs), 1)[counted]
        warn_of_fewer(labels, found.log_probs.shape[1], np.asarray(points, np.float64)[counted], at_most=True)
    return found


def _checked_run(clusterer: Clusterer, x: Any, weights: Any, key: Key[Array, ""]) -> Assignment:
    if not clusterer.traceable:
        return _fit_and_assign(clusterer, x, weights, key)
    shapes = jax.eval_shape(partial(_run, clusterer), x, weights, key)
    check_enough(x, weights, shapes.log_probs.shape[-1])
    return _run(clusterer, x, weights, key)


def _run_divided(
    clusterer: Clusterer, points: Any, weights: Any, key: Key[Array, ""], mesh: Mesh
) -> Assignment:
    """As `_checked_run`, of points that are divided among the devices of a mesh."""
    if not clusterer.traceable:
        raise InputError(
            "points are divided among devices, but this clusterer runs on the host; give an array of NumPy."
        )
    single = is_single(points.dtype)
    with jax.set_mesh(mesh), jax.enable_x64(not single):
        x = as_float(points) if single else points.astype(float)
        known = None if weights is None else shard_points(jnp.asarray(weights, x.dtype), mesh)
        key = jax.device_put(key, NamedSharding(mesh, PartitionSpec()))
        if mesh.devices.flat[0].platform == "cpu":
            check_factorized(jax.make_jaxpr(partial(_run, clusterer))(x, known, key).jaxpr)
        return _checked_run(clusterer, x, known, key)


def _fit_and_assign(clusterer: Clusterer, x: Array, weights: Array | None, key: Key[Array, ""]) -> Assignment:
    init_key, fit_key = jax.random.split(key)
    params = clusterer.init(init_key)
    state = clusterer.fit(params, Batch(x, weights=weights), fit_key)
    return clusterer.assign(params, state, x)


_run = jax.jit(_fit_and_assign, static_argnums=0)
