"""The weights of clusters that give each its share of the points: the dual problem of optimal transport.

The dual variable g minimises the convex function  sum_n w_n log sum_k exp(g_k + l_kn) - sum_k b_k g_k,  where
l are logits, w the shares of the points and b those of the clusters. Its gradient is the excess of mass,
m_k - b_k with m_k = sum_n w_n r_kn, and its Hessian diag(m) - sum_n w_n r_n r_n^T. Sinkhorn's rounds  g_k <-
g_k + log b_k - log m_k  need thousands where assignments are nearly hard; damped Newton steps need tens. A
constant added to g changes nothing, so that its mean is kept at zero.

Reference: Cuturi & Peyre 2018, Semidual regularized optimal transport.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ...distances import quotient
from ...sharding.points import fold_over_points
from ...weights import LOG_ZERO
from ..means import Theta, pin

RESERVE = 30.0
"""Dual variables are bounded by the largest difference of a point's logits, and this much more."""

POLISHING = 2
"""Newton steps that carry the derivative: after two it is exact up to the third order."""


BALANCED = 0.1
"""The dual variable has a derivative only if no share differs from its target by more than this part of it.

Elsewhere it is no solution: fewer distinct points than clusters cannot be balanced.
"""


class Balance(NamedTuple):
    """A balancing problem.

    Attributes:
        logits: [K, N] -beta ||x_n - c_k||^2, up to a number for each point.
        weights: [N] share of each point in the total weight.
        pinned: [N] cluster of each labelled point, out of range for the others; None if no point is labelled.
        target: [K] share of each cluster.
        used: [K] which slots are used.
    """

    logits: Float[Array, "K N"]
    weights: Float[Array, " N"]
    pinned: Int[Array, " N"] | None
    target: Float[Array, " K"]
    used: Bool[Array, " K"]

    def responses(self, dual: Float[Array, " K"]) -> Float[Array, "K N"]:
        """The responsibilities at a dual variable."""
        prior = jnp.where(self.used, dual, LOG_ZERO)
        return pin(jax.nn.softmax(prior[:, None] + self.logits, 0), self.pinned)

    def derivatives(self, dual: Float[Array, " K"]) -> tuple[Float[Array, " K"], Float[Array, "K K"]]:
        """The gradient, which is the mass of each cluster minus its target, and the Hessian."""

        def some(dual: Array, logits: Array, weights: Array, pinned: Array | None) -> tuple[tuple, tuple]:
            part = self._replace(logits=logits, weights=weights, pinned=pinned)
            shares = part.responses(dual)
            free = shares * part.free()
            return (shares @ weights, jnp.sum(free, 1), jnp.matmul(free, shares.T, precision="highest")), ()

        points = (self.logits, self.weights, self.pinned)
        (mass, free, products), _ = fold_over_points(some, dual, points, (1, 0, 0))
        return jnp.where(self.used, mass - self.target, 0), jnp.diag(free) - products

    def free(self) -> Float[Array, " N"]:
        """The weights of the points that are not labelled."""
        if self.pinned is None:
            return self.weights
        return jnp.where((self.pinned < 0) | (self.pinned >= len(self.target)), self.weights, 0)

    def centered(self, dual: Float[Array, " K"]) -> Float[Array, " K"]:
        """The dual variable with mean zero over the used slots, and zero in the others."""
        return jnp.where(self.used, dual - self.level(dual), 0)

    def level(self, dual: Float[Array, " K"]) -> Float[Array, ""]:
        """The mean of the dual variable over the used slots."""
        return jnp.sum(jnp.where(self.used, dual, 0)) / jnp.maximum(jnp.sum(self.used), 1)

    def limit(self) -> Float[Array, ""]:
        """The largest useful dual variable."""
        spans = jnp.ptp(jnp.where(self.used[:, None], self.logits, self.logits[0]), 0)
        return jnp.max(jnp.where(self.free() > 0, spans, 0)) + RESERVE


class _Newton(NamedTuple):
    """The state of the damped Newton method; `improving` is whether the last step halved the excess."""

    dual: Float[Array, " K"]
    excess: Float[Array, " K"]
    hessian: Float[Array, "K K"]
    damping: Float[Array, ""]
    improving: Bool[Array, ""]
    round: Int[Array, ""]


def balanced_dual(
    rounds: int, dual: Float[Array, " K"], logits: Float[Array, "K N"], theta: Theta
) -> Float[Array, " K"]:
    """The dual variable at which each cluster holds its share of the weight, with the derivative of that.

    Args:
        rounds: maximum number of Newton steps.
        dual: [K] the first iterate.
        logits: [K, N] of the clusters, up to a number for each point.
        theta: the points and the target shares.
    """
    points = theta.points
    used = points.log_slots > LOG_ZERO / 2
    problem = Balance(
        logits=logits,
        weights=quotient(points.weights, jnp.sum(points.weights)),
        pinned=points.pinned,
        target=jnp.where(used, jnp.exp(theta.log_share), 0),
        used=used,
    )
    start = jnp.where(used, dual, 0)
    found, left = _minimum(*lax.stop_gradient((problem, start)), rounds)
    polished = found
    one = jnp.eye(len(found), dtype=found.dtype)
    gauge = jnp.outer(used, used).astype(found.dtype) / jnp.maximum(jnp.sum(used), 1)
    damping = 8 * jnp.finfo(found.dtype).eps + ~used
    for _ in range(POLISHING):  # of which each has the value zero
        excess, hessian = problem.derivatives(polished)
        change = excess - lax.stop_gradient(excess) + problem.level(polished) * used
        polished = polished - jnp.linalg.solve(hessian + gauge + damping * one, change)
    balanced = jnp.all(jnp.abs(left) <= BALANCED * problem.target)
    return jnp.where(used, jnp.where(balanced, polished, found), LOG_ZERO)


def _minimum(
    problem: Balance, start: Float[Array, " K"], rounds: int
) -> tuple[Float[Array, " K"], Float[Array, " K"]]:
    """The minimum and the gradient there.

    Newton steps find it, whose damping falls after each that is taken and rises otherwise.
    """
    eps = jnp.finfo(start.dtype).eps
    limit = problem.limit()
    one = jnp.eye(len(start), dtype=start.dtype)

    def unfinished(state: _Newton) -> Bool[Array, ""]:
        off = jnp.max(jnp.abs(state.excess) - eps**0.75 * problem.target)
        return ((off > 0) | state.improving) & (state.round < rounds)

    def improve(state: _Newton) -> _Newton:
        step = jnp.linalg.solve(state.hessian + state.damping * one, state.excess)
        moved = problem.centered(jnp.clip(state.dual - step, -limit, limit))
        taken = moved - state.dual
        after, hessian = problem.derivatives(moved)
        better = after @ taken <= jnp.abs(state.excess @ taken) / 2  # the slope has hardly turned around
        return _Newton(
            dual=jnp.where(better, moved, state.dual),
            excess=jnp.where(better, after, state.excess),
            hessian=jnp.where(better, hessian, state.hessian),
            damping=jnp.clip(jnp.where(better, state.damping / 10, state.damping * 10), 8 * eps, 1 / eps),
            improving=better & (2 * jnp.max(jnp.abs(after)) < jnp.max(jnp.abs(state.excess))),
            round=state.round + 1,
        )

    first = problem.centered(jnp.clip(start, -limit, limit))
    excess, hessian = problem.derivatives(first)
    state = _Newton(
        dual=first,
        excess=excess,
        hessian=hessian,
        damping=jnp.asarray(1e-2, start.dtype),
        improving=jnp.asarray(True),
        round=jnp.asarray(0),
    )
    last = lax.while_loop(unfinished, improve, state)
    return last.dual, last.excess
