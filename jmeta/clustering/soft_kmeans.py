"""Soft k-means: k-means with soft assignments.

A step computes responsibilities r_kn = softmax_k(-beta ||x_n - c_k||^2), then centres c_k = sum_n w_n r_kn
x_n / sum_n w_n r_kn. Both updates lower the free energy  F = sum_nk w_n r_kn (||x_n - c_k||^2 + log r_kn /
beta). This is EM for a mixture of equal spherical Gaussians of variance 1 / (2 beta). Lloyd's algorithm is
the limit beta -> infinity; below beta = 1 / (2 lambda_max(Cov x)) all centres coincide at the mean.

References: Rose 1998, Deterministic annealing for clustering, compression, classification,
regression, and related optimization problems; MacKay 2003, Information theory, inference, and
learning algorithms, chapter 20.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..errors import InputError
from ..reach import check_start_is_learned
from ..records import Clusterer, Diff
from ..validation import Metric, check_choice, check_counts, check_positive, checked_centers, learned_numbers
from ..weights import LOG_ZERO
from .means import Rule, Theta, equally, log_mass, means_clusterer, pin
from .seeding import Seeding, kmeans_plus_plus
from .temperature import checked_temperature

SPLIT = 1e-3
"""The part of its seed that is added to a centre in each step of annealing; without a unit."""


def soft_kmeans(
    clusters: int,
    *,
    steps: int = 20,
    inverse_temperature: float | Literal["auto"] = "auto",
    sharpness: float = 5.0,
    annealing: float = 1.0,
    mixture_weights: bool = False,
    metric: Metric = "euclidean",
    diff: Diff | None = None,
    tol: float | None = None,
    seeding: Seeding = kmeans_plus_plus,
    centers: Float[Array, "K D"] | None = None,
    restarts: int = 1,
    learn: Sequence[str] = (),
) -> Clusterer:
    """Soft k-means, differentiable in the points, their positive weights and the temperature.

    Labelled points of the batch (targets from 0 to K - 1) are pinned to the cluster of their label, and
    clusters with labelled points start at their mean. If every point is labelled, the result is the class
    means.

    Args:
        clusters: K, the number of slots; a batch may use fewer.
        steps: maximum number of steps.
        inverse_temperature: beta, in inverse squared units of the points; "auto" is `sharpness` divided by
            the mean squared distance of a point to its nearest seed, which makes the result independent of
            the scale of the points.
        sharpness: numerator of the automatic inverse temperature; dimensionless.
        annealing: ratio of the temperature of the first step to the final one, which is reached geometrically
            within the first half of the steps. Values of 10 to 30 escape bad seeds. While it is higher,
            `SPLIT` times its seed is added to each centre in every step, as centres that coincide would not
            separate again, and derivatives in their difference would grow in every step (Rose 1998).
        mixture_weights: whether clusters are weighted by their mass, p_k = sum_n w_n r_kn / sum_n w_n, as in
            EM for Gaussians of equal variance.
        metric: "euclidean", or "cosine", which normalises points and centres to length one; then
            ||x - c||^2 = 2 - 2 cos(x, c), and c_k is the direction of the mean.
        diff: differentiation rule; unless given, the same derivative as with `unroll()`, computed faster.
        tol: stops once no centre moves by more than this, relative to the largest coordinate of the centred
            points.
        seeding: chooses the initial centres.
        centers: [K, D] initial centres, which replace seeding.
        restarts: number of seedings; the result with the least free energy is kept.
        learn: names of the learned parameters: "temperature", stored as its logarithm, and "centers", with
            respect to which only `unroll` and `straight_through` have a derivative.

    Returns:
        A `Clusterer` whose state is `Centers`.

    Raises:
        InputError: an argument is out of range, or `learn` holds an unknown name, or "centers" where `diff`
            passes no derivative to them.

    >>> points = jnp.array([[0.0], [0.2], [5.0], [5.2]])
    >>> from jmeta.records import Batch
    >>> state = soft_kmeans(2).fit({}, Batch(points), jax.random.key(0))
    >>> [f"{center:.1f}" for center in state.centers.ravel().sort()]
    ['0.1', '5.1']
    """
    check_counts("soft_kmeans", clusters=clusters, steps=steps, restarts=restarts)
    check_positive("soft_kmeans", annealing=annealing)
    if annealing != 1 and tol is not None:
        raise InputError("tol could stop the iteration before annealing ends; leave one of them out.")
    check_choice("soft_kmeans", metric=metric)
    temperature = checked_temperature("soft_kmeans", inverse_temperature, sharpness)
    start = checked_centers("soft_kmeans", centers, clusters)
    if "centers" in learn:
        check_start_is_learned(diff, "initial centers")
    half = max(steps / 2, 1)

    def cool(beta: Array, i: Array) -> Float[Array, ""]:
        return (
            beta if annealing == 1 else beta * annealing ** -jnp.maximum(1 - i / half, 0).astype(beta.dtype)
        )

    rule = Rule(
        sharpness=temperature.beta,
        spherical=metric == "cosine",
        weigh=_by_mass if mixture_weights else equally,
        cool=cool,
        split=None if annealing == 1 else lambda i: jnp.where(i < half, SPLIT, 0),
    )
    return means_clusterer(
        rule,
        clusters=clusters,
        steps=steps,
        diff=diff,
        tol=tol,
        seeding=seeding,
        restarts=restarts,
        centers=start,
        init=learned_numbers("soft_kmeans", learn, temperature=temperature.init, centers=start),
    )


def _by_mass(log_prior: Array, logits: Float[Array, "K N"], theta: Theta) -> Float[Array, " K"]:
    """The logarithm of each cluster's share of the weight; unused slots stay unused."""
    points = theta.points
    log_shares = jax.nn.log_softmax(log_prior[:, None] + logits, 0)
    log_shares = pin(log_shares, points.pinned, logarithms=True)
    return jnp.maximum(log_mass(log_shares, points.weights), LOG_ZERO)
