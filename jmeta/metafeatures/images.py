"""Meta-features of sets of images: the histogram of their intensities, and how they stand noise."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..compiler import compiled
from ..errors import InputError
from ..weights import weights_or_ones


@partial(compiled, static=("bins",))
def image_features(
    images: Float[Array, "N ..."],
    weights: Float[Array, " N"] | None,
    key: Key[Array, ""],
    *,
    deviation: float = 0.1,
    bins: int = 32,
) -> Float[Array, " 3"]:
    """Density and dispersion of the histogram of intensities, and signal to noise after noise is added.

    Density is the mean of the squared shares of the bins, times their number: one where all intensities
    are equally frequent. Dispersion is the deviation of intensities around their mean. Noise of the given
    deviation is drawn and added, and the ratio of the variance of pixels before to that of the difference
    it made, after intensities are cut to [0, 1] again, is given in decibels.

    Args:
        images: [N, ...] intensities in [0, 1].
        weights: [N]; all ones unless given.
        key: a typed key.
        deviation: of the noise.
        bins: of the histogram.

    Raises:
        InputError: there are no images, or they are not of a floating type.

    >>> flat = jnp.linspace(0, 1, 64, endpoint=False).reshape(4, 4, 4)
    >>> density, dispersion, ratio = image_features(flat, None, jax.random.key(0))
    >>> print(f"{density:.2f} {dispersion:.2f}")
    1.00 0.29
    """
    images = jnp.asarray(images)
    if images.ndim < 2 or not images.size or not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            f"images are {images.dtype} of shape {images.shape}; give intensities in [0, 1], [images, ...]."
        )
    flat = images.reshape(len(images), -1)
    kept = weights_or_ones(flat, weights)[:, None]
    flat = jnp.where(kept > 0, flat, 0)
    counted = kept * jnp.ones_like(flat)
    shares = counted / jnp.maximum(jnp.sum(counted), 1e-9)
    place = jnp.clip(flat * bins, 0, bins - 1).astype(int)
    histogram = jnp.zeros(bins).at[place].add(shares)
    variance = jnp.sum(shares * jnp.square(flat - jnp.sum(shares * flat)))
    noisy = jnp.clip(flat + deviation * jax.random.normal(key, flat.shape), 0, 1)
    noise = jnp.sum(shares * jnp.square(noisy - flat))
    decibels = 10 * (jnp.log10(jnp.maximum(variance, 1e-9)) - jnp.log10(jnp.maximum(noise, 1e-9)))
    return jnp.stack([bins * jnp.sum(jnp.square(histogram)), jnp.sqrt(variance), decibels])
