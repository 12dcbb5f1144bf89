"""Clustering tasks of many kinds, drawn on the device: what a meta-model of clusterings practises on.

Every task draws its own number of points, of clusters and of columns, how unequal clusters are in size and
in density, and one of the kinds below; then the plane of its shapes is bent by a random network, turned into
its columns, joined by columns that say nothing, and strewn with points that belong to
no cluster.

==========  ==============================================================================================
kind        a cluster is
==========  ==============================================================================================
"blobs"     a Gaussian or Student t cloud of any covariance, in all columns
"bars"      a uniform box, long and turned
"rings"     a ring around the ones before it: nested, none separable by a line
"moons"     an arc that reaches into the hollow of the next one
"spirals"   an arm of one spiral
"motley"    a cloud, a bar, a small ring or an arc, each cluster its own
==========  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ..compiler import compiled
from ..errors import InputError
from ..records import Batch, Sampler, Task

KINDS = ("blobs", "bars", "rings", "moons", "spirals", "motley")
HIDDEN = 8
"""Units of the network that bends."""


class Limits(NamedTuple):
    """Static sizes: of points, clusters and columns the least and the most."""

    points: tuple[int, int]
    clusters: tuple[int, int]
    columns: tuple[int, int]


class Plan(NamedTuple):
    """One task's own numbers, from which points are drawn.

    Attributes:
        kind: a place in `KINDS`.
        clusters: K, how many slots are used.
        columns: how many columns tell something, and how many more do not.
        logits: [K] of the sizes of clusters; -inf for slots not in use.
        centers: [K, D] places of clusters; the first two columns are the plane of shapes.
        axes: [K, D, D] linear maps of clouds.
        turns: [K, 2, 2] rotations.
        scales: [K] sizes of clusters in space.
        freedom: degrees of freedom of Student's t.
        thickness: of rings, arcs and arms.
        bend: two matrices of the network, and how far it moves.
        laid: [D, D] the linear map into columns.
        strewn: the share of points that belong to no cluster.
    """

    kind: Int[Array, ""]
    clusters: Int[Array, ""]
    columns: Int[Array, " 2"]
    logits: Float[Array, " K"]
    centers: Float[Array, "K D"]
    axes: Float[Array, "K D D"]
    turns: Float[Array, "K 2 2"]
    scales: Float[Array, " K"]
    freedom: Float[Array, ""]
    thickness: Float[Array, ""]
    bend: tuple[Float[Array, "D H"], Float[Array, "H D"], Float[Array, ""]]
    laid: Float[Array, "D D"]
    strewn: Float[Array, ""]


def shapes(
    *,
    points: tuple[int, int] = (100, 500),
    clusters: tuple[int, int] = (2, 8),
    columns: tuple[int, int] = (2, 8),
    kinds: Sequence[str] = KINDS,
    strewn: float = 0.1,
) -> Sampler:
    """Tasks of all kinds, ragged in points, clusters and columns.

    Args:
        points: the least and the most points; arrays have room for the most, padding has weight zero and
            lies at the origin.
        clusters: the least and the most clusters.
        columns: the least and the most columns, two or more; those that a task does not use are zero.
        kinds: which of `KINDS`.
        strewn: the largest share of points that belong to no cluster; each task draws its own, half of
            them none.

    Returns:
        A sampler of unlabelled tasks, support and query of one distribution. `truth` is -1 at padding and
        at points that belong to no cluster.

    Raises:
        InputError: a range is empty or too low, there is no such kind, or the share is none.

    >>> task = shapes(points=(20, 40))(jax.random.key(0))
    >>> task.support.inputs.shape, bool(20 <= task.support.weights.sum() <= 40)
    ((40, 8), True)
    """
    limits = Limits(points, clusters, columns)
    for name, limit in limits._asdict().items():
        lowest = 2 if name == "columns" else 1
        pair = limit if isinstance(limit, tuple | list) and len(limit) == 2 else (0, 0)
        if not all(isinstance(end, int) for end in pair) or not lowest <= pair[0] <= pair[1]:
            raise InputError(f"{name} range is {limit}; give (least, most), whole numbers from {lowest} on.")
    if not kinds or set(kinds) - set(KINDS):
        raise InputError(f"kinds are {list(kinds)}; choose among {', '.join(KINDS)}.")
    if not 0 <= strewn < 1:
        raise InputError(f"a share of {strewn} of the points cannot be strewn; give one in [0, 1).")
    allowed = jnp.array([KINDS.index(kind) for kind in kinds])
    return jax.tree_util.Partial(compiled(partial(_draw, limits=limits)), allowed, jnp.asarray(strewn))


def _draw(allowed: Int[Array, " A"], strewn: Array, key: Key[Array, ""], *, limits: Limits) -> Task:
    plan_key, size_key, support_key, query_key, task_key = jax.random.split(key, 5)
    plan = _plan(allowed, strewn, plan_key, limits)
    real = jax.random.randint(size_key, (), limits.points[0], limits.points[1] + 1)
    kept = jnp.arange(limits.points[1]) < real

    def batch(key: Key[Array, ""]) -> tuple[Batch, Int[Array, " N"]]:
        x, labels = _points(plan, key, limits.points[1])
        x = jnp.where(kept[:, None], x, 0)
        return Batch(x, None, kept.astype(x.dtype), plan.clusters), jnp.where(kept, labels, -1)

    support, truth = batch(support_key)
    query, asked = batch(query_key)
    return Task(support, query._replace(targets=asked), truth, task_key)


def _plan(allowed: Int[Array, " A"], strewn: Array, key: Key[Array, ""], limits: Limits) -> Plan:
    slots, room = limits.clusters[1], limits.columns[1]
    keys = iter(jax.random.split(key, 24))

    def uniform(low: float, high: float, shape: tuple[int, ...] = ()) -> Array:
        return jax.random.uniform(next(keys), shape, minval=low, maxval=high)

    def normal(*shape: int) -> Array:
        return jax.random.normal(next(keys), shape)

    used = jax.random.randint(next(keys), (), limits.clusters[0], slots + 1)
    columns = jax.random.randint(next(keys), (), limits.columns[0], room + 1)
    # A third of the tasks have columns that say nothing; two always say something.
    silent = jnp.where(uniform(0, 1) < 1 / 3, jnp.floor(uniform(0, 1) * (columns - 1)), 0).astype(int)
    telling = columns - silent
    alive = jnp.arange(slots) < used
    unequal = uniform(0, 1) ** 2 * 1.2
    told = (jnp.arange(room) < telling).astype(float)
    rotation = jnp.linalg.qr(normal(slots, room, room))[0]
    stretch = jnp.exp(uniform(0, 1.2) * normal(slots, room))
    angle = uniform(0, 2 * jnp.pi, (slots,))
    return Plan(
        kind=allowed[jax.random.randint(next(keys), (), 0, len(allowed))],
        clusters=used,
        columns=jnp.stack([telling, silent]),
        logits=jnp.where(alive, unequal * normal(slots), -jnp.inf),
        centers=uniform(1.5, 6) * (used / 4) ** (1 / telling) * normal(slots, room) * told / telling**0.25,
        axes=rotation * stretch[:, None, :] * told[:, None],
        turns=_rotations(angle),
        scales=jnp.exp(uniform(0, 0.7) * normal(slots)),
        freedom=jnp.exp(uniform(1, 5)),
        thickness=uniform(0.02, 0.25),
        bend=(
            normal(room, HIDDEN) * told[:, None] / 2,
            normal(HIDDEN, room) * told,
            jnp.maximum(uniform(-0.5, 0.6), 0),
        ),
        laid=jnp.where(telling > 2, _laid(normal(room, room), told), jnp.eye(room)),
        strewn=jnp.maximum(strewn * uniform(-1, 1), 0),
    )


def _rotations(angle: Float[Array, " K"]) -> Float[Array, "K 2 2"]:
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)], -2)


def _laid(normal: Float[Array, "D D"], told: Float[Array, " D"]) -> Float[Array, "D D"]:
    """A rotation of the columns that tell something."""
    outer = told[:, None] * told
    return jnp.linalg.qr(jnp.where(outer > 0, normal, jnp.eye(len(told))))[0] * outer


def _points(plan: Plan, key: Key[Array, ""], count: int) -> tuple[Float[Array, "N D"], Int[Array, " N"]]:
    keys = jax.random.split(key, 7)
    room = plan.centers.shape[1]
    labels = jax.random.categorical(keys[0], plan.logits, shape=(count,))
    normal = jax.random.normal(keys[1], (count, room))
    along, across = jax.random.uniform(keys[2], (2, count), minval=-1, maxval=1)
    tails = jax.random.gamma(keys[3], plan.freedom / 2, (count,)) * 2 / plan.freedom
    shapes = _shapes(plan, labels, normal, along, across, tails)
    x = shapes[plan.kind]
    first, second, far = plan.bend
    spread = jnp.maximum(jnp.std(x), 1e-6)
    x = x + far * spread * jnp.tanh(x / spread @ first) @ second
    x = x @ plan.laid.T
    low, high = jnp.min(x, 0), jnp.max(x, 0)
    lost = jax.random.uniform(keys[4], (count,)) < plan.strewn
    anywhere = low + jax.random.uniform(keys[5], x.shape) * (high - low)
    x = jnp.where(lost[:, None], anywhere, x)
    place = jnp.arange(room)
    silent = (place >= plan.columns[0]) & (place < jnp.sum(plan.columns))
    return jnp.where(silent, jnp.std(x[:, 0]) * jax.random.normal(keys[6], x.shape), x), jnp.where(
        lost, -1, labels
    )


def _shapes(
    plan: Plan,
    labels: Int[Array, " N"],
    normal: Float[Array, "N D"],
    along: Float[Array, " N"],
    across: Float[Array, " N"],
    tails: Float[Array, " N"],
) -> Float[Array, "6 N D"]:
    """The points of every kind, from the same random numbers."""
    room = normal.shape[1]
    flat = jnp.arange(room) < 2
    centers, scale, turn = plan.centers[labels], plan.scales[labels], plan.turns[labels]
    fuzz = plan.thickness * normal

    def plane(first: Array, second: Array) -> Float[Array, "N D"]:
        return jnp.zeros_like(normal).at[:, 0].set(first).at[:, 1].set(second)

    def turned(x: Float[Array, "N D"]) -> Float[Array, "N D"]:
        return x.at[:, :2].set(jnp.einsum("nij,nj->ni", turn, x[:, :2]))

    cloud = jnp.einsum("nij,nj->ni", plan.axes[labels], normal) / jnp.sqrt(tails)[:, None]
    bar = turned(plane(2.5 * along, 0.5 * across))
    ring = plane(jnp.cos(jnp.pi * along), jnp.sin(jnp.pi * along))
    arc = turned(plane(jnp.cos(jnp.pi / 2 * along), jnp.sin(jnp.pi / 2 * along)))
    place = labels[:, None].astype(normal.dtype)
    # Neighbouring arcs are upside down and moved by one, as the two moons are; every other pair lies higher.
    side = 1 - 2 * (place % 2)
    moon = side * plane(jnp.cos(jnp.pi / 2 * (along + 1)), jnp.sin(jnp.pi / 2 * (along + 1)))
    moon = moon + plane(place[:, 0] % 2 + 2.6 * (place[:, 0] // 4), 0.5 * (place[:, 0] % 2))
    moon = moon + plane(jnp.zeros_like(along), 2.4 * ((place[:, 0] // 2) % 2))
    turnings = 1.5 * (along + 1) / 2
    angle = 2 * jnp.pi * (turnings + place[:, 0] / plan.clusters)
    spiral = (0.3 + turnings)[:, None] * plane(jnp.cos(angle), jnp.sin(angle)) * 2
    kinds = jnp.stack([cloud, 1.2 * bar + fuzz * flat, 2 * ring + fuzz * flat, 2 * arc + fuzz * flat])
    motley = kinds[labels % 4, jnp.arange(len(labels))]
    placed = centers * jnp.where(flat, 1, 0) * 1.5
    return jnp.stack(
        [
            centers + scale[:, None] * cloud,
            placed + scale[:, None] * bar,
            (1 + 1.5 * place) * ring + fuzz * flat,
            moon + fuzz * flat,
            spiral + 2 / plan.clusters * fuzz * flat,
            placed + scale[:, None] * motley,
        ]
    )
