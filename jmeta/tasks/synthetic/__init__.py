"""Synthetic clustering tasks of many families, drawn on-device to train models of clusterings.

A task draws its family, its numbers of points, clusters and columns, its cluster sizes, and a difficulty,
which determines how far apart the clusters are. Most families have few columns.

============  =============================================================================================
family        the clusters are
============  =============================================================================================
"clouds"      clouds in one to three columns: Gaussian of any covariance, heavy-tailed or uniform
"many"        such clouds in four or more columns
"imbalanced"  one large cloud, and small ones of a few percent of the points each
"touching"    boxes and discs of uniform density that nearly touch
"chains"      clouds in a row, joined by bridges of a few points
"grid"        clouds on a grid
"hierarchy"   clouds that form groups, or groups of clouds that touch
"shapes"      plane curves and clouds
"curves"      lines, arcs, rings, spirals, parabolas, waves and broken lines
"rings"       concentric rings or spheres
"moons"       pairs of arcs that interlock
"spirals"     arms of a spiral
"bars"        long bars, parallel or in any direction
"crossing"    lines that cross, or rings that overlap
"nested"      small dense clouds within a broad sparse one, most of them in holes of it
"density"     boxes side by side that differ in density
"sectors"     sectors of a ring, or stripes, with gaps
"sheets"      bands of a rolled sheet, or parallel wavy sheets, in three columns
"subspaces"   clouds that are tight in their own columns and broad in the others
"binary"      rows of zeros and ones with their own probabilities in each cluster
"categories"  rows of numbers and of one-hot categories
"uniform"     a single one, of uniform density
"gaussian"    a single one, Gaussian or heavy-tailed
"curve"       a single one, a curve or a sheet
============  =============================================================================================

The points are then distorted: some tasks are warped by a random network, scaled and rotated, scattered with
noise points, mapped to more columns, extended by columns of noise, or rounded to a coarse grid. Single
clusters are neither warped nor covered by noise points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...errors import InputError
from ...records import Sampler
from .drawing import Limits, program
from .families import FAMILIES, TABLE

__all__ = ["FAMILIES", "synthetic"]


def synthetic(
    *,
    points: tuple[int, int] = (64, 512),
    clusters: tuple[int, int] = (1, 50),
    columns: tuple[int, int] = (1, 64),
    families: Sequence[str] = FAMILIES,
    difficulty: tuple[float, float] = (0.0, 1.0),
    noise: float = 0.2,
) -> Sampler:
    """Tasks of many families, with varying numbers of points, clusters and columns.

    Families that cannot have such numbers of clusters and columns are left out.

    Args:
        points: smallest and largest number of points; arrays are padded to the largest, with weight zero at
            the origin.
        clusters: smallest and largest number of clusters. A task has fewer if it has too few points for them.
        columns: smallest and largest number of columns; unused columns are zero.
        families: a selection of `FAMILIES`; they keep their relative frequencies.
        difficulty: range of the difficulty, within [0, 1]: at 0 the clusters are clearly visible, at 1 they
            overlap.
        noise: largest share of noise points; each task draws its share, which is zero in half of the tasks.

    Returns:
        A sampler of unlabelled tasks, with support and query from the same distribution.
        `support.clusters` is the number of clusters among the points of the support. `truth` is -1 for
        padding and for noise points.

    Raises:
        InputError: a range is empty or too low, a family is unknown, no family can have such tasks, or
            `noise` is not in [0, 1).

    >>> task = synthetic(points=(20, 40), clusters=(1, 5), columns=(1, 4))(jax.random.key(0))
    >>> task.support.inputs.shape, bool(20 <= task.support.weights.sum() <= 40)
    ((40, 4), True)
    """
    for name, limit in (("points", points), ("clusters", clusters), ("columns", columns)):
        if not _is_range(limit, int) or limit[0] < 1:
            raise InputError(f"{name} range is {limit}; give (least, most), whole numbers from 1 on.")
    if isinstance(families, str) or not families or set(families) - set(FAMILIES):
        raise InputError(f"families are {families!r}; choose among {', '.join(FAMILIES)}.")
    if not _is_range(difficulty, int | float) or not 0 <= difficulty[0] <= difficulty[1] <= 1:
        raise InputError(f"difficulty range is {difficulty}; give (least, most) within [0, 1].")
    if not 0 <= noise < 1:
        raise InputError(f"noise is {noise}; give a share in [0, 1).")
    limits = Limits(*((least, most) for least, most in (points, clusters, columns)))
    weights = [TABLE[name].weight * (name in families and limits.allow(TABLE[name])) for name in FAMILIES]
    if not any(weights):
        raise InputError(
            f"clusters range {clusters} and columns range {columns} suit none of the families given; "
            "widen a range or name other families."
        )
    return jax.tree_util.Partial(
        program(limits), jnp.array(weights, float), jnp.array(difficulty, float), jnp.array(noise, float)
    )


def _is_range(limit: Any, kind: Any) -> bool:
    if not isinstance(limit, tuple | list) or len(limit) != 2:
        return False
    return all(isinstance(end, kind) for end in limit) and limit[0] <= limit[1]
