"""The parameters of the clusters of one task, and the points that are drawn from them.

A point is the centre of its cluster plus the sum of two parts, reflected to give the cluster a direction: a
position on a plane curve, and a displacement from a cloud (which is the thickness of the curve).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ...distances import unit_length

GAUSSIAN, STUDENT, LAPLACE, BALL, BOX, SHELL = range(6)
"""Laws of the displacement, all with unit variance in each column."""
NUMERIC, BINARY, ONE_HOT = range(3)
"""Codings of a column."""
GROUP = 3
"""Number of columns of a one-hot category."""
LUMPS = 3
"""Number of displacements per cluster."""
PLANE = 3
"""Number of columns in which families with few columns are computed."""
HOLES = 5
"""Largest number of clusters of a task with holes."""


class Curve(NamedTuple):
    """Plane curves, one per cluster; for t in [-1, 1] and u in [0, 1], the sum of these parts.

    Attributes:
        length: (length t, 0), a line.
        bend: (0, bend t^2), a parabola.
        fold: (0, fold |t|), a broken line.
        wave: (0, wave sin(pi waves t)).
        zigzag: (0, zigzag triangle(waves t)).
        waves: number of waves on either side.
        inner: radius of the arc (r cos a, flat r sin a), where r^2 = inner^2 + fill^2 u; all radii are zero
            where there is no arc.
        fill: square root of the difference of the squared radii; more than zero gives a sector.
        growth: r grows by growth t, which gives a spiral.
        start: the angle a at t = 0.
        span: half of the angle that the arc covers.
        flat: ratio of the axes of the arc.
        skew: power of (t + 1) / 2; more than one makes the start denser.
    """

    length: Array | float = 0.0
    bend: Array | float = 0.0
    fold: Array | float = 0.0
    wave: Array | float = 0.0
    zigzag: Array | float = 0.0
    waves: Array | float = 1.0
    inner: Array | float = 0.0
    fill: Array | float = 0.0
    growth: Array | float = 0.0
    start: Array | float = 0.0
    span: Array | float = 0.0
    flat: Array | float = 1.0
    skew: Array | float = 1.0


class Forms(NamedTuple):
    """The clusters of one task, in K slots and D columns.

    Attributes:
        centers: [K, D] centres; the start of the search if `gap` is finite.
        scales: [K, D] standard deviations of the displacement.
        axes: [K, D] unit vectors along which the cluster is reflected; zero for none.
        law: [K] law of the displacement.
        tail: weight of the tail of `STUDENT`: 0 is Gaussian, 1 has four degrees of freedom.
        thickness: [K] thickness of a `SHELL` relative to its radius.
        curve: curves, with [K] parameters.
        bridge: [K] share of the points on the line to `centers + target`.
        target: [K, 3] end of the bridge, in the first columns.
        lumps: [K, S, 3] displacements in the first columns, one of which is added to each point.
        holes: [K] radius of the hole that the first cluster has around this one; zero for none.
        shares: [K] relative sizes, zero for unused slots.
        radii: [K] radii for the placement of centres.
        gap: wanted distance between the radii; infinite if the centres are final.
        columns: number of columns in use.
        coding: [D] coding of each column.
    """

    centers: Float[Array, "K D"]
    scales: Float[Array, "K D"]
    axes: Float[Array, "K D"]
    law: Int[Array, " K"]
    tail: Float[Array, ""]
    thickness: Float[Array, " K"]
    curve: Curve
    bridge: Float[Array, " K"]
    target: Float[Array, "K 3"]
    lumps: Float[Array, "K S 3"]
    holes: Float[Array, " K"]
    shares: Float[Array, " K"]
    radii: Float[Array, " K"]
    gap: Float[Array, ""]
    columns: Int[Array, ""]
    coding: Int[Array, " D"]


def forms(
    shares: Float[Array, " K"], width: int, curve: Curve | None = None, **given: Array | float
) -> Forms:
    """`Forms` with the given fields, broadcast to their shapes; the others are zero."""
    slots = len(shares)
    flat = (slots,)
    wide = (slots, width)
    shapes = {
        "centers": wide,
        "scales": wide,
        "axes": wide,
        "tail": (),
        "thickness": flat,
        "bridge": flat,
        "target": (slots, PLANE),
        "lumps": (slots, LUMPS, PLANE),
        "holes": flat,
        "radii": flat,
    }
    filled = {name: _full(given.get(name, 0.0), shape, float) for name, shape in shapes.items()}
    return Forms(
        **filled,
        shares=shares,
        law=_full(given.get("law", GAUSSIAN), flat, int),
        gap=_full(given.get("gap", jnp.inf), (), float),
        columns=_full(given.get("columns", 2), (), int),
        coding=_full(given.get("coding", NUMERIC), (width,), int),
        curve=Curve(*(_full(part, flat, float) for part in curve or Curve())),
    )


def _full(value: Array | float, shape: tuple[int, ...], dtype: type) -> Array:
    return jnp.broadcast_to(jnp.asarray(value).astype(dtype), shape)


def fitted(x: Array, width: int) -> Array:
    """`x` with zero columns appended up to `width`, or with columns in excess removed.

    >>> fitted(jnp.ones((1, 2)), 3), fitted(jnp.ones((1, 2)), 1)
    (Array([[1., 1., 0.]], dtype=float32), Array([[1.]], dtype=float32))
    """
    x = x[..., :width]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])])


def widened(narrow: Forms, width: int) -> Forms:
    """`narrow` with the given number of columns."""
    return narrow._replace(
        centers=fitted(narrow.centers, width),
        scales=fitted(narrow.scales, width),
        axes=fitted(narrow.axes, width),
        coding=fitted(narrow.coding, width),
    )


def draw_points(
    given: Forms, labels: Int[Array, " M"], normal: Float[Array, "M D+1"], uniform: Float[Array, "5 M"]
) -> Float[Array, "M D"]:
    """A point for each label, drawn from the cluster of that label with the given random numbers."""
    slots, width = given.centers.shape
    used = jnp.arange(width) < given.columns
    law = jnp.stack([given.law.astype(float), given.thickness, given.bridge, *given.curve], -1)[labels]
    body = _displacement(law[:, 0], law[:, 1], normal, uniform[:2], used, given.tail) * given.scales[labels]
    plane = _on_curve(Curve(*law[:, 3:].T), 2 * uniform[2] - 1, uniform[3])
    body = body + fitted(plane, width)
    axes = given.axes[labels]
    body = body - 2 * jnp.sum(axes * body, -1, keepdims=True) * axes
    lump = jnp.floor(uniform[4] * LUMPS).astype(int)
    moved = given.lumps.reshape(slots * LUMPS, PLANE)[labels * LUMPS + jnp.minimum(lump, LUMPS - 1)]
    body = body + fitted(moved, width)
    thin = 0.08 * normal[:, :width] * given.scales[labels]
    line = fitted(uniform[3][:, None] * given.target[labels], width) + thin
    body = jnp.where((uniform[2] < law[:, 2])[:, None], line, body)
    x = given.centers[labels] + body
    return jnp.where(used, _outside_holes(given, labels, x), 0)


def _displacement(
    law: Float[Array, " M"],
    thickness: Float[Array, " M"],
    normal: Float[Array, "M D+1"],
    uniform: Float[Array, "2 M"],
    used: Bool[Array, " D"],
    tail: Float[Array, ""],
) -> Float[Array, "M D"]:
    last = normal[:, -1]
    normal = normal[:, :-1] * used
    columns = jnp.sum(used)
    exponential = -jnp.log(uniform)
    norm = jnp.sqrt(jnp.maximum(jnp.sum(normal * normal, -1), 1e-12))
    student = jnp.maximum(jnp.sum(exponential, 0) / 2, 0.05) ** (-tail / 2)
    ball = jnp.sqrt(columns + 2) * uniform[0] ** (1 / columns) / norm
    shell = jnp.sqrt(columns) * (1 + thickness * last) / norm
    factor = jnp.select(
        [law == STUDENT, law == LAPLACE, law == BALL, law == SHELL],
        [student, jnp.sqrt(exponential[0]), ball, shell],
        1.0,
    )
    box = jnp.sqrt(3.0) * jax.lax.erf(normal / jnp.sqrt(2.0))
    return jnp.where((law == BOX)[:, None], box, factor[:, None] * normal)


def _on_curve(curve: Curve, t: Float[Array, " M"], u: Float[Array, " M"]) -> Float[Array, "M 2"]:
    t = 2 * ((t + 1) / 2) ** curve.skew - 1
    radius = jnp.sqrt(curve.inner**2 + curve.fill**2 * u) + curve.growth * t
    angle = curve.start + curve.span * t
    phase = curve.waves * t
    triangle = 4 * jnp.abs(phase / 2 - jnp.floor(phase / 2 + 0.5)) - 1
    height = curve.bend * t * t + curve.fold * jnp.abs(t) + curve.zigzag * triangle
    height = height + curve.wave * jnp.sin(jnp.pi * phase) + curve.flat * radius * jnp.sin(angle)
    return jnp.stack([curve.length * t + radius * jnp.cos(angle), height], -1)


def _outside_holes(given: Forms, labels: Int[Array, " M"], x: Float[Array, "M D"]) -> Float[Array, "M D"]:
    """`x`, with the points of the first cluster moved out of its holes in the first two columns."""
    centers = given.centers[:HOLES, :2]
    holes = given.holes[:HOLES]
    away = x[:, None, :2] - centers
    distance = jnp.sqrt(jnp.sum(away * away, -1) + 1e-12)
    inside = (distance < 2 * holes) & (labels == 0)[:, None]
    # from [0, 2 R] to [R, 2 R]
    push = jnp.where(inside, (holes + distance / 2) / distance - 1, 0)
    moved = jnp.sum(push[:, :, None] * away, 1)
    return x + fitted(moved, x.shape[1])


def directions(normals: Float[Array, "K D"], columns: Int[Array, ""] | int) -> Float[Array, "K D"]:
    """Random unit vectors in the first columns, nearer to few columns than uniform directions are."""
    used = jnp.arange(normals.shape[1]) < columns
    return unit_length(normals * jnp.abs(normals) * used)


def turns(angles: Float[Array, " K"], width: int) -> Float[Array, "K D"]:
    """Unit vectors along which a reflection turns the first axis by `angles` in the first two columns.

    >>> axes = turns(jnp.array([jnp.pi / 2]), 2)
    >>> first = jnp.array([1.0, 0.0])
    >>> (first - 2 * (axes @ first) * axes).round(3) + 0
    Array([[0., 1.]], dtype=float32)
    """
    half = angles / 2
    plane = jnp.stack([jnp.sin(half), -jnp.cos(half)], -1)
    return fitted(plane, width)
