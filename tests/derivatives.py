"""What tests of derivatives share."""

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


def numerical(function, x, epsilon=1e-5):
    """Central differences of a function of a tree, one row for each of its numbers."""
    flat, unravel = ravel_pytree(x)
    steps = epsilon * np.eye(flat.size)
    slopes = [(function(unravel(flat + s)) - function(unravel(flat - s))) / (2 * epsilon) for s in steps]
    return jnp.stack(slopes)
