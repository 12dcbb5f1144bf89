"""Families whose clusters are regions: of different density, with gaps between them, or bands of a sheet."""

from __future__ import annotations

import jax.numpy as jnp

from .draws import Draws, Setting
from .forms import BOX, PLANE, Curve, Forms, forms


def density(draws: Draws, setting: Setting) -> Forms:
    """Boxes side by side that differ in density."""
    dense = (setting.place + draws.chance(0.5)) % 2
    contrast = setting.between(12, 2.8) * draws.row(0.8, 1.25)
    widths = jnp.where(dense == 1, draws.row(0.4, 0.9), draws.row(0.9, 1.5))
    step = widths + setting.between(0.15, 0.0)
    center = jnp.cumsum(step) - step / 2
    shape = jnp.stack([widths, jnp.ones_like(widths), jnp.zeros_like(widths)], -1)
    return forms(
        jnp.where(setting.alive, widths * jnp.where(dense == 1, contrast, 1.0), 0),
        PLANE,
        centers=center[:, None] * jnp.array([1.0, 0.0, 0.0]),
        scales=shape / jnp.sqrt(12.0),
        law=BOX,
    )


def sectors(draws: Draws, setting: Setting) -> Forms:
    """Sectors of a ring, or parallel stripes, with gaps between them."""
    stripes = draws.chance(0.5)
    share = setting.between(0.45, 0.08)
    start = 2 * jnp.pi * setting.place / setting.clusters
    inner = draws.number(0.3, 0.7)
    ring = jnp.where(stripes, 0, 1)
    center = jnp.where(stripes, setting.place, 0)
    stripe = jnp.array([1.0, 0.0, 0.0]) * (1 - share) + jnp.array([0.0, 1.0, 0.0]) * draws.number(1, 2.5)
    return forms(
        setting.shares**0.5,
        PLANE,
        centers=center[:, None] * jnp.array([1.0, 0.0, 0.0]),
        scales=jnp.where(stripes, stripe / jnp.sqrt(12.0), 0.01),
        law=BOX,
        curve=Curve(
            inner=ring * inner,
            fill=ring * jnp.sqrt(1 - inner**2),
            start=start,
            span=jnp.pi / setting.clusters * (1 - share),
        ),
    )


def sheets(draws: Draws, setting: Setting) -> Forms:
    """Bands of a rolled sheet, or parallel wavy sheets, in three columns."""
    roll = draws.chance(0.5)
    band = jnp.minimum(4 * jnp.pi / setting.clusters, 2.5)
    angle = 1.5 + band * (setting.place + 0.5)
    half = band / 2 * (1 - setting.between(0.4, 0.12))
    pitch = setting.between(1.2, 0.5)
    height = jnp.where(roll, draws.number(0.5, 1.5), draws.number(0.4, 1.2))
    thickness = setting.between(0.02, 0.06)
    up = jnp.array([0.0, 1.0, 0.0])
    return forms(
        setting.shares**0.5 * jnp.where(roll, 1 + angle / 3, 1),
        PLANE,
        centers=jnp.where(roll, 0, pitch * setting.place)[:, None] * up,
        scales=thickness * jnp.array([1.0, 1.0, 0.0]) + height * jnp.array([0.0, 0.0, 0.5]),
        law=BOX,
        curve=Curve(
            length=jnp.where(roll, 0, 1.5),
            wave=jnp.where(roll, 0, draws.number(0.1, 0.5)),
            waves=draws.number(0.5, 1),
            inner=jnp.where(roll, 0.25 * angle, 0),
            growth=jnp.where(roll, 0.25 * half, 0),
            start=angle,
            span=half,
        ),
        columns=3,
    )
