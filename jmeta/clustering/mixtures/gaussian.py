"""Mixtures of Gaussians by expectation-maximisation (EM), as an iterated map.

Responsibilities r_kn are proportional to p_k N(x_n; m_k, S_k). With R_k = sum_n w_n r_kn, a step sets
p_k = (R_k + a) / sum_j (R_j + a),  m_k = sum_n w_n r_kn x_n / R_k,  S_k = (sum_n w_n r_kn (x_n - m_k)
(x_n - m_k)^T + a v I) / (R_k + a) + e I; for a tied covariance, numerator and denominator are summed over k.

With pseudo-points a = 0 each step raises the likelihood, except for the ridge e. With a > 0 it raises the
posterior under a Dirichlet prior of the shares and an inverse Wishart prior of the covariances around v I,
the spread of the points around their seeds, which keeps tiny clusters from collapsing.

References: Dempster et al. 1977, Maximum likelihood from incomplete data via the EM algorithm; Fraley &
Raftery 2007, Bayesian regularization for normal mixture estimation and model-based clustering.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key, PyTree

from ...distances import as_float, quotient
from ...errors import InputError
from ...iteration import iterate, unroll
from ...masking import make_clusterer
from ...records import Assignment, Batch, Clusterer, Diff
from ...sharding.points import fold_over_points
from ...trees import largest_change
from ...validation import check_counts, check_positive
from ...weights import LOG_ZERO, weighted_mean
from ..means import means_of_sums, pin, with_class_means
from ..points import Points, prepare_points, units_around
from ..seeding import Seeding, attempts, kmeans_plus_plus, least
from ..temperature import column_spreads, spread
from .cholesky import factor, solve

Shape = Literal["full", "tied", "diagonal", "spherical"]
"""Structures of the covariances."""


class Rule(NamedTuple):
    """The options of EM; see `gaussian_mixture`."""

    covariance: Shape
    pseudo_points: float
    ridge: float
    steps: int
    trial_steps: int | None
    diff: Diff | None
    tol: float | None


class Components(NamedTuple):
    """The iterate of the map, in computation units.

    Attributes:
        log_share: [K] logarithm of each component's share; `LOG_ZERO` for unused slots.
        means: [K, D].
        covariances: [K, D, D], or their diagonals [K, D].
    """

    log_share: Float[Array, " K"]
    means: Float[Array, "K D"]
    covariances: Float[Array, "K D D"] | Float[Array, "K D"]


class Theta(NamedTuple):
    """All that the map depends on: the points, the prior variance v, and the ridge e of each column."""

    points: Points
    variance: Float[Array, ""]
    ridge: Float[Array, " D"]


class Mixture(NamedTuple):
    """A fitted mixture.

    Attributes:
        log_share: [K] logarithm of each component's share; `LOG_ZERO` for unused slots.
        means: [K, D], in units of x.
        covariances: [K, D, D], or their diagonals [K, D], in squared units of `scale`.
        scale: the computation unit of length, a power of two.
        log_likelihood: sum_n w_n log p(x_n), in nats.
        bic: -2 log_likelihood + (number of free parameters) log (sum of weights); smaller is better.
        residual: the largest change of a coordinate of a mean in one more step, in units of x.
    """

    log_share: Float[Array, " K"]
    means: Float[Array, "K D"]
    covariances: Float[Array, "K D D"] | Float[Array, "K D"]
    scale: Float[Array, ""]
    log_likelihood: Float[Array, ""]
    bic: Float[Array, ""]
    residual: Float[Array, ""]


def gaussian_mixture(
    clusters: int,
    *,
    covariance: Shape = "full",
    steps: int = 50,
    pseudo_points: float = 0.0,
    ridge: float = 1e-5,
    diff: Diff | None = None,
    tol: float | None = None,
    seeding: Seeding = kmeans_plus_plus,
    restarts: int = 1,
    trial_steps: int | None = None,
) -> Clusterer:
    """A mixture of Gaussians fitted by EM, differentiable in the points and their weights.

    Labelled points of the batch stay in their component, as in `soft_kmeans`. Components start at the
    seeds, with equal shares and the spread of the points around the seeds.

    Args:
        clusters: K, the number of slots; a batch may use fewer.
        covariance: "full" for a matrix per component, "tied" for a common matrix, "diagonal", or "spherical".
        steps: maximum number of steps.
        pseudo_points: a, the weight of the prior in each component; 0 for maximum likelihood.
        ridge: e, added to the variances, as a fraction of the mean squared distance of the points to their
            nearest seed along each column; at least eight times the machine epsilon of their total variance,
            below which a matrix may not be positive definite.
        diff: differentiation rule; `unroll()` unless given.
        tol: stops once no element of the components changes by more than this, in units of the largest
            coordinate.
        seeding: chooses the initial means.
        restarts: number of seedings; the result with the largest likelihood is kept.
        trial_steps: number of steps for which each of several starts is tried before the one with the largest
            likelihood is run alone (short runs of EM); `steps` unless given.

    Returns:
        A `Clusterer` whose state is `Mixture`.

    Raises:
        InputError: an argument is out of range, or the covariance is unknown.

    >>> points = jax.random.normal(jax.random.key(0), (40, 2)) * jnp.array([5.0, 0.1])
    >>> points = points + jnp.repeat(jnp.array([[0.0, 0.0], [0.0, 1.0]]), 20, 0)
    >>> import jmeta as jm
    >>> found = jm.cluster(gaussian_mixture(2, restarts=8), points, key=jax.random.key(1))
    >>> float(jm.adjusted_rand_index(found.log_probs.argmax(-1), jnp.repeat(jnp.arange(2), 20)))
    1.0
    """
    rule = Rule(
        covariance=covariance,
        pseudo_points=pseudo_points,
        ridge=ridge,
        steps=steps,
        trial_steps=trial_steps,
        diff=diff,
        tol=tol,
    )
    check_counts("gaussian_mixture", steps=steps, restarts=restarts)
    check_mixture("gaussian_mixture", clusters, rule)

    def start(points: Points, key: Key[Array, ""]) -> Components:
        seeds = with_class_means(seeding(points.x, points.weights, clusters, key), points)
        variances = jnp.full_like(seeds, spread(seeds, points) / seeds.shape[1])
        return Components(jax.nn.log_softmax(points.log_slots), seeds, variances)

    def starts(params: PyTree, points: Points, key: Key[Array, ""]) -> Components:
        return jax.vmap(partial(start, points))(attempts(restarts, key))

    return mixture_clusterer(rule, clusters, lambda key: {}, starts)


def check_mixture(algorithm: str, clusters: int, rule: Rule) -> None:
    """Raises an InputError if an option of EM is out of range."""
    check_counts(algorithm, clusters=clusters)
    check_positive(algorithm, ridge=rule.ridge)
    pseudo = rule.pseudo_points
    trial = rule.trial_steps
    if not isinstance(pseudo, Real) or not 0 <= float(pseudo) < math.inf:
        raise InputError(f"pseudo_points of {algorithm} is {pseudo!r}; give zero or more.")
    if trial is not None and not (isinstance(trial, int) and 0 <= trial <= rule.steps):
        raise InputError(
            f"trial_steps of {algorithm} is {trial!r}; give a whole number from 0 to {rule.steps}."
        )
    if rule.covariance not in get_args(Shape):
        raise InputError(f"covariance is {rule.covariance!r}; choose one of {get_args(Shape)}.")


def mixture_clusterer(
    rule: Rule,
    clusters: int,
    init: Callable[[Key[Array, ""]], PyTree],
    starts: Callable[[PyTree, Points, Key[Array, ""]], Components],
) -> Clusterer:
    """A clusterer that runs EM from the best of several starts.

    Args:
        rule: the options of EM.
        clusters: K.
        init: the `init` of the clusterer.
        starts: (params, points, key) -> initial components, stacked on a leading axis, with diagonal
            covariances [K, D].
    """
    covariance = rule.covariance
    steps = rule.steps
    trial_steps = steps if rule.trial_steps is None else rule.trial_steps
    step = partial(em_step, covariance, rule.pseudo_points)

    def run(points: Points, begin: Components, steps: int) -> tuple[Components, Theta]:
        variance = spread(begin.means, points) / begin.means.shape[1]
        total = weighted_mean(jnp.sum(points.x * points.x, 1), points.weights)
        least = 8 * jnp.finfo(points.x.dtype).eps * jnp.where(total > 0, total, 1)
        theta = Theta(points, variance, jnp.maximum(rule.ridge * column_spreads(begin.means, points), least))
        if covariance in ("full", "tied"):
            begin = begin._replace(covariances=jax.vmap(jnp.diag)(begin.covariances))
        return iterate(step, begin, theta, steps=steps, diff=rule.diff or unroll(), tol=rule.tol), theta

    def fit(params: PyTree, batch: Batch, key: Key[Array, ""]) -> Mixture:
        points, units = prepare_points(batch, clusters)
        begins = starts(params, points, key)
        fixed = lax.stop_gradient((points, begins))
        place = least(
            lambda begin: -_log_likelihood(run(fixed[0], begin, trial_steps)[0], fixed[0]), fixed[1]
        )
        fitted, theta = run(points, jax.tree.map(lambda leaf: leaf[place], begins), steps)
        total = jnp.sum(points.weights)
        features = points.x.shape[1]
        likelihood = _log_likelihood(fitted, points) - total * features * jnp.log(units.scale)
        free = _free_parameters(covariance, jnp.sum(points.log_slots > LOG_ZERO / 2), features)
        following = step(fitted, theta, jnp.asarray(steps))
        return Mixture(
            log_share=fitted.log_share,
            means=units.outside(fitted.means),
            covariances=fitted.covariances,
            scale=units.scale,
            log_likelihood=likelihood,
            bic=-2 * likelihood + free * jnp.log(_positive(total)),
            residual=largest_change(following.means, fitted.means) * units.scale,
        )

    def assign(params: PyTree, state: Mixture, inputs: Float[Array, "N D"]) -> Assignment:
        x = as_float(inputs)
        units = units_around(state.means, state.scale)
        components = Components(state.log_share, units.inside(state.means), state.covariances)
        log_probs = jax.nn.log_softmax(log_densities(components, units.inside(x)), 0)
        return Assignment(log_probs.T, jnp.zeros(x.shape[0], log_probs.dtype))

    return make_clusterer(init, fit, assign)


def em_step(
    covariance: Shape, pseudo_points: float, components: Components, theta: Theta, i: Int[Array, ""]
) -> Components:
    """One step of EM; a component without points keeps its mean, with its gradient stopped."""
    points = theta.points
    origins = lax.stop_gradient(components.means)
    mass, sums, scatter = _moments(_with_roots(components), origins, points)
    moved, alive = means_of_sums(mass, sums)
    moved = jnp.where(alive[:, None], moved, 0)
    means = origins + moved

    matrices = components.covariances.ndim == 3
    features = points.x.shape[1]
    one = jnp.eye(features, dtype=mass.dtype) if matrices else 1
    column = (-1, *[1] * (scatter.ndim - 1))
    squares = moved[:, :, None] * moved[:, None, :] if matrices else moved * moved
    rounded = 1 - 8 * features * jnp.finfo(mass.dtype).eps * one  # so that no variance becomes negative
    scatter = scatter - mass.reshape(column) * squares * rounded
    prior = theta.variance * one
    used = points.log_slots > LOG_ZERO / 2
    pseudo = pseudo_points * used.astype(mass.dtype)
    count = (mass + pseudo).reshape(column)
    scatter = scatter + pseudo.reshape(column) * prior
    if covariance == "tied":
        scatter, count = (jnp.broadcast_to(part.sum(0), part.shape) for part in (scatter, count))
    estimate = jnp.where(count > jnp.finfo(mass.dtype).eps * jnp.sum(mass), quotient(scatter, count), prior)
    if covariance == "spherical":
        estimate = jnp.broadcast_to(estimate.mean(-1, keepdims=True), estimate.shape)
    ridge = jnp.diag(theta.ridge) if matrices else theta.ridge

    parts = jnp.where(used, jnp.maximum(mass + pseudo, jnp.finfo(mass.dtype).tiny), 1)
    log_share = jnp.where(used, jnp.log(parts), LOG_ZERO)
    return Components(jnp.maximum(jax.nn.log_softmax(log_share), LOG_ZERO), means, estimate + ridge)


def log_densities(components: Components, x: Float[Array, "N D"]) -> Float[Array, "K N"]:
    """The logarithms of p_k N(x_n; m_k, S_k)."""
    return _log_densities(_with_roots(components), x)


def _with_roots(components: Components) -> Components:
    """The components with Cholesky factors, or standard deviations, in place of covariances."""
    covariances = components.covariances
    roots = jnp.sqrt(covariances) if covariances.ndim == 2 else jax.vmap(factor)(covariances)
    return components._replace(covariances=roots)


def _log_densities(rooted: Components, x: Float[Array, "N D"]) -> Float[Array, "K N"]:
    """As `log_densities`, of components with roots."""

    def log_normal(mean: Float[Array, " D"], root: Array) -> Float[Array, " N"]:
        away = (x - mean).T
        white = away * (1 / root)[:, None] if root.ndim == 1 else solve(root, away)
        deviations = root if root.ndim == 1 else jnp.diagonal(root)
        return -(jnp.sum(white * white, 0) + x.shape[1] * math.log(2 * math.pi)) / 2 - jnp.sum(
            jnp.log(deviations)
        )

    normal = jax.vmap(log_normal)(rooted.means, rooted.covariances)
    return jnp.maximum(rooted.log_share[:, None] + normal, LOG_ZERO)


def _moments(
    rooted: Components, origins: Float[Array, "K D"], points: Points
) -> tuple[Float[Array, " K"], Float[Array, "K D"], Array]:
    """The weight of each component, and the weighted sums of x - o and of its squares around the origins o.

    Around the former means all of them are summed at once; those around the new means follow from them.
    """

    def some(shared: tuple, x: Array, weights: Array, pinned: Array | None) -> tuple[tuple, tuple]:
        rooted, origins = shared
        shares = weights * pin(jax.nn.softmax(_log_densities(rooted, x), 0), pinned)

        def of_one(shares: Array, origin: Array) -> tuple[Array, Array]:
            away = x - origin
            if rooted.covariances.ndim == 2:
                return shares @ away, shares @ (away * away)
            weighted = shares[:, None] * away
            return jnp.sum(weighted, 0), jnp.matmul(weighted.T, away, precision="highest")

        return (jnp.sum(shares, 1), *jax.vmap(of_one)(shares, origins)), ()

    given = (points.x, points.weights, points.pinned)
    return fold_over_points(some, (rooted, origins), given, (0, 0, 0))[0]


def _log_likelihood(components: Components, points: Points) -> Float[Array, ""]:
    return points.weights @ jax.nn.logsumexp(log_densities(components, points.x), 0)


def _free_parameters(covariance: Shape, used: Int[Array, ""], features: int) -> Float[Array, ""]:
    triangle = features * (features + 1) // 2
    each = {"full": triangle, "diagonal": features, "spherical": 1, "tied": 0}[covariance]
    return used * (each + features + 1) - 1 + (triangle if covariance == "tied" else 0)


def _positive(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.where(x > 0, x, 1)
