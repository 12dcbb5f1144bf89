"""k-means by Lloyd's algorithm: every point belongs to its nearest centre.

r_kn = 1 for the nearest centre and 0 for the others, c_k = sum_n w_n r_kn x_n / sum_n w_n r_kn; both
halves lower the inertia  sum_n w_n min_k ||x_n - c_k||^2.

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
    """Hard k-means, on the device and batched over tasks.

    Centres depend on the points through the means alone, so that one step at the solution is
    the exact derivative wherever there is one. Labelled points stay in their cluster, as in
    `soft_kmeans`.

    Args:
        clusters: K, the number of slots; a batch may use fewer.
        steps: how many steps at most.
        metric: "euclidean", or "cosine" for points and centres as directions, all of length one.
        diff: differentiation rule; `one_step()` unless given.
        tol: stop once no centre moves by more than this, relative to the largest coordinate of the
            points, from their mean; under the default rule zero unless given: once nothing moves.
        seeding: where centres start.
        centers: [K, D] where they start instead.
        restarts: seedings tried; the one that ends with the least inertia is kept.

    Returns:
        A `Clusterer` whose state is `Centers`; its log-probabilities are 0 or -1e30.

    Raises:
        InputError: a number is out of its range.

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
