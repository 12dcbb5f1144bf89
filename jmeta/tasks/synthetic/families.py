"""The table of families: their weights in the mixture, and the tasks that they are suited to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import clouds, plane, regions, single, tabular
from .draws import Draws, Setting
from .forms import Forms

MANY = 10**6


class Family(NamedTuple):
    """A family of tasks.

    Attributes:
        draw: `(draws, setting) -> forms`.
        weight: relative frequency.
        clusters: smallest and largest number of clusters.
        points: smallest number of points per cluster.
        columns: smallest number of columns.
        wide: whether `forms` has all the columns of the task; else it has three.
    """

    draw: Callable[[Draws, Setting], Forms]
    weight: float
    clusters: tuple[int, int] = (1, MANY)
    points: int = 6
    columns: int = 2
    wide: bool = False


TABLE = {
    "clouds": Family(clouds.clouds, 14, columns=1),
    "many": Family(clouds.many, 12, columns=4, wide=True),
    "imbalanced": Family(clouds.imbalanced, 4, (2, 6), 10),
    "touching": Family(clouds.touching, 3, (2, 9), 15),
    "chains": Family(clouds.chains, 5, (2, 10), 12),
    "grid": Family(clouds.grid, 4, (4, MANY), 6),
    "hierarchy": Family(clouds.hierarchy, 5, (2, 18), 12),
    "shapes": Family(plane.shapes, 11, (2, 10), 20),
    "curves": Family(plane.curves, 6, (2, 8), 25),
    "rings": Family(plane.rings, 5, (2, 4), 125),
    "moons": Family(plane.moons, 4, (2, 8), 25),
    "spirals": Family(plane.spirals, 3, (2, 4), 110),
    "bars": Family(plane.bars, 4, (2, 8), 20),
    "crossing": Family(plane.crossing, 2, (2, 3), 165),
    "nested": Family(plane.nested, 4, (2, 5), 110),
    "density": Family(regions.density, 2, (2, 4), 30),
    "sectors": Family(regions.sectors, 4, (2, 8), 25),
    "sheets": Family(regions.sheets, 4, (2, 6), 40, 3),
    "subspaces": Family(tabular.subspaces, 4, (2, 8), 30, 4, True),
    "binary": Family(tabular.binary, 3, (2, 8), 25, 6, True),
    "categories": Family(tabular.categories, 3, (2, 8), 20, 6, True),
    "uniform": Family(single.uniform, 3, (1, 1), 1, 1, True),
    "gaussian": Family(single.gaussian, 3, (1, 1), 1, 1, True),
    "curve": Family(single.curve, 2, (1, 1), 1),
}
"""Each family by name."""
FAMILIES = tuple(TABLE)
