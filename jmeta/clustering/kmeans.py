"""k-means by Lloyd's algorithm: every point belongs to its nearest centre.

A step sets r_kn = 1 for the nearest centre and 0 for the others, then c_k = sum_n w_n r_kn x_n / sum_n w_n
r_kn. Both updates lower the inertia  sum_n w_n min_k ||x_n - c_k||^2.

Reference: Lloyd 1982, Least squares quantization in PCM.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..iteration import one_step
from ..records import Clusterer, Diff
from ..validation import Metric, check_choice, check_counts, checked_centers
from .means import Rule, means_clusterer
from .seeding import Seeding, kmeans_plus_plus


def kmeans(
    clusters: int,
    *,
    steps: int = 20,
    metric: Metric = "euclidean",
    diff: Diff | None = None,
    tol: float | None = None,
    seeding: Seeding = kmeans_plus_plus,
    centers: Float[Array, "K D"] | None = None,
    restarts: int = 1,
) -> Clusterer:
    """Hard k-means, on-device and batched over tasks.

    Centres depend on the points only through the means, so that differentiating one step at the solution
    gives the exact derivative wherever it exists. Labelled points stay in their cluster, as in `soft_kmeans`.

    Args:
        clusters: K, the number of slots; a batch may use fewer.
        steps: maximum number of steps.
        metric: "euclidean", or "cosine", which normalises points and centres to length one.
        diff: differentiation rule; `one_step()` unless given.
        tol: stops once no centre moves by more than this, relative to the largest coordinate of the centred
            points; unless given, 0 under the default rule, that is, once no centre moves.
        seeding: chooses the initial centres.
        centers: [K, D] initial centres, which replace seeding.
        restarts: number of seedings; the result with the least inertia is kept.

    Returns:
        A `Clusterer` whose state is `Centers`; its log-probabilities are 0 or `LOG_ZERO`.

    Raises:
        InputError: an argument is out of range.

    >>> import jax
    >>> from jmeta.records import Batch
    >>> points = jnp.array([[0.0], [0.2], [5.0], [5.2]])
    >>> state = kmeans(2).fit({}, Batch(points), jax.random.key(0))
    >>> [f"{center:.1f}" for center in state.centers.ravel().sort()], f"{state.inertia:.2f}"
    (['0.1', '5.1'], '0.04')
    """
    check_counts("kmeans", clusters=clusters, steps=steps, restarts=restarts)
    check_choice("kmeans", metric=metric)
    return means_clusterer(
        Rule(
            sharpness=lambda params, seeds, points, units: jnp.ones((), points.x.dtype),
            hard=True,
            spherical=metric == "cosine",
        ),
        clusters=clusters,
        steps=steps,
        diff=one_step() if diff is None else diff,
        tol=0.0 if diff is None and tol is None else tol,
        seeding=seeding,
        restarts=restarts,
        centers=checked_centers("kmeans", centers, clusters),
    )
