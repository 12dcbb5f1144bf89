"""Meta-features of sets of images: statistics of their intensities, and the effect of noise on them."""

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
    """Density and dispersion of the histogram of intensities, and the signal-to-noise ratio.

    Density is the sum of the squared shares of the bins, times their number: one if all intensities are
    equally frequent. Dispersion is the standard deviation of the intensities. For the ratio, Gaussian noise
    is added and intensities are clipped to [0, 1]; it is the variance of the intensities over the mean square
    of their change, in decibels.

    Args:
        images: [N, ...] intensities in [0, 1].
        weights: [N]; all ones unless given.
        key: a typed key.
        deviation: standard deviation of the noise.
        bins: number of bins of the histogram.

    Raises:
        InputError: the array is empty, has fewer than two axes or is not of a floating type.

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
    weight = kept * jnp.ones_like(flat)
    shares = weight / jnp.maximum(jnp.sum(weight), 1e-9)
    place = jnp.clip(flat * bins, 0, bins - 1).astype(int)
    histogram = jnp.zeros(bins).at[place].add(shares)
    variance = jnp.sum(shares * jnp.square(flat - jnp.sum(shares * flat)))
    noisy = jnp.clip(flat + deviation * jax.random.normal(key, flat.shape), 0, 1)
    noise = jnp.sum(shares * jnp.square(noisy - flat))
    decibels = 10 * (jnp.log10(jnp.maximum(variance, 1e-9)) - jnp.log10(jnp.maximum(noise, 1e-9)))
    return jnp.stack([bins * jnp.sum(jnp.square(histogram)), jnp.sqrt(variance), decibels])
