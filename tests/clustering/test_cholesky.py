"""Factors written out are those of the library, and so are their derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta.clustering.mixtures.cholesky import WRITTEN_OUT, factor, solve

SIZES = (1, 2, 3, WRITTEN_OUT, WRITTEN_OUT + 1)


def system(size):
    """A positive definite matrix, and columns to solve for."""
    root, x = (np.random.default_rng(size).normal(size=(size, columns)) for columns in (size, 7))
    return root @ root.T + np.eye(size), x


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("size", SIZES)
def test_they_are_those_of_the_library(size):
    matrix, x = system(size)
    lower = jax.jit(factor)(matrix)
    np.testing.assert_allclose(lower, np.linalg.cholesky(matrix), atol=1e-12)
    np.testing.assert_allclose(jax.jit(solve)(lower, x), np.linalg.solve(lower, x), atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("size", SIZES)
def test_so_are_their_derivatives(size):
    matrix, x = system(size)

    @partial(jax.jit, static_argnums=1)
    @jax.grad
    def slope(matrix, factorise):
        symmetric = (matrix + matrix.T) / 2
        return jnp.sum(jnp.sin(solve(factorise(symmetric), x)))

    ours, theirs = (slope(matrix, one) for one in (factor, jnp.linalg.cholesky))
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_a_matrix_without_a_factor_gives_nan():
    assert jnp.isnan(factor(jnp.array([[1.0, 2.0], [2.0, 1.0]]))).any()


@pytest.mark.parametrize("size", [2, WRITTEN_OUT + 1])
def test_in_few_dimensions_no_library_is_called(size):
    program = str(jax.make_jaxpr(lambda matrix: solve(factor(matrix), jnp.ones((size, 2))))(jnp.eye(size)))
    assert ("cholesky" in program) == (size > WRITTEN_OUT)
