"""Families whose clusters are plane shapes: curves, rings, moons, spirals and bars."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .draws import Draws, Setting
from .forms import BALL, BOX, GAUSSIAN, PLANE, SHELL, Curve, Forms, directions, forms, turns

CURVES = 8


def any_curve(draws: Draws, keep: Bool[Array, " K"] | bool = True) -> Curve:
    """A curve of about unit radius for each cluster: a line, arc, ring, parabola, wave or broken line.

    Args:
        draws: random numbers.
        keep: [K] clusters with a curve; the other ones have a point instead.
    """
    kind = draws.kinds(CURVES)
    size = draws.row(0, 1)
    line = kind == 0
    arc = kind == 1
    ring = kind == 2
    spiral = kind == 3
    parabola = kind == 4
    wave = kind == 5
    broken = kind == 6
    zigzag = kind == 7
    long = line | parabola | wave | broken | zigzag

    def on(where: Bool[Array, " K"], value: Array | float) -> Array:
        return jnp.where(where & keep, value, 0.0)

    return Curve(
        length=on(long, jnp.where(parabola | broken, 0.85, 1.15)),
        bend=on(parabola, 0.5 + size),
        fold=on(broken, 0.5 + size),
        wave=on(wave, 0.3 + 0.3 * size),
        zigzag=on(zigzag, 0.3 + 0.2 * size),
        waves=jnp.where(wave, 0.7 + 0.6 * size, 1.0),
        inner=on(arc | ring, 1.0) + on(spiral, 0.65),
        growth=on(spiral, 0.4),
        span=on(arc, 1 + 1.3 * size) + on(ring, jnp.pi) + on(spiral, 3 + 1.5 * size),
        flat=jnp.where(ring, 0.6 + 0.4 * size, 1.0),
        skew=jnp.where(draws.row(0, 1) < 0.2, 1.5, 1.0),
    )


def _placed_shapes(draws: Draws, setting: Setting, curved: float) -> Forms:
    """Shapes of different kinds; `curved` of them are curves, the others are clouds."""
    is_curve = draws.row(0, 1) < curved
    sizes = jnp.exp(draws.choice(0.0, 0.2, 0.4) * draws.row(-1.5, 1.5))
    thick = jnp.exp(draws.row(-3.9, -2.7)) * setting.between(1.0, 4.2)
    stretch = jnp.exp(0.4 * draws.normals(PLANE))
    cloud = jnp.where(draws.row(0, 1) < 0.5, GAUSSIAN, jnp.where(draws.row(0, 1) < 0.5, BALL, BOX))
    curve = any_curve(draws, is_curve)
    return forms(
        setting.shares * jnp.where(is_curve, 1.3, 1) * sizes,
        PLANE,
        scales=jnp.where(is_curve, thick * sizes, 0.42 * sizes)[:, None]
        * jnp.where(is_curve[:, None], 1, stretch),
        axes=directions(draws.normals(PLANE), 2),
        law=jnp.where(is_curve, GAUSSIAN, cloud),
        curve=_sized(curve, sizes),
        radii=sizes * jnp.where(is_curve, 1.1, 0.9),
        gap=setting.between(0.7, -0.38),
    )


def _sized(curve: Curve, sizes: Float[Array, " K"]) -> Curve:
    parts = ("length", "bend", "fold", "wave", "zigzag", "inner", "fill", "growth")
    return curve._replace(**{part: getattr(curve, part) * sizes for part in parts})


def shapes(draws: Draws, setting: Setting) -> Forms:
    """Curves and clouds."""
    return _placed_shapes(draws, setting, 0.6)


def curves(draws: Draws, setting: Setting) -> Forms:
    """Curves alone."""
    return _placed_shapes(draws, setting, 1.1)


def rings(draws: Draws, setting: Setting) -> Forms:
    """Concentric rings, or spheres in three columns; the innermost one may be a disc."""
    columns = jnp.where(draws.chance(0.85) | (setting.clusters > 2), 2, min(3, setting.most))
    radii = jnp.cumsum(draws.row(1.2, 1.7))
    disc = (setting.place == 0) & draws.chance(0.5)
    radii = jnp.where(disc, 0.6 * radii, radii)
    thickness = setting.between(0.04, 0.2)
    size = radii ** jnp.where(columns == 2, 1, 1.5)
    return forms(
        setting.shares**0.3 * size,
        PLANE,
        scales=(radii / jnp.where(disc, jnp.sqrt(columns + 2), jnp.sqrt(columns)))[:, None],
        law=jnp.where(disc, BALL, SHELL),
        thickness=thickness / radii,
        columns=columns,
    )


def moons(draws: Draws, setting: Setting) -> Forms:
    """Pairs of arcs that interlock."""
    odd = setting.place % 2
    pair = setting.place // 2
    center = jnp.stack([odd + 3.8 * (pair // 2), draws.number(0.25, 0.5) * odd + 2.8 * (pair % 2)], -1)
    return forms(
        setting.shares**0.5,
        PLANE,
        centers=jnp.pad(center, ((0, 0), (0, 1))),
        scales=setting.between(0.03, 0.14),
        law=jnp.where(draws.chance(0.3), BOX, GAUSSIAN),
        curve=Curve(inner=1, start=jnp.pi * (0.5 - odd), span=jnp.pi / 2 * draws.number(0.8, 1.05)),
    )


def spirals(draws: Draws, setting: Setting) -> Forms:
    """Arms of one spiral."""
    turn = draws.number(0.4, 0.9)
    start = 2 * jnp.pi * setting.place / setting.clusters
    pitch = 1 / (setting.clusters * jnp.maximum(turn, 0.6))
    return forms(
        setting.shares**0.5,
        PLANE,
        scales=setting.between(0.04, 0.12) * pitch,
        curve=Curve(
            inner=0.75,
            growth=0.55,
            start=start + jnp.pi * turn,
            span=jnp.pi * turn,
            skew=draws.number(0.6, 0.9),
        ),
    )


def bars(draws: Draws, setting: Setting) -> Forms:
    """Long bars, parallel to each other or in any direction."""
    parallel = draws.chance(0.5)
    half = draws.row(1.5, 3)
    width = draws.number(0.1, 0.35)
    pitch = 2 * width + setting.between(1.2, 0.15)
    place = jnp.stack([draws.number(0, 0.4) * draws.normals(1)[:, 0], pitch * setting.place], -1)
    scales = jnp.stack([half, width + jnp.zeros_like(half)], -1) / jnp.sqrt(3.0)
    return forms(
        setting.shares**0.5,
        PLANE,
        centers=jnp.pad(place, ((0, 0), (0, 1))),
        scales=jnp.pad(scales, ((0, 0), (0, 1))),
        axes=jnp.where(parallel, 0, directions(draws.normals(PLANE), 2)),
        law=BOX,
        radii=0.8 * half,
        gap=jnp.where(parallel, jnp.inf, setting.between(1.0, 0.0)),
    )


def crossing(draws: Draws, setting: Setting) -> Forms:
    """Lines that cross, or rings that overlap."""
    lines = draws.chance(0.8)
    angle = draws.number(0, 2 * jnp.pi) + jnp.pi * (setting.place + draws.row(-0.15, 0.15)) / setting.clusters
    around = 2 * jnp.pi * setting.place / setting.clusters
    center = jnp.stack([jnp.cos(around), jnp.sin(around)], -1) * jnp.where(
        lines, 0.15, draws.number(0.75, 0.95)
    )
    return forms(
        setting.shares**0.3,
        PLANE,
        centers=jnp.pad(center, ((0, 0), (0, 1))),
        scales=setting.between(0.015, 0.05),
        axes=turns(angle, PLANE),
        curve=Curve(
            length=jnp.where(lines, draws.row(1.2, 1.8), 0), inner=jnp.where(lines, 0, 1), span=jnp.pi
        ),
    )


def nested(draws: Draws, setting: Setting) -> Forms:
    """Small dense clouds within a broad sparse one, which may have holes around them."""
    small = setting.place > 0
    count = jnp.maximum(setting.clusters - 1, 1)
    distance = 1.3 * jnp.sqrt((setting.place - 0.6) * small / count)
    angle = draws.number(0, 2 * jnp.pi) + 2.4 * setting.place
    center = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1) * distance[:, None]
    size = draws.row(0.05, 0.11) / jnp.sqrt(jnp.maximum(count / 2, 1))
    hole = draws.chance(0.85)
    total = jnp.sum(setting.shares * small)
    shares = jnp.where(small, setting.shares, jnp.where(setting.alive, draws.number(2, 3.5) * total, 0))
    return forms(
        shares,
        PLANE,
        centers=jnp.pad(center, ((0, 0), (0, 1))),
        scales=jnp.where(small, size, 1.0)[:, None],
        law=jnp.where(small, jnp.where(draws.chance(0.5), GAUSSIAN, BALL), BALL),
        holes=jnp.where(small & hole & setting.alive, 2 * size + setting.between(0.6, 0.4), 0),
    )
