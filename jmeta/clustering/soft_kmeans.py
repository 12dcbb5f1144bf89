"""Soft k-means: k-means whose points belong to every cluster a little.

Responsibilities r_nk = softmax_k(-beta ||x_n - c_k||^2), centres c_k = sum_n w_n r_nk x_n / sum_n
w_n r_nk. Both halves lower the free energy  F = sum_nk w_n r_nk (||x_n - c_k||^2 + log r_nk / beta).
It is EM for a mixture of equal spherical Gaussians of variance 1 / (2 beta); Lloyd's algorithm is
its limit beta -> infinity, and below beta = 1 / (2 lambda_max(Cov x)) all centres meet at the mean.

References: Rose 1998, Deterministic annealing for clustering, compression, classification,
regression, and related optimization problems; MacKay 2003, Information theory, inference, and
learning algorithms, chapter 20.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from ..iteration import unroll
from ..records import Clusterer, Diff, InputError
from .means import means_clusterer
from .seeding import Seeding, kmeans_plus_plus
from .validation import check_counts


def soft_kmeans(
    clusters: int,
    *,
    steps: int = 20,
    inverse_temperature: float | Literal["auto"] = "auto",
    sharpness: float = 5.0,
    diff: Diff | None = None,
    tol: float | None = None,
    seeding: Seeding = kmeans_plus_plus,
    restarts: int = 1,
    learn: Sequence[str] = (),
) -> Clusterer:
    """Soft k-means, differentiable to the points, their weights and the temperature.

    Labelled points of the batch (targets from 0 to K - 1) are pinned to the cluster of that number,
    and clusters that have some start at their mean: with every point labelled, the result is the
    class means.

    Args:
        clusters: K, the number of slots; a batch may use fewer.
        steps: how many steps at most.
        inverse_temperature: beta, in inverse squared units of the points; "auto" is `sharpness`
            over the mean squared distance of a point to its nearest seed, which makes the result
            independent of the points' scale.
        sharpness: the numerator of the automatic inverse temperature; no unit.
        diff: differentiation rule; `unroll()` unless given.
        tol: stop once no centre moves by more than this, relative to the largest coordinate of the
            points, from their mean; not under `unroll`.
        seeding: where centres start.
        restarts: seedings tried; the one that ends with the least inertia is kept.
        learn: ("temperature",) makes the temperature a parameter, stored as its logarithm.

    Returns:
        A `Clusterer` whose state is `Centers`.

    Raises:
        InputError: a number is out of its range, or `learn` names something unknown.

    >>> points = jnp.array([[0.0], [0.2], [5.0], [5.2]])
    >>> from jmeta.records import Batch
    >>> state = soft_kmeans(2).fit({}, Batch(points), jax.random.key(0))
    >>> [f"{center:.1f}" for center in state.centers.ravel().sort()]
    ['0.1', '5.1']
    """
    automatic = inverse_temperature == "auto"
    start = sharpness if automatic else inverse_temperature
    check_counts("soft_kmeans", clusters=clusters, steps=steps, restarts=restarts)
    if not isinstance(start, Real) or not 0 < start < math.inf:
        name, other = ("sharpness", "") if automatic else ("inverse temperature", " or 'auto'")
        raise InputError(f"the {name} of soft_kmeans is {start!r}; give a positive number{other}.")
    if unknown := set(learn) - {"temperature"}:
        raise InputError(f"soft_kmeans cannot learn {sorted(unknown)}; it can learn 'temperature'.")

    def init(key: Key[Array, ""]) -> PyTree:
        return {"temperature": -jnp.log(jnp.asarray(start, float))} if learn else {}

    def beta(
        params: PyTree, to_seeds: Float[Array, "N K"], x: Float[Array, "N D"], weights: Array, scale: Array
    ) -> Float[Array, ""]:
        value = jnp.exp(-params["temperature"]) if learn else start
        return value / _spread(to_seeds, x, weights) if automatic else value * scale**2

    return means_clusterer(
        init,
        jax.nn.log_softmax,
        beta,
        clusters=clusters,
        steps=steps,
        diff=unroll() if diff is None else diff,
        tol=tol,
        seeding=seeding,
        restarts=restarts,
    )


def _spread(to_seeds: Array, x: Array, weights: Array) -> Float[Array, ""]:
    """Mean squared distance to the nearest seed, kept from zero by a thousandth of the variance.

    The variance speaks where every point is a seed, and 1 where all points are equal.
    """
    total = jnp.maximum(jnp.sum(weights), jnp.finfo(x.dtype).tiny)
    nearest = weights @ jnp.min(to_seeds, 1) / total
    variance = weights @ jnp.sum(x * x, 1) / total
    spread = nearest + 1e-3 * variance
    return jnp.where(spread > 0, spread, 1)
