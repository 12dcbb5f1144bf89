"""Families whose clusters are clouds: Gaussian, heavy-tailed or uniform, of any size and covariance."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .draws import Draws, Setting
from .forms import BALL, BOX, GAUSSIAN, LAPLACE, PLANE, STUDENT, Forms, directions, forms


def any_law(draws: Draws) -> Int[Array, " K"]:
    """A law for each cluster, the same for all in most tasks; half of them are Gaussian."""
    laws = jnp.array([GAUSSIAN] * 6 + [STUDENT] * 2 + [LAPLACE] + [BALL] * 2 + [BOX])
    own = draws.kinds(len(laws))
    return laws[jnp.where(draws.chance(0.7), own[0], own)]


def any_scales(draws: Draws, columns: Int[Array, ""] | int, width: int) -> Float[Array, "K D"]:
    """Standard deviations for each cluster and column, with geometric mean near one."""
    normals = draws.normals(width)
    sizes = jnp.exp(draws.choice(0.0, 0.3, 0.6) * (draws.row(-1.7, 1.7)))
    used = jnp.arange(width) < columns
    stretch = draws.choice(0.0, 0.3, 0.7) * normals * used
    return sizes[:, None] * jnp.exp(stretch - jnp.sum(stretch, -1, keepdims=True) / columns)


def root_mean_square(scales: Float[Array, "K D"], columns: Int[Array, ""] | int) -> Float[Array, " K"]:
    """Root mean square of the scales of each cluster over the first columns."""
    used = jnp.arange(scales.shape[1]) < columns
    return jnp.sqrt(jnp.sum(scales**2 * used, -1) / columns)


def clouds(draws: Draws, setting: Setting) -> Forms:
    """Clouds in one to three columns."""
    kind = draws.number(0, 1)
    columns = jnp.where(kind < 0.06, 1, jnp.where(kind < 0.7, 2, 3))
    columns = jnp.minimum(columns, setting.most)
    scales = any_scales(draws, columns, PLANE)
    radii = 2 * root_mean_square(scales, columns)
    return forms(
        setting.shares,
        PLANE,
        scales=scales,
        axes=directions(draws.normals(PLANE), columns),
        law=any_law(draws),
        tail=draws.number(0.3, 1),
        radii=radii,
        gap=setting.between(2.0, -1.7) * jnp.mean(radii) / 2,
        columns=columns,
    )


def many(draws: Draws, setting: Setting) -> Forms:
    """Clouds in four or more columns."""
    columns = jnp.clip(setting.columns, min(4, setting.most), setting.most)
    scales = any_scales(draws, columns, setting.most)
    distance = setting.between(8.5, 2.6) + 1.2 * jnp.log(setting.clusters) / jnp.sqrt(columns / 4)
    return forms(
        setting.shares,
        setting.most,
        centers=distance / jnp.sqrt(2 * columns) * draws.normals(),
        scales=scales,
        axes=directions(draws.normals(), columns),
        law=any_law(draws),
        tail=draws.number(0.3, 1),
        columns=columns,
    )


def imbalanced(draws: Draws, setting: Setting) -> Forms:
    """One large cloud, and small ones of a few percent of the points each."""
    small = setting.place > 0
    rest = draws.number(0.1, 0.35)
    shares = jnp.where(small, rest * setting.shares / setting.clusters, jnp.where(setting.alive, 1 - rest, 0))
    sizes = jnp.where(small, draws.row(0.15, 0.4), 1.0)
    stretch = jnp.exp(draws.choice(0.0, 0.3) * draws.normals(PLANE))
    return forms(
        shares,
        PLANE,
        scales=sizes[:, None] * stretch,
        axes=directions(draws.normals(PLANE), 2),
        law=any_law(draws),
        tail=draws.number(0, 0.5),
        radii=2.4 * sizes,
        gap=setting.between(1.2, -0.25),
    )


def touching(draws: Draws, setting: Setting) -> Forms:
    """Convex bodies of uniform density that nearly touch."""
    sizes = jnp.exp(draws.choice(0.0, 0.3) * draws.row(-1.5, 1.5))
    return forms(
        setting.shares * sizes**2,
        PLANE,
        scales=sizes[:, None],
        axes=directions(draws.normals(PLANE), 2),
        law=jnp.where(draws.row(0, 1) < 0.5, BALL, BOX),
        radii=2.05 * sizes,
        gap=setting.between(0.8, -0.9),
    )


def chains(draws: Draws, setting: Setting) -> Forms:
    """Clouds in a row, joined by bridges of a few points."""
    sizes = jnp.exp(draws.choice(0.0, 0.3) * draws.row(-1.5, 1.5))
    steps = 2.2 * (sizes + jnp.roll(sizes, 1)) + setting.between(3.0, -1.5)
    angles = draws.number(0, 2 * jnp.pi) + jnp.cumsum(draws.row(-0.7, 0.7))
    steps = steps[:, None] * jnp.stack([jnp.cos(angles), jnp.sin(angles), jnp.zeros_like(angles)], -1)
    centers = jnp.cumsum(steps, 0)
    last = setting.place == setting.clusters - 1
    return forms(
        setting.shares,
        PLANE,
        centers=centers,
        scales=sizes[:, None],
        law=any_law(draws),
        tail=draws.number(0, 0.5),
        bridge=jnp.where(last, 0, draws.row(0, 0.1)),
        target=jnp.roll(steps, -1, 0),
    )


def grid(draws: Draws, setting: Setting) -> Forms:
    """Clouds on a grid with small displacements."""
    side = jnp.ceil(jnp.sqrt(setting.clusters))
    cells = jnp.stack([setting.place // side, setting.place % side, jnp.zeros_like(setting.shares)], -1)
    return forms(
        jnp.where(draws.chance(0.5), setting.alive, setting.shares),
        PLANE,
        centers=cells + draws.number(0, 0.1) * draws.normals(PLANE),
        scales=setting.between(0.09, 0.28) * jnp.exp(draws.choice(0.0, 0.2) * draws.row(-1.5, 1.5))[:, None],
        law=any_law(draws),
        tail=draws.number(0, 0.5),
    )


def hierarchy(draws: Draws, setting: Setting) -> Forms:
    """Groups of clouds: a cluster is a cloud, or a group of clouds that touch."""
    fine = draws.chance(0.5)
    columns = jnp.where(draws.chance(0.7), 2, min(3, setting.most))
    lumps = jnp.stack([draws.normals(PLANE) for _ in range(3)], 1)
    lumps = lumps / jnp.sqrt(jnp.sum(lumps**2, -1, keepdims=True) + 1e-3)
    groups = jnp.ceil(setting.clusters / 3)
    group = setting.place // 3
    member = draws.number(0, 2 * jnp.pi) + 2 * jnp.pi / 3 * setting.place + draws.row(-0.2, 0.2) + group
    inner = setting.between(6.5, 2.5) / jnp.sqrt(3.0)
    outer = (inner + 2 + draws.number(1.5, 4)) / jnp.sin(jnp.pi / jnp.maximum(groups, 2))
    angle = 2 * jnp.pi * group / groups
    zero = jnp.zeros_like(member)
    centers = inner * jnp.stack([jnp.cos(member), jnp.sin(member), zero], -1)
    centers = centers + outer * jnp.stack([jnp.cos(angle), jnp.sin(angle), zero], -1)
    return forms(
        setting.shares,
        PLANE,
        centers=centers,
        scales=draws.row(0.8, 1.2)[:, None],
        lumps=jnp.where(fine, 0, 1.7 * lumps),
        radii=jnp.full_like(zero, 3.6),
        gap=jnp.where(fine, jnp.inf, setting.between(3.0, -1.6)),
        columns=jnp.where(fine, 2, columns),
    )
