"""Iterated maps and their derivatives, on which the clusterers and learners are built.

Soft k-means, EM, the MAML inner loop and its relatives all iterate a map `x <- step(x, theta, i)`. They
differ in the map and in how the result x*(theta) is differentiated, which is set by `diff`: one of the
differentiation rules below or another `Diff`.

====================  ========================================  ===============  =====  ========
rule                  what is differentiated                    memory in steps  d/dx0  d/dtheta
====================  ========================================  ===============  =====  ========
`unroll(remat)`       every step                                O(steps)         yes    yes
`every_step(remat)`   every step; all iterates are returned     O(steps)         yes    yes
`truncate(last)`      the last steps only                       O(last)          no     yes
`one_step()`          one step at the solution (Jacobian-free)  O(1)             no     yes
`straight_through()`  identity Jacobian: first-order MAML       O(1)             yes    no
`implicit(solve)`     implicit function theorem                 O(1)             no     yes
====================  ========================================  ===============  =====  ========

With `remat`, `unroll` stores one carry per step. All rules can be differentiated again, in either mode. A
step must receive every differentiable input through `theta` and close over no array.

References: Blondel et al. 2022, Efficient and modular implicit differentiation; Fung et al. 2022,
JFB: Jacobian-free backpropagation for implicit networks; Finn et al. 2017, Model-agnostic
meta-learning for fast adaptation of deep networks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from .errors import InputError
from .records import Diff, LinearSolve, Step
from .trees import inexact_leaves, largest_change, replace_inexact, tangent_like


def iterate(
    step: Step, x0: PyTree, theta: PyTree, *, steps: int, diff: Diff, tol: float | None = None
) -> PyTree:
    """Iterates a map: x_{i+1} = step(x_i, theta, i), for i = 0 ... steps - 1.

    Args:
        step: the map, `step(x, theta, i) -> x`.
        x0: the first iterate, any pytree.
        theta: all that the map depends on, any pytree.
        steps: maximum number of steps.
        diff: the differentiation rule; see the table in the module docstring.
        tol: stops early once no element of x changes by more than this.

    Returns:
        The last iterate; x0 if `steps` is 0. Implicit and one-step derivatives are valid only at a fixed
        point, which `residual` checks.

    Raises:
        InputError: `steps` is negative, or `diff` is no rule.

    >>> def halfway(x, theta, i):
    ...     return (x + theta) / 2
    >>> solution = lambda theta: iterate(halfway, 0.0, theta, steps=30, diff=unroll())
    >>> print(f"{solution(4.0):.4f} {jax.grad(solution)(4.0):.4f}")
    4.0000 1.0000
    """
    _check("steps", steps, least=0)
    if not callable(diff) or diff in (unroll, every_step, truncate, one_step, implicit, straight_through):
        name = getattr(diff, "__name__", repr(diff))
        raise InputError(f"diff is {name}; give a rule, which is the result of a call, as in diff=unroll().")
    return diff(step, x0, theta, steps, tol)


class Solution(NamedTuple):
    """The result of `solve`.

    Attributes:
        value: the last iterate.
        steps: number of steps taken.
        residual: the largest change of an element of the value in one more step.
    """

    value: PyTree
    steps: Int[Array, ""]
    residual: Float[Array, ""]


def solve(
    step: Step, x0: PyTree, theta: PyTree, *, steps: int, diff: Diff, tol: float | None = None
) -> Solution:
    """As `iterate`, with the number of steps taken and the residual, neither of them differentiated.

    >>> def halfway(x, theta, i):
    ...     return (x + theta) / 2
    >>> found = solve(halfway, 0.0, 4.0, steps=30, diff=unroll(), tol=1e-3)
    >>> int(found.steps), bool(found.residual < 1e-3)
    (12, True)
    """

    def counted(x: tuple[PyTree, Array], theta: PyTree, i: Array) -> tuple[PyTree, Array]:
        return step(x[0], theta, i), x[1] + 1

    value, counts = iterate(counted, (x0, jnp.asarray(0)), theta, steps=steps, diff=diff, tol=tol)
    last = jax.tree.map(lambda leaf: leaf[-1], value) if counts.ndim else value  # of every iterate
    count = jnp.max(counts)
    return Solution(value, count, residual(step, last, theta, count))


def custom_root(
    condition: Callable[[PyTree, PyTree], PyTree],
    solver: Callable[[PyTree], PyTree],
    theta: PyTree,
    *,
    linear_solve: LinearSolve | None = None,
) -> PyTree:
    """The root x of  condition(x, theta) = 0  that any solver finds, differentiated by the implicit rule.

    With C the condition,  dx = -(dC/dx)^-1 (dC/dtheta) dtheta.  The solver itself is not differentiated. For
    a minimum the condition is the gradient of the objective, and `conjugate_gradient` applies.

    Args:
        condition: has the structure of x; zero at the solution, which the derivative takes for granted.
        solver: theta -> x.
        theta: all that the condition depends on.
        linear_solve: solves with dC/dx; `gmres()` unless given.

    >>> root = lambda theta: custom_root(lambda x, theta: x**2 - theta, jnp.sqrt, theta)
    >>> float(root(4.0)), float(jax.grad(root)(4.0))
    (2.0, 0.25)
    """

    def step(x: PyTree, theta: PyTree, i: Array) -> PyTree:  # stays at x, with the derivative of x - C
        error = condition(x, theta)
        return jax.tree.map(lambda x, c: x - (c - lax.stop_gradient(c)), x, error)

    start = lax.stop_gradient(solver(lax.stop_gradient(theta)))
    return iterate(step, start, theta, steps=1, diff=implicit(linear_solve or gmres()))


def residual(step: Step, x: PyTree, theta: PyTree, i: int | Array = 0) -> Float[Array, ""]:
    """The largest change of an element of x in one more step; not differentiated.

    It is zero at a fixed point.

    >>> float(residual(lambda x, theta, i: (x + theta) / 2, 3.0, 4.0))
    0.5
    """
    return largest_change(step(x, theta, jnp.asarray(i)), x)


def unroll(remat: bool = False) -> Diff:
    """Differentiates through every step.

    The derivative is exact, converged or not, also with respect to x0. With `tol` it is that of the steps
    taken; the loop still has its full length, so that it can be differentiated, and the remaining steps are
    skipped, or computed and dropped under `vmap`. The first step is peeled off the loop, so that under `vmap`
    an x0 shared by all tasks stays shared in it.

    Args:
        remat: recomputes each step in the backward pass: memory falls to one carry per step, for about one
            more forward pass.
    """

    def rule(step: Step, x0: PyTree, theta: PyTree, steps: int, tol: float | None) -> PyTree:
        advance = jax.checkpoint(step) if remat else step
        return (
            _run(advance, x0, theta, steps) if tol is None else _run_masked(advance, x0, theta, steps, tol)[0]
        )

    return rule


def every_step(remat: bool = False) -> Diff:
    """Returns all iterates x_0 ... x_steps, stacked on a leading axis, and differentiates through them.

    For losses over all steps, such as that of MAML++. With `tol` the iterates after the last step taken are
    equal to it.

    Args:
        remat: recomputes each step in the backward pass, as in `unroll`.

    >>> doubled = iterate(lambda x, theta, i: x * theta, jnp.ones(1), 2.0, steps=3, diff=every_step())
    >>> doubled.ravel()
    Array([1., 2., 4., 8.], dtype=float32)
    """

    def rule(step: Step, x0: PyTree, theta: PyTree, steps: int, tol: float | None) -> PyTree:
        advance = jax.checkpoint(step) if remat else step
        if tol is not None and steps:
            rest = _run_masked(advance, x0, theta, steps, tol)[1]
        else:

            def body(x: PyTree, i: Array) -> tuple[PyTree, PyTree]:
                following = advance(x, theta, i)
                return following, following

            rest = lax.scan(body, x0, jnp.arange(steps))[1]
        return jax.tree.map(lambda first, more: jnp.concatenate([jnp.asarray(first)[None], more]), x0, rest)

    return rule


def truncate(last: int) -> Diff:
    """Differentiates through the last steps only; the iterate before them counts as constant.

    The derivative with respect to x0 is therefore zero: an initialisation is learned only if theta holds it
    too, as in a proximal term.

    Args:
        last: number of steps to differentiate through, one or more.
    """
    _check("last", last)

    def rule(step: Step, x0: PyTree, theta: PyTree, steps: int, tol: float | None) -> PyTree:
        if not steps:
            return x0
        first = max(steps - last, 0)
        start = _run(step, *lax.stop_gradient((x0, theta)), first, tol)
        return _run(step, lax.stop_gradient(start), theta, steps - first, start=first)

    return rule


def one_step() -> Diff:
    """Differentiates one step at the solution: dx = (d step / d theta) dtheta.

    This is `implicit` with (I - J)^-1 replaced by I: exact if the step does not depend on x locally (hard
    k-means), with a relative error of about rho / (1 - rho) if the map contracts at rate rho.
    """
    return _at_solution(lambda matvec, b: b)


def implicit(linear_solve: LinearSolve) -> Diff:
    """Differentiates the fixed point: dx = (I - J)^-1 (d step / d theta) dtheta.

    J = d step / dx at the solution, which must have converged. Memory does not grow with the number of
    steps. The derivative with respect to x0 is zero; use `unroll` to learn an initialisation.

    Args:
        linear_solve: `gmres` or `neumann` for any map; `conjugate_gradient` only if J is symmetric, as in
            gradient descent.
    """

    def solve(matvec: Callable, b: Any) -> Any:
        # Solved as one vector: jax transposes a solve only if every leaf of b is a tangent, and a leaf of x
        # may not depend on theta at all.
        vector, unravel = ravel_pytree(b)

        def flat_matvec(v: Array) -> Array:
            return ravel_pytree(matvec(unravel(v)))[0]

        solved = lax.custom_linear_solve(flat_matvec, vector, linear_solve, transpose_solve=linear_solve)
        return unravel(solved)

    return _at_solution(solve)


def straight_through() -> Diff:
    """Differentiates as if the result were x0, as in first-order MAML; the derivative in theta is zero."""

    def rule(step: Step, x0: PyTree, theta: PyTree, steps: int, tol: float | None) -> PyTree:
        @jax.custom_jvp
        def result(x0: PyTree, theta: PyTree) -> PyTree:
            return _run(step, x0, theta, steps, tol)

        @result.defjvp
        def tangent(primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
            return result(*primals), tangents[0]

        return result(x0, theta)

    return rule


def conjugate_gradient(iterations: int = 10, *, tol: float = 1e-6) -> LinearSolve:
    """Conjugate gradients, for a symmetric positive definite I - J, as in gradient descent.

    Args:
        iterations: maximum number of iterations.
        tol: the relative residual at which to stop.
    """
    _check("iterations", iterations)

    def solve(matvec: Callable, b: Any) -> Any:
        return jax.scipy.sparse.linalg.cg(matvec, b, maxiter=iterations, tol=tol)[0]

    return solve


def gmres(iterations: int = 10, *, tol: float = 1e-6) -> LinearSolve:
    """The generalised minimal residual method, for any I - J, such as those of k-means and EM.

    Args:
        iterations: dimension of the Krylov space; at most that of x.
        tol: the relative residual at which to stop.
    """
    _check("iterations", iterations)

    def solve(matvec: Callable, b: Any) -> Any:
        size = sum(leaf.size for leaf in jax.tree.leaves(b))
        restart = min(iterations, size)
        return jax.scipy.sparse.linalg.gmres(matvec, b, restart=restart, maxiter=1, tol=tol)[0]

    return solve


def neumann(terms: int = 10) -> LinearSolve:
    """The Neumann series sum_{j <= terms} J^j b, for contracting maps; needs no inner product.

    Args:
        terms: the highest power of J.
    """
    _check("terms", terms)

    def solve(matvec: Callable, b: Any) -> Any:
        def add_term(v: Any, _: None) -> tuple[Any, None]:
            return jax.tree.map(lambda b, v, av: b + v - av, b, v, matvec(v)), None

        return lax.scan(add_term, b, None, length=terms)[0]

    return solve


def _check(name: str, value: int, least: int = 1) -> None:
    if value < least:
        raise InputError(f"{name} is {value}; give a whole number of {least} or more.")


def _run(
    step: Step, x: PyTree, theta: PyTree, steps: int, tol: float | None = None, start: int = 0
) -> PyTree:
    """Takes `steps` steps, numbered from `start`; the first is peeled off the loop."""
    if steps == 0:
        return x
    first = step(x, theta, jnp.asarray(start))
    if steps == 1:
        return first
    if tol is None:
        rest = jnp.arange(start + 1, start + steps)
        return lax.scan(lambda x, i: (step(x, theta, i), None), first, rest)[0]

    def moving(carry: tuple) -> Array:
        _, change, i = carry
        return (change > tol) & (i < start + steps)

    def advance(carry: tuple) -> tuple:
        x, _, i = carry
        following = step(x, theta, i)
        return following, largest_change(following, x), i + 1

    return lax.while_loop(moving, advance, (first, largest_change(first, x), start + 1))[0]


def _run_masked(step: Step, x0: PyTree, theta: PyTree, steps: int, tol: float) -> tuple[PyTree, PyTree]:
    """The last iterate and all after x0, in a loop of `steps` steps that skips those after convergence."""
    first = step(x0, theta, jnp.asarray(0))

    def body(carry: tuple[PyTree, Array], i: Array) -> tuple[tuple[PyTree, Array], PyTree]:
        x, moving = carry
        following = lax.cond(moving, lambda x: step(x, theta, i), lambda x: x, x)
        return (following, moving & (largest_change(following, x) > tol)), following

    (x, _), rest = lax.scan(body, (first, largest_change(first, x0) > tol), jnp.arange(1, steps))
    return x, jax.tree.map(lambda one, more: jnp.concatenate([jnp.asarray(one)[None], more]), first, rest)


def _at_solution(solve: LinearSolve) -> Diff:
    """The rule dx = solve(I - J, (d step / d theta) dtheta), with all derivatives at the solution."""

    def rule(step: Step, x0: PyTree, theta: PyTree, steps: int, tol: float | None) -> PyTree:
        if not steps:
            return x0

        @jax.custom_jvp
        def solution(x0: PyTree, theta: PyTree) -> PyTree:
            return _run(step, x0, theta, steps, tol)

        @solution.defjvp
        def tangent(primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
            x = solution(*primals)
            theta = primals[1]
            last = jnp.asarray(steps - 1)
            _, moved = jax.jvp(lambda theta: step(x, theta, last), (theta,), (tangents[1],))

            def next_leaves(leaves: list[Array]) -> list[Array]:
                return inexact_leaves(step(replace_inexact(x, leaves), theta, last))

            _, jacobian = jax.linearize(next_leaves, inexact_leaves(x))
            solved = solve(
                lambda v: jax.tree.map(jnp.subtract, v, jacobian(v)),
                inexact_leaves(moved),
            )
            return x, jax.tree.map(tangent_like, x, replace_inexact(x, solved))

        return solution(x0, theta)

    return rule
