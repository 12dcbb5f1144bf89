"""Random numbers of one task, and the settings that every family of tasks is drawn with."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

NUMBERS = 16
ROWS = 16
NORMALS = 3
HIDDEN = 8
"""Hidden units of the network that warps points."""


class Bank(NamedTuple):
    """Random numbers of one part of a task.

    Attributes:
        numbers: [S] uniform in [0, 1].
        rows: [R, K] uniform in [0, 1], one per cluster.
        normals: [Z, K, D] standard normal, one per cluster and column.
    """

    numbers: Float[Array, " S"]
    rows: Float[Array, "R K"]
    normals: Float[Array, "Z K D"]


class Randomness(NamedTuple):
    """All random numbers of one task; few calls draw them, as each call takes long to compile.

    Attributes:
        family: for the family of the task.
        setting: for its setting.
        placement: for the placement of centres.
        distortion: for its distortions.
        matrix: [D + 2 H + 3, D] standard normal.
        uniform: [2, 7, N] uniform, for the points of support and query.
        normal: [2, N, D + 1] standard normal, for the points.
        fuzz: [2, N, D] standard normal, for the noise that is added to the points.
    """

    family: Bank
    setting: Bank
    placement: Bank
    distortion: Bank
    matrix: Float[Array, "E D"]
    uniform: Float[Array, "2 7 N"]
    normal: Float[Array, "2 N D+1"]
    fuzz: Float[Array, "2 N D"]


def randomness(key: Key[Array, ""], slots: int, width: int, points: int) -> Randomness:
    """The random numbers of a task with up to `slots` clusters, `width` columns and `points` points."""
    task_key, normal_key, uniform_key, point_key = jax.random.split(key, 4)
    numbers = 4 * NUMBERS
    rows = ROWS + 8
    uniform = jax.random.uniform(task_key, (numbers + rows * slots,))
    number = uniform[:numbers].reshape(4, NUMBERS)
    row = uniform[numbers:].reshape(rows, slots)
    matrix = width + 2 * HIDDEN + 3
    normal = jax.random.normal(normal_key, (matrix * width + NORMALS * slots * width,))
    normals = normal[matrix * width :].reshape(NORMALS, slots, width)
    point = jax.random.normal(point_key, (2, points, 2 * width + 1))
    return Randomness(
        family=Bank(number[0], row[:ROWS], normals),
        setting=Bank(number[1], row[ROWS : ROWS + 4], normals),
        placement=Bank(number[2], row[ROWS + 4 :], normals),
        distortion=Bank(number[3], row, normals),
        matrix=normal[: matrix * width].reshape(matrix, width),
        uniform=jax.random.uniform(uniform_key, (2, 7, points), minval=1e-6),
        normal=point[:, :, : width + 1],
        fuzz=point[:, :, width + 1 :],
    )


class Draws:
    """Returns the random numbers of a bank one after the other, so that all families share one bank."""

    def __init__(self, bank: Bank):
        self._numbers = iter(range(NUMBERS))
        self._rows = iter(range(ROWS))
        self._normals = iter(range(NORMALS))
        self._bank = bank

    def number(self, low: Array | float, high: Array | float) -> Float[Array, ""]:
        """A uniform number."""
        return low + (high - low) * self._bank.numbers[next(self._numbers)]

    def chance(self, share: float) -> Bool[Array, ""]:
        """True with probability `share`."""
        return self._bank.numbers[next(self._numbers)] < share

    def choice(self, *options: float) -> Float[Array, ""]:
        """One of the options, each equally likely."""
        place = jnp.floor(self.number(0, len(options))).astype(int)
        return jnp.array(options, float)[jnp.minimum(place, len(options) - 1)]

    def row(self, low: float, high: float) -> Float[Array, " K"]:
        """A uniform number for each cluster."""
        return low + (high - low) * self._bank.rows[next(self._rows)]

    def kinds(self, count: int) -> Int[Array, " K"]:
        """A whole number below `count` for each cluster."""
        return jnp.minimum(jnp.floor(self.row(0, count)).astype(int), count - 1)

    def normals(self, width: int | None = None) -> Float[Array, "K D"]:
        """Standard normal numbers for each cluster and column."""
        return self._bank.normals[next(self._normals)][:, :width]


class Setting(NamedTuple):
    """What is known of a task before its family draws the clusters.

    Attributes:
        clusters: number of clusters, K.
        place: [slots] 0, 1, 2, ...
        alive: [slots] whether the slot is one of the K clusters.
        shares: [slots] relative sizes of the clusters.
        columns: number of columns for families of any number of columns.
        most: largest number of columns.
        points: number of points.
        difficulty: 0 if the clusters are clearly visible, 1 if they overlap.
    """

    clusters: Int[Array, ""]
    place: Int[Array, " K"]
    alive: Bool[Array, " K"]
    shares: Float[Array, " K"]
    columns: Int[Array, ""]
    most: int
    points: Int[Array, ""]
    difficulty: Float[Array, ""]

    def between(self, easy: float, hard: float) -> Float[Array, ""]:
        """The value for the difficulty of the task: `easy` at 0 and `hard` at 1."""
        # the power makes scores fall evenly with the difficulty
        return easy + self.difficulty**0.75 * (hard - easy)


def relative_sizes(draws: Draws, alive: Bool[Array, " K"]) -> Float[Array, " K"]:
    """Relative cluster sizes: equal in 40 %, unequal in 35 % and exponential in 25 % of the tasks."""
    law = draws.number(0, 1)
    uneven = jnp.exp(draws.number(0.2, 0.8) * draws.row(-1.7, 1.7))
    steep = 0.05 - jnp.log(draws.row(1e-6, 1))
    sizes = jnp.where(law < 0.4, 1, jnp.where(law < 0.75, uneven, steep))
    return jnp.where(alive, sizes, 0)
