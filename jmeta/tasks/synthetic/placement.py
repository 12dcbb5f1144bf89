"""Placement of cluster centres at a wanted distance from each other."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from .draws import Draws

CANDIDATES = 16


def placed_centers(
    draws: Draws,
    radii: Float[Array, " K"],
    alive: Bool[Array, " K"],
    gap: Float[Array, ""],
    columns: Int[Array, ""],
    steps: Int[Array, ""],
) -> Float[Array, "K 3"]:
    """Centres that are placed one after the other, each as near to the middle as the gap allows.

    Each centre is chosen among candidates that are spread evenly; if all of them are too near to earlier
    centres, it is the one with the most space.

    Args:
        draws: random numbers.
        radii: [K] radii of the clusters.
        alive: [K] which of the clusters are placed.
        gap: wanted distance between the surfaces of two spheres.
        columns: number of columns that are used, 1 to 3.
        steps: number of centres that are placed; the others are at the origin.

    Returns:
        [K, 3] centres.
    """
    slots = len(radii)
    place = jnp.arange(CANDIDATES)
    around, above, away = ((draws.row(0, 1)[:, None] + step * place) % 1 for step in (0.6180, 0.7549, 0.5698))
    angle = 2 * jnp.pi * around
    height = jnp.where(columns == 3, 2 * above - 1, 0)
    flat = jnp.sqrt(1 - height**2)
    first = jnp.where(columns == 1, jnp.where(around < 0.5, -1, 1), flat * jnp.cos(angle))
    second = jnp.where(columns == 1, 0, flat * jnp.sin(angle))
    direction = jnp.stack([first, second, height], -1)
    volume = jnp.cumsum(jnp.where(alive, (2 * radii + gap) ** 2 / 4, 0)) ** 0.5
    line = jnp.cumsum(jnp.where(alive, radii + gap / 2, 0))
    extent = jnp.where(columns == 1, line, volume)[:, None]
    distance = extent * (0.3 + 2.2 * away)
    candidates = direction * distance[:, :, None]

    def step(k: Array, centers: Float[Array, "K D"]) -> Float[Array, "K D"]:
        away = candidates[k][:, None] - centers
        space = jnp.sqrt(jnp.sum(away * away, -1)) - radii - radii[k]
        space = jnp.min(jnp.where(alive & (jnp.arange(slots) < k), space, jnp.inf), -1)
        space = jnp.minimum(space, 1e6)
        fits = space >= gap
        best = jnp.argmax(jnp.where(fits, 10 - distance[k] / extent[k], jnp.minimum(space - gap, 0)))
        return centers.at[k].set(jnp.where(k > 0, candidates[k, best], 0))

    return lax.fori_loop(0, steps, step, jnp.zeros((slots, 3)))
