"""Meta-features of problems of any size, computed on at most `LANDMARKS` points of each."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..compiler import QUICKLY
from ..errors import InputError
from ..validation import check_points
from .groups import FEATURES
from .partitions import landmarks
from .tables import feature_names, features_of

COLUMNS = 64
"""Tables of fewer columns are padded to as many, so that programs differ in the number of points alone."""
ALONE = threading.Lock()
"""Held by the thread that computes: two programs that call LAPACK at once may each wait for the other."""
MANY = 100
"""From this number of problems on programs are optimised, as each then compiles for a minute instead of ten
seconds and saves up to 0.7 s a problem."""


def problem_features(
    points: Sequence[Float[np.ndarray, "N D"]],
    clusters: Sequence[int] | None = None,
    *,
    groups: Sequence[str] = tuple(FEATURES),
    seed: int = 0,
) -> Float[np.ndarray, "C F"]:
    """The meta-features of several problems, in the order of `feature_names(groups)`.

    Args:
        points: the points of every problem.
        clusters: the number of clusters of every problem; estimated unless given.
        groups: groups of meta-features.
        seed: seed of the landmarks and of random draws in the features.

    Raises:
        InputError: no problem is given, or the points of one cannot be clustered.

    >>> np.exp(problem_features([np.eye(3), np.eye(4)], [2, 2], groups=["size"])).round(2)
    array([[3., 3., 1., 2.],
           [4., 4., 1., 2.]], dtype=float32)
    """
    if not len(points):
        raise InputError("no problem is given; give one or more.")
    tables = [np.asarray(x) for x in points]
    for x in tables:
        if x.ndim == 2 and len(x) < 2:
            raise InputError(f"a problem has {len(x)} points; give two or more.")
        check_points(x, None)
    compute = _features if len(tables) >= MANY else _features_of_few
    sizes = [feature_names(groups).index(name) for name in FEATURES["size"][:3] if "size" in groups]

    def inputs(place: int) -> tuple:
        drawn = landmarks(tables[place], [], seed=seed)
        width, columns = _padded_columns(tables[place].shape[1])
        padded = np.pad(drawn.points, ((0, 0), (0, columns - drawn.points.shape[1])))
        known = None if clusters is None else jnp.asarray(clusters[place])
        return padded, drawn.weights, jax.random.key(seed), known, jnp.asarray(width), tuple(groups)

    given = [inputs(place) for place in range(len(tables))]
    of_each_shape = {arguments[0].shape: arguments for arguments in given}.values()
    if len(of_each_shape) > 1:  # compiled beside each other, but run one by one
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda arguments: compute.lower(*arguments).compile(), of_each_shape))
    results = []
    for x, arguments in zip(tables, given, strict=True):
        with ALONE:
            features = np.array(compute(*arguments))
        if sizes:  # sizes of the whole problem, not of its landmarks
            features[sizes[0]] = np.log(len(x))
            features[sizes[2]] = features[sizes[0]] - features[sizes[1]]
        results.append(features)
    return np.stack(results)


def _padded_columns(count: int) -> tuple[int, int]:
    """The next power of two, which random draws depend on, and the number of columns with all padding."""
    width = 1 << max(2, (count - 1).bit_length())
    return width, max(width, COLUMNS)


def _compute(
    points: Array,
    weights: Array,
    key: Key[Array, ""],
    clusters: Array | None,
    width: Array,
    groups: tuple[str, ...],
) -> Float[Array, " F"]:
    return features_of(points, weights, key, clusters=clusters, groups=groups, width=width)


_features = jax.jit(_compute, static_argnames="groups")
_features_of_few = jax.jit(_compute, static_argnames="groups", compiler_options=QUICKLY)
"""For few problems, whose programs run less long than they compile."""
