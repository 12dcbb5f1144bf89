"""A network that scores every member of a set, given the others.

Reference: Zaheer et al. 2017, Deep sets.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from ..errors import InputError
from ..records import Model
from .functional import functional


def scorer(features: int, *, width: int = 32) -> Model:
    """A network that scores the members of a set, from their features and the mean over the set.

    With h_a = relu(W x_a) the scores are  s_a = v . relu(U [h_a, mean_b h_b]). They are equivariant to the
    order of members, and each depends on all members.

    Args:
        features: F, number of features of a member.
        width: width of both hidden layers.

    Returns:
        A `Model` from N sets of A members, [N, A, F], to scores [N, A].

    Raises:
        InputError: a size is less than one; when applied, the members have another number of features.

    >>> model = scorer(3)
    >>> model.apply(model.init(jax.random.key(0)), jnp.zeros((10, 7, 3))).shape
    (10, 7)
    """
    if features < 1 or width < 1:
        raise InputError(f"features is {features} and width is {width}; give whole numbers >= 1.")
    return functional(lambda rngs: _Scorer(features, width, rngs))


class _Scorer(nnx.Module):
    def __init__(self, features: int, width: int, rngs: nnx.Rngs) -> None:
        self.alone = nnx.Linear(features, width, rngs=rngs)
        self.beside = nnx.Linear(2 * width, width, rngs=rngs)
        self.head = nnx.Linear(width, 1, rngs=rngs)

    def __call__(self, inputs: Float[Array, "N A F"], weights: Array | None) -> Float[Array, "N A"]:
        if inputs.ndim != 3 or inputs.shape[-1] != self.alone.in_features:
            raise InputError(
                f"inputs have shape {inputs.shape}; the network takes sets [N, A, {self.alone.in_features}]."
            )
        alone = jax.nn.relu(self.alone(inputs))
        mean = jnp.broadcast_to(jnp.mean(alone, 1, keepdims=True), alone.shape)
        beside = jax.nn.relu(self.beside(jnp.concatenate([alone, mean], -1)))
        return self.head(beside)[..., 0]
