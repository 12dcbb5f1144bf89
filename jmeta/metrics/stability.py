"""The stability of a clustering under subsampling."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num

from ..distances import as_float
from ..errors import InputError
from ..masking import usable_rows
from ..records import AnyArray, Batch, Clusterer
from ..weights import cleared, weights_or_ones
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
    """The mean adjusted Rand index between clusterings of random subsamples.

    The clusterer is fitted to each subsample and assigns all points; all pairs of assignments are compared on
    all points. Noise counts as a further cluster.

    Args:
        clusterer: any clusterer, on-device or on-host.
        points: [N, D].
        weights: [N]; all ones unless given.
        key: a typed key.
        resamples: number of subsamples, two or more.
        part: share of the points in each subsample.

    Returns:
        The mean, at most 1; NaN if a point that counts is not finite.

    Raises:
        InputError: there are fewer than two subsamples, or they hold no point or all points.

    Reference: Ben-Hur et al. 2002, A stability based method for discovering structure in clustered data.

    >>> import jmeta as jm
    >>> blobs = jax.random.normal(jax.random.key(0), (20, 2)) + 9.0 * (jnp.arange(20) % 2)[:, None]
    >>> print(stability(jm.kmeans(2), blobs, key=jax.random.key(1)))
    1.0
    """
    if resamples < 2 or not 0 < part < 1:
        raise InputError(
            f"resamples is {resamples} and part is {part}; give two subsamples or more, and a part in (0, 1)."
        )
    init_key, parts_key = jax.random.split(key)
    params = clusterer.init(init_key)
    keys = jax.random.split(parts_key, resamples)
    whole = weights_or_ones(as_float(points), weights)
    x = cleared(as_float(points), whole)

    if not isinstance(whole, jax.core.Tracer):
        count = int(jnp.sum(whole > 0))
        if not 0 < round(part * count) < count:
            raise InputError(f"part is {part}, which is none or all of {count} points; give another part.")

    def labels(key: Key[Array, ""]) -> Int[Array, " N"]:
        part_key, fit_key = jax.random.split(key)
        scores = jnp.where(whole > 0, jax.random.uniform(part_key, whole.shape), 2)
        rank = jnp.argsort(jnp.argsort(scores))
        kept = rank < jnp.round(part * jnp.sum(whole > 0))
        state = clusterer.fit(params, Batch(x, weights=jnp.where(kept, whole, 0)), fit_key)
        assignment = clusterer.assign(params, state, x)
        # Noise is a further cluster; the others are numbered from 0, and there are at most N of them.
        noise = min(assignment.log_probs.shape[1], len(x))
        return jnp.where(assignment.noise > 0.5, noise, assignment.log_probs.argmax(-1))

    together = (
        jax.jit(jax.vmap(labels)) if clusterer.traceable else lambda keys: jnp.stack([*map(labels, keys)])
    )
    every = together(keys)
    first, second = np.triu_indices(resamples, 1)
    compare = jax.vmap(lambda a, b: adjusted_rand_index(a, b, whole, slots=len(x) + 1))
    index = jnp.mean(compare(every[first], every[second]))
    return jnp.where(jnp.all(usable_rows(x)), index, jnp.nan)
