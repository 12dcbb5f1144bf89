"""Meta-features of problems of any size, computed on at most `LANDMARKS` points of each."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..compiler import QUICKLY
from ..errors import InputError
from ..validation import check_points
from .partitions import landmarks
from .tables import FEATURES, feature_names, meta_features

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
    results = []
    sizes = [feature_names(groups).index(name) for name in FEATURES["size"][:3] if "size" in groups]
    if not len(points):
        raise InputError("no problem is given; give one or more.")
    for place, x in enumerate(map(np.asarray, points)):
        if x.ndim == 2 and len(x) < 2:
            raise InputError(f"a problem has {len(x)} points; give two or more.")
        check_points(x, None)
        drawn = landmarks(x, [], seed=seed)
        width = 1 << max(2, (x.shape[1] - 1).bit_length())  # few shapes, so few compilations
        padded = np.pad(drawn.points, ((0, 0), (0, width - x.shape[1])))
        known = None if clusters is None else jnp.asarray(clusters[place])
        compute = _features if len(points) >= MANY else _features_of_few
        features = np.array(compute(padded, drawn.weights, jax.random.key(seed), known, tuple(groups)))
        if sizes:  # sizes of the whole problem, not of its landmarks
            features[sizes[0]] = np.log(len(x))
            features[sizes[2]] = features[sizes[0]] - features[sizes[1]]
        results.append(features)
    return np.stack(results)


def _compute(
    points: Array, weights: Array, key: Key[Array, ""], clusters: Array | None, groups: tuple[str, ...]
) -> Float[Array, " F"]:
    return meta_features(points, weights, key, clusters=clusters, groups=groups)


_features = jax.jit(_compute, static_argnames="groups")
_features_of_few = jax.jit(_compute, static_argnames="groups", compiler_options=QUICKLY)
"""For few problems, whose programs run less long than they compile."""
