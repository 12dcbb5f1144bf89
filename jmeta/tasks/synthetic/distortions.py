"""What happens to the points of a task after its family has drawn them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .draws import HIDDEN, Bank
from .forms import BINARY, GROUP, NUMERIC, ONE_HOT


class Distortion(NamedTuple):
    """The distortions of one task.

    Attributes:
        signal: number of columns that the family uses.
        lifted: number of columns after the linear map, at least `signal`.
        columns: number of columns in the end, with those of noise.
        warp: size of the displacement by the network; zero for none.
        first: [D, H] weights of the network.
        second: [H, D] weights of the network.
        linear: [D, D] linear map.
        fuzz: standard deviation of the noise that is added to all columns, relative to that of the data.
        scattered: share of points that are scattered.
        margin: how much the box of the scattered points exceeds that of the data, on each side.
        nuisance: standard deviation of the noise columns relative to that of the data.
        outlier: distance of one outlier; zero for none.
        grid: number of grid steps per standard deviation that points are rounded to; zero for no rounding.
        scales: [D] factors of the columns.
    """

    signal: Int[Array, ""]
    lifted: Int[Array, ""]
    columns: Int[Array, ""]
    warp: Float[Array, ""]
    first: Float[Array, "D H"]
    second: Float[Array, "H D"]
    linear: Float[Array, "D D"]
    fuzz: Float[Array, ""]
    scattered: Float[Array, ""]
    margin: Float[Array, ""]
    nuisance: Float[Array, ""]
    outlier: Float[Array, ""]
    grid: Float[Array, ""]
    scales: Float[Array, " D"]


def draw_distortion(
    bank: Bank,
    normal: Float[Array, "E D"],
    signal: Int[Array, ""],
    coded: Bool[Array, ""],
    single: Bool[Array, ""],
    difficulty: Float[Array, ""],
    noise: Float[Array, ""],
    columns: tuple[int, int],
) -> Distortion:
    """The distortions of a task.

    Args:
        bank: random numbers.
        normal: [D + 2 H + 3, D] standard normal numbers.
        signal: number of columns that the family uses.
        coded: whether some columns are not numeric, which leaves only scattered points and noise columns.
        single: whether there is a single cluster. It is neither warped nor covered by scattered points, as it
            could then pass for several.
        difficulty: the difficulty of the task.
        noise: largest share of scattered points.
        columns: smallest and largest number of columns of a task.
    """
    least, width = columns
    chance = bank.numbers
    spare = width - signal
    nuisance = jnp.where(chance[0] < 0.2, jnp.minimum(1 + jnp.floor(4 * chance[1]), spare), 0).astype(int)
    spare = spare - nuisance
    lift = jnp.where(chance[2] < 0.25, jnp.ceil(spare * chance[3] ** 2), 0).astype(int)
    lift = jnp.clip(lift, jnp.minimum(least - signal - nuisance, spare), spare)
    nuisance = jnp.where(coded, nuisance + jnp.maximum(lift, 0) * (least > signal), nuisance)
    lifted = jnp.where(coded, signal, signal + jnp.maximum(lift, 0))
    affine = (chance[4] < 1 / 3) & ~coded
    active = jnp.arange(width) < lifted
    outer = active[:, None] & active
    rest = normal[len(normal) - 3 - 2 * HIDDEN :]
    rotation = jnp.linalg.qr(jnp.where(outer, normal[:width], jnp.eye(width)))[0]
    turned = affine | (lifted > signal)
    linear = jnp.where(turned, rotation, jnp.eye(width)) * outer
    squeeze = jnp.exp(jnp.where(affine, 0.35, 0) * rest[0])
    overall = jnp.exp(0.5 * rest[1, 0])
    uneven = jnp.where((chance[5] < 0.2) & ~coded, 0.3, 0)
    return Distortion(
        signal=signal,
        lifted=lifted,
        columns=lifted + nuisance,
        warp=jnp.where((chance[6] < 0.25) & ~coded & ~single, 0.1 + 0.25 * chance[7], 0),
        first=0.6 * rest[3 : 3 + HIDDEN].T,
        second=rest[3 + HIDDEN :] / jnp.sqrt(2.0),
        linear=squeeze[:, None] * linear,
        fuzz=jnp.where(lifted > signal, 0.02 + 0.04 * difficulty * chance[8], 0),
        scattered=jnp.where((chance[9] < 0.5) | single, 0, noise * chance[10] ** 1.5),
        margin=0.3 * chance[11],
        nuisance=0.05 + (0.1 + 0.3 * difficulty) * chance[12],
        outlier=jnp.where((chance[13] < 0.03) & (noise > 0), 10 + 40 * chance[10], 0),
        grid=jnp.where((chance[14] < 0.08) & ~coded, 8 + jnp.floor(22 * chance[15]), 0),
        scales=jnp.where(coded, 1, overall) * jnp.exp(uneven * rest[2]),
    )


def distorted(
    given: Distortion,
    coding: Int[Array, " D"],
    x: Float[Array, "M D"],
    chance: Float[Array, " M"],
    anywhere: Float[Array, "M D"],
    normal: Float[Array, "M D"],
) -> tuple[Float[Array, "M D"], Bool[Array, " M"]]:
    """The distorted points, and whether each of them has been scattered.

    Args:
        given: the distortions.
        coding: [D] coding of each column.
        x: [M, D] points.
        chance: [M] uniform numbers, which decide about the scattered points.
        anywhere: [M, D] standard normal numbers, which may be those that `x` was drawn with, as the scattered
            points are independent of `x`.
        normal: [M, D] standard normal numbers, for the noise.
    """
    width = x.shape[1]
    place = jnp.arange(width)
    signal = place < given.signal
    spread = jnp.sqrt(jnp.mean(jnp.var(x, 0), where=signal)) + 1e-6
    hidden = jnp.tanh(x / spread @ given.first)
    x = x + given.warp * spread * (hidden @ given.second) * signal
    low = jnp.min(x, 0)
    high = jnp.max(x, 0)
    margin = given.margin * (high - low)
    scattered = chance < given.scattered
    box = jax.scipy.special.ndtr(anywhere) * (high - low + 2 * margin) + low - margin
    x = jnp.where(scattered[:, None], box, x)
    x = jnp.matmul(x, given.linear, precision="highest") + given.fuzz * spread * normal * (
        place < given.lifted
    )
    x = coded_columns(x, coding)
    spread = jnp.sqrt(jnp.mean(jnp.var(x, 0), where=place < given.lifted)) + 1e-6
    noisy = (place >= given.lifted) & (place < given.columns)
    x = jnp.where(noisy, given.nuisance * spread * normal, x)
    # each half of the rows, support and query, gets its outlier in the first row, which is a random one
    is_first = jnp.arange(len(x)) % (len(x) // 2) == 0
    is_outlier = is_first & (given.outlier > 0)
    far = normal * (place < given.columns)
    x = jnp.where(is_outlier[:, None], given.outlier * spread * far, x)
    step = spread / jnp.where(given.grid > 0, given.grid, 1)
    x = jnp.where(given.grid > 0, jnp.round(x / step) * step, x)
    unit = jnp.where(jnp.any(coding != NUMERIC), 1, spread)
    return x / unit * given.scales, scattered | is_outlier


def coded_columns(x: Float[Array, "M D"], coding: Int[Array, " D"]) -> Float[Array, "M D"]:
    """`x`, with zeros and ones in the columns that are binary or one-hot.

    >>> x = jnp.array([[0.3, -2.0, 0.1, 0.7]])
    >>> coded_columns(x, jnp.array([BINARY, BINARY, BINARY, BINARY]))
    Array([[1., 0., 1., 1.]], dtype=float32)
    >>> coded_columns(x, jnp.array([ONE_HOT, ONE_HOT, ONE_HOT, 0]))
    Array([[1. , 0. , 0. , 0.7]], dtype=float32)
    """
    count, width = x.shape
    groups = -(-width // GROUP)
    padded = jnp.pad(x, ((0, 0), (0, groups * GROUP - width)), constant_values=-jnp.inf)
    grouped = padded.reshape(count, groups, GROUP)
    is_largest = grouped == jnp.max(grouped, -1, keepdims=True)
    one_hot = is_largest.reshape(count, -1)[:, :width]
    return jnp.select(
        [coding == BINARY, coding == ONE_HOT], [(x > 0).astype(x.dtype), one_hot.astype(x.dtype)], x
    )
