"""Sinkhorn k-means: soft k-means with given cluster sizes.

Points are assigned to centres by entropic optimal transport, P = argmin <P, D> - H(P) / beta subject to
P 1 = w / sum w and P^T 1 = b; centres become the means of the points assigned to them. The plan is
r_kn proportional to exp(g_k - beta ||x_n - c_k||^2), that is, soft k-means with a log-prior g, the dual
variable of the marginals b. In each step, `balanced_dual` solves for g, from its previous value.

References: Cuturi & Doucet 2014, Fast computation of Wasserstein barycenters; Genevay et al. 2019,
Differentiable deep clustering with cluster size constraints; Huang et al. 2019, Centroid networks for
few-shot clustering and unsupervised few-shot classification.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..errors import InputError
from ..reach import check_start_is_learned
from ..records import Clusterer, Diff
from ..validation import Metric, check_choice, check_counts, checked_centers, learned_numbers
from .means import Rule, means_clusterer
from .points import Points
from .seeding import Seeding, kmeans_plus_plus
from .temperature import checked_temperature
from .transport.dual import balanced_dual


def sinkhorn_kmeans(
    clusters: int,
    *,
    steps: int = 20,
    shares: Sequence[float] | None = None,
    rounds: int = 50,
    inverse_temperature: float | Literal["auto"] = "auto",
    sharpness: float = 5.0,
    metric: Metric = "euclidean",
    diff: Diff | None = None,
    tol: float | None = None,
    seeding: Seeding = kmeans_plus_plus,
    centers: Float[Array, "K D"] | None = None,
    restarts: int = 1,
    learn: Sequence[str] = (),
) -> Clusterer:
    """Balanced soft k-means, differentiable in the points, their positive weights and the temperature.

    Args:
        clusters: K, the number of slots; a batch may use fewer.
        steps: maximum number of steps.
        shares: [K] share of the weight of each cluster, up to a common factor; equal unless given.
        rounds: maximum number of Newton steps that balance the clusters, at the seeds and in each step; they
            stop once the shares are met.
        inverse_temperature: beta, in inverse squared units of the points, or "auto"; see `soft_kmeans`.
        sharpness: numerator of the automatic inverse temperature; dimensionless.
        metric: "euclidean" or "cosine"; see `soft_kmeans`.
        diff: differentiation rule; unless given, the same derivative as with `unroll()`, computed faster.
        tol: stops once no centre and no dual variable changes by more than this, centres relative to the
            largest coordinate of the centred points.
        seeding: chooses the initial centres.
        centers: [K, D] initial centres, which replace seeding.
        restarts: number of seedings; the result with the least transport cost <P, D> - H(P) / beta is kept.
        learn: names of the learned parameters: "temperature" and "centers"; see `soft_kmeans`.

    Returns:
        A `Clusterer` whose state is `Centers`; its `log_prior` is the dual variable g. New points are
        assigned in proportion to exp(g_k - beta ||x - c_k||^2), without rebalancing.

    Raises:
        InputError: an argument is out of range, or `learn` holds an unknown name, or "centers" where `diff`
            passes no derivative to them.

    >>> import jmeta as jm
    >>> points = jnp.array([[0.0], [1.0], [2.0], [3.0], [4.0], [9.0]])
    >>> found = jm.cluster(sinkhorn_kmeans(2), points, key=jax.random.key(0))
    >>> jnp.exp(found.log_probs).sum(0).round(2)
    Array([3., 3.], dtype=float32)
    """
    check_counts("sinkhorn_kmeans", clusters=clusters, steps=steps, restarts=restarts, rounds=rounds)
    check_choice("sinkhorn_kmeans", metric=metric)
    temperature = checked_temperature("sinkhorn_kmeans", inverse_temperature, sharpness)
    start = checked_centers("sinkhorn_kmeans", centers, clusters)
    if "centers" in learn:
        check_start_is_learned(diff, "initial centers")
    sizes = np.ones(clusters) if shares is None else np.asarray(shares)
    if (
        sizes.dtype.kind not in "fiu"
        or sizes.shape != (clusters,)
        or not np.all((sizes > 0) & np.isfinite(sizes))
    ):
        raise InputError(f"shares of sinkhorn_kmeans are {shares!r}; give {clusters} positive numbers.")

    def log_share(points: Points) -> Float[Array, " K"]:
        return jax.nn.log_softmax(points.log_slots + jnp.asarray(np.log(sizes), points.x.dtype))

    rule = Rule(
        sharpness=temperature.beta,
        spherical=metric == "cosine",
        weigh=partial(balanced_dual, rounds),
        start=partial(balanced_dual, rounds),
        balanced=True,
    )
    return means_clusterer(
        rule,
        clusters=clusters,
        steps=steps,
        diff=diff,
        tol=tol,
        seeding=seeding,
        restarts=restarts,
        log_share=log_share,
        centers=start,
        init=learned_numbers("sinkhorn_kmeans", learn, temperature=temperature.init, centers=start),
    )
