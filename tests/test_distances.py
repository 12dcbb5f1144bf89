"""Distances and means: values, and derivatives of every order where a point is a centre."""

import jax
import jax.numpy as jnp
import numpy as np

from jmeta.distances import squared_distances
from jmeta.weights import class_means

X = np.random.default_rng(0).normal(size=(5, 3))


def test_distances_are_their_definition_and_never_negative():
    far = jnp.asarray(X + 100, jnp.float32)
    found = squared_distances(far, far)
    assert found.min() >= 0
    with jax.enable_x64(True):
        expected = ((X[:, None] - X[None]) ** 2).sum(-1)
        np.testing.assert_allclose(squared_distances(jnp.asarray(X), jnp.asarray(X)), expected, atol=1e-13)


def test_derivatives_are_exact_where_points_coincide():
    with jax.enable_x64(True):
        x = jnp.asarray(X[:1])
        scalar = lambda y: squared_distances(x, y)[0, 0]  # noqa: E731
        np.testing.assert_allclose(jax.jit(jax.grad(scalar))(x), 0, atol=1e-15)
        np.testing.assert_allclose(jax.jit(jax.hessian(scalar))(x)[0, :, 0], 2 * np.eye(3), atol=1e-14)


def test_class_means_leave_out_labels_that_name_no_class():
    means, mass = class_means(jnp.asarray(X), jnp.array([0, 2, 0, -1, 7]), jnp.array([1.0, 1, 3, 1, 1]), 3)
    np.testing.assert_allclose(means[0], (X[0] + 3 * X[2]) / 4, rtol=1e-5)
    np.testing.assert_allclose(means[1], 0)
    np.testing.assert_allclose(mass, [4, 0, 1])
