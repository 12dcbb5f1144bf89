"""The sampler of synthetic tasks, compiled once for equal limits."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from ...compiler import compiled
from ...records import Batch, Task
from .distortions import distorted, draw_distortion
from .draws import Bank, Draws, Randomness, Setting, randomness, relative_sizes
from .families import TABLE, Family
from .forms import NUMERIC, PLANE, Forms, draw_points, widened
from .placement import placed_centers

FEWEST = 4
"""A cluster with fewer points is not counted."""


class Limits(NamedTuple):
    """Smallest and largest numbers of points, clusters and columns."""

    points: tuple[int, int]
    clusters: tuple[int, int]
    columns: tuple[int, int]

    def allow(self, family: Family) -> bool:
        """Whether the family has tasks within these limits."""
        least, most = family.clusters
        return self.columns[1] >= family.columns and least <= self.clusters[1] and self.clusters[0] <= most


@cache
def program(limits: Limits) -> Callable[..., Task]:
    """The compiled sampler of these limits; one function for equal limits, so that it compiles once."""
    return compiled(partial(_draw, limits=limits))


def _draw(
    weights: Float[Array, " F"],
    difficulty: Float[Array, " 2"],
    noise: Float[Array, ""],
    key: Key[Array, ""],
    *,
    limits: Limits,
) -> Task:
    family_key, random_key, task_key = jax.random.split(key, 3)
    most = limits.points[1]
    final = limits.columns[1]
    given = randomness(random_key, limits.clusters[1], max(final, PLANE), most)
    family = jax.random.categorical(family_key, jnp.log(weights))
    setting = _setting(Draws(given.setting), family, difficulty, limits)
    clusters = _clusters(given, family, setting)
    coding = clusters.coding[:final]
    coded = jnp.any(coding != NUMERIC)
    distortion = draw_distortion(
        given.distortion,
        given.matrix[:, :final],
        clusters.columns,
        coded,
        jnp.array([row.clusters[1] == 1 for row in TABLE.values()])[family],
        setting.difficulty,
        noise,
        limits.columns,
    )
    kept = jnp.arange(most) < setting.points
    shares = _floored(clusters.shares, setting)
    labels = jax.vmap(_labels, (0, None, None))(given.uniform[:, 5], shares, setting.points)

    def points(half: tuple[Array, Array, Array]) -> Float[Array, "N D"]:
        return draw_points(clusters, *half)[:, :final]

    # a loop, as the compiler would otherwise compute the points anew for each of their statistics
    x = lax.map(points, (labels, given.normal, given.uniform[:, :5])).reshape(2 * most, final)
    x, scattered = distorted(
        distortion,
        coding,
        x,
        chance=given.uniform[:, 6].ravel(),
        anywhere=given.normal[:, :, :final].reshape(x.shape),
        normal=given.fuzz[:, :, :final].reshape(x.shape),
    )
    x = jnp.where(kept[:, None], x.reshape(2, most, -1), 0)
    labels = jnp.where(kept & ~scattered.reshape(2, most), labels, -1)
    labels, count = _relabelled(labels, limits.clusters[1])
    weight = kept.astype(x.dtype)
    return Task(Batch(x[0], None, weight, count), Batch(x[1], labels[1], weight, count), labels[0], task_key)


def _setting(draws: Draws, family: Int[Array, ""], difficulty: Array, limits: Limits) -> Setting:
    least, slots = limits.clusters
    points = _whole(draws, *limits.points)
    # the normal quantile function; numbers of clusters are log-normal around four
    normal = jax.scipy.special.ndtri(draws.number(1e-4, 1 - 1e-4))
    usual = jnp.exp(jnp.log(4.0) + 0.6 * normal).round().astype(int)
    count = jnp.where(draws.chance(0.25), _whole(draws, least, slots), usual)
    table = list(TABLE.values())
    fewest = jnp.maximum(jnp.array([row.clusters[0] for row in table])[family], least)
    most = jnp.minimum(jnp.array([row.clusters[1] for row in table])[family], slots)
    room = points // jnp.array([row.points for row in table])[family]
    # too few points for the least number of clusters: as many as there are points for
    most = jnp.minimum(most, jnp.maximum(room, jnp.minimum(fewest, jnp.maximum(points // FEWEST, 1))))
    count = jnp.clip(count, jnp.minimum(fewest, most), most)
    place = jnp.arange(slots)
    alive = place < count
    narrow, wide = limits.columns
    logarithm = draws.number(jnp.log(narrow), jnp.log(wide + 0.99))
    return Setting(
        clusters=count,
        place=place,
        alive=alive,
        shares=relative_sizes(draws, alive),
        columns=jnp.clip(jnp.floor(jnp.exp(logarithm)).astype(int), narrow, wide),
        most=wide,
        points=points,
        difficulty=draws.number(difficulty[0], difficulty[1]),
    )


def _whole(draws: Draws, least: int, most: int) -> Int[Array, ""]:
    """A whole number from `least` to `most`, all equally likely."""
    return jnp.clip(jnp.floor(draws.number(least, most + 1)).astype(int), least, most)


def _clusters(given: Randomness, family: Int[Array, ""], setting: Setting) -> Forms:
    """The clusters of the task, as its family draws them."""
    width = given.fuzz.shape[-1]
    numbers = given.family
    narrow = [row for row in TABLE.values() if not row.wide]
    wide = [row for row in TABLE.values() if row.wide]
    is_wide = jnp.array([row.wide for row in TABLE.values()])
    place = jnp.where(is_wide, jnp.cumsum(is_wide), jnp.cumsum(~is_wide))[family] - 1
    setting = setting._replace(most=width)

    def branches(rows: list[Family]) -> list[Callable[[Bank], Forms]]:
        return [partial(_family, row, setting) for row in rows]

    few = lax.switch(jnp.minimum(place, len(narrow) - 1), branches(narrow), numbers)
    centers = placed_centers(
        Draws(given.placement), few.radii, setting.alive, few.gap, few.columns, setting.clusters
    )
    few = few._replace(centers=jnp.where(jnp.isfinite(few.gap), centers, few.centers))
    many = lax.switch(jnp.minimum(place, len(wide) - 1), branches(wide), numbers)
    few = widened(few, width)
    return jax.tree.map(lambda a, b: jnp.where(is_wide[family], a, b), many, few)


def _family(row: Family, setting: Setting, numbers: Bank) -> Forms:
    return row.draw(Draws(numbers), setting)


def _floored(shares: Float[Array, " K"], setting: Setting) -> Float[Array, " K"]:
    """Shares that sum to one and give each cluster a few points, where there are enough points."""
    shares = jnp.where(setting.alive, jnp.maximum(shares, 1e-6), 0)
    shares = shares / jnp.sum(shares)
    least = jnp.minimum((FEWEST + 1.5) / setting.points, 1 / setting.clusters)
    return jnp.where(setting.alive, least + (1 - setting.clusters * least) * shares, 0)


def _labels(
    order: Float[Array, " N"], shares: Float[Array, " K"], points: Int[Array, ""]
) -> Int[Array, " N"]:
    """A label for each row, in random order, with cluster sizes proportional to the shares."""
    row = jnp.arange(len(order))
    order = jnp.argsort(jnp.where(row < points, order, 2.0))
    level = ((order % points) + 0.5) / points
    last = jnp.sum(shares > 0) - 1
    return jnp.minimum(jnp.sum(level[:, None] > jnp.cumsum(shares), -1), last)


def _relabelled(labels: Int[Array, "2 N"], slots: int) -> tuple[Int[Array, "2 N"], Int[Array, ""]]:
    """Labels 0 to K - 1 and K, where clusters with too few points in the support have become noise.

    Clusters in which all have too few points stay clusters.
    """
    sizes = jnp.sum(labels[0][:, None] == jnp.arange(slots), 0)
    fewest = jnp.minimum(FEWEST, jnp.max(sizes))
    counted = (sizes >= fewest) & (sizes > 0)
    place = jnp.where(counted, jnp.cumsum(counted) - 1, -1)
    new = jnp.where(labels >= 0, place[jnp.maximum(labels, 0)], -1)
    return new, jnp.maximum(jnp.sum(counted), 1)
