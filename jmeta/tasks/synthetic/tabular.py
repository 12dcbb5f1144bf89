"""Families of tables with many columns: relevant subsets of columns, binary columns and categories."""

from __future__ import annotations

import jax.numpy as jnp

from .draws import Draws, Setting
from .forms import BINARY, GROUP, NUMERIC, ONE_HOT, Forms, forms


def subspaces(draws: Draws, setting: Setting) -> Forms:
    """Clouds that are tight in their own columns, and broad in the others."""
    columns = jnp.clip(setting.columns, min(4, setting.most), min(16, setting.most))
    place = jnp.arange(setting.most)
    own = draws.normals() > draws.number(-0.6, 0.3)
    own = own | ((place - 2 * setting.place[:, None]) % columns < 2)
    tight = setting.between(0.12, 0.75)
    return forms(
        setting.shares**0.5,
        setting.most,
        centers=jnp.where(own, 1.3 * draws.normals(), 0),
        scales=jnp.where(own, tight, 1.0),
        columns=columns,
    )


def binary(draws: Draws, setting: Setting) -> Forms:
    """Columns of zeros and ones, with their own probabilities in each cluster."""
    columns = jnp.clip(setting.columns, min(12, setting.most), setting.most)
    contrast = setting.between(2.4, 0.9) * jnp.maximum(1, jnp.sqrt(14 / columns))
    # the signs of three columns are those of the label in binary, so that no two clusters are alike
    column = jnp.arange(setting.most) + jnp.floor(draws.number(0, columns)).astype(int)
    column = column % columns
    normals = draws.normals()
    bits = 2 * ((setting.place[:, None] >> jnp.minimum(column, 3)) % 2) - 1
    normals = jnp.where(column < 3, bits * jnp.maximum(jnp.abs(normals), 0.5), normals)
    return forms(
        setting.shares**0.5,
        setting.most,
        centers=contrast * normals,
        scales=1.0,
        columns=columns,
        coding=BINARY,
    )


def categories(draws: Draws, setting: Setting) -> Forms:
    """Numeric columns beside one-hot categories."""
    columns = jnp.clip(setting.columns, min(9, setting.most), setting.most) // GROUP * GROUP
    numeric = GROUP * jnp.maximum(jnp.floor(draws.number(0.2, 0.7) * columns / GROUP), 1)
    is_numeric = jnp.arange(setting.most) < numeric
    contrast = setting.between(3.8, 1.5) * jnp.maximum(1, jnp.sqrt(9 / columns))
    return forms(
        setting.shares**0.5,
        setting.most,
        centers=jnp.where(is_numeric, 0.7, 1.0) * contrast * draws.normals(),
        scales=jnp.where(is_numeric, 0.7, 1.0),
        columns=columns,
        coding=jnp.where(is_numeric, NUMERIC, ONE_HOT),
    )
