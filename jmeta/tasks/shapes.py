"""Synthetic clustering tasks of several kinds, drawn on-device to train meta-models of clusterings.

Every task draws its numbers of points, clusters and columns, the inequality of cluster sizes and densities,
and one of the kinds below. The points are then warped by a random network and rotated, noise columns are
added, and some points are scattered at random as noise.

==========  ==============================================================================================
kind        a cluster is
==========  ==============================================================================================
"blobs"     a Gaussian or Student t cloud of any covariance, in all columns
"bars"      a long, rotated uniform box
"rings"     one of several nested rings, which no line separates
"moons"     an arc that interlocks with the next one
"spirals"   an arm of a spiral
"motley"    a cloud, a bar, a small ring or an arc, which differs between clusters
==========  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ..compiler import compiled
from ..errors import InputError
from ..records import Batch, Sampler, Task

KINDS = ("blobs", "bars", "rings", "moons", "spirals", "motley")
HIDDEN = 8
"""Hidden units of the warping network."""


class Limits(NamedTuple):
    """Smallest and largest numbers of points, clusters and columns."""

    points: tuple[int, int]
    clusters: tuple[int, int]
    columns: tuple[int, int]


class Plan(NamedTuple):
    """The parameters of one task, from which its points are drawn.

    Attributes:
        kind: an index into `KINDS`.
        clusters: number of slots in use.
        columns: [2] numbers of signal columns and of noise columns.
        logits: [K] logits of the cluster sizes; -inf for unused slots.
        centers: [K, D] centres of clusters; planar shapes lie in the first two columns.
        axes: [K, D, D] linear maps of clouds.
        turns: [K, 2, 2] rotations of planar shapes.
        scales: [K] spatial scales of clusters.
        freedom: degrees of freedom of Student's t.
        thickness: thickness of rings, arcs and spiral arms.
        warp: two matrices of the warping network, and the size of the displacement.
        rotation: [D, D] rotation of the signal columns.
        noise: share of points that belong to no cluster.
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
    warp: tuple[Float[Array, "D H"], Float[Array, "H D"], Float[Array, ""]]
    rotation: Float[Array, "D D"]
    noise: Float[Array, ""]


def shapes(
    *,
    points: tuple[int, int] = (100, 500),
    clusters: tuple[int, int] = (2, 8),
    columns: tuple[int, int] = (2, 8),
    kinds: Sequence[str] = KINDS,
    noise: float = 0.1,
) -> Sampler:
    """Tasks of several kinds, with varying numbers of points, clusters and columns.

    Args:
        points: smallest and largest number of points; arrays are padded to the largest, with weight zero at
            the origin.
        clusters: smallest and largest number of clusters.
        columns: smallest and largest number of columns, two or more; unused columns are zero.
        kinds: a selection of `KINDS`.
        noise: largest share of noise points; each task draws its share, which is zero in half of the tasks.

    Returns:
        A sampler of unlabelled tasks, with support and query from the same distribution. `truth` is -1 for
        padding and for noise points.

    Raises:
        InputError: a range is empty or too low, a kind is unknown, or `noise` is not in [0, 1).

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
    if not 0 <= noise < 1:
        raise InputError(f"noise is {noise}; give a share in [0, 1).")
    allowed = jnp.array([KINDS.index(kind) for kind in kinds])
    return jax.tree_util.Partial(
        _drawing(Limits(*((least, most) for least, most in limits))), allowed, jnp.asarray(noise)
    )


@cache
def _drawing(limits: Limits) -> Callable[..., Task]:
    """The compiled sampler of these limits; one function for equal limits, so that it compiles once."""
    return compiled(partial(_draw, limits=limits))


def _draw(allowed: Int[Array, " A"], noise: Array, key: Key[Array, ""], *, limits: Limits) -> Task:
    plan_key, size_key, support_key, query_key, task_key = jax.random.split(key, 5)
    plan = _plan(allowed, noise, plan_key, limits)
    real = jax.random.randint(size_key, (), limits.points[0], limits.points[1] + 1)
    kept = jnp.arange(limits.points[1]) < real

    def batch(key: Key[Array, ""]) -> tuple[Batch, Int[Array, " N"]]:
        x, labels = _points(plan, key, limits.points[1])
        x = jnp.where(kept[:, None], x, 0)
        return Batch(x, None, kept.astype(x.dtype), plan.clusters), jnp.where(kept, labels, -1)

    support, truth = batch(support_key)
    query, query_labels = batch(query_key)
    return Task(support, query._replace(targets=query_labels), truth, task_key)


def _plan(allowed: Int[Array, " A"], noise: Array, key: Key[Array, ""], limits: Limits) -> Plan:
    slots = limits.clusters[1]
    width = limits.columns[1]
    keys = iter(jax.random.split(key, 24))

    def uniform(low: float, high: float, shape: tuple[int, ...] = ()) -> Array:
        return jax.random.uniform(next(keys), shape, minval=low, maxval=high)

    def normal(*shape: int) -> Array:
        return jax.random.normal(next(keys), shape)

    used = jax.random.randint(next(keys), (), limits.clusters[0], slots + 1)
    columns = jax.random.randint(next(keys), (), limits.columns[0], width + 1)
    # A third of the tasks have noise columns; at least two columns carry signal.
    noise_columns = jnp.where(uniform(0, 1) < 1 / 3, jnp.floor(uniform(0, 1) * (columns - 1)), 0).astype(int)
    signal_columns = columns - noise_columns
    alive = jnp.arange(slots) < used
    unequal = uniform(0, 1) ** 2 * 1.2
    signal = (jnp.arange(width) < signal_columns).astype(float)
    radius = (used / 4) ** (1 / signal_columns)
    rotation = jnp.linalg.qr(normal(slots, width, width))[0]
    stretch = jnp.exp(uniform(0, 1.2) * normal(slots, width))
    angle = uniform(0, 2 * jnp.pi, (slots,))
    return Plan(
        kind=allowed[jax.random.randint(next(keys), (), 0, len(allowed))],
        clusters=used,
        columns=jnp.stack([signal_columns, noise_columns]),
        logits=jnp.where(alive, unequal * normal(slots), -jnp.inf),
        centers=uniform(1.5, 6) * radius * normal(slots, width) * signal / signal_columns**0.25,
        axes=rotation * stretch[:, None, :] * signal[:, None],
        turns=_rotations(angle),
        scales=jnp.exp(uniform(0, 0.7) * normal(slots)),
        freedom=jnp.exp(uniform(1, 5)),
        thickness=uniform(0.02, 0.25),
        warp=(
            normal(width, HIDDEN) * signal[:, None] / 2,
            normal(HIDDEN, width) * signal,
            jnp.maximum(uniform(-0.5, 0.6), 0),
        ),
        rotation=jnp.where(signal_columns > 2, _rotation(normal(width, width), signal), jnp.eye(width)),
        noise=jnp.maximum(noise * uniform(-1, 1), 0),
    )


def _rotations(angle: Float[Array, " K"]) -> Float[Array, "K 2 2"]:
    cos = jnp.cos(angle)
    sin = jnp.sin(angle)
    return jnp.stack([jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)], -2)


def _rotation(normal: Float[Array, "D D"], signal: Float[Array, " D"]) -> Float[Array, "D D"]:
    """A random rotation of the signal columns."""
    outer = signal[:, None] * signal
    return jnp.linalg.qr(jnp.where(outer > 0, normal, jnp.eye(len(signal))))[0] * outer


def _points(plan: Plan, key: Key[Array, ""], count: int) -> tuple[Float[Array, "N D"], Int[Array, " N"]]:
    keys = jax.random.split(key, 7)
    width = plan.centers.shape[1]
    labels = jax.random.categorical(keys[0], plan.logits, shape=(count,))
    normal = jax.random.normal(keys[1], (count, width))
    along, across = jax.random.uniform(keys[2], (2, count), minval=-1, maxval=1)
    tails = jax.random.gamma(keys[3], plan.freedom / 2, (count,)) * 2 / plan.freedom
    shapes = _shapes(plan, labels, normal, along, across, tails)
    x = shapes[plan.kind]
    first, second, size = plan.warp
    spread = jnp.maximum(jnp.std(x), 1e-6)
    x = x + size * spread * jnp.tanh(x / spread @ first) @ second
    x = x @ plan.rotation.T
    low = jnp.min(x, 0)
    high = jnp.max(x, 0)
    scattered = jax.random.uniform(keys[4], (count,)) < plan.noise
    anywhere = low + jax.random.uniform(keys[5], x.shape) * (high - low)
    x = jnp.where(scattered[:, None], anywhere, x)
    place = jnp.arange(width)
    noise_column = (place >= plan.columns[0]) & (place < jnp.sum(plan.columns))
    x = jnp.where(noise_column, jnp.std(x[:, 0]) * jax.random.normal(keys[6], x.shape), x)
    return x, jnp.where(scattered, -1, labels)


def _shapes(
    plan: Plan,
    labels: Int[Array, " N"],
    normal: Float[Array, "N D"],
    along: Float[Array, " N"],
    across: Float[Array, " N"],
    tails: Float[Array, " N"],
) -> Float[Array, "6 N D"]:
    """The points of every kind, from the same random numbers."""
    width = normal.shape[1]
    flat = jnp.arange(width) < 2
    centers = plan.centers[labels]
    scale = plan.scales[labels]
    turn = plan.turns[labels]
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
    # Neighbouring arcs are flipped and shifted by one, as in two moons; every other pair lies higher.
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
