"""k-means by Lloyd's algorithm: every point belongs to its nearest centre.

r_nk = 1 for the nearest centre and 0 for the others, c_k = sum_n w_n r_nk x_n / sum_n w_n r_nk; both
halves lower the inertia  sum_n w_n min_k ||x_n - c_k||^2.

Reference: Lloyd 1982, Least squares quantization in PCM.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..iteration import one_step
from ..records import Clusterer, Diff
from .means import Rule, means_clusterer
from .points import EMPTY
from .seeding import Seeding, kmeans_plus_plus
from .validation import check_counts


def kmeans(
    clusters: int,
    *,
    steps: int = 20,
    diff: Diff | None = None,
    tol: float | None = None,
    seeding: Seeding = kmeans_plus_plus,
    restarts: int = 1,
) -> Clusterer:
    """Hard k-means, on the device and batched over tasks.

    Centres depend on the points through the means alone, so that one step at the solution is
    the exact derivative wherever there is one. Labelled points stay in their cluster, as in
    `soft_kmeans`.

    Args:
        clusters: K, the number of slots; a batch may use fewer.
        steps: how many steps at most.
        diff: differentiation rule; `one_step()` unless given.
        tol: stop once no centre moves by more than this, relative to the largest coordinate of the
            points, from their mean.
        seeding: where centres start.
        restarts: seedings tried; the one that ends with the least inertia is kept.

    Returns:
        A `Clusterer` whose state is `Centers`; its log-probabilities are 0 or -1e30.

    Raises:
        InputError: a number is out of its range.

    >>> points = jnp.array([[0.0], [0.2], [5.0], [5.2]])
    >>> from jmeta.records import Batch
    >>> state = kmeans(2).fit({}, Batch(points), jax.random.key(0))
    >>> [f"{center:.1f}" for center in state.centers.ravel().sort()], f"{state.inertia:.2f}"
    (['0.1', '5.1'], '0.04')
    """
    check_counts("kmeans", clusters=clusters, steps=steps, restarts=restarts)
    return means_clusterer(
        lambda key: {},
        Rule(
            respond=_nearest,
            total=lambda logits: jnp.max(logits, -1),
            sharpness=lambda params, to_seeds, points, units: jnp.ones((), points.x.dtype),
        ),
        clusters=clusters,
        steps=steps,
        diff=one_step() if diff is None else diff,
        tol=tol,
        seeding=seeding,
        restarts=restarts,
    )


def _nearest(logits: Float[Array, "N K"]) -> Float[Array, "N K"]:
    """0 at the largest logit of each point, `EMPTY` elsewhere."""
    best = jax.nn.one_hot(jnp.argmax(logits, -1), logits.shape[-1], dtype=bool)
    return jnp.where(best, 0, jnp.asarray(EMPTY, logits.dtype))
