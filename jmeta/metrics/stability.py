"""How stable a clustering is: whether parts of the points lead to the same one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num

from ..distances import as_float
from ..errors import InputError
from ..records import AnyArray, Batch, Clusterer
from ..weights import weights_or_ones
from .agreement import adjusted_rand_index


def stability(
    clusterer: Clusterer,
    points: Num[AnyArray, "N D"],
    weights: Float[AnyArray, " N"] | None = None,
    *,
    key: Key[Array, ""],
    resamples: int = 10,
    part: float = 0.8,
) -> Float[Array, ""]:
    """The mean adjusted Rand index of clusterings of random parts of the points.

    Each part is clustered alone, then all points are assigned from it; every two assignments are
    compared on all points. Noise counts as one more cluster.

    Args:
        clusterer: any, of the device or of the host.
        points: [N, D].
        weights: [N]; all ones unless given.
        key: a typed key.
        resamples: how many parts, two or more.
        part: how much of the points each holds.

    Returns:
        The mean, at most 1.

    Raises:
        InputError: there are fewer than two parts, or they are empty or whole.

    Reference: Ben-Hur et al. 2002, A stability based method for discovering structure in clustered data.

    >>> import jmeta as jm
    >>> blobs = jax.random.normal(jax.random.key(0), (20, 2)) + 9.0 * (jnp.arange(20) % 2)[:, None]
    >>> print(stability(jm.kmeans(2), blobs, key=jax.random.key(1)))
    1.0
    """
    if resamples < 2 or not 0 < part < 1:
        raise InputError("stability compares two parts or more, each more than nothing and less than all.")
    init_key, parts_key = jax.random.split(key)
    points, params = as_float(points), clusterer.init(init_key)
    keys = jax.random.split(parts_key, resamples)
    whole = weights_or_ones(points, weights)

    if not isinstance(whole, jax.core.Tracer):
        count = int(jnp.sum(whole > 0))
        if not 0 < round(part * count) < count:
            raise InputError(f"a part of {part} of {count} points is none or all of them; change part.")

    def labels(key: Key[Array, ""]) -> Int[Array, " N"]:
        part_key, fit_key = jax.random.split(key)
        scores = jnp.where(whole > 0, jax.random.uniform(part_key, whole.shape), 2)
        rank = jnp.argsort(jnp.argsort(scores))
        kept = rank < jnp.round(part * jnp.sum(whole > 0))
        state = clusterer.fit(params, Batch(points, weights=jnp.where(kept, whole, 0)), fit_key)
        found = clusterer.assign(params, state, points)
        # Noise is one more cluster; the others are numbered from 0, and are no more than points.
        noise = min(found.log_probs.shape[1], len(points))
        return jnp.where(found.noise > 0.5, noise, found.log_probs.argmax(-1))

    together = (
        jax.jit(jax.vmap(labels)) if clusterer.traceable else lambda keys: jnp.stack([*map(labels, keys)])
    )
    every = together(keys)
    first, second = np.triu_indices(resamples, 1)
    compare = jax.vmap(lambda a, b: adjusted_rand_index(a, b, whole, slots=len(points) + 1))
    return jnp.mean(compare(every[first], every[second]))
