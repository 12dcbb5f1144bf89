"""Iterated maps: values, then derivatives three ways in float64, at convergence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import numerical

import jmeta as jm

pytestmark = pytest.mark.usefixtures("float64")


def contraction(x, theta, i):
    """A tanh layer: its Jacobian is not symmetric. The counter has no derivative."""
    matrix, bias = theta
    values, count = x
    return jnp.tanh(matrix @ values + bias), count + 1


def descent(x, theta, i):
    """Gradient descent on log cosh and a quadratic: its Jacobian is symmetric."""
    matrix, bias = theta
    symmetric = matrix @ matrix.T / 4 + jnp.eye(3)
    slope = symmetric @ x[0] - jnp.tanh(bias - x[0])
    return x[0] - 0.3 * slope, x[1] + 1


def start():
    return np.array([0.3, -0.2, 0.1]), np.array(0)


def inputs():
    return 0.3 * np.random.default_rng(0).normal(size=(3, 3)), np.array([0.1, 0.5, -0.3])


UNROLL = jm.unroll()


def outcome(step, diff, steps=100, tol=None):
    begin = start()[0]

    def scalar(theta, values=begin):
        x, _ = jm.iterate(step, (values, jnp.array(0)), theta, steps=steps, diff=diff, tol=tol)
        return jnp.sum(jnp.sin(x) * jnp.arange(1.0, 4.0))

    return scalar


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


EXACT = {
    "unroll": (jm.unroll(), None),
    "unroll_remat": (jm.unroll(remat=True), None),
    "truncate": (jm.truncate(80), None),
    "gmres": (jm.implicit(jm.gmres(3, tol=1e-13)), None),
    "gmres_tol": (jm.implicit(jm.gmres(3, tol=1e-13)), 1e-14),
    "neumann": (jm.implicit(jm.neumann(80)), None),
}


SYMMETRIC = {"conjugate_gradient": (jm.implicit(jm.conjugate_gradient(5, tol=1e-14)), None)}
CASES = [(contraction, *EXACT[rule]) for rule in EXACT]
CASES += [(descent, *rule) for rule in (EXACT | SYMMETRIC).values()]
NAMES = [f"contraction-{rule}" for rule in EXACT] + [f"descent-{rule}" for rule in EXACT | SYMMETRIC]


@pytest.mark.parametrize(("step", "diff", "tol"), CASES, ids=NAMES)
def test_exact_rules_equal_finite_differences_in_both_orders(step, diff, tol):
    theta = inputs()
    scalar = jax.jit(outcome(step, diff, tol=tol))
    gradient = jax.jit(jax.grad(scalar))

    @jax.jit
    def everything(theta):
        def of_bias(bias):
            return gradient((theta[0], bias))[1]

        solution = jm.iterate(step, start(), theta, steps=100, diff=diff, tol=tol)
        first = gradient(theta), numerical(scalar, theta)
        second = jax.jacrev(of_bias)(theta[1]).T, jax.jacfwd(of_bias)(theta[1]).T
        return jm.residual(step, solution, theta), first, second, numerical(of_bias, theta[1])

    residual, first, second, expected = everything(theta)
    assert residual < 1e-13
    np.testing.assert_allclose(flat(first[0]), first[1], atol=1e-8)
    np.testing.assert_allclose(second[0], expected, atol=1e-7)
    np.testing.assert_allclose(second[1], expected, atol=1e-7)


def test_a_part_of_x_may_not_depend_on_theta():
    def step(x, theta, i):
        return (x[0] + theta) / 2, jnp.zeros(2)

    def result(theta):
        start = (jnp.asarray(0.0), jnp.ones(2))
        x, constant = jm.iterate(step, start, theta, steps=60, diff=jm.implicit(jm.gmres(3, tol=1e-14)))
        return x**2 + constant.sum()

    reverse, forward = jax.jit(lambda theta: (jax.grad(result)(theta), jax.jacfwd(result)(theta)))(3.0)
    np.testing.assert_allclose(reverse, 6.0, rtol=1e-12)
    np.testing.assert_allclose(forward, 6.0, rtol=1e-12)


def test_one_step_is_the_derivative_of_one_step_at_the_solution():
    theta = inputs()
    solution, _ = jm.iterate(contraction, start(), theta, steps=100, diff=jm.unroll())

    def one(theta):
        return contraction((solution, 0), theta, 0)[0]

    expected = jax.jit(lambda x: jax.vjp(one, theta)[1](x)[0])(np.cos(solution) * np.arange(1.0, 4.0))
    np.testing.assert_allclose(
        flat(jax.jit(jax.grad(outcome(contraction, jm.one_step())))(theta)), flat(expected), atol=1e-12
    )


def test_one_step_is_exact_where_the_map_forgets_its_input():
    def project(x, theta, i):
        return theta**2

    def slope(diff):
        return jax.jit(jax.grad(lambda theta: jm.iterate(project, 0.0, theta, steps=4, diff=diff)))(3.0)

    assert slope(jm.one_step()) == 6.0
    np.testing.assert_allclose(slope(jm.implicit(jm.gmres())), 6.0, atol=1e-12)


def test_straight_through_is_the_identity_to_the_start_and_nothing_to_theta():
    theta, (values, _) = inputs(), start()
    scalar = outcome(contraction, jm.straight_through(), steps=3)
    end, _ = jm.iterate(contraction, start(), theta, steps=3, diff=jm.unroll())
    to_theta, to_start = jax.jit(jax.grad(scalar, (0, 1)))(theta, values)
    assert not np.any(flat(to_theta))
    np.testing.assert_array_equal(to_start, jnp.cos(end) * np.arange(1.0, 4.0))


@pytest.mark.parametrize("diff", [jm.truncate(3), jm.one_step(), jm.implicit(jm.gmres())])
def test_rules_at_the_solution_give_nothing_to_the_start(diff):
    gradient = jax.jit(jax.grad(outcome(contraction, diff, steps=5), 1))(inputs(), start()[0])
    assert not np.any(gradient)


def test_truncated_gradient_is_that_of_unrolling_from_the_point_before():
    theta = inputs()
    middle, _ = jm.iterate(contraction, start(), theta, steps=2, diff=jm.unroll())
    expected = jax.jit(jax.grad(outcome(contraction, jm.unroll(), steps=3)))(theta, middle)
    truncated = jax.jit(jax.grad(outcome(contraction, jm.truncate(3), steps=5)))(theta)
    np.testing.assert_allclose(flat(truncated), flat(expected), atol=1e-14)


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
@pytest.mark.parametrize("diff", [jm.unroll(), jm.truncate(2), jm.one_step(), jm.straight_through()])
def test_all_rules_compute_the_same_iterates(steps, diff):
    x, theta = start(), inputs()
    for i in range(steps):
        x = contraction(x, theta, i)
    result = jm.iterate(contraction, start(), theta, steps=steps, diff=diff)
    np.testing.assert_allclose(result[0], x[0], atol=1e-15)
    assert result[1] == steps


def test_step_number_is_passed_in_order():
    def append(x, theta, i):
        return 10 * x + i

    assert jm.iterate(append, jnp.array(0), None, steps=4, diff=jm.unroll()) == 123
    assert jm.iterate(append, jnp.array(0), None, steps=4, diff=jm.truncate(2)) == 123


@pytest.mark.parametrize("diff", [jm.unroll(), jm.truncate(2), jm.one_step(), jm.straight_through()])
def test_no_step_is_the_identity(diff):
    slope = jax.grad(lambda x: jm.iterate(lambda x, t, i: x * t, x, 3.0, steps=0, diff=diff))(2.0)
    assert slope == 1


def test_every_step_holds_every_iterate_and_its_derivative():
    theta = inputs()
    path, counts = jm.iterate(contraction, start(), theta, steps=4, diff=jm.every_step())
    np.testing.assert_array_equal(counts, np.arange(5))
    for steps in range(5):
        end, _ = jm.iterate(contraction, start(), theta, steps=steps, diff=jm.unroll())
        np.testing.assert_allclose(path[steps], end, atol=1e-15)

    def slope(diff):
        def total(theta):
            return jm.iterate(contraction, start(), theta, steps=4, diff=diff)[0].reshape(-1, 3)[-1].sum()

        return flat(jax.jit(jax.grad(total))(theta))

    np.testing.assert_allclose(slope(jm.every_step()), slope(jm.unroll()), atol=1e-14)


def test_tolerance_stops_early_under_every_rule():
    def counted(x, theta, i):
        return (x[0] + theta) / 2, x[1] + 1

    begin = (jnp.array(0.0), jnp.array(0))
    for rule in (jm.one_step(), jm.unroll(), jm.unroll(remat=True), jm.truncate(2), jm.straight_through()):
        value, taken = jm.iterate(counted, begin, 4.0, steps=100, diff=rule, tol=1e-6)
        assert taken < 30
        assert abs(value - 4.0) < 1e-5
    path, taken = jm.iterate(counted, begin, 4.0, steps=100, diff=jm.every_step(), tol=1e-6)
    assert path.shape == (101,)
    np.testing.assert_array_equal(path[30:], path[-1])
    assert taken[-1] < 30


@pytest.mark.parametrize("rule", [jm.unroll(), jm.unroll(remat=True), jm.every_step()])
def test_an_early_stop_is_differentiated_through_the_steps_that_were_taken(rule, float64):
    def step(x, theta, i):
        return 0.5 * x + jnp.sin(theta) * (1 - 0.1 * x**2)

    def last(theta, steps, tol, diff=UNROLL):
        found = jm.solve(step, jnp.array(0.3), theta, steps=steps, diff=diff, tol=tol)
        return jnp.ravel(found.value)[-1], found

    theta = jnp.array(0.7)
    _, found = last(theta, 60, 1e-4, rule)
    count = int(found.steps)
    assert 3 < count < 30
    assert float(found.residual) < 1e-4
    early = jax.jit(lambda theta: last(theta, 60, 1e-4, rule)[0])
    whole = jax.jit(lambda theta: last(theta, count, None)[0])
    np.testing.assert_allclose(early(theta), whole(theta), rtol=1e-14)
    for derivative in (
        jax.grad,
        jax.jacfwd,
        lambda f: jax.grad(jax.grad(f)),
        lambda f: jax.jacfwd(jax.grad(f)),
    ):
        np.testing.assert_allclose(derivative(early)(theta), derivative(whole)(theta), rtol=1e-12)
    eps = 1e-6
    slope = (whole(theta + eps) - whole(theta - eps)) / (2 * eps)
    np.testing.assert_allclose(jax.grad(early)(theta), slope, rtol=1e-7)
    several = jnp.array([0.1, 0.7, 1.2])
    counts = jax.vmap(lambda theta: last(theta, 60, 1e-4, rule)[1].steps)(several)
    assert len(set(counts.tolist())) > 1
    together = jax.vmap(jax.grad(early))(several)
    np.testing.assert_allclose(together, [jax.grad(early)(one) for one in several], rtol=1e-12)


def test_a_solution_counts_its_steps_and_says_how_far_it_is():
    def halfway(x, theta, i):
        return (x + theta) / 2

    for steps, rule in (
        (0, jm.unroll()),
        (3, jm.unroll()),
        (3, jm.implicit(jm.gmres())),
        (3, jm.every_step()),
    ):
        found = jm.solve(halfway, jnp.array(0.0), 4.0, steps=steps, diff=rule)
        assert int(found.steps) == steps
        np.testing.assert_allclose(found.residual, 2.0 / 2**steps)


REFUSED = {
    "steps": lambda: jm.iterate(contraction, start(), inputs(), steps=-1, diff=jm.unroll()),
    "every_step": lambda: jm.iterate(contraction, start(), inputs(), steps=-1, diff=jm.every_step()),
    "truncate": lambda: jm.truncate(0),
    "conjugate_gradient": lambda: jm.conjugate_gradient(0),
    "gmres": lambda: jm.gmres(0),
    "neumann": lambda: jm.neumann(-1),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_counts_that_mean_nothing_are_refused(case):
    with pytest.raises(jm.InputError, match="give a whole number of"):
        REFUSED[case]()


def test_rules_vmap_over_tasks():
    matrix, bias = inputs()
    biases = np.stack([bias, -bias, 2 * bias])
    for rule in (jm.unroll(), jm.implicit(jm.gmres(3, tol=1e-13))):
        one = jax.jit(jax.grad(outcome(contraction, rule)))
        together = jax.jit(jax.vmap(one, in_axes=((None, 0),)))((matrix, biases))
        alone = [one((matrix, bias)) for bias in biases]
        for place, expected in enumerate(alone):
            np.testing.assert_allclose(together[0][place], expected[0], atol=1e-12)


def test_a_root_of_a_condition_is_differentiated_twice_whatever_finds_it():
    """Roots of  sinh(x) + a x = b  by Newton's method, in a loop that has no reverse derivative."""

    def condition(x, theta):
        return jnp.sinh(x) + theta[0] * x - theta[1]

    def newton(theta):
        def advance(x):
            return x - condition(x, theta) / (jnp.cosh(x) + theta[0])

        return jax.lax.while_loop(
            lambda x: jnp.any(jnp.abs(condition(x, theta)) > 1e-12), advance, jnp.zeros(2)
        )

    def scalar(b):
        solve = jm.conjugate_gradient(2, tol=1e-13)
        return jnp.sin(jm.custom_root(condition, newton, (a, b), linear_solve=solve)).sum()

    a, b = np.array([0.5, 2.0]), np.array([1.0, -0.3])
    x = newton((a, b))
    first = 1 / (np.cosh(x) + a)  # by hand: dx/db, and the second derivative -sinh(x) (dx/db)^3
    second = np.diag(-np.sin(x) * first**2 - np.cos(x) * np.sinh(x) * first**3)
    gradient = jax.grad(scalar)
    found = jax.jit(lambda b: (gradient(b), jax.jacfwd(gradient)(b), jax.jacrev(gradient)(b)))(b)
    for one, expected in zip(found, (np.cos(x) * first, second, second), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-9, atol=1e-12)


def test_memory_of_the_rules():
    """Temporaries of the compiled gradient: flat in steps where the table says so."""

    def bytes_of(diff, steps, layers=1):
        def step(x, theta, i):
            for _ in range(layers):
                x = contraction(x, theta, i)
            return x

        def scalar(theta):
            x = jm.iterate(step, (jnp.zeros(64), 0), theta, steps=steps, diff=diff)[0]
            return jnp.sum(x)

        theta = (jnp.zeros((64, 64)), jnp.zeros(64))
        compiled = jax.jit(jax.grad(scalar)).lower(theta).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    carry = 64 * 8
    for diff in (jm.one_step(), jm.implicit(jm.neumann(5)), jm.truncate(3)):
        assert bytes_of(diff, 400) < bytes_of(diff, 40) + carry
    assert bytes_of(jm.unroll(), 400) > bytes_of(jm.unroll(), 40) + 300 * carry
    deep = [bytes_of(jm.unroll(remat), 400, layers=6) for remat in (True, False)]
    assert deep[0] < deep[1] / 4
