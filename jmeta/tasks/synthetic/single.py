"""Families without clusters: all points come from one distribution."""

from __future__ import annotations

import jax.numpy as jnp

from .clouds import any_scales
from .draws import Draws, Setting
from .forms import BALL, BOX, GAUSSIAN, PLANE, STUDENT, Forms, directions, forms
from .plane import any_curve


def uniform(draws: Draws, setting: Setting) -> Forms:
    """A box or a ball of uniform density."""
    return forms(
        setting.shares,
        setting.most,
        scales=any_scales(draws, setting.columns, setting.most),
        axes=directions(draws.normals(), setting.columns),
        law=jnp.where(draws.chance(0.6), BOX, BALL),
        columns=setting.columns,
    )


def gaussian(draws: Draws, setting: Setting) -> Forms:
    """A Gaussian cloud of any covariance, or one with heavier tails."""
    return forms(
        setting.shares,
        setting.most,
        scales=any_scales(draws, setting.columns, setting.most),
        axes=directions(draws.normals(), setting.columns),
        law=jnp.where(draws.chance(0.7), GAUSSIAN, STUDENT),
        tail=draws.number(0, 0.7),
        columns=setting.columns,
    )


def curve(draws: Draws, setting: Setting) -> Forms:
    """A curve with some thickness; in three columns it is a sheet."""
    columns = jnp.where(draws.chance(0.7), 2, min(3, setting.most))
    thickness = draws.number(0.02, 0.15)
    height = draws.number(0.2, 1)
    return forms(
        setting.shares,
        PLANE,
        scales=thickness * jnp.array([1.0, 1.0, 0.0]) + height * jnp.array([0.0, 0.0, 1.0]),
        law=BOX,
        curve=any_curve(draws),
        columns=columns,
    )
